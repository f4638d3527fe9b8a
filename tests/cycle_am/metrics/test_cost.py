"""Cost: a callable of known duration and memory, and the break-even point by hand."""

import math
import time

import numpy as np
import pytest
import torch

from cycle_am.metrics import cost as c

IMAGES = torch.zeros(3, 1, 8, 8)


def test_time_is_the_median_per_case_without_the_warm_up():
    calls = []

    def explain(images):
        calls.append(len(images))
        time.sleep(0.2 if len(calls) <= 2 else 0.004)  # the warm-up and one disturbed repeat

    found = c.cost(explain, IMAGES, batch=8, repeats=3)
    assert calls == [8] * 4  # warm-up and three timed, the last of them for the memory too
    assert 0.5 <= found.ms_per_case < 12  # 4 ms over 8 cases, on a machine that may be busy


def test_a_batch_repeats_the_images_in_turn():
    images = torch.arange(3.0).reshape(3, 1, 1, 1)
    seen = []
    c.cost(lambda batch: seen.append(batch[:, 0, 0, 0].tolist()), images, batch=5, repeats=1, warmup=0)
    assert seen[0] == [0, 1, 2, 0, 1]


needs_record = pytest.mark.skipif(math.isnan(c.peak_memory(lambda: None)), reason="no resettable peak record")


@needs_record
@pytest.mark.parametrize("make", [torch.ones, np.ones], ids=["torch", "numpy"])
@pytest.mark.parametrize("mebibytes", [64, 40])
def test_peak_memory_sees_what_was_held_at_the_worst_moment(make, mebibytes):
    def work():
        for _ in range(3):  # one after the other: the peak is one of them
            make(mebibytes * 2**17, dtype=torch.float64 if make is torch.ones else np.float64)

    work()
    found = c.peak_memory(work)
    assert mebibytes - 3 < found < mebibytes + 12


@needs_record
def test_doing_nothing_needs_nothing():
    c.peak_memory(lambda: torch.ones(2**24))  # a higher peak before does not matter
    assert c.peak_memory(lambda: None) < 3


def test_unmeasurable_memory_is_nan_and_the_call_is_made(monkeypatch, tmp_path):
    monkeypatch.setattr(c, "CLEAR", tmp_path / "absent" / "clear_refs")
    called = []
    assert math.isnan(c.peak_memory(lambda: called.append(1)))
    assert called == [1]


@pytest.mark.parametrize(
    ("training", "own", "other", "cases"),
    [
        (60.0, 10, 70, 1000),
        (60.0, 10, 70.1, 999),
        (0.0, 10, 70, 0),
        (60.0, 70, 70, math.inf),
        (60.0, 71, 70, math.inf),
    ],
)
def test_break_even(training, own, other, cases):
    assert c.break_even(training, own, other) == cases
    if math.isfinite(cases):
        assert 1000 * training + cases * own <= cases * other + 1e-6
        assert cases == 0 or 1000 * training + (cases - 1) * own > (cases - 1) * other


@pytest.mark.parametrize("unknown", range(3))
def test_break_even_of_something_unknown_is_unknown(unknown):
    figures = [60.0, 10.0, 70.0]
    figures[unknown] = math.nan
    assert math.isnan(c.break_even(*figures))
