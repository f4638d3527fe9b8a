"""The whole analysis: what is planted is found, degenerate studies are told, simulated data is marked everywhere."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from cycle_am.app.config import register
from cycle_am.errors import UserError
from cycle_am.reader_study.analysis import figures as study_figures
from cycle_am.reader_study.analysis import words
from cycle_am.reader_study.analysis.analyse import analyse, write
from cycle_am.reader_study.analysis.analysis import analysis, frames
from cycle_am.reader_study.analysis.inference import paired, pairwise
from cycle_am.reader_study.analysis.ratings import assemble
from cycle_am.reader_study.analysis.report import stars
from cycle_am.reader_study.files import ANSWERS, write_answers, write_key, write_study
from tests.cycle_am.reader_study.analysis.test_gaps import lacking as gapped
from tests.cycle_am.reader_study.analysis.test_ratings import make_study
from tests.cycle_am.reader_study.trials import METHODS, trial_scores, trial_table
from tests.helpers import ROOT

NAN = re.compile(r"\bnan\b")
FIGURES = ("figure7.png", "figure8.png", "figure9.png")


@pytest.fixture(scope="module")
def planted():
    """The paper's effects, with two repeated cases."""
    return analysis(
        assemble(trial_table(trial_scores(cases=12, taste=0.3), repeated=2), simulated=True), resamples=200
    )


@pytest.fixture
def small_pictures(monkeypatch):
    """Pictures are drawn but not laid out and rendered, which takes most of the time."""

    def save(_, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (1, 1)).save(path)
        return path

    monkeypatch.setattr(study_figures, "_save", save)


def config(*overrides):
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("study", ["action=analyse", "study.analyse.resamples=100", *overrides])


def degenerate(readers, cases, criteria, drop=(), change=None):
    scores = trial_scores(readers=readers, cases=cases)[..., :criteria]
    if change is not None:
        change(scores)
    return analysis(assemble(trial_table(scores).drop(columns=list(drop))), resamples=50)


def test_planted_effects_are_found(planted):
    for criterion in planted.ratings.criteria:
        raw = [planted.mean("raw", criterion, method)["mean"] for method in METHODS]
        assert np.argmax(raw) == 0
        assert planted.mean("rank", criterion, "cycle_am")["mean"] < 2
        for method in METHODS[1:]:
            row = planted.test("raw", criterion, method)
            assert row["difference"] == pytest.approx(raw[0] - raw[METHODS.index(method)])
            assert row["p_holm"] < 0.05
            assert row["p_both_holm"] < 0.05
            assert row["p_paper"] > row["p"]
    assert planted.variants["p_holm"].min() > 0.05


def test_centring_leaves_every_test_as_it_is(planted):
    raw, centred = (planted.tests[planted.tests["scale"] == scale] for scale in ("raw", "centred"))
    assert centred["t"].to_numpy() == pytest.approx(raw["t"].to_numpy())
    assert centred["p"].to_numpy() == pytest.approx(raw["p"].to_numpy())


def test_two_of_the_same_methods_are_found_different_as_often_as_chance_has_it():
    effects, found = np.zeros((2, 1)), []
    for seed in range(200):
        scores = trial_scores(cases=6, effects=effects, seed=seed)
        means = scores.mean(1)[..., 0]
        found.append(paired(means[:, 0], means[:, 1]).p)
    assert np.mean(np.array(found) < 0.05) == pytest.approx(0.05, abs=0.04)


def test_every_output_of_simulated_data_says_so(planted, tmp_path):
    report = write(planted, tmp_path, {"Data": "simulated"}).read_text()
    assert "<title>SIMULATED DATA" in report
    assert (tmp_path / "results.txt").read_text().startswith(words.SIMULATED)
    files = sorted(tmp_path.glob("*.csv"))
    assert len(files) == 17
    for file in files:
        table = pd.read_csv(file)
        assert table["simulated"].all(), file.name
        assert "simulated" in file.read_text().splitlines()[0]
    for name in FIGURES:
        assert red(tmp_path / name)


def red(file):
    """Whether the line over the picture is there, in its colour."""
    top = np.asarray(Image.open(file).convert("RGB"), int)[:30]
    return (np.abs(top - (178, 24, 43)).sum(-1) < 30).sum() > 100


def test_data_of_readers_is_not_called_simulated(planted, tmp_path):
    real = replace(planted, ratings=replace(planted.ratings, simulated=False))
    report = write(real, tmp_path, {}).read_text()
    assert "simulated" not in report.lower()
    assert "simulated" not in (tmp_path / "results.txt").read_text().lower()
    assert not any(red(tmp_path / name) for name in FIGURES)
    assert not pd.read_csv(tmp_path / "means.csv")["simulated"].any()


