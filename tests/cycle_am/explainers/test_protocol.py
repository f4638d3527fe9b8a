"""What every explainer owes its caller, and how explainers are found and built."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from cycle_am.errors import UserError
from cycle_am.explainers.base import Unsupported
from cycle_am.explainers.build import CONF, Context, available, build
from cycle_am.networks import ConvNet
from tests.cycle_am.explainers.fakes import Brightener, Residual, images, randomise

# Cheaper settings: what is tested here does not depend on them.
QUICK = {
    "activation_maximisation": {"steps": 4},
    "deep_shap": {"samples": 4},
    "integrated_gradients": {"steps": 8},
    "lime": {"samples": 40, "window": 16},
    "occlusion": {"window": 16, "stride": 16},
    "smoothgrad": {"samples": 4},
}
TARGET = torch.tensor([1, 0, 1])
ALL = available()


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return randomise(ConvNet(4)).eval()


def context(net, seed=0) -> Context:
    return Context(net, images(6, seed=5), Brightener(), pixel_mm=0.7, seed=seed)


def make(name, net, seed=0):
    return build(name, context(net, seed), QUICK.get(name))


def test_all_methods_are_there():
    assert {
        "cycle_am",
        "cycle_am_attribution",
        "deep_shap",
        "deep_taylor",
        "lrp",
        "grad_cam",
        "grad_cam_pp",
    } < set(ALL)
    assert {"integrated_gradients", "smoothgrad", "occlusion", "lime", "activation_maximisation"} < set(ALL)
    assert {"control_centre", "control_edges", "control_random"} < set(ALL)
    assert len(ALL) == 15


@pytest.mark.parametrize("name", ALL)
def test_a_map_for_each_case_that_does_not_depend_on_the_others(name, net):
    x, explainer = images(3), make(name, net)
    rounding = 1e-2 if name == "activation_maximisation" else 1e-5  # many steps, over the corners of ReLUs
    together = explainer.explain(x, TARGET)
    assert together.shape == x.shape
    assert together.dtype == torch.float32
    assert not together.requires_grad
    assert together.isfinite().all()
    assert together.abs().amax((1, 2, 3)).gt(0).any()
    for number in (2, 0):
        alone = explainer.explain(x[number : number + 1], int(TARGET[number]))
        torch.testing.assert_close(
            alone[0], together[number], rtol=1e-3, atol=rounding * float(together.abs().max())
        )


@pytest.mark.parametrize("name", ALL)
def test_the_same_again_for_a_seed_also_without_gradients_and_chance_is_left_alone(name, net):
    x = images(2)
    first = make(name, net).explain(x, 1)
    state = torch.get_rng_state()
    with torch.no_grad():
        assert torch.equal(make(name, net).explain(x, 1), first)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        assert torch.equal(make(name, net).explain(x.clone(), 1), first)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["control_random", "lime", "smoothgrad", "deep_shap"])
def test_another_seed_is_another_map(name, net):
    x = images(1)
    assert not torch.equal(make(name, net, 0).explain(x, 1), make(name, net, 1).explain(x, 1))


@pytest.mark.parametrize("name", ALL)
def test_the_classifier_stays_as_it_was_found(name):
    net, x = randomise(ConvNet(4)), images(2)
    net.train()
    net.blocks[1].eval()  # modes of its parts may differ
    net.linear.requires_grad_(False)
    before, image = seen(net), x.clone()
    explainer = make(name, net)
    explainer.completeness(x, 1, explainer.explain(x, 1))
    after = seen(net)
    assert all(torch.equal(a, b) for a, b in zip(before.pop("state"), after.pop("state"), strict=True))
    assert before == after
    assert torch.equal(x, image)
    assert not x.requires_grad


def seen(net: nn.Module) -> dict:
    """All that must not change."""
    return {
        "state": [tensor.clone() for tensor in net.state_dict().values()],
        "mode": [part.training for part in net.modules()],
        "requires_grad": [parameter.requires_grad for parameter in net.parameters()],
        "grad": [parameter.grad is None for parameter in net.parameters()],
        "hooks": [
            [len(hooks) for hooks in (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks)]
            for part in net.modules()
        ],
        "attributes": [sorted(vars(part)) for part in net.modules()],
    }


@pytest.mark.parametrize("name", ALL)
def test_training_mode_changes_nothing(name, net):
    x, training = images(2), deepcopy(net).train()
    assert torch.equal(make(name, training).explain(x, 1), make(name, net).explain(x, 1))


PROMISES = {"deep_shap", "deep_taylor", "lrp", "integrated_gradients", "cycle_am_attribution"}


@pytest.mark.parametrize("name", ALL)
def test_completeness_is_an_error_a_case_or_nothing(name, net):
    x, explainer = images(3), make(name, net)
    relevance = explainer.explain(x, TARGET)
    error = explainer.completeness(x, TARGET, relevance)
    assert (error is not None) == (name in PROMISES)
    if error is not None:
        assert error.shape == (3,)
        assert (error >= 0).all()
        assert (explainer.completeness(x, TARGET, relevance + 1) > error).all()
        if name in ("deep_shap", "deep_taylor"):
            assert error.max() < 0.01


@pytest.mark.parametrize("name", ALL)
def test_signs(name, net):
    explainer = make(name, net)
    relevance = explainer.explain(images(3), TARGET)
    if not explainer.signed:
        assert relevance.min() >= 0
    elif name != "cycle_am":
        assert relevance.min() < 0 < relevance.max()
    if not explainer.evidence and name != "smoothgrad":
        torch.testing.assert_close(explainer.explain(images(3), 1 - TARGET), -relevance)
    assert explainer.evidence != (name in ("cycle_am", "activation_maximisation", "smoothgrad"))


@pytest.mark.parametrize("name", ALL)
def test_a_residual_network_with_functional_relus_is_explained_or_refused(name):
    net = Residual()
    if name == "deep_shap":
        with pytest.raises(
            Unsupported, match=r"^deep_shap cannot explain this classifier: only 0 of its 3 nonlinear"
        ):
            make(name, net)
        return
    explainer = make(name, net)
    relevance = explainer.explain(images(2), 1)
    assert relevance.isfinite().all()
    error = explainer.completeness(images(2), 1, relevance)
    if name in ("integrated_gradients", "cycle_am_attribution", "deep_taylor"):
        assert error.max() < 0.05


@pytest.mark.parametrize("inplace", [False, True])
def test_deep_shap_takes_relu_modules_used_once_in_place_or_not(inplace):
    layers = [nn.Conv2d(1, 2, 3, 2), nn.ReLU(inplace), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(450, 2)]
    net = randomise(nn.Sequential(*layers)).eval()
    explainer, x = make("deep_shap", net), images(2)
    assert explainer.completeness(x, 1, explainer.explain(x, 1)).max() < 0.01
    assert net[1].inplace == inplace


def test_deep_shap_refuses_a_relu_used_twice_and_layers_shap_does_not_know():
    relu = nn.ReLU()
    shared = nn.Sequential(
        nn.Conv2d(1, 2, 3), relu, nn.Conv2d(2, 2, 3), relu, nn.Flatten(), nn.Linear(7200, 2)
    )
    with pytest.raises(Unsupported, match="used 2 times"):
        make("deep_shap", shared)
    swish = nn.Sequential(nn.Conv2d(1, 2, 3), nn.SiLU(), nn.Flatten(), nn.Linear(7688, 2))
    with pytest.raises(Unsupported, match="silu"):
        make("deep_shap", swish)


@pytest.mark.parametrize("name", ["deep_shap", "grad_cam", "grad_cam_pp"])
def test_hooks_do_not_reach_into_torchscript(name, net):
    with pytest.raises(Unsupported, match=f"{name} cannot explain.*TorchScript"):
        make(name, torch.jit.trace(net, images(1))).explain(images(1), 1)


@pytest.mark.parametrize("name", sorted(set(ALL) - {"deep_shap", "grad_cam", "grad_cam_pp"}))
def test_the_others_explain_torchscript(name, net):
    script = torch.jit.trace(net, images(1), check_trace=False)
    found, expected = (make(name, one).explain(images(2), 1) for one in (script, net))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


def test_grad_cam_names_a_layer_that_is_not_there(net):
    with pytest.raises(Unsupported, match="no layer nowhere"):
        build("grad_cam", context(net), {"layer": "nowhere"}).explain(images(1), 1)


# ------------------------------------------------------------------------------------------------ building
def test_an_unknown_explainer_is_answered_with_the_known_ones(net):
    with pytest.raises(UserError, match=r"no explainer 'shap'; there are .*deep_shap"):
        build("shap", context(net))


@pytest.mark.parametrize("name", ["cycle_am", "cycle_am_attribution"])
def test_without_generators_the_command_that_trains_them_is_named(name, net):
    with pytest.raises(UserError, match=r"python train\.py experiment=cycle_am"):
        build(name, Context(net))


@pytest.mark.parametrize(
    ("name", "overrides"), [("deep_shap", {}), ("integrated_gradients", {"baseline": "background_mean"})]
)
def test_a_background_that_is_needed_is_asked_for(name, overrides, net):
    with pytest.raises(UserError, match="training images"):
        build(name, Context(net), overrides).explain(images(1), 1)


@pytest.mark.parametrize(
    ("overrides", "word"),
    [
        ({"steps": "many"}, "expected int"),
        ({"stpes": 3}, "no argument 'stpes'"),
        ({"baseline": "white"}, "baseline"),
    ],
)
def test_a_wrong_setting_is_refused(overrides, word, net):
    with pytest.raises(UserError, match=word):
        build("integrated_gradients", context(net), overrides)


def test_settings_and_context_arrive(net):
    explainer = build("occlusion", context(net), {"window": 16})
    assert (explainer.window, explainer.stride, explainer.classifier) == (16, 4, net)
    assert build("control_centre", context(net)).pixel_mm == 0.7
    assert build("lime", context(net, seed=3)).seed == 3


def test_a_new_explainer_is_a_class_and_a_yaml_file(net, tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text(
        "_target_: cycle_am.explainers.control_centre.ControlCentre\nsigma_mm: 2.0\n"
    )
    monkeypatch.setattr("cycle_am.explainers.build.CONF", tmp_path)
    assert available() == ["mine"]
    assert build("mine", context(net)).sigma_mm == 2.0


def test_a_number_in_a_yaml_file_needs_no_point(net, tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text(
        "_target_: cycle_am.explainers.control_centre.ControlCentre\nsigma_mm: 2e-1\n"
    )
    monkeypatch.setattr("cycle_am.explainers.build.CONF", tmp_path)
    assert build("mine", context(net)).sigma_mm == 0.2


def test_every_setting_of_a_yaml_file_is_the_default_of_its_class():
    import inspect

    from hydra.utils import get_object
    from omegaconf import OmegaConf

    for name in ALL:
        node = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
        parameters = inspect.signature(get_object(node.pop("_target_"))).parameters
        assert node == {key: parameters[key].default for key in node}, name
        assert set(parameters) - set(node) <= {"classifier", "background", "gan", "pixel_mm", "seed"}, name
