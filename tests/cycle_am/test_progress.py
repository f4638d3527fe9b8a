"""How far a loop is, on a stream that nobody watches."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from tqdm import tqdm

from cycle_am import progress
from cycle_am.app.callbacks import progress as callback
from cycle_am.app.callbacks.progress import EpochLines
from cycle_am.progress import duration, steps


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only where a test lets them."""
    now = SimpleNamespace(seconds=0.0)
    fake = SimpleNamespace(monotonic=lambda: now.seconds)
    monkeypatch.setattr(progress, "time", fake)
    monkeypatch.setattr(callback, "time", fake)
    return now


def test_a_long_loop_says_what_it_does_an_early_estimate_and_a_line_a_minute(clock, capsys):
    seen = []
    for item in steps(range(40), "reading", unit="scans", usually="usually long"):
        clock.seconds += 5.0
        seen.append(item)
    assert seen == list(range(40))
    assert capsys.readouterr().err.splitlines() == [
        "reading: 40 scans, usually long",
        "reading: 2 of 40, about 3 min left",
        "reading: 14 of 40, about 2 min left",
        "reading: 26 of 40, about 70 s left",
        "reading: 38 of 40, about 10 s left",
    ]


def test_what_was_there_already_does_not_count_for_the_time_left(clock, capsys):
    with steps(what="reading", total=100, unit="scans", initial=90) as shown:
        clock.seconds += 20.0
        shown.update(5)
    assert capsys.readouterr().err.splitlines() == [
        "reading: 10 scans",
        "reading: 95 of 100, about 20 s left",
    ]


def test_nothing_is_said_where_nothing_is_left_to_do(capsys):
    assert list(steps([], "reading")) == []
    with steps(what="reading", total=7, initial=7):
        pass
    assert capsys.readouterr().err == ""


def test_what_is_done_just_now_is_named(clock, capsys):
    shown = steps(["lrp", "lime"], "explainers", unit="methods")
    clock.seconds += 15.0
    shown.set_postfix_str("lrp: deletion")
    assert capsys.readouterr().err.splitlines()[-1] == "explainers: 0 of 2, lrp: deletion"


def test_a_terminal_has_a_bar(monkeypatch):
    nothing = lambda *text: None  # noqa: E731
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: True, write=nothing, flush=nothing))
    assert isinstance(steps([1], "reading"), tqdm)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (91, "2 min"), (3600, "60 min"), (9000, "2.5 h")]
)
def test_lengths_of_time(seconds, text):
    assert duration(seconds) == text


def test_a_long_epoch_has_a_line_a_minute_with_step_losses_and_time_left(clock, capsys):
    trainer = SimpleNamespace(
        current_epoch=2, max_epochs=10, num_training_batches=50, num_val_batches=[4], sanity_checking=False
    )
    trainer.callback_metrics = {"val/auc": 0.75}
    lines = EpochLines()
    lines.on_train_start(trainer, None)
    lines.on_train_epoch_start(trainer, None)
    for index in range(50):
        clock.seconds += 3.0
        lines.on_train_batch_end(trainer, None, {"loss": 1.0 / (index + 1)}, None, index)
    for index in range(4):
        clock.seconds += 15.0
        lines.on_validation_batch_end(trainer, None, None, None, index)
    lines.on_train_epoch_end(trainer, None)
    assert capsys.readouterr().out.splitlines() == [
        "training: epochs 3 to 10, 50 steps each",
        "epoch 3/10  step 20/50  loss 0.050  (about 90 s left)",
        "epoch 3/10  step 40/50  loss 0.025  (about 30 s left)",
        "epoch 3/10  validation step 2/4",
        "epoch 3/10  auc 0.750  (210.0 s)",
    ]
