"""SSIM and L1 of reports."""

import numpy as np
import pytest
import torch
from pytorch_msssim import ssim as reference

from cycle_am.metrics.similarity import l1_to, similarity_figures, ssim_to

X = torch.rand(5, 1, 64, 64, generator=torch.Generator().manual_seed(0))
Y = (X + 0.1 * torch.randn(5, 1, 64, 64, generator=torch.Generator().manual_seed(1))).clamp(0, 1)


def test_ssim_equals_another_implementation():
    expected = reference(X, Y, data_range=1.0, size_average=False, win_size=11, win_sigma=1.5, K=(0.01, 0.03))
    assert ssim_to(X, Y) == pytest.approx(expected.numpy(), abs=1e-5)
    assert ssim_to(X, X) == pytest.approx(np.ones(5), abs=1e-6)


def test_l1_is_the_mean_absolute_difference():
    assert l1_to(X, X + 0.25) == pytest.approx(np.full(5, 0.25), abs=1e-6)
    assert l1_to(X, X - torch.arange(5.0).view(5, 1, 1, 1)) == pytest.approx(np.arange(5), abs=1e-5)


def test_figures_are_means_over_cases():
    figures = similarity_figures({"l1_neg": np.array([0.1, 0.3])}, np.array(["a", "b"]))
    assert figures["l1_neg"]["value"] == pytest.approx(0.2)
    assert (figures["l1_neg"]["ci_low"], figures["l1_neg"]["ci_high"]) == pytest.approx((0.1, 0.3))
