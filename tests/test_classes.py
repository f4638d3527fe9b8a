"""More than two classes, by the commands: the ten digits, one generator that is told the class, and one a class."""

import json

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from cycle_am import measures
from cycle_am.app.tasks.evaluate import evaluate
from cycle_am.app.tasks.pack import pack
from cycle_am.app.tasks.train import train
from cycle_am.contract import relevance
from cycle_am.errors import UserError
from lightning_modules.cycle_am_gan import CycleAMGAN, Term
from tests.helpers import composed, same_training

NETS = ["model.generator.channels=[2,2,2,2]", "model.discriminator.channels=[2,2,2,2]"]


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
    assert (to.neg != to.pos).all()
    assert set(to.neg.tolist()) == set(to.pos.tolist()) == set(range(5))
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
    data = ["data=digits", "data_name=blobs", f"data.classes={classes}", "trainer=cpu"]
    few = [
        "trainer.limit_train_batches=2",
        "publish=false",
        "experiment=cycle_am_small",
        f"model.conditional={conditional}",
        *NETS,
    ]
    count = 10 if classes == "null" else 3
    train(composed([*data, "experiment=classifier", "model.net.width=4", "trainer.max_epochs=1"], tmp_path))
    train(composed([*data, *few, "trainer.max_epochs=2"], tmp_path))
    train(composed([*data, *few, "trainer.max_epochs=1"], tmp_path, "half"))
    runs = tmp_path / "runs/cycle_am_small/blobs"
    going_on = [*data, *few, "trainer.max_epochs=2", f"ckpt_path={runs / 'half'}"]
    train(composed(going_on, tmp_path, "whole"))
    assert same_training(runs / "whole/last.ckpt", runs / "run/last.ckpt")

    few += ["evaluation.resamples=20", f"run={runs / 'run'}"]
    evaluate(composed([*data, *few, f"out_dir={tmp_path / 'gan'}"], tmp_path, config="evaluate"))
    metrics = json.loads((tmp_path / "gan/metrics.json").read_text())
    assert all(measures.named(key) for key in metrics)
    assert sum(key.startswith("transfer/independent/") for key in metrics) == count**2 + 3
    assert 0 <= metrics["transfer/independent/reached"]["value"] <= 1
    page = (tmp_path / "gan/report.html").read_text()
    assert page.count("data:image/png") == count + 2  # an example of each class, two tables of shares
    assert "changed towards each other class" in page
    with pytest.raises(UserError, match="the comparison of explainers takes two classes at a time"):
        evaluate(composed([*data, *few, "evaluation=compare"], tmp_path, config="evaluate"))
    hydra = runs / "run/.hydra"
    hydra.mkdir()
    OmegaConf.save(composed([*data, *few[:6]], tmp_path), hydra / "config.yaml")
    with pytest.raises(UserError, match="a model file takes two classes"):
        pack(runs / "run", tmp_path / "digits.cycleam")

    settings = [*data, "experiment=classifier", "model.net.width=4", f"out_dir={tmp_path / 'net'}"]
    evaluate(composed([*settings, "evaluation.resamples=20"], tmp_path, config="evaluate"))
    metrics = json.loads((tmp_path / "net/metrics.json").read_text())
    assert all(measures.named(key) for key in metrics)
    assert metrics["classifier/auc"]["value"] > 0.6
    assert len(metrics) == 7 + 6 * count
