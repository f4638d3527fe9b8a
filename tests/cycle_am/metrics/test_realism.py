"""The realism test finds what is there and nothing where nothing is."""

import numpy as np
import pytest
import torch

from cycle_am.metrics import realism as r

SIZE = 32


def textures(n, seed):
    """Smooth random images of uneven contrast with fine noise, (n, 1, 32, 32)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 1, 6, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic", align_corners=False)
    return (0.2 + 0.5 * smooth + 0.02 * torch.randn(n, 1, SIZE, SIZE, generator=generator)).clamp(0, 1)


def pool(n, seed):
    return r.Pool(textures(n, seed), np.array([f"{seed}-{i // 2}" for i in range(n)]))


TRAIN, TEST = pool(120, 0), pool(60, 1)


def test_a_planted_stripe_is_faint_and_found():
    striped = r.planted(TRAIN.images)
    change = (striped - TRAIN.images)[0, 0]
    assert change.abs().max() <= r.STRIPE + 1e-6
    assert (change.abs().sum(0) > 0).nonzero().flatten().tolist() == [20, 21]
    figure = r.compare(r.planted_control(TRAIN, TEST), resamples=200)
    assert figure["value"] > 0.95
    assert figure["n"] == 120


def test_real_is_not_told_from_real():
    figure = r.compare(r.real_control(TRAIN, TEST), resamples=200)
    assert 0.35 < figure["value"] < 0.65
    assert figure["ci_low"] < 0.5 < figure["ci_high"]


def test_halves_share_no_patient():
    first, second = r.halves(TRAIN, 3)
    assert not set(first.patients) & set(second.patients)
    assert len(first.patients) + len(second.patients) == 120
    assert torch.equal(
        first.images[0], TRAIN.images[int(np.flatnonzero(TRAIN.patients == first.patients[0])[0])]
    )


def test_figures_ask_generated_against_real_ones_of_the_same_call(monkeypatch):
    monkeypatch.setattr(r, "STEPS", 60)
    monkeypatch.setattr(r, "HALVINGS", 1)

    def judged(part):
        return r.Judged(part, part.made(r.planted), part, np.arange(len(part.patients)) % 2.0)

    figures = r.realism_figures(judged(TRAIN), judged(TEST), resamples=100)
    assert set(figures) == {
        "auc_neg",
        "auc_pos",
        "auc_unchanged_neg",
        "auc_unchanged_pos",
        "auc_real",
        "auc_planted",
    }
    assert figures["auc_neg"]["value"] > 0.95  # G- paints the stripe
    assert figures["auc_pos"]["value"] < 0.65  # G+ changes nothing
    assert figures["auc_pos"]["value"] == figures["auc_unchanged_pos"]["value"]
    assert figures["auc_neg"]["n"] == 60 + 30


def test_quick_realism_ranks_faults_alike_and_can_be_asked_in_a_validation_loop():
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        train, test = TRAIN.images * 1, TEST.images * 1
        state = torch.get_rng_state()
        faint, strong = (
            r.quick_realism((train + a * _ramp()).clamp(0, 1), train, (test + a * _ramp()).clamp(0, 1), test)
            for a in (0.0, 0.08)
        )
        assert torch.equal(torch.get_rng_state(), state)
    assert faint < 0.6
    assert strong > 0.95
    again = r.quick_realism(train, train, test, test)
    assert again == r.quick_realism(train, train, test, test)


def _ramp():
    return (torch.arange(SIZE) % 8 == 0).float()


def test_too_few_images_are_undefined():
    few = TEST.images[:7]
    assert np.isnan(r.realism_auc(few, TRAIN.images, TEST.images, TEST.images))
    assert np.isnan(r.compare(r.planted_control(TRAIN, TEST.where(np.arange(60) < 7)))["value"])


def test_local_contrast_ignores_brightness_and_scale():
    x = textures(4, 2) * 0.5
    assert r.local_contrast(x + 0.3) == pytest.approx(r.local_contrast(x), abs=1e-3)
    assert r.local_contrast(torch.full((1, 1, SIZE, SIZE), 0.7)).abs().max() < 1e-4
