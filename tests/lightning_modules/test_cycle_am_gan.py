"""CycleAMGAN: what is trained, what is frozen, what a checkpoint holds, and that two processes train as one."""

from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch

from cycle_am import losses
from cycle_am.app.tasks.train import train
from cycle_am.contract import Changed
from cycle_am.errors import UserError
from cycle_am.networks import ConvNet
from cycle_am.randomness import SampleUniform
from lightning_modules.cycle_am_gan import CycleAMGAN, Term
from tests.helpers import TINY_CYCLE_AM, composed, same_training

SMALL = {"channels": [2, 3, 4, 5], "convs": 1}


def build(**changes) -> CycleAMGAN:
    torch.manual_seed(0)
    terms = {
        name: Term(1.0, getattr(losses, name))
        for name in ("cycle", "similarity", "adversarial", "activation")
    }
    arguments = {"generator": SMALL, "discriminator": SMALL, "classifier": ConvNet(2), "terms": terms}
    gan = CycleAMGAN(**(arguments | changes))
    for generator in (gan.g_pos, gan.g_neg):
        torch.nn.init.normal_(
            generator.head.weight, std=0.1
        )  # a residual generator starts at no change at all
    return gan


@pytest.fixture
def pair():
    return torch.rand(4, 1, 64, 64), torch.rand(4, 1, 64, 64)


def generator_loss(gan, pair):
    x_a, x_b = pair
    return gan.generator_loss(x_a, x_b, Changed(gan.g_neg(x_a), gan.g_pos(x_a)), SampleUniform((0,)))


def has_gradient(module) -> bool:
    return any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def test_generator_step_reaches_both_generators_and_nothing_else(pair):
    gan = build()
    generator_loss(gan, pair).backward()
    assert has_gradient(gan.g_pos)
    assert has_gradient(gan.g_neg)
    assert all(p.grad is None for m in (gan.d_pos, gan.d_neg, gan.classifier) for p in m.parameters())
    assert all(p.requires_grad for m in (gan.d_pos, gan.d_neg) for p in m.parameters()), (
        "frozen for the step only"
    )


@pytest.mark.parametrize("name", ["cycle", "similarity", "adversarial", "activation"])
def test_every_term_alone_reaches_both_generators(pair, name):
    gan = build(terms={name: Term(1.0, getattr(losses, name))})
    generator_loss(gan, pair).backward()
    assert has_gradient(gan.g_pos)
    assert has_gradient(gan.g_neg)


def test_discriminator_step_reaches_both_discriminators_and_nothing_else(pair):
    gan, (x_a, x_b) = build(), pair
    changed = Changed(gan.g_neg(x_a), gan.g_pos(x_a))
    gan.discriminator_loss(changed, x_b, SampleUniform((0,))).backward()
    assert has_gradient(gan.d_pos)
    assert has_gradient(gan.d_neg)
    assert all(p.grad is None for m in (gan.g_pos, gan.g_neg, gan.classifier) for p in m.parameters())


def test_the_sum_is_weighted_and_a_term_can_be_left_out(pair):
    terms = {"cycle": Term(2.0, losses.cycle), "similarity": Term(0.5, losses.similarity), "activation": None}
    gan = build(terms=terms)
    one = {
        n: generator_loss(build(terms={n: Term(1.0, getattr(losses, n))}), pair)
        for n in ("cycle", "similarity")
    }
    torch.testing.assert_close(generator_loss(gan, pair), 2 * one["cycle"] + 0.5 * one["similarity"])


def test_relevance_is_the_difference_of_the_two_versions(pair):
    gan = build().eval()
    changed, cycle = gan.generate(pair[0]), gan.cycle(pair[0])
    torch.testing.assert_close(changed.neg, gan.g_neg(pair[0]))
    torch.testing.assert_close(gan.relevance(pair[0]), changed.pos - changed.neg)
    torch.testing.assert_close(cycle.neg, gan.g_pos(changed.neg))
    torch.testing.assert_close(cycle.pos, gan.g_neg(changed.pos))


def test_the_classifier_stays_in_evaluation_mode():
    gan = build().train()
    assert gan.g_pos.training
    assert not gan.classifier.training


