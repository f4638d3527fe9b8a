"""A model file is read fast, and its weights are those that were written."""

from __future__ import annotations

import os
import subprocess
import sys

import torch

from cycle_am import load
from cycle_am.model import file as model_file
from cycle_am.networks import ConvNet, UNetGenerator
from cycle_am.task import Task
from tests.helpers import ROOT, environment

NARROW = {"channels": [2, 2, 2, 2]}
GENERATOR = {"kind": "UNetGenerator", "arguments": NARROW}
CLASSIFIER = {"kind": "ConvNet", "arguments": {"width": 2}}


def write(path) -> dict[str, torch.nn.Module]:
    """A model file of random networks, which are returned."""
    networks = {
        "classifier": ConvNet(2),
        "judge": ConvNet(2),
        "g_neg": UNetGenerator(**NARROW),
        "g_pos": UNetGenerator(**NARROW),
    }
    described = dict.fromkeys(("classifier", "judge"), CLASSIFIER) | dict.fromkeys(
        ("g_neg", "g_pos"), GENERATOR
    )
    weights = {
        f"{name}.{key}": value for name, net in networks.items() for key, value in net.state_dict().items()
    }
    facts = {"name": "random", "task": Task().facts(), "networks": described, "trust": None}
    model_file.write(path, model_file.Content(facts, weights, {}, "card"))
    return networks


def test_the_weights_are_those_of_the_file(tmp_path):
    written = write(tmp_path / "model.cycleam")
    read = load(tmp_path / "model.cycleam").networks
    for name, network in written.items():
        for key, value in network.state_dict().items():
            assert torch.equal(read[name].state_dict()[key], value), (name, key)


def test_loading_does_not_start_the_compiler(tmp_path):
    write(tmp_path / "model.cycleam")
    code = "import sys, cycle_am; cycle_am.load(sys.argv[1]); print('torch._dynamo' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "model.cycleam"],
        cwd=ROOT, env=environment(), timeout=60, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "False"


def test_a_run_is_packed_once_and_again_when_it_was_trained_on(tmp_path, monkeypatch):
    write(tmp_path / "elsewhere.cycleam")
    content, packed = model_file.read(tmp_path / "elsewhere.cycleam"), []

    def of_run(run, classifier=None):
        packed.append(run)
        return content

    monkeypatch.setattr("cycle_am.app.tasks.pack.of_run", of_run)
    best = tmp_path / "run" / "best.ckpt"
    best.parent.mkdir()
    best.touch()
    models = [load(tmp_path / "run") for _ in range(2)]
    assert packed == [tmp_path / "run"]
    assert models[0].digest == models[1].digest == model_file.digest(tmp_path / "run" / "model.cycleam")
    later = (tmp_path / "run" / "model.cycleam").stat().st_mtime_ns + 10**9
    os.utime(best, ns=(later, later))
    load(tmp_path / "run")
    assert len(packed) == 2
