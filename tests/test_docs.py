"""The documentation speaks of what is there."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cycle_am import measures
from cycle_am.app import reference
from tests.helpers import ROOT, environment

GENERATED = {"commands.md", "configuration.md", "metrics.md", "api.md", "notebook.md"}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = {page: page.read_text(encoding="utf-8") for page in PAGES}
SETTINGS = [
    file for file in sorted((ROOT / "conf").rglob("*.yaml")) if not {"texts", "local"} & set(file.parts)
]


def test_the_readme_can_be_read():
    assert len(TEXT[ROOT / "README.md"].splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", TEXT[page]):
        if not target.startswith("http") and target not in GENERATED:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_to_be_typed_exists(page):
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    experiments = {file.stem for file in (ROOT / "conf" / "experiment").glob("*.yaml")}
    text = TEXT[page]
    for name in re.findall(r"python -m ([\w.]+)", text):
        assert importlib.util.find_spec(name), name
    for name in re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE):
        assert name in targets, name
    for names in re.findall(r"experiment=([a-z_,]+)", text):
        assert set(names.strip(",").split(",")) <= experiments, names


def test_the_patterns_find_what_they_look_for():
    everything = "\n".join(TEXT.values())
    assert len(re.findall(r"python -m ([\w.]+)", everything)) > 5
    assert len(re.findall(r"(?:^|`)make ([a-z-]+)", everything, re.MULTILINE)) > 5
    assert len(re.findall(r"experiment=([a-z_,]+)", everything)) > 20


def test_every_measure_has_its_row():
    page = reference.metrics()
    assert all(f"| `{key}` |" in page for key in measures.CATALOGUE)
    assert "| `classifier/auc` | AUC | ↑ |" in page
    assert "| .809 [.757, .860] |" in page


@pytest.mark.parametrize("file", SETTINGS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_setting_is_explained(file):
    text = file.read_text(encoding="utf-8")
    assert text.startswith("#"), "a line says what the file is"
    lacking = [name for name, value, comment in reference.keys(text) if not comment and not _technical(name)]
    assert lacking == []


def _technical(name: str) -> bool:
    return name.rpartition(".")[2].startswith("_")


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(build, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = Path(tmp_path / "site" / "configuration.html").read_text(encoding="utf-8")
    assert "data.batch_size" in page
    assert "fonts.googleapis" not in page