def test_the_selector_is_not_saved_and_the_classifier_once():
    gan = build(selector=ConvNet(3))
    keys = set(gan.state_dict())
    assert not any("selector" in key for key in keys)
    assert {k for k in keys if "blocks" in k} == {
        f"classifier.{k}" for k in ConvNet(2).state_dict() if "blocks" in k
    }


def test_the_average_follows_and_explains(pair):
    gan = build(ema=0.9)
    live, mean = gan.g_pos.head.weight, gan.average["pos"].head.weight
    before = mean.clone()
    gan._trainer = type("T", (), {"global_step": 10**6})()
    gan._average_generators()
    gan._trainer = None
    torch.testing.assert_close(mean, 0.9 * before + 0.1 * live)
    assert gan.explaining_generators[1] is gan.average["pos"]
    assert not mean.requires_grad


def test_sample_numbers_do_not_depend_on_the_number_of_processes():
    whole = SampleUniform((1, 2, 3))(4, 5)
    parts = [SampleUniform((1, 2, 3), rank, 2)(2, 5) for rank in (0, 1)]
    torch.testing.assert_close(torch.stack(parts, 1).flatten(0, 1), whole)
    assert not torch.equal(whole, SampleUniform((1, 2, 4))(4, 5))


# ------------------------------------------------------------------------------------------------ with a trainer


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory) -> list[str]:
    """Overrides that name three untrained classifiers."""
    from tests.helpers import TINY_CLASSIFIER

    folder = tmp_path_factory.mktemp("classifiers")
    cfg = composed([*TINY_CLASSIFIER, "trainer.max_epochs=1", "extras.threads=1"], folder)
    best = train(cfg)["best"]
    return [f"classifier.{name}={best}" for name in ("ckpt", "selector", "judge")]


def run(classifiers, folder, *overrides, name="run") -> Path:
    common = [
        *TINY_CYCLE_AM,
        *classifiers,
        "experiment=cycle_am_small",
        "trainer.min_epochs=1",
        "callbacks.relevance_panel=null",
    ]
    cfg = composed([*common, "extras.threads=1", "trainer.precision=32-true", *overrides], folder, name)
    train(cfg)
    return Path(cfg.paths.run_dir) / "last.ckpt"


def test_stopped_and_resumed_equals_never_stopped(classifiers, tmp_path):
    whole = run(classifiers, tmp_path, "trainer.max_epochs=2", "model.ema=0.9", name="whole")
    half = run(classifiers, tmp_path, "trainer.max_epochs=1", "model.ema=0.9", name="half")
    rest = run(
        classifiers, tmp_path, "trainer.max_epochs=2", "model.ema=0.9", f"ckpt_path={half}", name="rest"
    )
    assert same_training(whole, rest)


def test_training_leaves_the_classifier_untouched_and_loads_weights_only(classifiers, tmp_path):
    last = run(classifiers, tmp_path, "trainer.max_epochs=1")
    saved = torch.load(last, weights_only=True)["state_dict"]
    source = torch.load(classifiers[0].split("=")[1], weights_only=True)["state_dict"]
    frozen = {k.removeprefix("classifier."): v for k, v in saved.items() if k.startswith("classifier.")}
    assert frozen
    assert all(torch.equal(v, source[f"net.{k}"]) for k, v in frozen.items())


def test_an_exploding_loss_stops_before_its_checkpoint_is_written(classifiers, tmp_path):
    with pytest.raises(UserError, match=r"training diverged: loss/\w+ is .*no epoch was finished"):
        run(classifiers, tmp_path, "trainer.max_epochs=1", "callbacks.nan_guard.limit=1e-6")
    assert not list(tmp_path.rglob("last.ckpt"))


