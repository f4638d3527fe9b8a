"""Domain transfer figures against the t-test written out by hand."""

import numpy as np
import pytest
import torch
from scipy.stats import t as student

from cycle_am.metrics.transfer import Transfer, paired_t, transfer, transfer_figures
from tests.cycle_am.metrics.fakes import BrightnessClassifier, OracleGan, make_cases


def by_hand(first, second):
    d = first - second
    t = d.mean() / (d.std(ddof=1) / np.sqrt(len(d)))
    return t, 2 * student.sf(abs(t), len(d) - 1)


def test_paired_t_is_the_formula_with_n_minus_1_degrees_of_freedom():
    rng = np.random.default_rng(0)
    first = rng.random(20)
    second = first - rng.normal(0.1, 0.2, 20)
    t, p = paired_t(first, second)
    assert (t["value"], p["value"]) == pytest.approx(by_hand(first, second))
    assert t["n"] == 20


def test_no_variance_is_undefined():
    assert np.isnan(paired_t(np.ones(5), np.zeros(5))[0]["value"])
    assert np.isnan(paired_t(np.ones(1), np.zeros(1))[1]["value"])


def test_figures_carry_means_and_the_signs_of_the_change():
    cases = make_cases()
    x = cases.window()[0]
    made = OracleGan().generate(x)
    result = transfer(BrightnessClassifier(), x, made.neg, made.pos)
    figures = transfer_figures(result, cases.patient_id)
    assert set(figures) == {"x", "neg", "pos", "t_pos", "p_pos", "t_neg", "p_neg"}
    assert figures["neg"]["value"] == pytest.approx(BrightnessClassifier().probability(made.neg).mean())
    assert figures["neg"]["value"] < figures["x"]["value"] < figures["pos"]["value"]
    assert figures["t_pos"]["value"] > 0 > figures["t_neg"]["value"]
    assert figures["x"]["ci_low"] < figures["x"]["value"] < figures["x"]["ci_high"]


def test_classifier_is_read_in_batches_without_gradients():
    sizes = []

    class Recorder(torch.nn.Module):
        def probability(self, image):
            sizes.append(len(image))
            assert not torch.is_grad_enabled()
            return image.mean((1, 2, 3))

    x = torch.rand(150, 1, 8, 8)
    result = transfer(Recorder(), x, x, x)
    assert isinstance(result, Transfer)
    assert result.x == pytest.approx(x.mean((1, 2, 3)).double().numpy())
    assert max(sizes) <= 64
