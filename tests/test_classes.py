"""More than two classes, by the commands: the ten digits, one generator that is told the class, and one a class."""

import json

import numpy as np
import pytest
import torch
from tests.commands import command

from cycle_am.contract import relevance
from lightning_modules.cycle_am_gan import CycleAMGAN, Term

DIGITS = ["data=digits", "trainer=cpu", "extras.threads=1"]
SMALL = [
    "model.generator.channels=[4,8]",
    "model.discriminator.channels=[4,8]",
    "model.discriminator.scales=[1]",
]
SMALL += ["model.generator.convs=1", "model.discriminator.convs=1"]


def test_r_against_the_rest_is_the_pairs_r_of_two():
    images = [torch.rand(4, 1, 8, 8) for _ in range(3)]
    of = torch.tensor([0, 2, 1, 2])
    maps = relevance(images, of)
    for i, k in enumerate(of.tolist()):
        others = [image[i] for j, image in enumerate(images) if j != k]
        assert torch.allclose(maps[i], images[k][i] - sum(others) / 2, atol=1e-6)
    assert torch.equal(relevance(images[:2], None), images[1] - images[0])
    arrays = relevance([image.numpy() for image in images], of.numpy())
    assert np.allclose(arrays, maps.numpy(), atol=1e-6)


@pytest.mark.parametrize("conditional", [True, False])
def test_a_step_draws_two_different_classes_and_cycles_back_to_the_seen_one(conditional):
    seen = []

    def look(step):
        seen.append(step)
        return step.x_neg.mean()

    classifier = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 5))
    gan = CycleAMGAN(
        {"channels": (4, 8), "convs": 1},
        {"channels": (4, 8), "scales": (1,), "convs": 1},
        classifier,
        terms={"look": Term(1.0, look)},
        classes=5,
        conditional=conditional,
    )
    for network in gan._networks("g"):
        torch.nn.init.normal_(network.head.weight, std=0.5)
    x = torch.rand(32, 1, 16, 16)
    to = gan._drawn(len(x), torch.rand, x.device)
    assert (to.neg != to.pos).all() and set(to.neg.tolist()) == set(to.pos.tolist()) == set(range(5))
    images = [gan._generated(x, k) for k in to]
    gan.generator_loss(x, x, type(to)(*images), torch.rand, to).backward()
    (step,) = seen
    back = classifier(x).argmax(1)
    for i in (0, 7, 31):
        own = gan.explaining_generators
        assert torch.allclose(own[int(to.neg[i])](x[i : i + 1]), step.x_neg[i : i + 1], atol=1e-5)
        assert torch.allclose(own[int(back[i])](step.x_pos[i : i + 1]), step.cycle_pos[i : i + 1], atol=1e-5)
    assert torch.equal(step.to_neg, to.neg)
    cycles = gan.cycle(x)
    assert len(gan.generate(x)) == len(cycles) == 5
    assert torch.allclose(cycles[1][:1], own[int(back[0])](own[1](x[:1])), atol=1e-5)


@pytest.mark.parametrize(("classes", "conditional"), [("null", "null"), ('["1","3","8"]', "false")])
def test_train_resume_and_evaluate(tmp_path, classes, conditional):
    data = [*DIGITS, f"data.classes={classes}", f"paths.runs={tmp_path}"]
    few = ["trainer.limit_train_batches=2", f"model.conditional={conditional}", *SMALL]
    command("train", "experiment=classifier", *data, "trainer.max_epochs=1", "model.net.width=4")
    command("evaluate", "experiment=classifier", *data)
    command("train", "experiment=cycle_am_small", *data, *few, "trainer.max_epochs=1")
    run = next((tmp_path / "cycle_am_small" / "digits").iterdir())
    command(
        "train",
        "experiment=cycle_am_small",
        *data,
        *few,
        "trainer.max_epochs=2",
        f"ckpt_path={run}/last.ckpt",
    )
    command("evaluate", "experiment=cycle_am_small", *data, "evaluation.resamples=20")
    run = max((tmp_path / "cycle_am_small" / "digits").iterdir())
    metrics = json.loads((run / "evaluation" / "metrics.json").read_text())
    count = 10 if classes == "null" else 3
    assert sum(key.startswith("transfer/independent/") for key in metrics) == count**2 + 3
    assert 0 <= metrics["transfer/independent/reached"]["value"] <= 1
    page = (run / "evaluation" / "report.html").read_text()
    assert "changed towards each other class" in page and page.count("data:image/png") == count + 2
    said = command("evaluate", "experiment=cycle_am_small", "evaluation=compare", *data, fails=True)
    assert "the comparison of explainers takes two classes at a time" in said