def test_overfits_four_cases():
    """Both generators learn to convince a simple classifier (is the centre bright?) on four images."""

    class Centre(torch.nn.Module):
        def forward(self, x):
            bright = (x[..., 24:40, 24:40].mean((1, 2, 3)) - 0.5) * 20
            return torch.stack([-bright, bright], 1)

    gan = build(
        classifier=Centre(),
        terms={"activation": Term(1.0, partial(losses.activation, smoothing=0.1))},
        lr=1e-2,
    )
    x = torch.rand(4, 1, 64, 64)
    optimizer, _ = gan.configure_optimizers()
    for step in range(60):
        loss = gan.generator_loss(x, x, Changed(gan.g_neg(x), gan.g_pos(x)), SampleUniform((step,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    p = [gan.classifier(image).softmax(1)[:, 1].mean().item() for image in gan.generate(x)]
    assert p[0] < 0.1
    assert p[1] > 0.9


QUICK = ["trainer.limit_train_batches=3", "callbacks.early_stopping=null", "callbacks.score_plot=null"]
QUICK += ["+callbacks.explanation_score.train_cases=8", "+callbacks.domain_transfer.histograms=false"]


@pytest.mark.parametrize(
    ("epochs", "resumed"),
    [(2, None), pytest.param(2, 3, marks=pytest.mark.slow)],
    ids=["2 epochs", "resumed by torchrun"],
)
def test_two_processes_train_as_one(classifiers, tmp_path, epochs, resumed):
    """Same samples, same random numbers, averaged gradients: losses, scores and weights agree to rounding, epoch after
    epoch and after a resume."""
    total = resumed or epochs
    one = run(classifiers, tmp_path, *QUICK, f"trainer.max_epochs={total}", "data.batch_size=4", name="one")
    two = ddp(classifiers, tmp_path / "two", *QUICK, f"trainer.max_epochs={epochs}", "data.batch_size=2")
    logs = [epoch_means(two)]
    if resumed:
        more = [f"trainer.max_epochs={resumed}", "data.batch_size=2", f"ckpt_path={two.parent}"]
        two = ddp(classifiers, tmp_path / "three", *QUICK, *more, start=TORCHRUN)
        logs.append(epoch_means(two))
    alone, together = epoch_means(one), pd.concat(logs)
    assert list(together.index) == list(alone.index) == list(range(total))
    assert {"loss/generator", "loss/discriminator", "transfer/explained/pos", "val/ssim"} <= set(alone)
    pd.testing.assert_frame_equal(together[sorted(alone)], alone[sorted(alone)], atol=2e-5, rtol=1e-5)
    a, b = (torch.load(path, weights_only=True)["state_dict"] for path in (one, two))
    assert a.keys() == b.keys()
    start = build_start(classifiers, tmp_path)
    for key in a:
        torch.testing.assert_close(
            a[key], b[key], atol=2e-5 * total, rtol=1e-3, msg=lambda m, key=key: f"{key}: {m}"
        )
    moved = max((a[k].float() - start[k].float()).abs().max().item() for k in a if k.startswith("g_"))
    assert moved > 1e-4, "the comparison means something: training moved the weights"


def epoch_means(checkpoint: Path) -> pd.DataFrame:
    """What the CSV logger kept: a row an epoch."""
    (file,) = checkpoint.parent.glob("csv/version_*/metrics.csv")
    return pd.read_csv(file).drop(columns="step").groupby("epoch").mean()


TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]


def ddp(classifiers, target, *overrides, start=()) -> Path:
    """Two CPU processes with gloo, started as a user would: by Lightning, or by torchrun."""
    from tests.helpers import run as run_script

    common = [
        *TINY_CYCLE_AM,
        *classifiers,
        "experiment=cycle_am_small",
        "trainer.min_epochs=1",
        "callbacks.relevance_panel=null",
    ]
    common += ["trainer=ddp", "trainer.accelerator=cpu", "extras.threads=1", "trainer.precision=32-true"]
    paths = [f"paths.root={target.parent}", f"hydra.run.dir={target}"]
    result = run_script(*start, "train.py", *common, *overrides, *paths)
    assert result.returncode == 0, result.stdout + result.stderr
    return target / "last.ckpt"


def build_start(classifiers, folder) -> dict:
    """The untrained weights of the same seed."""
    from cycle_am.app.classifiers import find_classifiers
    from cycle_am.app.tasks.train import build_cycle_am, build_data

    cfg = composed([*TINY_CYCLE_AM, *classifiers, "experiment=cycle_am_small"], folder, "start")
    data = build_data(cfg)
    return build_cycle_am(cfg, data.task, find_classifiers(cfg, data)).state_dict()
