"""Bring your own classifier: every form loads to the same answers, every wrong one is one line."""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cycle_am.app.tasks.evaluate import evaluate
from cycle_am.app.tasks.train import train
from cycle_am.contract import IMAGE_SIZE
from cycle_am.errors import UserError
from cycle_am.model.custom import load_custom
from cycle_am.networks import ConvNet
from cycle_am.runs.checkpoints import read_checkpoint
from tests.fakes import Residual, one_logit
from tests.helpers import TINY_CLASSIFIER, TINY_CYCLE_AM, composed

RESIDUAL, ONE_LOGIT = "tests.fakes.Residual", "tests.fakes.one_logit"
KINDS = ["state_dict", "one_logit", "torchscript", "export"]
BATCH = torch.export.Dim("batch")


@pytest.fixture(scope="module")
def image() -> Tensor:
    """Five images (5,1,64,64) in [0,1]."""
    return torch.rand(5, 1, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def net() -> Residual:
    """A user's network with two logits, in evaluation mode, its running statistics not trivial."""
    return made(outputs=2)


def made(outputs: int) -> Residual:
    torch.manual_seed(outputs)
    net = Residual(outputs)
    net.norm.running_mean.uniform_(-0.2, 0.2)
    nn.init.normal_(net.last.weight, std=3)
    return net.eval()


def exported(net: nn.Module, path: Path, batch: int | None = None) -> Path:
    """`net` as a program for any batch, or for one size."""
    example = torch.rand(batch or 2, 1, IMAGE_SIZE, IMAGE_SIZE)
    shapes = None if batch else ({0: BATCH},)
    torch.export.save(torch.export.export(net, (example,), dynamic_shapes=shapes), path)
    return path


@pytest.fixture(scope="module")
def files(net, tmp_path_factory) -> dict[str, tuple[str | None, str]]:
    """`classifier.target` and `classifier.weights` of each kind."""
    folder = tmp_path_factory.mktemp("custom")
    torch.save(net.state_dict(), folder / "w.pt")
    torch.save(made(1).state_dict(), folder / "one.pt")
    torch.jit.save(torch.jit.script(net), folder / "script.pt")
    exported(net, folder / "program.pt2")
    return {
        "state_dict": (RESIDUAL, str(folder / "w.pt")),
        "one_logit": (ONE_LOGIT, str(folder / "one.pt")),
        "torchscript": (None, str(folder / "script.pt")),
        "export": (None, str(folder / "program.pt2")),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_the_networks_own(kind, files, net, image):
    custom = load_custom(*files[kind])
    expected = made(1)(image).sigmoid()[:, 0] if kind == "one_logit" else net(image).softmax(dim=1)[:, 1]
    torch.testing.assert_close(custom.probability(image), expected)
    assert custom.net(image).shape == (5, 2)
    assert expected.std() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_pass_and_nothing_else_moves(kind, files, net, image):
    custom = load_custom(*files[kind]).requires_grad_(False).to(memory_format=torch.channels_last)
    custom.train()
    x = image.clone().requires_grad_()
    custom.net(x).diff(dim=1).sum().backward()
    y = image.clone().requires_grad_()
    (made(1)(y) if kind == "one_logit" else net(y).diff(dim=1)).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    assert all(parameter.grad is None for parameter in custom.parameters())
    torch.testing.assert_close(custom(image), custom(image))  # no dropout


def test_hooks_see_the_networks_modules(files, image):
    custom, seen = load_custom(*files["state_dict"]), []
    for module in custom.net.net.children():
        module.register_forward_hook(lambda module, *_: seen.append(type(module).__name__))
    custom.net(image)
    assert seen == ["Conv2d", "BatchNorm2d", "Conv2d", "Dropout", "Linear"]


@pytest.mark.parametrize("prefix", ["", "net.", "model._orig_mod."])
def test_lightning_checkpoints_and_prefixes(prefix, net, image, tmp_path):
    state = {prefix + name: value for name, value in net.state_dict().items()}
    other = {"loss.weight": torch.ones(2)} if prefix else {}
    torch.save({"state_dict": {**other, **state}, "epoch": 3}, tmp_path / "a.ckpt")
    custom = load_custom(RESIDUAL, str(tmp_path / "a.ckpt"))
    torch.testing.assert_close(custom(image), net(image))


PLACES = ["model_state_dict", "model", "net", "state_dict", "weights", "checkpoint.model", "run.best.net"]


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("place", PLACES)
def test_weights_are_found_wherever_a_file_keeps_them(place, prefix, net, image, tmp_path):
    content = {prefix + name: value for name, value in net.state_dict().items()}
    for name in reversed(place.split(".")):
        content = {"epoch": 3, name: content, "optimizer_state_dict": {"state": {0: {"step": 1}}}}
    torch.save(content, tmp_path / "w.pt")
    torch.testing.assert_close(load_custom(RESIDUAL, str(tmp_path / "w.pt"))(image), net(image))


def test_weights_that_a_file_holds_twice_are_named(net, tmp_path):
    state, path = net.state_dict(), tmp_path / "w.pt"
    torch.save({"model": state, "extra": {"ema": {"module." + k: v for k, v in state.items()}}}, path)
    one_line(r"holds the network 2 times \(model, extra\.ema\.module\); save one alone", RESIDUAL, path)
    torch.save({**state, "ema": state}, path)
    one_line(r"holds the network 2 times \(at its top, ema\)", RESIDUAL, path)


class Odd(nn.Module):
    """Answers of another shape or kind than a classifier's."""

    def __init__(self, answer) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, image):
        return self.answer(image)


MEAN = {"dim": (2, 3)}
ODD = {
    "three": (lambda x: x.mean(**MEAN).expand(-1, 3), r"gives \(2, 3\) float32 for two images; expected finite logits"),
    "map": (lambda x: x, r"gives \(2, 1, 64, 64\) float32"),
    "pair": (lambda x: (x, x), r"gives tuple; expected"),
    "labels": (lambda x: x.mean(**MEAN).long(), r"gives \(2, 1\) int64"),
    "nan": (lambda x: x.mean(**MEAN) / 0 * 0, "gives values that are not finite"),
    "softmax": (lambda x: torch.cat([x, -x], 1).mean(**MEAN).softmax(1), r"gives probabilities \(they sum to 1\)"),
    "colour": (lambda x: nn.functional.conv2d(x, torch.ones(2, 3, 1, 1)), r"fails on images .2, 1, 64, 64.*3 channels"),
    "neighbours": (lambda x: (x - x.mean(0)).mean(**MEAN), "answers otherwise in a batch of 1; save it in evaluation"),
    "chance": (lambda x: x.mean(**MEAN) + torch.rand(len(x), 1), "answers otherwise in a batch of 1"),
    "no_gradient": (lambda x: x.detach().mean(**MEAN), "no gradient passes through the classifier"),
    "integer": (lambda x: (x * 255).round().int().float().mean(**MEAN), "no gradient passes"),
    "constant": (lambda x: 0 * x.mean(**MEAN) + 2.5, r"gives the same answer \(\[2\.5\]\) for every image"),
    "in_place": (lambda x: x.sub_(0.5).mean(**MEAN), "fails on images .*in-place"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_what_is_no_classifier_is_named(name, monkeypatch):
    answer, expected = ODD[name]
    monkeypatch.setattr("tests.fakes.one_logit", lambda: Odd(answer))
    one_line(expected, ONE_LOGIT, None)


def score(x: Tensor) -> Tensor:
    """A logit (N,1) of images, from black to white -20 to 20."""
    return 40 * x.mean(**MEAN) - 20


BOUNDED = {
    "sigmoid": (lambda x: score(x).sigmoid(), "in .0, 1. for every image.*leave the last sigmoid out"),
    "squeezed": (lambda x: score(x).sigmoid().squeeze(), "in .0, 1."),
    "faint": (lambda x: (0.01 * score(x)).sigmoid(), "in .0, 1."),
    "clamped": (lambda x: (0.5 + score(x)).clamp(0, 1), "in .0, 1."),
    "two_sigmoids": (lambda x: torch.cat([score(1 - x), score(x) + 3], 1).sigmoid(), "in .0, 1."),
    "softmax": (
        lambda x: torch.cat([-score(x), score(x)], 1).softmax(1),
        "they sum to 1.*leave the softmax out",
    ),
    "refuses_others": (lambda x: score(within(x)).sigmoid(), "in .0, 1."),
    "tanh": (lambda x: score(x).tanh(), "in .-1, 1. for every image, as a tanh does.*leave the tanh out"),
    "two_tanhs": (lambda x: torch.cat([score(1 - x), score(x)], 1).tanh(), "in .-1, 1."),
}


def within(x: Tensor) -> Tensor:
    """As it is, where it is an image."""
    assert 0 <= x.min() <= x.max() <= 1, "an image has values in [0, 1]"
    return x


@pytest.mark.parametrize("name", BOUNDED)
def test_probabilities_in_place_of_logits_are_named(name, monkeypatch, tmp_path):
    answer, expected = BOUNDED[name]
    monkeypatch.setattr("tests.fakes.one_logit", lambda: Odd(answer))
    one_line(f"gives (values|probabilities) .*{expected}", ONE_LOGIT, None)


@pytest.mark.parametrize("ending", [nn.Sigmoid, nn.Hardsigmoid, lambda: nn.Softmax(1)])
def test_programs_that_end_in_probabilities_are_named(ending, net, tmp_path):
    whole = nn.Sequential(net, ending()).eval()
    torch.jit.save(torch.jit.script(whole), tmp_path / "a.pt")
    one_line(r"gives (values in \[0, 1\]|probabilities)", None, tmp_path / "a.pt")
    one_line(r"gives (values in \[0, 1\]|probabilities)", None, exported(whole, tmp_path / "a.pt2"))


LOGITS = {
    "log_softmax": lambda x: torch.cat([-score(x), score(x)], 1).log_softmax(1),
    "log_p": lambda x: torch.cat([-score(x), score(x)], 1).softmax(1).clamp(min=1e-7).log(),
    "small": lambda x: 0.5 + 0.02 * score(x),
    "refuses_others": lambda x: score(within(x)),
    "squeezed": lambda x: score(x).squeeze(),
    "two_squeezed": lambda x: torch.cat([-score(x), score(x)], 1).squeeze(),
}


@pytest.mark.parametrize("name", LOGITS)
def test_logits_are_taken_as_they_are(name, monkeypatch, image):
    monkeypatch.setattr("tests.fakes.one_logit", lambda: Odd(LOGITS[name]))
    logits = LOGITS[name](image)
    expected = logits.softmax(1)[:, 1] if logits.numel() > len(image) else logits.reshape(-1).sigmoid()
    custom = load_custom(ONE_LOGIT, None)
    torch.testing.assert_close(custom.probability(image), expected)
    torch.testing.assert_close(custom.probability(image[:1]), expected[:1])


@pytest.mark.parametrize("seed", range(12))
def test_networks_that_have_learnt_nothing_are_taken(seed, monkeypatch):
    """Their logits often lie in [0, 1] for every possible image."""
    torch.manual_seed(seed)
    for made_one in (lambda: ConvNet(2), lambda: nn.Sequential(ConvNet(2), nn.Linear(2, 1)), one_logit):
        monkeypatch.setattr("tests.fakes.one_logit", made_one)
        load_custom(ONE_LOGIT, None)


def one_line(expected: str, target: str | None, weights) -> None:
    with pytest.raises(UserError, match=expected) as caught:
        load_custom(target, weights)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 600


def test_nothing_to_load_and_files_that_are_absent(tmp_path):
    one_line("needs classifier.target=", None, None)
    one_line(r"classifier.weights: .*none.pt does not exist", RESIDUAL, tmp_path / "none.pt")
    one_line(r"classifier.weights: .*none.pt does not exist", None, tmp_path / "none.pt")


def test_targets_that_cannot_be_built(files):
    one_line(r"target=tests\.nowhere\.build cannot be imported", "tests.nowhere.build", None)
    one_line(r"target=tests\.fakes\.nothing cannot be imported", "tests.fakes.nothing", None)
    one_line(r"target=build cannot be imported", "build", None)
    one_line(r"Conv2d\(\) fails \(TypeError: .*called without arguments", "torch.nn.Conv2d", None)
    one_line(r"getcwd\(\) gives str; it must return a torch.nn.Module", "os.getcwd", None)


def test_weights_that_do_not_fit(net, files, tmp_path):
    path = tmp_path / "w.pt"
    state = net.state_dict()
    torch.save({k: v for k, v in state.items() if k != "second.bias"}, path)
    one_line(r"lacks the key second\.bias \(it holds first\.weight, first\.bias, .* 4 more\)", RESIDUAL, path)
    torch.save({**state, "third.bias": state["last.bias"]}, path)
    one_line(r"has in excess the key third\.bias", RESIDUAL, path)
    torch.save({"net." + k: v for k, v in state.items() if k != "last.bias"}, path)
    one_line(r"lacks the key last\.bias", RESIDUAL, path)
    torch.save({"epoch": 3, "model": {"backbone": {"conv.weight": state["first.weight"]}}, "best": {}}, path)
    held = r"epoch, model with backbone\.conv\.weight, best with nothing"
    one_line(rf"lacks the key first\.weight \(it holds {held}\)", RESIDUAL, path)
    torch.save({p + k: v for p in ("net.", "ema.") for k, v in state.items()}, path)
    one_line(r"^classifier\.weights: \S+ holds the network 2 times \(net, ema\)", RESIDUAL, path)
    torch.save([1, 2], path)
    one_line(r"w\.pt holds list; save net\.state_dict\(\)", RESIDUAL, path)
    for content, held in (({"state_dict": 5}, "state_dict"), ({0: 1}, "0"), ({}, "nothing")):
        torch.save(content, path)
        one_line(rf"lacks the key first\.weight \(it holds {held}\)", RESIDUAL, path)
    one_line(r"size mismatch for last\.weight", RESIDUAL, files["one_logit"][1])


def test_files_of_another_kind(net, files, tmp_path):
    path = tmp_path / "w.pt"
    one_line(
        "is neither TorchScript nor a torch.export program; weights alone need", None, files["state_dict"][1]
    )
    for kind in ("torchscript", "export"):
        one_line("is a whole program; leave classifier.target out", RESIDUAL, files[kind][1])
    torch.save(net, path)
    one_line(r"holds more than tensors; save net.state_dict\(\)", RESIDUAL, path)
    path.write_bytes(b"no zip at all")
    one_line("is broken or holds more than tensors", RESIDUAL, path)
    one_line("is neither TorchScript nor", None, path)


def test_programs_that_are_not_for_every_batch(net, tmp_path):
    for batch in (1, 2):
        path = exported(net, tmp_path / f"fixed{batch}.pt2", batch)
        one_line(r"size\(\)\[0\] == .*export it with a dynamic batch size", None, path)


def test_programs_in_training_mode(net, tmp_path):
    path = exported(Residual().train(), tmp_path / "train.pt2")
    one_line(r"answers otherwise in a batch of 1; save it in evaluation mode", None, path)
    torch.jit.save(torch.jit.script(Residual().train()), tmp_path / "train.pt")
    assert load_custom(None, tmp_path / "train.pt")  # TorchScript can be switched


def test_frozen_torchscript_has_no_weights(net, tmp_path):
    torch.jit.save(torch.jit.freeze(torch.jit.script(net)), tmp_path / "frozen.pt")
    one_line(r"it is frozen; save it as it was before torch\.jit\.freeze", None, tmp_path / "frozen.pt")


def test_a_truncated_program_is_named(files, tmp_path):
    content = Path(files["export"][1]).read_bytes()
    (tmp_path / "cut.pt2").write_bytes(content[: len(content) // 2])
    one_line("is neither TorchScript nor", None, tmp_path / "cut.pt2")


class Command:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("record", ["data/sample_inputs/model.pt", "data/weights/weight_0"])
def test_pickles_in_a_program_run_nothing(record, files, tmp_path):
    """Both are unpickled without restrictions by torch.export.load as it is."""
    evil, trace = tmp_path / "evil.pt2", tmp_path / "trace"
    buffer = io.BytesIO()
    torch.save((Command(trace),), buffer)

    def change(name: str, content: bytes) -> bytes:
        if name == record:
            return buffer.getvalue()
        if name.endswith("weights_config.json") and "weights" in record:
            config = json.loads(content)
            next(iter(config["config"].values()))["use_pickle"] = True
            return json.dumps(config).encode()
        return content

    reader, writer = torch._C.PyTorchFileReader(files["export"][1]), torch._C.PyTorchFileWriter(str(evil))
    for name in reader.get_all_records():
        if not name.startswith(".data/") and name != "byteorder":
            content = change(name, reader.get_record(name))
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    one_line("cannot be loaded .*[Ww]eights", None, evil)
    assert not trace.exists()


def test_pickled_state_dicts_run_nothing(tmp_path):
    torch.save({"state_dict": Command(tmp_path / "trace")}, tmp_path / "w.pt")
    one_line("holds more than tensors", RESIDUAL, tmp_path / "w.pt")
    assert not (tmp_path / "trace").exists()


# ---------------------------------------------------------------------------------------- train -> evaluate


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder whose runs/ holds a classifier with companions for the stand-in data."""
    folder = tmp_path_factory.mktemp("trained")
    companions = "companions={selector:{seed:1},judge:{seed:2}}"
    train(composed([*TINY_CLASSIFIER, companions, "trainer.max_epochs=1"], folder))
    return folder


def chosen(target: str | None, weights: str) -> list[str]:
    """A command line's tail: what to train or evaluate with which classifier."""
    built = [f"classifier.target={target}"] if target else []
    return [
        *TINY_CYCLE_AM,
        "experiment=cycle_am_small",
        "classifier=custom",
        *built,
        f"classifier.weights={weights}",
    ]


def generators(choice: list[str], folder: Path, name: str, epochs: int, *more: str) -> Path:
    """Train CycleAM's generators for so many epochs of one batch; its run folder."""
    short = [
        f"trainer.max_epochs={epochs}",
        "trainer.limit_train_batches=1",
        "callbacks.relevance_panel=null",
    ]
    plain = ["callbacks.score_plot=null", "+callbacks.domain_transfer.histograms=false"]
    cfg = composed([*choice, *short, *plain, *more], folder, name)
    return Path(train(cfg)["best"]).parent


@pytest.mark.parametrize("kind", KINDS)
def test_train_resume_and_evaluate(kind, files, net, trained, tmp_path):
    choice = chosen(*files[kind])
    part = generators(choice, trained, f"{kind}-part", 1)
    state = read_checkpoint(part / "best.ckpt")["state_dict"]
    held = [v for k, v in state.items() if k.startswith("classifier.") and k.endswith("last.weight")]
    assert len(held) == 1
    assert torch.equal(held[0], (made(1) if kind == "one_logit" else net).last.weight)
    assert not (part / "classifier.ckpt").exists()
    assert (part / "judge.ckpt").is_file()

    resumed = generators(choice, trained, f"{kind}-resumed", 2, f"ckpt_path={part}")
    again = read_checkpoint(resumed / "last.ckpt")
    assert again["epoch"] == 1
    for name in (name for name in state if name.startswith("classifier.")):
        assert torch.equal(again["state_dict"][name], state[name])

    quick = ["evaluation.resamples=50", "+evaluation.realism=false", "+evaluation.progress=false"]
    quick += ["+evaluation.examples=1"]
    where = [f"run={resumed}", f"out_dir={tmp_path}"]
    evaluate(composed([*choice, *quick, *where], trained, config="evaluate"))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    p = load_custom(*files[kind]).probability(read_images(trained, choice))
    assert metrics["transfer/explained/x"]["value"] == pytest.approx(p.mean().item(), abs=1e-4)
    assert Path(files[kind][1]).name in (tmp_path / "report.html").read_text()


def read_images(folder: Path, choice: list[str]) -> Tensor:
    """The test images (N,1,64,64)."""
    from cycle_am.app.tasks.train import build_data

    return torch.as_tensor(build_data(composed(choice, folder)).test_cases.window()[0])


@pytest.mark.parametrize("swapped", [False, True])
def test_swapped_classes_are_told_when_the_training_begins(swapped, trained, monkeypatch, capsys):
    """Malignant blobs are larger, so brighter in the mean."""
    sign = -1 if swapped else 1
    monkeypatch.setattr("tests.fakes.one_logit", lambda: Odd(lambda x: sign * (200 * x.mean(**MEAN) - 40)))
    generators([*chosen(ONE_LOGIT, "null")], trained, f"swapped-{swapped}", 1)
    said = [
        line for line in capsys.readouterr().out.splitlines() if "explained classifier has an AUC" in line
    ]
    assert len(said) == swapped
    assert all(line.startswith("warning, training and validation cases: The explained") for line in said)


def test_another_classifier_than_the_runs_is_refused(files, trained, tmp_path):
    run_dir = generators(chosen(*files["state_dict"]), trained, "refused", 1)
    other = tmp_path / "other.pt"
    torch.manual_seed(9)
    torch.save(Residual().state_dict(), other)
    for choice in (chosen(RESIDUAL, str(other)), chosen(*files["one_logit"])):
        cfg = composed([*choice, f"run={run_dir}"], trained, config="evaluate")
        with pytest.raises(UserError, match=r"best\.ckpt explains another classifier"):
            evaluate(cfg)
    with pytest.raises(UserError, match=r"last\.ckpt explains another classifier"):
        generators(chosen(RESIDUAL, str(other)), trained, "resumed", 2, f"ckpt_path={run_dir}")
    paper = [*TINY_CYCLE_AM, "experiment=cycle_am_small", f"run={run_dir}"]
    with pytest.raises(UserError, match=r"explains a network of its own; give classifier=custom"):
        evaluate(composed(paper, trained, config="evaluate"))


def test_without_companions_the_command_is_named(files, tmp_path):
    with pytest.raises(UserError, match=re.escape("run `python train.py experiment=classifier data=blobs`")):
        train(composed(chosen(*files["state_dict"]), tmp_path))
