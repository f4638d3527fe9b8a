"""The networks: shapes and sizes of the paper, the discriminator's shuffle, nothing that looks at its neighbours."""

import pytest
import torch
from torch import nn

from cycle_am.networks import ConvNet, PairedPatchDiscriminator, UNetEncoder, UNetGenerator
from cycle_am.networks.discriminator import paired_answer
from cycle_am.networks.unet import clamp_unit

SMALL = (4, 6, 8, 10)


def test_convnet_has_the_papers_blocks():
    net = ConvNet()
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [32, 64, 128, 256]
    assert [c.stride for c in convolutions] == [(1, 1), (2, 2), (2, 2), (2, 2)]
    assert net(torch.rand(3, 1, 64, 64)).shape == (3, 2)


def test_convnet_relus_are_distinct_and_not_in_place():
    relus = [m for m in ConvNet(4).modules() if isinstance(m, nn.ReLU)]
    assert len({id(m) for m in relus}) == 4
    assert not any(m.inplace for m in relus)


def test_convnet_refuses_a_size_below_three_strides():
    with pytest.raises(ValueError, match="at least 8"):
        ConvNet(4, image_size=7)


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (33, 3), (64, 3), (100, 1)])
def test_networks_take_images_of_any_size_and_colour(size, channels):
    image = torch.rand(2, channels, size, size)
    assert ConvNet(4, channels, size)(image).shape == (2, 2)
    assert UNetGenerator(SMALL, in_channels=channels)(image).shape == image.shape
    answers = PairedPatchDiscriminator(SMALL, in_channels=channels)(image, image)
    assert [tuple(a.shape[:2]) for a in answers] == [(2, 2), (2, 2)]


def test_a_generator_continues_sides_that_its_depth_does_not_divide():
    generator, image = UNetGenerator(SMALL), torch.rand(1, 1, 60, 61)
    nn.init.normal_(generator.head.weight)
    wider = nn.functional.pad(image, (0, 3, 0, 4), mode="replicate")
    torch.testing.assert_close(generator(image), generator(wider)[..., :60, :61])


def test_encoder_halves_the_resolution_at_each_stage():
    features = UNetEncoder(SMALL)(torch.rand(2, 1, 64, 64))
    assert [tuple(f.shape) for f in features] == [
        (2, 4, 64, 64),
        (2, 6, 32, 32),
        (2, 8, 16, 16),
        (2, 10, 8, 8),
    ]


def test_generator_has_three_convolutions_a_stage():
    generator = UNetGenerator()
    stages = [*generator.encoder.stages, *generator.decoder]
    assert all(sum(isinstance(m, nn.Conv2d) for m in stage) == 3 for stage in stages)
    assert len(stages) == 7
    assert [stage[0].out_channels for stage in generator.encoder.stages] == [48, 96, 192, 384]


def test_an_untrained_residual_generator_changes_nothing():
    x = torch.rand(2, 1, 64, 64)
    assert torch.equal(UNetGenerator(SMALL, output="residual")(x), x)


@pytest.mark.parametrize("output", ["image", "residual"])
def test_generator_stays_in_range_and_passes_gradient(output):
    generator = UNetGenerator(SMALL, output=output)
    nn.init.normal_(generator.head.weight)
    changed = generator(torch.rand(2, 1, 64, 64))
    assert changed.shape == (2, 1, 64, 64)
    assert changed.min() >= 0
    assert changed.max() <= 1
    changed.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in generator.parameters())


def test_generator_refuses_an_unknown_output():
    with pytest.raises(ValueError, match="choose one of image, residual"):
        UNetGenerator(SMALL, output="mask")


@pytest.mark.parametrize("network", [UNetGenerator(SMALL), UNetEncoder(SMALL)])
def test_one_images_result_does_not_depend_on_its_neighbours(network):
    if isinstance(network, UNetGenerator):
        nn.init.normal_(network.head.weight)
    x = torch.rand(4, 1, 64, 64)
    alone, together = network(x[:1]), network(x)
    pairs = zip(alone, together, strict=True) if isinstance(alone, list) else [(alone, together)]
    for one, many in pairs:
        torch.testing.assert_close(one, many[:1], atol=1e-5, rtol=1e-4)


def test_discriminator_answers_at_the_two_coarse_scales():
    answers = PairedPatchDiscriminator(SMALL)(torch.rand(3, 1, 64, 64), torch.rand(3, 1, 64, 64))
    assert [tuple(a.shape) for a in answers] == [(3, 2, 16, 16), (3, 2, 8, 8)]


def test_the_shuffle_is_undone_exactly():
    """An oracle head that recognises the real features answers "real" at every position, whatever the order."""
    real, fake = torch.ones(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
    answer = paired_answer(lambda pair: pair, fake, real, torch.rand)
    assert torch.equal(answer[:, 1], torch.ones(2, 8, 8))
    assert torch.equal(answer[:, 0], torch.zeros(2, 8, 8))


def test_the_shuffle_is_unbiased():
    """A head that always names the first input is right at half of the positions."""

    def first(pair):
        return torch.cat([torch.ones_like(pair[:, :1]), torch.zeros_like(pair[:, :1])], 1)

    uniform = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.rand(shape, generator=uniform)  # noqa: E731
    right = paired_answer(first, torch.zeros(16, 3, 32, 32), torch.ones(16, 3, 32, 32), draw)[:, 1]
    assert abs(right.mean().item() - 0.5) < 4 * 0.5 / right.numel() ** 0.5


def test_swapping_the_pair_swaps_the_answer():
    """With the order drawn the other way round, D(a, b) is D(b, a) with its neurons exchanged."""
    d, a, b = PairedPatchDiscriminator(SMALL), torch.rand(2, 1, 64, 64), torch.rand(2, 1, 64, 64)
    low, high = (lambda *s: torch.zeros(s)), (lambda *s: torch.ones(s))
    for one, other in zip(d(a, b, low), d(b, a, high), strict=True):
        torch.testing.assert_close(one, other.flip(1))


def test_discriminator_refuses_a_scale_that_the_encoder_lacks():
    with pytest.raises(ValueError, match="4-stage"):
        PairedPatchDiscriminator(SMALL, scales=(2, 4))


def test_clamp_passes_only_the_gradient_that_leads_back():
    x = torch.tensor([-0.5, -0.5, 0.5, 1.5, 1.5], requires_grad=True)
    y = clamp_unit(x)
    assert y.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    y.backward(torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0]))
    assert x.grad.tolist() == [0.0, -1.0, 1.0, 1.0, 0.0]
