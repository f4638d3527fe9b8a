"""Texts: both languages complete and blind; a lacking, misspelt or telling text is refused by name."""

import pytest
import yaml

from cycle_am.errors import UserError
from cycle_am.reader_study.design.texts import TEXTS, naming, read_texts

NAMES = ["cycle_am", "CycleAM", "deep_shap", "DeepSHAP", "deep_taylor", "DeepTaylor", "lrp", "LRP"]


def changed(folder, language, change):
    texts = yaml.safe_load((TEXTS / "en.yaml").read_text())
    change(texts)
    (folder / f"{language}.yaml").write_text(yaml.safe_dump(texts))
    return read_texts(folder, [language], NAMES)


def test_all_languages_there_are_complete_and_blind():
    languages = sorted(path.stem for path in TEXTS.glob("*.yaml"))
    assert {"de", "en"} <= set(languages)
    texts = read_texts(TEXTS, languages, NAMES)
    for one in texts.values():
        assert list(one["scale"]["anchors"]) == [str(value) for value in range(-4, 5)]
        assert len(set(one["scale"]["anchors"].values())) == 9
    english = texts["en"]["criteria"]
    assert [one["question"] for one in english.values()] == [
        "Does it look reasonable?",
        "Does it make sense?",
        "Does it look good?",
    ]  # sec. 3.4 of the paper


def test_another_language_is_one_file(tmp_path):
    texts = changed(tmp_path, "fr", lambda one: one.update(title="Étude"))
    assert texts["fr"]["title"] == "Étude"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda one: one["criteria"].pop("image_quality"), "no text criteria.image_quality.name"),
        (lambda one: one["buttons"].update(next=" "), "no text buttons.next"),
        (lambda one: one["item"].update(progress="Lesion {n}"), r"progress must hold \{k\}, \{n\}, \{of\}, \{total\}"),
        (lambda one: one.update(title="A {"), "title must hold no"),
        (lambda one: one.update(footer="Made by Deep-Taylor."), "footer names the method 'deep_taylor'"),
        (lambda one: one["consent"]["paragraphs"].append("(LRP)"), "consent.paragraphs names the method"),
        (lambda one: one.update(extra="cycle AM"), "extra names the method 'cycle_am'"),
    ],
)  # fmt: skip
def test_bad_texts_are_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        changed(tmp_path, "en", change)


def test_an_absent_or_broken_file_is_an_error(tmp_path):
    with pytest.raises(UserError, match="choose of de, en"):
        read_texts(TEXTS, ["xx"], [])
    (tmp_path / "en.yaml").write_text("title: [")
    with pytest.raises(UserError, match="is no YAML"):
        read_texts(tmp_path, ["en"], [])


def test_names_are_found_as_words_only():
    assert naming("deep_shap").search("by DeepSHAP, here")
    assert naming("deep_shap").search("deep  shap")
    assert naming("lrp").search("lrp_map")
    assert not naming("lrp").search("modellrpg")
    assert not naming("CycleAM").search("a cycle among others")
