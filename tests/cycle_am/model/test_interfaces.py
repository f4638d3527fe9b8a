"""The interfaces of other tools: captum's, Quantus', and every explainer of the comparison."""

from __future__ import annotations

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from captum.metrics import sensitivity_max

from cycle_am.errors import UserError
from cycle_am.explainers.build import Context, available, build
from tests.cycle_am.small import images, small_model
from tests.helpers import ROOT, environment

QUICK = {"lime": {"samples": 20}, "smoothgrad": {"samples": 2}, "activation_maximisation": {"steps": 2}}


@pytest.fixture(scope="module")
def model():
    """With random weights."""
    return small_model()


def test_attribute_gives_signed_evidence_in_the_inputs_form(model):
    x, target = images(3).double(), torch.tensor([1, 0, 1])
    made = model.attribute(x, target=target)
    assert (made.shape, made.dtype, made.requires_grad) == (x.shape, x.dtype, False)
    evidence = torch.from_numpy(model.attribution(x.float()[:, 0].numpy()))[:, None]
    sign = torch.tensor([1.0, -1.0, 1.0])[:, None, None, None]
    torch.testing.assert_close(made.float(), evidence * sign, atol=1e-5, rtol=1e-4)
    assert evidence.abs().max() > 1e-4


def test_attribute_sums_to_the_log_odds_that_the_generators_change(model):
    x = images(2)
    changed = model.generate(x)
    odds = [(z[:, 1] - z[:, 0]) for z in map(model.classifier, (x, *changed))]
    torch.testing.assert_close(
        model.attribute(x, 1).sum((1, 2, 3)), 2 * odds[0] - odds[1] - odds[2], atol=1e-4, rtol=1e-3
    )


def test_captums_metrics_take_attribute(model):
    x = images(2)
    found = sensitivity_max(model.attribute, x, perturb_radius=0.01, n_perturb_samples=2, target=1)
    assert found.shape == (2,)
    assert found.isfinite().all()


def test_quantus_calls_it_with_arrays_and_a_network_of_its_own(model):
    x, y = images(3).numpy(), np.array([0, 1, 1])
    other = copy.deepcopy(model.classifier)
    other.linear.weight.mul_(-1)
    explain = model.explain_func()
    ours = explain(model=model.classifier, inputs=x, targets=y, device="cpu", normalise=True)
    theirs = explain(other, x, y)
    assert (ours.shape, ours.dtype) == (x.shape, np.float32)
    np.testing.assert_allclose(ours, model.attribute(torch.from_numpy(x), torch.from_numpy(y)).numpy())
    np.testing.assert_allclose(theirs, -ours, atol=1e-6)


@pytest.mark.parametrize("id", available())
def test_every_explainer_of_the_comparison_is_had_by_its_id(model, id):
    x, around = images(2), images(6, seed=1)
    context = Context(model.classifier, around, model, model.task.pixel_mm, 0)
    settings = QUICK.get(id, {})
    expected = build(id, context, settings).explain(x, 1)
    made = model.explainer(id, background=around.numpy(), **settings).explain(x, 1)
    torch.testing.assert_close(made, expected)
    assert made.shape == x.shape


def test_what_needs_a_background_says_so_and_the_others_do_without(model):
    with pytest.raises(UserError, match="deep_shap needs training images as a background"):
        model.explainer("deep_shap")
    for id in set(available()) - {"deep_shap"}:
        model.explainer(id)


def test_an_unknown_explainer_or_setting_is_refused(model):
    with pytest.raises(UserError, match="there is no explainer 'magic'"):
        model.explainer("magic")
    with pytest.raises(UserError):
        model.explainer("lime", sample=3)


def test_captum_and_hydra_are_imported_when_they_are_needed():
    code = (
        "import sys, cycle_am, cycle_am.model.model\n"
        "print(sorted({'captum', 'hydra', 'shap', 'pytorch_lightning'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
