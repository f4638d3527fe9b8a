"""What pyproject.toml says of packages is true of the code."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain

from tests.helpers import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NAMES = {
    "pil": "pillow",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "hydra": "hydra-core",
}  # import -> package
TESTS = ("tests", ".", "build")


def imported() -> Iterator[str]:
    """The packages that the code imports, wherever in a file."""
    for file in (*ROOT.glob("*.py"), *ROOT.rglob("*/*.py")):
        if not file.relative_to(ROOT).parts[0].startswith(TESTS):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    yield from (alias.name.partition(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    yield node.module.partition(".")[0]


def test_everything_that_is_imported_is_declared():
    own = {path.stem for path in ROOT.iterdir()}
    used = {NAMES.get(name.lower(), name.lower().replace("_", "-")) for name in set(imported()) - own}
    used -= {name.replace("_", "-") for name in sys.stdlib_module_names}
    project = PROJECT["project"]
    declared = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    names = {re.match(r"[\w-]+", line)[0].lower() for line in declared}
    assert {"torch", "pyyaml"} <= used
    assert used <= names


def test_the_build_takes_the_licence_as_it_is_written():
    assert isinstance(PROJECT["project"]["license"], str)
    (setuptools,) = PROJECT["build-system"]["requires"]
    assert int(re.fullmatch(r"setuptools>=(\d+)", setuptools)[1]) >= 77


def test_every_package_is_in_the_wheel():
    own = ("tests", "benchmarks", "build", "conf", "docs")
    files = [file.relative_to(ROOT) for file in ROOT.glob("[!.]*/**/*.py")]
    packages = {".".join(file.parent.parts) for file in files if file.parts[0] not in (*own, "runs")}
    tools = PROJECT["tool"]["setuptools"]
    assert packages | {"cycle_am.conf"} == set(tools["packages"])
    assert "py-modules" not in tools  # `train` and `evaluate` are names of others, too
