"""A model file is read fast, and its weights are those that were written."""

from __future__ import annotations

import subprocess
import sys

import torch

from cycle_am import load, model_file
from cycle_am.task import Task
from networks import ConvNet, UNetGenerator
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
