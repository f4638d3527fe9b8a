"""Networks that want other images than the data's, and give more logits than two."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from cycle_am.errors import UserError
from cycle_am.explainers.base import Unsupported
from cycle_am.explainers.build import Context, available, build
from cycle_am.model.adapter import Adapter, adapted
from cycle_am.model.custom import load_custom
from cycle_am.task import Task
from tests.fakes import Residual, TinyTransformer

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TRANSFORMER = "tests.fakes.TinyTransformer"
INPUT = {"channels": 3, "size": 96, "mean": MEAN, "std": STD}


@pytest.fixture
def image():
    return torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(0))


def test_nothing_to_change_leaves_the_network_itself():
    net = Residual()
    assert adapted(net, {"channels": None, "size": None}, None) is net
    assert adapted(net, None, None) is net


def test_the_input_is_what_hand_made_steps_make_of_it(image):
    seen = []
    net = nn.Module()
    net.forward = lambda x: seen.append(x) or x.mean((2, 3))
    Adapter(net, **INPUT)(image)
    larger = interpolate(image.repeat(1, 3, 1, 1), (96, 96), mode="bilinear")
    expected = torch.stack([(larger[:, k] - MEAN[k]) / STD[k] for k in range(3)], 1)
    torch.testing.assert_close(seen[0], expected)


def test_shrinking_does_not_alias():
    """Stripes finer than the pixels that are left become grey, as PIL's bilinear makes them."""
    stripes = torch.zeros(1, 1, 64, 64)
    stripes[..., ::2] = 1
    small = Adapter(nn.Identity(), size=16)(stripes)
    assert (small[..., 1:-1] - 0.5).abs().max() < 0.05


def test_one_number_serves_all_channels_and_colour_is_not_repeated():
    colour = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(
        Adapter(nn.Identity(), channels=3, mean=0.5, std=0.25)(colour), (colour - 0.5) * 4
    )


def test_two_of_many_logits(image):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64 * 64, 10)).eval()
    chosen = Adapter(net, outputs=[7, 2])(image)
    torch.testing.assert_close(chosen, net(image)[:, [7, 2]])
    custom = load_custom("tests.fakes.Residual", None, arguments={"outputs": 5}, outputs=[4, 1])
    p = custom.net.net.net(image).softmax(1)
    torch.testing.assert_close(custom.probability(image), p[:, 1] / (p[:, 1] + p[:, 4]))


def test_weights_keep_their_names_and_gradients_reach_the_image(image, tmp_path):
    net = TinyTransformer()
    torch.save(
        {"model": {f"module.{key}": value for key, value in net.state_dict().items()}}, tmp_path / "w.pt"
    )
    custom = load_custom(
        TRANSFORMER, str(tmp_path / "w.pt"), arguments={"classes": 5}, input=INPUT, outputs=[0, 3]
    )
    prepared = interpolate(image.repeat(1, 3, 1, 1), (96, 96), mode="bilinear") - torch.tensor(MEAN).view(
        1, 3, 1, 1
    )
    expected = net.eval()(prepared / torch.tensor(STD).view(1, 3, 1, 1))[:, [0, 3]]
    torch.testing.assert_close(custom(image), expected)
    moved = image.clone().requires_grad_()
    custom(moved).sum().backward()
    assert moved.grad.abs().sum() > 0


def test_colour_tasks_reach_a_network_of_another_size():
    task = Task(None, 40, 0.0, 1.0, ("red", "white"), 3, unit="", thing="cell")
    custom = load_custom(TRANSFORMER, None, task, input={"size": 96}, outputs=[1, 2])
    assert custom(torch.rand(2, 3, 40, 40)).shape == (2, 2)
    with pytest.raises(UserError, match=r"fails on images \(2, 3, 40, 40\).*must be 3 x 96 x 96"):
        load_custom(TRANSFORMER, None, task, outputs=[1, 2])


def test_what_a_method_cannot_handle_is_named_and_the_others_run_on(image):
    custom = load_custom(TRANSFORMER, None, input=INPUT, outputs=[0, 3]).requires_grad_(False)
    explained, refused = [], {}
    for name in available():
        if "cycle_am" in name:
            continue
        try:
            settings = {"activation_maximisation": {"steps": 2}, "lime": {"samples": 20}}.get(name)
            explainer = build(name, Context(custom.net, background=image), settings)
            assert explainer.explain(image[:1], 1).shape == (1, 1, 64, 64)
            explained.append(name)
        except Unsupported as error:
            refused[name] = str(error).lower().replace("-", "_")
    assert all(name.split("_")[0] in text for name, text in refused.items())
    assert {"integrated_gradients", "smoothgrad", "occlusion", "lime", "activation_maximisation"} <= set(
        explained
    )
    assert {"lrp", "deep_taylor"} <= set(refused)


@pytest.mark.parametrize(
    ("input", "outputs", "message"),
    [
        ({"sise": 3}, None, r"classifier.input.sise is unknown; there are channels, size, mean, std"),
        ({"size": 0}, None, r"input.size=0"),
        ({"channels": "three"}, None, r"input.channels=three"),
        ({"mean": "grey"}, None, r"input.mean=grey is no number"),
        ({"mean": []}, None, r"input.mean=\[\] is no number"),
        ({"std": [1, 0, 1]}, None, "must be above 0"),
        (None, [1], "two different numbers"),
        (None, [1, 1], "two different numbers"),
        (None, [-1, 1], "two different numbers"),
        (None, [1, 9], r"outputs=\[1, 9\]: the classifier gives \(2, 5\)"),
    ],
)
def test_wrong_settings_are_one_line(input, outputs, message):
    with pytest.raises(UserError, match=message) as caught:
        load_custom("tests.fakes.Residual", None, arguments={"outputs": 5}, input=input, outputs=outputs)
    assert "\n" not in str(caught.value)


def test_many_logits_ask_for_a_choice():
    with pytest.raises(UserError, match=r"choose the two: classifier.outputs="):
        load_custom("tests.fakes.Residual", None, arguments={"outputs": 5})
    with pytest.raises(UserError, match=r"Residual\(\) fails .* called with {'width': 3}"):
        load_custom("tests.fakes.Residual", None, arguments={"width": 3})
    with pytest.raises(UserError, match=r"give classifier\.target"):
        load_custom(None, __file__, arguments={"width": 3})
