"""The key of an open study stays sealed unless an interim look is asked for; each opening leaves a line."""

import csv
from datetime import UTC, datetime, timedelta

import pytest

from cycle_am.errors import UserError
from cycle_am.reader_study.analysis import unsealing
from cycle_am.reader_study.files import (
    ANSWERS,
    KEY,
    read_answers,
    read_study,
    write_answers,
    write_key,
    write_study,
)
from tests.cycle_am.reader_study.analysis.test_ratings import make_study


@pytest.fixture
def folder(tmp_path):
    """A study whose last answer is not there yet."""
    study, key, answers = make_study()
    write_study(tmp_path, study)
    write_key(tmp_path, key)
    write_answers(tmp_path / ANSWERS, answers[:-1])
    return tmp_path


def opened(folder, interim=False):
    answers = read_answers(folder / ANSWERS)
    return unsealing.open_key(folder / KEY, read_study(folder), answers, folder / ANSWERS, interim)


def lines(folder):
    with (folder / "sealed/unsealed.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_an_open_study_stays_sealed(folder):
    with pytest.raises(UserError, match=r"is open: 1 of 81 answers.*study.analyse.interim=true"):
        opened(folder)
    assert not (folder / "sealed/unsealed.csv").exists()


def test_each_opening_is_noted_with_its_time(folder):
    first, second = opened(folder, interim=True), opened(folder, interim=True)
    assert (first.interim, first.earlier_looks) == (True, [])
    assert second.earlier_looks == [first.log[0]["at"]]
    rows = lines(folder)
    assert [(row["state"], row["answers"], row["asked"]) for row in rows] == [("interim", "80", "81")] * 2
    now = datetime.now(UTC)
    assert all(now - timedelta(minutes=1) < datetime.fromisoformat(row["at"]) <= now for row in rows)
    assert rows[0]["answers_sha256"] in (folder / f"{ANSWERS}.sha256").read_text()


def test_a_closed_study_opens_until_another_export(folder):
    unsealing.close(folder / ANSWERS)
    found = opened(folder, interim=True)
    assert not found.interim
    assert lines(folder)[-1]["state"] == "closed"
    write_answers(folder / ANSWERS, read_answers(folder / ANSWERS)[:-1])
    with pytest.raises(UserError, match="is open: 2 of 81"):
        opened(folder)


def test_a_study_with_every_answer_is_over(folder):
    study, key, answers = make_study()
    write_study(folder, study)
    write_key(folder, key)
    write_answers(folder / ANSWERS, answers)
    assert not opened(folder).interim
    assert lines(folder)[-1]["state"] == "complete"


def test_a_key_whose_opening_cannot_be_noted_stays_sealed(folder):
    (folder / "sealed/unsealed.csv").mkdir()
    with pytest.raises(UserError, match="the key stays sealed: its opening cannot be noted"):
        opened(folder, interim=True)