def test_report_stands_alone_and_shows_both_variants(planted, tmp_path):
    report = write(planted, tmp_path, {}).read_text()
    assert report.count("data:image/png;base64,") == 3
    assert not re.search(r"(src|href)=\"(?!data:)", report)
    for label in (
        "Centred, the paper",
        "z-adjusted, the paper",
        "p, t(7)",
        "p, t(6)",
        "p, both random",
    ):
        assert label in report
    assert not NAN.search(re.sub(r"base64,[^\"]*", "", report))


def test_results_in_words(planted):
    text = "\n".join(words.results(planted))
    assert "Eight readers rated the explanations of 12 cases (6 benign, 6 malignant) by four methods" in text
    assert "none was missing" in text
    row = planted.test("raw", "image_quality", "lrp")
    both = (
        f"t({words.degrees_text(row['df_both'])}) = {row['t_both']:.2f}, {words.p_text(row['p_both_holm'])}"
    )
    assert f"{both}; paired t(7) = {row['t']:.2f}, {words.p_text(row['p_holm'])}" in text
    assert f"by {row['difference']:.2f}, 95% CI [{row['both_low']:.2f}, {row['both_high']:.2f}]" in text
    assert not NAN.search(text)
    assert "  " not in text
    assert "–" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0004, "p < .001"), (0.0184, "p = .018"), (1.0, "p = 1.000"), (np.nan, "p not defined")],
)
def test_p_as_the_apa_writes_it(value, text):
    assert words.p_text(value) == text


def test_words_for_numbers_and_lists():
    assert (words.count(1, "reader"), words.count(8, "reader"), words.count(24, "case")) == (
        "one reader", "eight readers", "24 cases",
    )  # fmt: skip
    assert [words.listed("abc"[:n]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
    assert [words.bounded(v) for v in (0.638, -0.09, 1.0, 0.999)] == [".64", "−.09", "1.00", "1.00"]
    assert [stars(p) for p in (0.0001, 0.005, 0.018, 0.2, np.nan)] == ["***", "**", "*", "", ""]


def test_results_conclude_by_readers_and_lesions_both_random():
    """All readers prefer the reference on two of 14 lesions and see no difference on the others: true of these lesions,
    and no evidence of others."""
    scores = np.random.default_rng(0).normal(0, 0.02, (8, 14, 2, 1))
    scores[:, :2, 0] += 3
    one = analysis(assemble(trial_table(scores)), resamples=2)
    row = one.test("raw", "intuitive_validity", "deep_shap")
    assert row["p_holm"] < 0.001
    assert row["p_both_holm"] > 0.05
    text = "\n".join(words.results(one))
    assert "No significant difference was found between CycleAM and DeepSHAP (by " in text
    assert "The difference from DeepSHAP is significant by the paired t, for these cases alone" in text
    assert stars(row["p_both_holm"]) == ""


@pytest.fixture(scope="module")
def lacking():
    """Four equal methods; 90 % of the answers to one are missing on the 8 best-rated of 24 lesions."""
    return analysis(assemble(trial_table(gapped(criteria=1))), resamples=2)


def test_answers_missing_on_the_best_lesions_make_no_difference(lacking):
    criterion = lacking.ratings.criteria[0]
    raw, matched = (
        [lacking.mean(scale, criterion, method)["mean"] for method in METHODS] for scale in ("raw", "matched")
    )
    assert min(raw[:3]) - raw[3] > 0.2  # the mean that lacks the best lesions
    assert np.ptp(matched) < 0.5
    row = lacking.test("raw", criterion, "lrp")
    assert row["difference"] == pytest.approx(matched[0] - matched[3], abs=0.1)
    assert min(row["p_holm"], row["p_both_holm"]) > 0.05
    text = "\n".join(words.results(lacking))
    assert "was rated significantly" not in text
    count = np.isnan(lacking.ratings.scores[:, :, 3]).sum()
    assert (
        f"Missing were 0 of 192 for CycleAM, 0 of 192 for DeepSHAP, 0 of 192 for DeepTaylor and {count} of"
        in text
    )
    assert "Warning: these answers are not missing at random: the methods lack different numbers" in text
    assert "cases that lack more answers were rated higher (Spearman's ρ = ." in text
    assert "over the questions that have every method's answer" in text


def test_answers_missing_on_the_best_lesions_make_no_false_positives():
    both, paired_t = [], []
    for seed in range(100):
        row = pairwise(gapped(seed)[:, :, [0, 3], :1], ["a", "b"], ["c"]).iloc[0]
        both.append(row["p_both"])
        paired_t.append(row["p"])
    for p in (both, paired_t):
        assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.065)  # three standard errors


@pytest.mark.usefixtures("small_pictures")
def test_what_is_missing_is_in_the_report_by_method_and_reader(lacking, tmp_path):
    report = write(lacking, tmp_path, {}).read_text()
    missing = np.isnan(lacking.ratings.scores)
    for name, count, asked in (("LRP", missing[:, :, 3].sum(), 192), ("r1", missing[0].sum(), 96)):
        assert f'<th scope="row">{name}</th><td>{asked}</td><td>{count}</td>' in report
    assert "not missing at random" in report


def one_value(scores):
    scores[0] = 2


def all_the_same(scores):
    scores[:] = 1


def with_gaps(scores):
    scores[0, 0, 0, 0] = scores[1, 1, 2, :] = scores[2, 2:] = np.nan


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (lambda: degenerate(2, 4, 3), "Two readers"),
        (lambda: degenerate(4, 4, 1), "There is one criterion"),
        (lambda: degenerate(4, 1, 3), "needs two or more cases"),
        (lambda: degenerate(4, 6, 3, drop=["variant"]), "There are no two variants"),
        (lambda: degenerate(4, 6, 3, drop=["label"]), "which lesions are malignant"),
        (lambda: degenerate(4, 6, 3, change=one_value), "Pairs without a correlation"),
        (lambda: degenerate(4, 6, 3, change=all_the_same), "did not converge"),
        (lambda: degenerate(4, 6, 3, change=with_gaps), "missing.csv names each"),
    ],
    ids=[
        "two readers",
        "one criterion",
        "one case",
        "no variant",
        "no label",
        "one value",
        "all the same",
        "gaps",
    ],
)
@pytest.mark.usefixtures("small_pictures")
def test_degenerate_studies_are_told(one, said, tmp_path):
    report = write(one(), tmp_path, {}).read_text()
    assert said in report
    assert not NAN.search((tmp_path / "results.txt").read_text())


