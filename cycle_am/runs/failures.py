"""A failed job of a multirun: recorded in its folder while the others go on, summed up when all are done."""

from __future__ import annotations

import json
import traceback
from contextlib import suppress
from pathlib import Path

from cycle_am.files import write_atomically
from cycle_am.runs.run import MULTIRUN

FAILED = "failed.json"
TRACEBACK = "traceback.txt"
PATTERN = "${home:${paths.runs}}/${name}/${data_name}/" + MULTIRUN


def record(folder: Path, error: Exception, message: str) -> None:
    """Write `failed.json` (`error`, one line) and `traceback.txt` into the job's folder, where it can be written."""
    trace = "".join(traceback.format_exception(error))
    facts = json.dumps({"error": message, "traceback": TRACEBACK}, indent=2) + "\n"
    with suppress(OSError):  # a full disk is what is to be recorded
        for name, text in ((TRACEBACK, trace), (FAILED, facts)):
            write_atomically(folder / name, lambda path, text=text: path.write_text(text, encoding="utf-8"))


def forget(folder: Path) -> None:
    """Remove what an earlier attempt of this job recorded."""
    for name in (FAILED, TRACEBACK):
        (folder / name).unlink(missing_ok=True)


def failed(sweep_dir: str | Path) -> dict[str, str]:
    """Folder name of every failed job in a sweep's folder -> its error in one line."""
    jobs = [file.parent for file in Path(sweep_dir).glob(f"*/{FAILED}")]
    return {job.name: error_of(job) for job in sorted(jobs, key=number)}


def again(sweep_dir: Path) -> str:
    """In words, how a sweep goes on: each job in its own folder, not in that of the first."""
    folder = sweep_dir if len(folders(sweep_dir)) == 1 else f"'{PATTERN}/{sweep_dir.name}'"
    return f"the same command with hydra.sweep.dir={folder} runs only what is missing"


def folders(sweep_dir: Path) -> list[Path]:
    """Where a sweep's jobs lie: its folder, and for a sweep over experiments or data those of the same name beside."""
    sweeps = {sweep_dir} if sweep_dir.is_dir() else set()
    if sweep_dir.parent.name == MULTIRUN and len(sweep_dir.parents) > 3:
        sweeps |= set(sweep_dir.parents[3].glob(f"*/*/{MULTIRUN}/{sweep_dir.name}"))
    return sorted(folder for folder in sweeps if any(path.is_dir() for path in folder.iterdir()))


def stamps(folder: Path) -> dict[Path, int]:
    """Every failed job of a sweep -> when its failure was recorded."""
    files = [file for job in folders(folder) for file in job.glob(f"*/{FAILED}")]
    return {file.parent: file.stat().st_mtime_ns for file in files}


def error_of(job: Path) -> str:
    """What ended a failed job, in one line."""
    return json.loads((job / FAILED).read_text())["error"]


def number(job: Path) -> tuple[int, str]:
    """Sorts jobs by their numbers."""
    return len(job.name), job.name
