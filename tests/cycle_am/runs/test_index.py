"""Runs as their files tell: complete ones, unfinished ones, broken ones."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest

from cycle_am.runs.index import collect
from tests.cycle_am.runs.runs import SCORE, evaluate, log, make_run, write
from cycle_am.runs.provenance import command


def test_a_finished_run(tmp_path):
    folder = make_run(tmp_path / "cycle_am_small/blobs/one", seed=1, level=0.75)
    (tmp_path / "cycle_am_small/blobs/latest").symlink_to(folder)
    evaluate(folder / "evaluation", 0.9)
    (run,) = collect(tmp_path)
    assert (run.name, run.status, run.experiment, run.data) == (
        "cycle_am_small/blobs/one",
        "finished",
        "cycle_am_small",
        "blobs",
    )
    assert (run.score, run.monitor, run.epochs, run.seconds) == (0.75, SCORE, 3, 180)
    assert (run.started, run.commit) == ("2026-01-01T00:00:01+00:00", "c0ffeec0f+")
    assert run.settings == {
        "seed": 1,
        "model.lr": 0.1,
        "model.note": None,
        "callbacks.best.monitor": SCORE,
        "callbacks.best.mode": "max",
    }  # nothing that only says where the run lies
    assert run.curves[SCORE].tolist() == [[9, 1, 0.25], [19, 2, 0.5], [29, 3, 0.75]]
    assert run.curves["loss/generator"][:, 1].tolist() == [0.5, 1.5, 2.5]
    assert [epoch for epoch, _ in run.pictures["panels"]] == [1, 2, 3]
    assert list(run.pictures) == ["panels", "score"]
    value, low, high = run.figures["classifier/auc"]
    assert (value, high) == (0.9, 1)
    assert math.isnan(low)
    assert run.reports == [folder / "evaluation/report.html"]
    assert run.repeat == command(folder)
    assert run.problems == []


def test_unfinished_and_failed_runs_show_how_far_they_came(tmp_path):
    make_run(tmp_path / "going", finished=False, level=0.6)
    write(make_run(tmp_path / "dead", finished=False) / "failed.json", {"error": "ValueError: no"})
    runs = {run.name: run for run in collect(tmp_path)}
    assert (runs["going"].status, runs["going"].epochs, runs["going"].score) == ("unfinished", 3, 0.6)
    assert math.isnan(runs["going"].seconds)
    assert (runs["dead"].status, runs["dead"].error) == ("failed", "ValueError: no")


def test_a_run_whose_companions_are_still_trained_has_not_finished(tmp_path):
    folder = make_run(tmp_path / "going")
    end = json.loads((folder / "finished.json").read_text())
    write(folder / "finished.json", {**end, "companions": ["judge"]})
    assert [run.status for run in collect(tmp_path)] == ["unfinished"]
    write(folder / "failed.json", {"error": "ValueError: of the judge"})
    assert [run.status for run in collect(tmp_path)] == ["failed"]
    (folder / "failed.json").unlink()
    write(folder / "judge/finished.json", {})
    assert [run.status for run in collect(tmp_path)] == ["finished"]


def test_jobs_of_a_multirun_form_a_group_and_companions_are_no_runs(tmp_path):
    for job in "01":
        folder = make_run(tmp_path / "c/blobs/multirun/2026-01-01_00-00-00" / job, seed=int(job))
        make_run(folder / "selector")
    runs = collect(tmp_path)
    assert [run.name[-2:] for run in runs] == ["/1", "/0"]  # the newest first
    assert {run.group for run in runs} == {"c/blobs/multirun/2026-01-01_00-00-00"}


def test_an_evaluation_elsewhere_is_given_to_its_run(tmp_path):
    folder = make_run(tmp_path / "one")
    evaluate(tmp_path / "results", 0.8, run=folder)
    evaluate(tmp_path / "other", 0.1, run=tmp_path / "gone")
    (run,) = collect(tmp_path)
    assert run.figures["classifier/auc"][0] == 0.8
    assert run.reports == [tmp_path / "results/report.html"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("environment.json", '{"started": "20'),
        ("environment.json", "[1, 2]"),
        ("finished.json", ""),
        ("failed.json", "\x00"),
        ("csv/version_0/metrics.csv", ""),
        ("csv/version_0/metrics.csv", "a,b\n1,2\n"),
        ("evaluation/metrics.json", "{"),
    ],
)
def test_a_broken_file_is_named_and_ends_nothing(tmp_path, file, content):
    broken = make_run(tmp_path / "broken", finished=False)
    (broken / file).parent.mkdir(exist_ok=True)
    (broken / file).write_text(content)
    make_run(tmp_path / "sound", seed=1)
    runs = {run.name: run for run in collect(tmp_path)}
    assert runs["sound"].problems == []
    assert [problem.split(":")[0] for problem in runs["broken"].problems] == [file]


def test_a_line_that_is_being_written_is_left_out(tmp_path):
    file = make_run(tmp_path / "one") / "csv/version_0/metrics.csv"
    file.write_text(file.read_text() + "3,0.1")
    (run,) = collect(tmp_path)
    assert len(run.curves[SCORE]) == 3
    assert run.problems == []


def test_a_resumed_log_replaces_what_it_repeats(tmp_path):
    folder = make_run(tmp_path / "one", epochs=3)
    log(folder / "csv/version_1/metrics.csv", [0.8, 0.9], begin=2)
    (run,) = collect(tmp_path)
    assert run.curves[SCORE][:, 1:].round(3).tolist() == [[1, 0.167], [2, 0.333], [3, 0.8], [4, 0.9]]


def test_without_an_environment_hydras_record_counts(tmp_path):
    folder = make_run(tmp_path / "one")
    (folder / "environment.json").unlink()
    (folder / ".hydra").mkdir()
    text = "name: old\nseed: 3\nmodel: {seed: '${seed}', where: '${hydra:runtime.cwd}', steps: [1, 2]}\n"
    text += "paths: {run_dir: '${hydra:runtime.output_dir}'}\nplot: '${paths.run_dir}/score.png'\n"
    (folder / ".hydra/config.yaml").write_text(text)
    (run,) = collect(tmp_path)
    assert run.experiment == "old"
    assert run.settings == {
        "seed": 3,
        "model.seed": 3,
        "model.where": "${hydra:runtime.cwd}",
        "model.steps": "[1, 2]",
    }


def test_empty_folders_are_no_runs(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    assert collect(tmp_path) == []
    shutil.rmtree(tmp_path / "a")
    assert collect(tmp_path / "a") == []


def test_an_infinite_loss_stays_one(tmp_path):
    folder = make_run(tmp_path / "one", finished=False)
    log(folder / "csv/version_0/metrics.csv", [0.1, math.inf])
    (run,) = collect(tmp_path)
    assert np.isinf(run.curves[SCORE][1, 2])