@pytest.mark.usefixtures("small_pictures")
def test_gaps_are_in_a_file_by_name(tmp_path):
    write(degenerate(4, 6, 3, change=with_gaps), tmp_path, {})
    missing = pd.read_csv(tmp_path / "missing.csv")
    assert len(missing) == 1 + 3 + 4 * 4 * 3
    assert {"reader", "case", "method", "criterion", "repeat"} <= set(missing)


def test_figures_that_have_nothing_to_show_are_not_drawn(tmp_path):
    one = degenerate(3, 3, 1, drop=["label"])
    assert study_figures.criteria_tree(tmp_path / "figure8.png", one) is None
    assert study_figures.ratings_by_method(tmp_path / "figure7.png", one).is_file()
    assert frames(one)["correlations"].shape == (1, 3)


def test_a_study_folder_from_end_to_end(tmp_path):
    study, key, answers = make_study(cases=4)
    answers["rating"] -= np.random.default_rng(0).integers(0, 3, len(answers))
    write_study(tmp_path, study)
    write_key(tmp_path, key)
    write_answers(tmp_path / ANSWERS, answers)
    report = analyse(config(f"dir={tmp_path}"))
    assert report == tmp_path / "analysis/report.html"
    assert len(pd.read_csv(report.with_name("ratings.csv"))) == len(answers)


@pytest.mark.usefixtures("small_pictures")
def test_an_interim_look_is_asked_for_and_marked_everywhere(tmp_path):
    study, key, answers = make_study(cases=4)
    write_study(tmp_path, study)
    write_key(tmp_path, key)
    write_answers(tmp_path / ANSWERS, answers[:-3])
    with pytest.raises(UserError, match="is open: 3 of 153 answers"):
        analyse(config(f"dir={tmp_path}"))
    assert not (tmp_path / "analysis").exists()
    report = analyse(config(f"dir={tmp_path}", "study.analyse.interim=true"))
    assert "<title>INTERIM LOOK" in report.read_text()
    assert report.with_name("results.txt").read_text().startswith("[Interim look")
    assert all(pd.read_csv(file)["interim"].all() for file in report.parent.glob("*.csv"))


def test_earlier_looks_are_told(planted):
    looks = ["2026-01-02T03:04:05+00:00", "2026-02-02T03:04:05+00:00"]
    text = words.results(replace(planted, ratings=replace(planted.ratings, earlier_looks=looks)))[-1]
    assert text.startswith(
        "The results had been looked at twice before while the study was open (first at 2026-01-02"
    )
    assert "looked at" not in "".join(words.results(planted))


def test_a_key_of_another_study_is_refused(tmp_path):
    study, _, answers = make_study()
    _, other, _ = make_study()
    write_study(tmp_path, study)
    write_key(tmp_path, other)
    write_answers(tmp_path / ANSWERS, answers)
    with pytest.raises(UserError, match="the seal does not match"):
        analyse(config(f"dir={tmp_path}"))
    assert not (tmp_path / "analysis").exists()


@pytest.mark.usefixtures("small_pictures")
def test_a_plain_csv_is_analysed_beside_itself(tmp_path):
    file = tmp_path / "mine.csv"
    trial_table(trial_scores(readers=3, cases=3)).to_csv(file, index=False)
    report = analyse(config(f"study.analyse.ratings={file}", "study.analyse.reference=lrp"))
    assert report == tmp_path / "mine_analysis/report.html"
    assert pd.read_csv(report.with_name("tests.csv"))["first"][0] == "lrp"
