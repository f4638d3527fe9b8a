"""The export: a row for each answer as the analysis takes it, and names of what is missing."""

import json
from contextlib import closing

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir

from cycle_am.app.config import register
from cycle_am.errors import UserError
from cycle_am.reader_study.analysis.export import (
    HISTORY,
    HISTORY_COLUMNS,
    answer_table,
    export,
    missing_lines,
)
from cycle_am.reader_study.analysis.unsealing import is_closed
from cycle_am.reader_study.files import ANSWER_COLUMNS, read_answers, read_study
from cycle_am.reader_study.web.serve import open_database
from tests.cycle_am.reader_study.serving import CRITERIA, ROOT, shown


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


def test_the_history_is_exported_with_what_was_shown(cfg, study_dir):
    study = read_study(study_dir)
    store = open_database(cfg, study)
    first = study.readers["r01"].order()[0]
    seen = shown(study.items[first])
    store.save("r01", first, CRITERIA[0], 3, 0, "q1", json.dumps(seen))
    store.save("r01", first, CRITERIA[0], -1, 1, "q2", json.dumps(seen | {"opacity": 0}))
    store.save("r02", first, CRITERIA[0], 0, 0, "q3")
    store.close()
    export(cfg)
    table = pd.read_csv(study_dir / HISTORY)
    assert list(table) == HISTORY_COLUMNS
    assert table[["reader", "rating", "revision"]].to_numpy().tolist() == [
        ["r01", 3, 1],
        ["r01", -1, 2],
        ["r02", 0, 1],
    ]
    assert table["opacity"].tolist()[:2] == [60, 0]
    assert table["overlay"].tolist()[:2] == [seen["overlay"]] * 2
    assert table.loc[2, ["overlay", "window"]].isna().all()


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
