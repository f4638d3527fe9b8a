"""An explanation as a folder, which appears whole or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cycle_am.errors import UserError
from cycle_am.files import write_folder
from cycle_am.outputs import dial, nifti, page, panel, record

if TYPE_CHECKING:
    from cycle_am.model.explanation import Explanation

FACTS, BATCH = "explanation.json", "explanations.json"
PANEL, GIF, MP4 = "panel.png", "dial.gif", "dial.mp4"
RELEVANCE, ATTRIBUTION = "relevance.nii.gz", "attribution.nii.gz"
OWN = {FACTS, BATCH, PANEL, GIF, MP4, RELEVANCE, ATTRIBUTION, page.NAME}
SYSTEM = {".DS_Store", "Thumbs.db", "desktop.ini"}  # left behind by who looks into a folder


def save(explanation: Explanation, folder: str | Path) -> Path:
    """Write one case into `folder`, or each of several into a folder below it, beside their page.

    Raises UserError where `folder` holds anything but an earlier explanation, which is replaced.
    """
    folder = Path(folder).resolve()
    check(folder)
    return write_folder(folder, lambda inside: _fill(inside, explanation))


def check(folder: Path) -> None:
    """Raise UserError where writing to `folder` would take away anything but an earlier explanation."""
    if Path.cwd().is_relative_to(folder):
        raise UserError(f"{folder} holds the folder that you are in; give another one for the explanation")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give a folder for the explanation")
    strange = next(_strange(folder), None) if folder.is_dir() else None
    if strange:
        raise UserError(
            f"{folder} holds {strange}, which is no part of an explanation; give a new folder, or move that away"
        )


def write(folder: Path, explanation: Explanation) -> dict[str, Any]:
    """Write one case (N = 1) into a folder that is there; returns its record."""
    facts = record.of(explanation)
    _write_json(folder / FACTS, facts)
    panel.write(folder / PANEL, explanation)
    dial.write_mp4(folder / MP4, dial.write_gif(folder / GIF, dial.frames(explanation)))
    place, pixel_mm = (explanation.place or (nifti.NOWHERE,))[0], explanation.model.task.pixel_mm
    nifti.write(
        folder / RELEVANCE, explanation.relevance[0], place, pixel_mm, "R = G+(x) - G-(x), in [-1, 1]"
    )
    if explanation.model.gradients:
        attribution = explanation.attribution()[0]
        nifti.write(folder / ATTRIBUTION, attribution, place, pixel_mm, "attribution, log odds")
    return facts


def folder_name(index: int, count: int, name: str) -> str:
    """Of case `index` of `count`: its number and what of its name any file system takes."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", name)[:40].strip("-")
    return "-".join(filter(None, (str(index + 1).zfill(len(str(count))), words)))


def _fill(folder: Path, explanation: Explanation) -> None:
    if len(explanation) == 1:
        write(folder, explanation)
        return
    records = []
    for i, lesion in enumerate(explanation):
        below = folder / folder_name(i, len(explanation), lesion.place[0].name if lesion.place else "")
        below.mkdir()
        records.append(write(below, lesion) | {"folder": below.name})
    _write_json(folder / BATCH, {"kind": record.KIND, "format": record.FORMAT, "cases": records})
    page.write(folder, records)


def _write_json(path: Path, content: Any) -> None:
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _strange(folder: Path) -> Iterator[str]:
    """What of a folder's entries no explanation has."""
    entries = sorted(entry for entry in folder.iterdir() if entry.name not in SYSTEM)
    if entries and not any(_ours(folder / name) for name in (FACTS, BATCH)):
        yield entries[0].name
    for entry in entries:
        if entry.is_symlink() or (entry.is_dir() and not _ours(entry / FACTS)):
            yield entry.name
        elif entry.is_dir():
            yield from (f"{entry.name}/{name}" for name in _strange(entry))
        elif entry.name not in OWN and entry.suffix != ".dcm":
            yield entry.name


def _ours(path: Path) -> bool:
    """Whether a file is the record of an explanation."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("kind") == record.KIND
