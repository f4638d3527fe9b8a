"""The notebook of the documentation runs from a clean kernel, and prints what it shows."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest

NUMBER = re.compile(r"-?[0-9]+[.][0-9]+")
nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")


def printed(notebook) -> list[str]:
    """What the cells wrote to stdout, cell by cell."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [
        "".join(output.text for output in cell.outputs if output.get("name") == "stdout") for cell in cells
    ]


def numbers(text: str) -> list[float]:
    """Every decimal number of a text."""
    return [float(number) for number in NUMBER.findall(text)]


def test_the_notebook_prints_what_it_shows(root, monkeypatch):
    shown = nbformat.read(root / "docs" / "notebook.ipynb", as_version=4)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    again = nbformat.from_dict(shown)
    nbclient.NotebookClient(again, timeout=200, kernel_name="python3").execute()
    assert printed(again)[1].count("usable") == 5
    for now, then in zip(printed(again), printed(shown), strict=True):
        assert NUMBER.sub("", now) == NUMBER.sub("", then)
        np.testing.assert_allclose(numbers(now), numbers(then), atol=0.05)  # processors round differently
