"""The wheel in a fresh environment, outside of the clone: whatever it needs is in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from cycle_am.model import loading
from tests.helpers import ROOT

pytest.importorskip("setuptools", "77", reason="builds the wheel without the network, so with what is here")
LEFT_OUT = (
    "runs",
    "build",
    "dist",
    "wandb",
    ".*",
    "*.egg-info",
    "__pycache__",
    "studies",
    "multirun",
    "outputs",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this tree, built from a copy."""
    folder = tmp_path_factory.mktemp("wheel")

    def left_out(at: str, names: list[str]) -> set[str]:
        return set(shutil.ignore_patterns(*LEFT_OUT)(at, names)) if Path(at) == ROOT else {"__pycache__"}

    shutil.copytree(ROOT, folder / "tree", ignore=left_out)
    pip("wheel", "--no-build-isolation", "-w", str(folder), str(folder / "tree"), folder=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The bin folder of an environment with the wheel; other packages are borrowed from this one."""
    folder = tmp_path_factory.mktemp("environment")
    run([sys.executable, "-m", "venv", "--without-pip", str(folder)], folder)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = folder / "bin" / "python"
    pip("install", str(wheel), folder=folder, python=python)
    return python.parent


def pip(*arguments: str, folder: Path, python: Path = Path(sys.executable)) -> None:
    """Run pip for an environment; nothing is fetched."""
    command = [sys.executable, "-m", "pip", "--python", str(python), *arguments]
    run([*command, "-q", "--no-deps", "--no-index"], folder)


def run(command: list[str], folder: Path) -> str:
    """The output of a command that knows nothing of the clone."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_package_of_the_tree_is_in_the_wheel(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    folders = (
        path
        for path in ROOT.iterdir()
        if path.is_dir() and path.name not in ("tests", "benchmarks", "build", "docs")
    )
    files = {
        path.relative_to(ROOT)
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in (".py", ".j2")
    }
    files = {
        path for path in files if (ROOT / path).is_file() and not path.parts[0].startswith((".", "runs"))
    }
    assert {Path("cycle_am/model/model.py"), Path("cycle_am/runs/results.py")} <= files
    assert {path.as_posix() for path in files} <= inside
    shipped = {
        f"cycle_am/shipped/{path.relative_to(loading.SHIPPED)}" for path in loading.SHIPPED.rglob("*.*")
    }
    assert shipped <= inside
    conf = {f"cycle_am/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert conf - {name for name in conf if "/local/" in name} <= inside


@pytest.mark.slow
def test_the_first_explanation_needs_nothing_but_the_wheel(installed, tmp_path):
    where = "import cycle_am; print(cycle_am.__file__); print(cycle_am.load('phantom').name)"
    file, name = run([str(installed / "python"), "-c", where], tmp_path).split()
    assert Path(file).is_relative_to(installed.parent)
    assert name == "phantom"
    case = next(installed.parent.glob("lib/python*/site-packages/cycle_am/shipped/cases/*.png"))
    shutil.copy(case, tmp_path / "case.png")
    command = [str(installed / "cycle-am"), "explain", "case.png", "--model", "phantom", "--out", "out"]
    assert "1 explained, 0 not" in run(command, tmp_path)
    assert (tmp_path / "out" / "index.html").is_file()


@pytest.mark.slow
def test_configuration_is_found_where_the_wheel_put_it(installed, tmp_path):
    names = "from cycle_am import settings; from cycle_am.explainers import build; "
    names += "print(settings.folder(), *build.available())"
    folder, *ids = run([str(installed / "python"), "-c", names], tmp_path).split()
    assert Path(folder).is_relative_to(installed.parent)
    assert "deep_shap" in ids
    settings = run(
        [
            str(installed / "python"),
            "-m",
            "cycle_am.app.entries.train",
            "experiment=cycle_am_small",
            "--cfg",
            "job",
        ],
        tmp_path,
    )
    assert "channels:" in settings
