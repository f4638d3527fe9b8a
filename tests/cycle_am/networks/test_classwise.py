"""One network a class, and one that is told the class, give each image what its class asks for."""

import torch

from cycle_am.networks import PairedPatchDiscriminator, UNetGenerator
from cycle_am.networks.classwise import Told, at_class


def ask(network, x, to):
    return network(x) if to is None else network(x, to)


def test_each_image_gets_its_own_network():
    networks = [lambda x, k=k: x + k for k in range(4)]
    x = torch.arange(6.0)
    to = torch.tensor([3, 0, 1, 3, 0, 0])
    assert torch.equal(at_class(networks, to, ask, x), x + to)
    assert torch.equal(at_class(networks, 2, ask, x), x + 2)


def test_answers_of_several_scales_come_back_in_order():
    networks = [lambda x, k=k: [x * k, x + k] for k in range(3)]
    x, to = torch.arange(5.0), torch.tensor([2, 1, 0, 1, 2])
    times, plus = at_class(networks, to, ask, x)
    assert torch.equal(times, x * to)
    assert torch.equal(plus, x + to)


def test_a_single_network_is_told_each_images_class():
    network = UNetGenerator(channels=(4, 8), convs=1, classes=3)
    torch.nn.init.normal_(network.head.weight)
    x, to = torch.rand(4, 1, 16, 16), torch.tensor([0, 2, 1, 2])
    together = at_class([network], to, ask, x)
    for k in range(3):
        alone = Told(network, k)(x[to == k])
        assert torch.allclose(together[to == k], alone, atol=1e-6)
    assert not torch.allclose(Told(network, 0)(x), Told(network, 1)(x))


def test_a_discriminator_is_told_too():
    network = PairedPatchDiscriminator(channels=(4, 8), scales=(1,), convs=1, classes=2)
    fake, real, half = torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16), lambda *shape: torch.zeros(shape)
    first, second = (network(fake, real, half, torch.tensor([k, k]))[0] for k in (0, 1))
    assert not torch.allclose(first, second)
