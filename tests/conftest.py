"""Shared fixtures: quiet single-threaded runs, and the real images where they are at hand."""

import os
from pathlib import Path

import pytest

from tests.postgres import postgres  # noqa: F401 (a fixture)
from tests.series import closed_form, write_ct, write_slice  # noqa: F401 (fixtures)

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("WANDB_MODE", "offline")  # no test reaches for the network

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real CT images (`CYCLE_AM_REAL_DATA`, else ../shared/data); the test is skipped where it is
    absent.
    """
    folder = Path(os.environ.get("CYCLE_AM_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs real CT images; {folder} is absent (set CYCLE_AM_REAL_DATA)")
    return folder
