"""Sanity checks: randomisation touches what it names and nothing else; similarity and stability by closed forms."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from cycle_am.metrics import sanity as s
from cycle_am.networks.convnet import ConvNet

LAYERS = [f"blocks.{block}.{part}" for block in range(4) for part in (0, 1)] + ["linear"]


@pytest.fixture
def net():
    """A narrow ConvNet that looks trained: also its BatchNorm has left the initial state."""
    torch.manual_seed(0)
    module = ConvNet(width=4, image_size=16).eval()
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.3 * torch.rand_like(tensor))
    return module


@pytest.fixture
def images():
    return torch.from_numpy(np.random.default_rng(0).random((12, 1, 16, 16), dtype=np.float32))


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(before, module):
    """Names of tensors that differ, each with every floating-point entry changed."""
    after = module.state_dict()
    return {
        name for name in before if before[name].is_floating_point() and (before[name] != after[name]).all()
    }


def tensors_of(names, before):
    return {key for key in before if key.rpartition(".")[0] in names and before[key].is_floating_point()}


def test_layers_come_in_the_order_of_the_forward_pass(net, images):
    assert s.layer_order(net, images[:1]) == LAYERS

    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = nn.Linear(4, 2), nn.Linear(4, 4)

        def forward(self, x):
            return self.last(self.first(self.first(x)))

    assert s.layer_order(Backwards(), torch.zeros(1, 4)) == ["first", "last"]
    scripted = torch.jit.script(Backwards())
    assert s.layer_order(scripted, torch.zeros(1, 4)) == ["last", "first"]
    before = state(scripted)
    assert changed(before, s.randomised(scripted, ["last"])) == {"last.weight", "last.bias"}


def test_cascade_changes_every_layer_from_the_output_on_and_leaves_the_original(net, images):
    before = state(net)
    steps = list(s.cascade(net, s.layer_order(net, images[:1])))
    assert [name for name, _ in steps] == LAYERS[::-1]
    for count, (_, copy) in enumerate(steps, 1):
        assert changed(before, copy) == tensors_of(LAYERS[-count:], before)
        assert not copy.training
    assert all((before[name] == tensor).all() for name, tensor in net.state_dict().items())
    # Nested: a layer that was random stays the same random one.
    last = [copy.linear.weight for _, copy in steps]
    assert all((weight == last[0]).all() for weight in last)
    assert not torch.allclose(steps[0][1](images), net(images))


def test_randomisation_follows_its_seed_and_no_other_random_number(net):
    state_of_the_world = torch.get_rng_state()
    first, again, other = (s.randomised(net, LAYERS, seed) for seed in (0, 0, 1))
    assert (torch.get_rng_state() == state_of_the_world).all()
    assert (first.linear.weight == again.linear.weight).all()
    assert (first.linear.weight != other.linear.weight).all()
    drawn = [first.blocks[i][0].weight.flatten()[:4] for i in range(4)]
    units = {tuple((numbers / numbers[0]).round(decimals=3).tolist()) for numbers in drawn}
    assert len(units) == 4  # layers do not share numbers, whatever their scale
    assert first.linear.weight.abs().max() <= first.linear.in_features**-0.5  # torch's own initial range


def test_batchnorm_statistics_are_forgotten_or_estimated_anew(net, images):
    norm = s.randomised(net, LAYERS).blocks[0][1]
    assert (norm.running_mean == 0).all()
    assert (norm.running_var == 1).all()
    assert (norm.weight == 1).all()
    fitted = s.randomised(net, LAYERS, images=images)
    inside = fitted.blocks[0][0](images)
    assert fitted.blocks[0][1].running_mean.numpy() == pytest.approx(
        inside.mean((0, 2, 3)).detach().numpy(), abs=1e-5
    )
    features = fitted.blocks[:3](images)
    normed = fitted.blocks[3][1](fitted.blocks[3][0](features))
    assert normed.mean((0, 2, 3)).detach().numpy() == pytest.approx(0, abs=0.02)
    assert normed.std((0, 2, 3)).detach().numpy() == pytest.approx(1, abs=0.05)
    assert not any(part.training for part in fitted.modules())
    assert fitted.blocks[0][1].momentum == net.blocks[0][1].momentum
    # Only the named ones: with a random last layer the trained BatchNorm stays.
    kept = s.randomised(net, ["linear"], images=images)
    assert (kept.blocks[0][1].running_mean == net.blocks[0][1].running_mean).all()


def test_a_module_that_cannot_reset_itself_is_drawn_with_its_own_spread():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.big, self.one = nn.Parameter(torch.randn(4000) * 3), nn.Parameter(torch.tensor([2.0]))

        def forward(self, x):
            return x * self.one + self.big.sum()

    module = Own()
    copy = s.randomised(module, s.layer_order(module, torch.zeros(1)))
    assert (copy.big != module.big).all()
    assert (copy.one != module.one).all()
    assert copy.big.std().item() == pytest.approx(3, rel=0.1)


def test_spearman_is_scipys_with_and_without_ties():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(5, 9, 7)), rng.integers(0, 4, (5, 9, 7)).astype(float)
    expected = [stats.spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first, second, strict=True)]
    assert s.spearman(first, second) == pytest.approx(expected)
    assert s.spearman(first, np.exp(first)) == pytest.approx(np.ones(5))
    assert s.spearman(first, -first) == pytest.approx(-np.ones(5))


def test_constant_and_unknown_maps():
    maps = np.random.default_rng(0).normal(size=(3, 12, 12))
    flat = maps.copy()
    flat[0], flat[1, 0, 0] = 2.0, np.nan
    found = s.map_similarity(flat, maps)
    assert found["spearman_signed"][0] == 0
    assert np.isnan(found["spearman"]).tolist() == [False, True, False]
    assert s.spearman(flat, flat)[0] == 1
    assert s.map_ssim(0 * maps, 0 * maps) == pytest.approx(np.ones(3))


def test_similarity_separates_sign_size_and_scale():
    maps = np.random.default_rng(0).normal(size=(4, 16, 16))
    same = s.map_similarity(maps, 7 * maps)
    assert all(values == pytest.approx(np.ones(4)) for values in same.values())
    opposite = s.map_similarity(maps, -maps)
    assert opposite["spearman"] == pytest.approx(np.ones(4))
    assert opposite["spearman_signed"] == pytest.approx(-np.ones(4))
    unrelated = s.map_similarity(maps, np.random.default_rng(1).normal(size=maps.shape))
    assert all(np.abs(values).max() < 0.3 for values in unrelated.values())


def test_a_gradient_reacts_to_randomisation_and_an_edge_detector_does_not(net, images):
    def gradient(module):
        x = images.clone().requires_grad_()
        return torch.autograd.grad(module(x)[:, 1].sum(), x)[0][:, 0].numpy()

    def edges(module):
        return np.stack([np.hypot(*np.gradient(image)) for image in images[:, 0].numpy()])

    randomised = s.randomised(net, LAYERS, images=images)
    found = {
        method: s.map_similarity(method(net), method(randomised))["spearman"] for method in (gradient, edges)
    }
    assert s.reacts(found[gradient])
    assert not s.reacts(found[edges])


def test_reaction_is_judged_by_the_mean_of_the_known():
    assert s.reacts(np.array([0.9, np.nan, 0.0]))
    assert not s.reacts(np.array([0.9, np.nan, 0.2]))
    assert not s.reacts(np.array([0.3]), threshold=0.3)
    with pytest.raises(ValueError, match="no case"):
        s.reacts(np.array([np.nan]))


def test_agreement_is_the_mean_over_pairs():
    maps = np.random.default_rng(0).normal(size=(2, 12, 12))
    found = s.agreement(np.stack([maps, maps, -maps]))
    assert found["spearman"] == pytest.approx(np.ones(2))
    assert found["spearman_signed"] == pytest.approx(np.full(2, (1 - 1 - 1) / 3))


def mean_score(images):
    """p of class 1: the mean grey value."""
    p = images.mean((1, 2, 3)).double()
    return torch.stack([1 - p, p], 1)


def test_noisy_copies_count_where_the_classifier_does_not_notice():
    images = torch.full((3, 1, 16, 16), 0.3)
    images[1] = 0.5002  # so near the boundary that the class changes in some copies
    found = s.noisy_copies(mean_score, images, sigma=0.05, copies=40)
    shift = found.images.mean((2, 3, 4)).numpy() - 0.5
    assert found.keep[[0, 2]].all()
    assert (found.keep[1] == (shift[1] > 0)).all()
    assert 0 < found.keep[1].sum() < 40
    assert len(found.kept) == len(found.case) == found.keep.sum()
    assert (found.kept[found.case == 2] == found.images[2]).all()
    strict = s.noisy_copies(mean_score, images, sigma=0.05, copies=40, tolerance=0.003)
    assert (strict.keep[0] == (np.abs(shift[0] + 0.2) <= 0.003)).all()
    again = s.noisy_copies(mean_score, images, sigma=0.05, copies=40)
    assert (again.images == found.images).all()
    noise = (found.images[0] - 0.3).std().item()
    assert noise == pytest.approx(0.05, rel=0.02)


def test_stability_by_hand():
    maps = np.random.default_rng(0).normal(size=(3, 8, 8))
    keep = np.array([[True, True], [False, True], [False, False]])
    kept = np.stack([maps[0] * 1.5, -maps[0], maps[1]])
    found = s.stability(maps, kept, keep)
    assert found["copies"].tolist() == [2, 1, 0]
    assert found["stability"][:2] == pytest.approx([0, 1])  # (1 - 1) / 2
    assert found["max_change"][:2] == pytest.approx([2, 0])
    assert np.isnan([found["stability"][2], found["max_change"][2]]).all()
    none = s.stability(0 * maps, np.zeros((3, 8, 8)), keep)
    assert none["max_change"][:2].tolist() == [0, 0]
    assert np.isnan(s.stability(0 * maps, kept, keep)["max_change"]).all()
