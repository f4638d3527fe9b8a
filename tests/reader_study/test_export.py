"""The export: a row for each answer as the analysis takes it, and names of what is missing."""

from contextlib import closing

import pytest
from hydra import compose, initialize_config_dir

from reader_study.export import answer_table, export, missing_lines
from reader_study.files import ANSWER_COLUMNS, read_answers, read_study
from reader_study.serve import open_database
from reader_study.unsealing import is_closed
from tests.reader_study.serving import CRITERIA, ROOT
from utils.config import register
from utils.errors import UserError


@pytest.fixture
def cfg(study_dir):
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("study", overrides=["action=export", f"dir={study_dir}"])


def test_export_of_a_part(cfg, study_dir, capsys):
    study = read_study(study_dir)
    store = open_database(cfg, study)
    order = study.readers["r01"].order()
    for position in (2, 1):
        for criterion in reversed(CRITERIA):
            store.save("r01", order[position - 1], criterion, position, 0, f"{position}{criterion}")
    store.save("r01", order[2], CRITERIA[1], 0, 0, "q1")
    store.save("r01", order[2], CRITERIA[1], -4, 1, "q2")
    store.close()
    file = export(cfg)
    answers = read_answers(file)
    assert list(answers) == ANSWER_COLUMNS
    assert answers["position"].tolist() == [1, 1, 1, 2, 2, 2, 3]
    assert answers["criterion"].tolist() == [*CRITERIA, *CRITERIA, CRITERIA[1]]
    assert answers["rating"].tolist() == [1, 1, 1, 2, 2, 2, -4]
    assert answers["revisions"].tolist() == [0] * 6 + [1]
    assert answers["item"].tolist() == [order[0]] * 3 + [order[1]] * 3 + [order[2]]
    assert not answers["simulated"].any()
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        "r01: 11 of 18 answers missing, at positions 3 (intuitive_validity, image_quality), 4 (all), 5 (all), 6 (all)",
        "r02: no answer of 18",
    ]


def test_export_of_all(study_dir):
    study = read_study(study_dir)
    rows = [
        {
            "reader": name,
            "item": item,
            "criterion": criterion,
            "rating": 0,
            "revision": 1,
            "last_at": "2026-01-01",
        }
        for name, reader in study.readers.items()
        for item in reader.order()
        for criterion in CRITERIA
    ]
    assert missing_lines(study, answer_table(study, rows)) == ["r01: all 18 answers", "r02: all 18 answers"]
    assert answer_table(study, []).empty


def test_nothing_to_export(cfg, study_dir):
    with pytest.raises(UserError, match="action=serve"):
        export(cfg)
    assert not (study_dir / "answers.db").exists()


def test_the_last_export_is_marked_and_a_later_one_is_not(cfg, study_dir):
    study = read_study(study_dir)
    with open_store_of(cfg, study) as store:
        store.save("r01", study.readers["r01"].order()[0], CRITERIA[0], 1, 0, "a")
    cfg.study.serve.closed = True
    file = export(cfg)
    assert is_closed(file)
    cfg.study.serve.closed = False
    assert is_closed(export(cfg))  # the same answers
    with open_store_of(cfg, study) as store:
        store.save("r01", study.readers["r01"].order()[0], CRITERIA[1], 1, 0, "b")
    assert not is_closed(export(cfg))


def open_store_of(cfg, study):
    return closing(open_database(cfg, study))
