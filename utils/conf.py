"""Where the configuration lies: `conf/` of the clone, or `cycle_am/conf/` where the package is installed."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def folder(*parts: str) -> Path:
    """The folder of the configuration, or one below it."""
    installed = ROOT / "cycle_am" / "conf"
    return (installed if installed.is_dir() else ROOT / "conf").joinpath(*parts)
