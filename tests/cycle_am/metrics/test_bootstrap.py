"""Bootstrap intervals against closed forms."""

import numpy as np
import pytest

from cycle_am.estimate import undefined
from cycle_am.metrics.bootstrap import bootstrap, difference, interval, mean, mean_figure, patient_weights


def test_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    figure = mean_figure(values, np.arange(400), resamples=4000)
    half = 1.96 * values.std() / np.sqrt(400)
    assert figure["value"] == pytest.approx(values.mean())
    assert figure["ci_low"] == pytest.approx(values.mean() - half, abs=0.03)
    assert figure["ci_high"] == pytest.approx(values.mean() + half, abs=0.03)
    assert figure["n"] == 400


def test_cases_of_one_patient_move_together():
    values = np.repeat(np.random.default_rng(1).normal(0, 1, 100), 4)
    patients = np.repeat(np.arange(100), 4)
    clustered, single = mean_figure(values, patients), mean_figure(values, np.arange(400))
    wide, narrow = (f["ci_high"] - f["ci_low"] for f in (clustered, single))
    assert wide == pytest.approx(2 * narrow, rel=0.1)
    rows = patient_weights(patients, 5)
    assert (rows.reshape(5, 100, 4) == rows.reshape(5, 100, 4)[..., :1]).all()
    assert (rows.sum(1) == 400).all()


def test_same_seed_same_interval():
    values = np.random.default_rng(0).normal(size=30)
    patients = np.arange(30)
    assert mean_figure(values, patients, seed=3) == mean_figure(values, patients, seed=3)
    assert mean_figure(values, patients, seed=3) != mean_figure(values, patients, seed=4)


def test_a_paired_difference_is_narrower_than_two_unpaired_ones():
    rng = np.random.default_rng(0)
    base = rng.normal(0, 1, 200)
    first, second = base + 0.5, base + rng.normal(0, 0.05, 200)
    figure = bootstrap(difference(mean(first), mean(second)), np.arange(200))
    half = 1.96 * (first - second).std() / np.sqrt(200)
    assert figure["ci_high"] - figure["ci_low"] == pytest.approx(2 * half, rel=0.1)


def test_degenerate_resamples_are_dropped_and_too_many_leave_no_interval():
    values = np.concatenate([np.full(60, np.nan), np.linspace(0, 1, 100)])
    assert interval(values) == pytest.approx((0.025, 0.975))
    assert np.isnan(interval(np.concatenate([np.full(60, np.nan), np.ones(40)]))).all()


def test_unknown_values_are_left_out_and_nothing_is_nan():
    figure = mean_figure(np.array([1.0, np.nan, 3.0]), np.array(["a", "b", "c"]))
    assert (figure["value"], figure["n"]) == (2.0, 2)
    assert mean_figure(np.array([np.nan]), np.array(["a"])).keys() == undefined().keys()
    assert np.isnan(mean_figure(np.array([np.nan]), np.array(["a"]))["value"])


def test_one_patient_tells_nothing_of_others():
    figure = mean_figure(np.array([0.2, 0.4]), np.array(["a", "a"]))
    assert figure["value"] == pytest.approx(0.3)
    assert figure["n"] == 2
    assert np.isnan([figure["ci_low"], figure["ci_high"]]).all()
