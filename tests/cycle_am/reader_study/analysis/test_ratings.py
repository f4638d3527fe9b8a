"""The table of ratings: arranged, its gaps named, what cannot be right refused."""

import numpy as np
import pandas as pd
import pytest

from cycle_am.errors import UserError
from cycle_am.reader_study.analysis.ratings import ITEM, assemble, from_csv, from_study
from cycle_am.reader_study.files import ANSWER_COLUMNS, Item, Key, KeyItem, Reader, Study, opaque, seal
from tests.cycle_am.reader_study.trials import CRITERIA, METHODS, trial_scores, trial_table

SCORES = trial_scores(readers=3, cases=4)


def written(tmp_path, table):
    file = tmp_path / "ratings.csv"
    table.to_csv(file, index=False)
    return file


def test_a_shuffled_table_is_arranged():
    table = trial_table(SCORES, repeated=1).sample(frac=1, random_state=0)
    found = assemble(table)
    assert found.scores.tolist() == SCORES.tolist()
    assert (found.readers, found.cases) == (["r1", "r2", "r3"], ["case1", "case2", "case3", "case4"])
    assert (list(found.methods), found.criteria) == (METHODS, CRITERIA)
    assert found.names == ["CycleAM", "DeepSHAP", "DeepTaylor", "LRP"]
    assert found.labels.tolist() == [0, 1, 0, 1]
    assert found.variants.tolist() == ["A", "B", "A"]
    assert np.isfinite(found.repeats).any((0, 2, 3)).tolist() == [True, False, False, False]
    assert found.missing.empty


def test_cases_and_readers_are_ordered_as_people_count():
    table = trial_table(trial_scores(readers=2, cases=11))
    assert assemble(table).cases[-2:] == ["case10", "case11"]


def test_missing_ratings_are_named():
    scores = SCORES.copy()
    scores[1, 2, 3, 0] = np.nan
    table = trial_table(scores)
    table.loc[0, "rating"] = np.nan  # an empty cell and an absent row are the same
    found = assemble(table)
    assert found.missing[ITEM].to_numpy().tolist() == [
        [*table.loc[0, ["reader", "case", "method", "criterion"]], False],
        ["r2", "case3", "lrp", "intuitive_validity", False],
    ]
    assert np.isnan(found.scores).sum() == 2


def test_what_nobody_answered_was_asked_for_too():
    scores = trial_scores()
    scores[:, 5, 2] = np.nan  # 8 readers, 3 criteria
    found = assemble(trial_table(scores))
    assert np.isfinite(found.scores).sum() == 2280
    assert np.isfinite(found.scores).sum() + len(found.missing) == 8 * 24 * 4 * 3
    assert found.missing["method"].unique().tolist() == [METHODS[2]]


def test_single_items_rated_twice_are_asked_twice_of_everyone_and_no_others():
    table = trial_table(SCORES, repeated=1)
    one = (table["repeat"]) & (table["method"] != "lrp")
    found = assemble(table[~one & ~(table["repeat"] & (table["reader"] == "r2"))])
    assert found.missing[ITEM].to_numpy().tolist() == [["r2", "case1", "lrp", one, True] for one in CRITERIA]


@pytest.mark.parametrize("reference", ["lrp", "unknown"])
def test_the_reference_comes_first_where_it_exists(reference):
    found = assemble(trial_table(SCORES), reference=reference)
    assert found.reference == ("lrp" if reference == "lrp" else "cycle_am")
    assert found.scores[:, :, 0].tolist() == SCORES[:, :, METHODS.index(found.reference)].tolist()


def test_long_and_wide_files_are_read_alike(tmp_path):
    table = trial_table(SCORES, repeated=2, remark="ignored")
    keys = ["reader", "case", "method", "variant", "label", "repeat"]
    wide = table.pivot_table(index=keys, columns="criterion", values="rating").reset_index()
    long_form, wide_form = from_csv(written(tmp_path, table)), from_csv(written(tmp_path, wide))
    for one in (long_form, wide_form):
        assert one.scores.tolist() == SCORES.tolist()
    np.testing.assert_array_equal(long_form.repeats, wide_form.repeats)


def test_its_own_table_reads_back(tmp_path):
    scores = SCORES.copy()
    scores[0, 1, 2, 1] = np.nan
    first = assemble(trial_table(scores, repeated=2), simulated=True)
    second = from_csv(written(tmp_path, first.table().assign(simulated=True)))
    np.testing.assert_array_equal(first.scores, second.scores)
    np.testing.assert_array_equal(first.repeats, second.repeats)
    assert first.missing.to_dict() == second.missing.to_dict()
    assert second.simulated


