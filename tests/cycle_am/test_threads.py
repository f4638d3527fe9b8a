"""How threads wait is settled before torch is loaded, by every entry and package, unless the user has chosen."""

import json
import os
import subprocess
import sys
import tomllib

import pytest

from cycle_am.threads import CHOICES, wait_asleep

# Imports each module with torch made unavailable, and notes what was set at the moment when torch was asked for.
PROBE = """
import importlib, json, os, sys
class Torch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            seen[module] = os.environ.get("OMP_WAIT_POLICY")
            raise ImportError("torch")
sys.meta_path.insert(0, Torch())
seen, own = {}, set(sys.modules)
for module in json.loads(sys.argv[1]):
    for name in set(sys.modules) - own:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(os.getcwd()) and "site-packages" not in file:
            del sys.modules[name]
    os.environ.pop("OMP_WAIT_POLICY", None)
    try:
        importlib.import_module(module)
    except ImportError:
        pass
    seen.setdefault(module, os.environ.get("OMP_WAIT_POLICY"))
print(json.dumps(seen))
"""


def test_set_before_torch_is_asked_for(root):
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    names = [name for name in settings["packages"] if not name.startswith("hydra_plugins")]
    modules = [
        ".".join(path.relative_to(root).with_suffix("").parts)
        for name in [*names, "benchmarks"]
        for path in sorted((root / name.replace(".", "/")).glob("*.py"))
        if path.name not in ("__init__.py", "__main__.py")
    ]
    own = {key: value for key, value in os.environ.items() if key not in CHOICES}
    wanted = [*(path.stem for path in root.glob("*.py")), *names, *modules]
    run = [sys.executable, "-c", PROBE, json.dumps(wanted)]
    printed = subprocess.run(run, cwd=root, env=own, capture_output=True, text=True, check=True).stdout
    seen = json.loads(printed.splitlines()[-1])
    assert len(seen) == len(wanted) > 100
    assert {module: way for module, way in seen.items() if way != "PASSIVE"} == {}


def test_unset_by_default(monkeypatch):
    for name in CHOICES:
        monkeypatch.delenv(name, raising=False)
    wait_asleep()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


@pytest.mark.parametrize("name", CHOICES)
def test_user_choice_stays(monkeypatch, name):
    for other in CHOICES:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "1")
    wait_asleep()
    assert {other: os.environ.get(other) for other in CHOICES if other in os.environ} == {name: "1"}
