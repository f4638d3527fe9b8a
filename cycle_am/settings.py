"""Where the configuration lies: `conf/` of the clone, or `cycle_am/conf/` where the package is installed."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def folder(*parts: str) -> Path:
    """The folder of the configuration, or one below it."""
    installed = PACKAGE / "conf"
    return (installed if installed.is_dir() else PACKAGE.parent / "conf").joinpath(*parts)
