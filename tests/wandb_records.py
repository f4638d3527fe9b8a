"""A W&B run's file read back, as `wandb leet inspect --json` shows it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


class OfflineRun:
    """The records of the one run below a folder; `kind` is the pattern of its folder's name."""

    def __init__(self, folder: Path, kind: str = "offline-run-*") -> None:
        (file,) = folder.glob(f"wandb/{kind}/run-*.wandb")
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        self.file, self.records = file, [json.loads(line) for line in done.stdout.splitlines()]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The contents of all records of one kind."""
        return [record[kind] for record in self.records if record["type"] == kind]

    @property
    def config(self) -> dict[str, Any]:
        """What was logged of the configuration."""
        return {key: value for update in self.of("config") for key, value in update["update"].items()}

    @property
    def history(self) -> dict[str, list[Any]]:
        """What was logged, by key, in order; parts of a picture or table as `key._type` and so on."""
        found: dict[str, list[Any]] = {}
        for record in self.of("history"):
            for key, value in record["item"].items():
                found.setdefault(key, []).append(value)
        return found

    @property
    def artifacts(self) -> dict[str, dict[str, Any]]:
        """The artifacts by name."""
        return {artifact["name"]: artifact for artifact in self.of("artifact")}