def test_columns_that_may_be_absent(tmp_path):
    bare = trial_table(SCORES).drop(columns=["variant", "label", "repeat"])
    found = from_csv(written(tmp_path, bare))
    assert (found.labels, found.variants, found.simulated) == (None, None, False)


def test_chosen_criteria_and_words_for_labels(tmp_path):
    table = trial_table(SCORES)
    table["label"] = table["label"].map({0: "Benign", 1: "malignant"})
    found = from_csv(written(tmp_path, table), criteria=["image_quality"])
    assert found.criteria == ["image_quality"]
    assert found.scores[..., 0].tolist() == SCORES[..., 2].tolist()
    assert found.labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: pd.concat([t, t.iloc[:1]]), "two ratings of case case1"),
        (lambda t: t.assign(rating=t["rating"].replace(t["rating"].max(), 5)), "outside of -4 to 4"),
        (
            lambda t: t.assign(rating=t["rating"].astype(object).where(t.index != 3, "good")),
            "'good' is no rating",
        ),
        (lambda t: t.drop(columns="method"), "has no column method"),
        (lambda t: t.drop(columns=["criterion", "rating"]), "name its columns"),
        (lambda t: t.assign(label=t.index % 2), "more than one label"),
        (lambda t: t.assign(label="unclear"), "'unclear' is no label"),
        (lambda t: t.assign(variant=np.where(t.index < 3, "A", "B")), "more than one variant"),
        (lambda t: t.assign(repeat="maybe"), "neither true nor false"),
        (lambda t: t.assign(case=t["case"].where(t.index != 2)), "row 3 has no case"),
        (lambda t: t[t["reader"] == "r1"], "1 of the needed two or more readers"),
        (lambda t: t[t["method"] == "lrp"], "1 of the needed two or more methods"),
        (lambda t: t.iloc[:0], "has no rows"),
    ],
)
def test_what_cannot_be_right_is_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        from_csv(written(tmp_path, change(trial_table(SCORES))))


@pytest.mark.parametrize("column", ["reader", "case", "method", "criterion", "variant"])
def test_blanks_and_composition_make_no_other_id(tmp_path, column):
    table = trial_table(SCORES)
    if column != "criterion" and column != "method":  # whose names are the paper's
        table[column] = "é" + table[column]
    expected = from_csv(written(tmp_path, table))
    other = table[column].str.replace("é", "e\u0301") + "\u200b "
    mixed = table.assign(**{column: table[column].where(table.index % 2 == 0, other)})
    found = from_csv(written(tmp_path, mixed.rename(columns={column: f" {column}"})))
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert (found.readers, found.cases, found.methods) == (expected.readers, expected.cases, expected.methods)
    assert found.variants.tolist() == expected.variants.tolist()
    assert found.missing.empty


@pytest.mark.parametrize(
    ("column", "one", "other"),
    [
        ("reader", "r2", "R2"),
        ("reader", "1", "1.0"),
        ("reader", "1", "01"),
        ("reader", "r2", "r02"),
        ("case", "case2", "Case2"),
        ("method", "lrp", "LRP"),
        ("criterion", "image_quality", "Image_Quality"),
        ("variant", "A", "a"),
    ],
)
def test_one_id_in_two_spellings_is_refused(tmp_path, column, one, other):
    table = trial_table(SCORES)
    table[column] = table[column].replace(table[column].iloc[-1], one)
    some = (table[column] == one) & (table.index % 2 == 0)
    assert some.any()
    table.loc[some, column] = other
    with pytest.raises(UserError, match=f"{column} '.*' and '.*' differ in spelling only") as raised:
        from_csv(written(tmp_path, table))
    assert f"'{one}'" in str(raised.value)
    assert f"'{other}'" in str(raised.value)


@pytest.mark.parametrize(
    ("separator", "encoding"), [(";", "utf-8-sig"), ("\t", "utf-8"), ("\t", "utf-16"), (",", "utf-8")]
)
def test_tables_of_other_programs(tmp_path, separator, encoding):
    file = tmp_path / "ratings.csv"
    table = trial_table(SCORES).rename(columns={"reader": "Reader", "rating": " RATING"})
    table.to_csv(file, index=False, sep=separator, encoding=encoding)
    assert from_csv(file).scores.tolist() == SCORES.tolist()


def test_decimal_commas_beside_semicolons(tmp_path):
    file = tmp_path / "ratings.csv"
    table = trial_table(SCORES)
    table.assign(rating=[f"{rating:.1f}".replace(".", ",") for rating in table["rating"]]).to_csv(
        file, index=False, sep=";"
    )
    assert from_csv(file).scores.tolist() == SCORES.tolist()


def test_a_reader_whose_initials_say_nothing(tmp_path):
    table = trial_table(SCORES).replace({"reader": {"r2": "NA"}})
    table["rating"] = table["rating"].astype(object).where(table.index != 0, "NA")
    found = from_csv(written(tmp_path, table))
    assert "NA" in found.readers
    assert len(found.missing) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "reader,case,method,criterion,rating\nr1,c1,lrp,good,1,2\n",
            "line 2 has 6 cells, the header 5",
        ),
        ("reader,case,method,criterion,rating\nr1,c1,lrp,good\n", "line 2 has 4 cells, the header 5"),
        ("reader,case,method,criterion,rating,rating\nr1,c1,lrp,good,1,2\n", "two columns rating"),
    ],
)
def test_rows_that_do_not_fit_their_header(tmp_path, text, message):
    (tmp_path / "ratings.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        from_csv(tmp_path / "ratings.csv")


@pytest.mark.parametrize("wide", [False, True])
def test_a_criterion_that_the_file_does_not_have(tmp_path, wide):
    table = trial_table(SCORES)
    if wide:
        table = table.pivot_table(
            index=["reader", "case", "method"], columns="criterion", values="rating"
        ).reset_index()
    with pytest.raises(UserError, match=r"no criterion image_qualty; it has .*image_quality"):
        from_csv(written(tmp_path, table), criteria=["intuitive_validity", "image_qualty"])


def test_a_file_that_is_absent_or_empty(tmp_path):
    with pytest.raises(UserError, match="give an existing CSV"):
        from_csv(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(UserError, match="is no CSV table"):
        from_csv(tmp_path / "empty.csv")


def make_study(cases=2, readers=("r1", "r2", "r3"), simulated=False):
    """A study with one repeated item, its key, and all answers (rating: place of the method in the order)."""
    key_items = {opaque(): KeyItem(f"case{c}", c % 2, m) for c in range(cases) for m in METHODS}
    first = next(iter(key_items))
    key_items[opaque()] = KeyItem("case0", 0, METHODS[0], repeat_of=first)
    key = Key("study1", dict(zip(METHODS, "WXYZ", strict=True)), key_items)
    items = {name: Item(opaque(), opaque()) for name in key_items}
    order = {name: Reader("AB"[i % 2], [[item] for item in items]) for i, name in enumerate(readers)}
    study = Study("study1", "now", seal(key), CRITERIA, -4, 4, 45.0, ["en"], {}, items, order, simulated)
    rows = [
        ("study1", reader, item, criterion, METHODS.index(key_items[item].method), place, "", 0, False)
        for reader in readers
        for place, item in enumerate(items)
        for criterion in CRITERIA
    ]
    return study, key, pd.DataFrame(rows, columns=ANSWER_COLUMNS)


def test_answers_of_a_study():
    study, key, answers = make_study()
    found = from_study(answers, study, key)
    assert found.scores.shape == (3, 2, 4, 3)
    assert (found.scores == np.arange(4)[:, None]).all()
    assert np.isfinite(found.repeats).sum() == 3 * 3
    assert found.names == list("WXYZ")
    assert (found.labels.tolist(), found.variants.tolist()) == ([0, 1], ["A", "B", "A"])
    assert not found.simulated


def test_every_rating_that_a_study_asked_for_and_lacks_is_named():
    study, key, answers = make_study()
    kept = answers[answers["reader"] != "r3"].drop(index=[0])
    found = from_study(kept, study, key)
    assert found.silent == ["r3"]
    assert found.readers == ["r1", "r2"]
    assert len(found.missing) == 9 * 3 + 1
    first = found.missing[found.missing["reader"] == "r1"].iloc[0]
    assert first[ITEM].tolist() == ["r1", "case0", "cycle_am", "intuitive_validity", False]


def test_simulated_answers_mark_the_ratings():
    study, key, answers = make_study()
    assert from_study(answers.assign(simulated=answers.index == 5), study, key).simulated
    study, key, answers = make_study(simulated=True)
    assert from_study(answers, study, key).simulated


@pytest.mark.parametrize("column", ["study_id", "reader", "item", "criterion"])
def test_answers_of_another_study_are_refused(column):
    study, key, answers = make_study()
    answers.loc[3, column] = "other"
    with pytest.raises(UserError, match=f"{column} other, which is not in study study1"):
        from_study(answers, study, key)
