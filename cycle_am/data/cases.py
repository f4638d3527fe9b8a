"""Cases in memory, cut a margin larger than the window, and their cache on disk."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cycle_am.errors import UserError
from cycle_am.files import write_atomically
from cycle_am.task import CT, Task

PLAIN = ("pixel_mm", "task")  # fields that are one for all cases
CACHE_VERSION = 1  # raise it when the meaning of a stored field changes: older caches are then rebuilt


@dataclass(frozen=True, eq=False)
class Cases:
    """N cases: a window in the middle, and a rim so that it can move without padding.

    image:       (N, S, S) float32 in [0, 1], S = size + 2 * (largest margin); (N, C, S, S) of several channels
    mask:        (N, S, S) float32 in [0, 1], or None where the source has no masks
    label:       (N,) int64: number of the class, -1 unknown
    case_id:     (N,) str, unique
    patient_id:  (N,) str
    margin:      (N,) int64, pixels by which this case's window may move each way and see real pixels only
    diameter_mm: (N,) float32, NaN where unknown
    pixel_mm:    side of a pixel, field of view / size; 1 where pixels have no size in mm
    has_mask:    (N,) bool, which cases have a mask; default all or, without `mask`, none
    task:        what the images are and what the labels mean

    Raises UserError where shapes, types or ranges are wrong.
    """

    image: np.ndarray
    mask: np.ndarray | None
    label: np.ndarray
    case_id: np.ndarray
    patient_id: np.ndarray
    margin: np.ndarray
    diameter_mm: np.ndarray
    pixel_mm: float
    has_mask: np.ndarray | None = None
    task: Task = CT

    def __post_init__(self) -> None:
        if self.has_mask is None:
            object.__setattr__(self, "has_mask", np.full(len(self.image), self.mask is not None))
        object.__setattr__(self, "pixel_mm", float(self.pixel_mm))
        _check_images(self)
        _check_columns(self)

    def __len__(self) -> int:
        return len(self.image)

    @property
    def rim(self) -> int:
        """Pixels around the central window in the stored arrays: no shift can be larger."""
        return (self.image.shape[-1] - self.size) // 2

    @property
    def size(self) -> int:
        """Side of the window in pixels."""
        return self.task.size

    def select(self, indices: Sequence[int] | np.ndarray) -> Cases:
        """The cases at these indices (or where a boolean array is True), in that order."""
        rows = np.asarray(indices)
        rows = rows if rows.dtype == bool else rows.astype(np.int64)
        return Cases(
            **{
                name: value if value is None or name in PLAIN else value[rows]
                for name, value in _items(self).items()
            }
        )

    def reachable(self, shift: Sequence[int] | np.ndarray) -> np.ndarray:
        """(2,) or (N, 2) wished shifts -> (N, 2) int64, each case's clipped to its own margin."""
        wished = np.broadcast_to(np.asarray(shift, dtype=np.int64), (len(self), 2))
        return np.clip(wished, -self.margin[:, None], self.margin[:, None])

    def window(self, shift: Sequence[int] | np.ndarray = (0, 0)) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The windows, content moved by +shift (rows, columns); (0, 0) is the paper's centred window.

        shift: (2,) for all or (N, 2) per case, whole pixels. Returns images (N, C, size, size) float32 in [0, 1]
        and masks (N, 1, size, size) or None. Raises UserError where a shift is larger than the case's margin
        (`reachable` clips it).
        """
        shifts = np.broadcast_to(np.asarray(shift, dtype=np.int64), (len(self), 2))
        self._check_reach(shifts)
        return self._cut(self.image, shifts), None if self.mask is None else self._cut(self.mask, shifts)

    def _check_reach(self, shifts: np.ndarray) -> None:
        beyond = np.abs(shifts).max(axis=1, initial=0) > self.margin
        if beyond.any():
            first = int(np.argmax(beyond))
            raise UserError(
                f"shift {tuple(shifts[first].tolist())} exceeds the margin of {self.margin[first]} pixels of "
                f"case {self.case_id[first]}; use a smaller shift or prepare the data with a larger margin"
            )

    def _cut(self, pixels: np.ndarray, shifts: np.ndarray) -> torch.Tensor:
        steps = np.arange(self.size)
        rows, columns = (self.rim - shifts[:, axis, None] + steps for axis in (0, 1))
        pixels = pixels[:, None] if pixels.ndim == 3 else pixels
        case, channel = (np.arange(count) for count in pixels.shape[:2])
        return torch.from_numpy(
            pixels[
                case[:, None, None, None],
                channel[:, None, None],
                rows[:, None, :, None],
                columns[:, None, None, :],
            ]
        )

    def digest(self) -> str:
        """Hex digest over all content; equal cases in equal order give equal digests."""
        state = hashlib.sha256()
        for name, value in _items(self).items():
            if name == "task":  # the pixels and labels tell
                continue
            state.update(name.encode())
            if value is not None:
                array = np.ascontiguousarray(value)
                state.update(f"{array.dtype.kind}{array.shape}".encode())
                state.update("\0".join(array).encode() if array.dtype.kind == "U" else array.tobytes())
        return state.hexdigest()

    def save(self, path: str | Path) -> None:
        """Write one .npz without pickled objects.

        A reader sees the old file or the whole new one, never a part.
        """
        values = _items(self) | {"task": json.dumps(self.task.facts())}
        arrays = {name: np.asarray(value) for name, value in values.items() if value is not None}
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: str | Path) -> Cases:
        """Read what `save` wrote.

        Raises OSError, ValueError, KeyError, BadZipFile or UserError on a damaged file.
        """
        with np.load(path, allow_pickle=False) as stored:
            arrays: dict[str, Any] = {name: stored[name] for name in stored.files}
        if "task" in arrays:
            arrays["task"] = Task.of(json.loads(str(arrays["task"])))
        return cls(**{"mask": None, **arrays})


def prepared(cache_dir: str | Path, name: str, settings: dict[str, Any], build: Callable[[], Cases]) -> Cases:
    """The cases that `build` makes, from the cache where these very settings were prepared before.

    The file's name holds a digest of `settings` (plain values), so changed settings build anew; a damaged
    file is rebuilt with a warning.
    """
    path = Path(cache_dir) / f"{name}-{settings_digest(settings)}.npz"
    if path.exists():
        try:
            return Cases.load(path)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, UserError) as error:
            warnings.warn(f"the cache {path} cannot be read ({error}); it is built again", stacklevel=2)
    cases = build()
    cases.save(path)
    return cases


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write one .npz without pickled objects, whole or not at all."""
    write_atomically(path, lambda temporary: _save(temporary, arrays))


def _save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with path.open("wb") as file:  # given a path, numpy would change its ending
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())  # a cache outlives a machine that loses power


def settings_digest(settings: dict[str, Any]) -> str:
    """16 hex digits over plain settings and the cache's version; order of keys does not matter."""
    text = json.dumps({"cache_version": CACHE_VERSION, **settings}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _items(cases: Cases) -> dict[str, Any]:
    return {field.name: getattr(cases, field.name) for field in fields(cases)}


def _check_images(cases: Cases) -> None:
    shape = cases.image.shape
    whole, channels = shape[-1], cases.task.channels
    fits = shape[1:] == ((whole, whole) if channels == 1 else (channels, whole, whole))
    if not fits or whole < cases.size or (whole - cases.size) % 2:
        form = "(N, S, S)" if channels == 1 else f"(N, {channels}, S, S)"
        raise UserError(f"images have shape {shape}; they must be {form} with S = {cases.size} + 2 margin")
    for name in ("image", "mask"):
        pixels = getattr(cases, name)
        if pixels is not None:
            _check_pixels(name, pixels, cases)


def _check_pixels(name: str, pixels: np.ndarray, cases: Cases) -> None:
    shape = cases.image.shape
    expected = (shape[0], *shape[-2:]) if name == "mask" else shape
    if pixels.dtype != np.float32 or pixels.shape != expected:
        raise UserError(f"{name} is {pixels.dtype} of shape {pixels.shape}; it must be float32 {expected}")
    axes = tuple(range(1, pixels.ndim))
    low, high = pixels.min(axis=axes, initial=1.0), pixels.max(axis=axes, initial=0.0)
    bad = ~((low >= 0.0) & (high <= 1.0))  # NaN compares False, so it is bad too
    if bad.any():
        first = int(np.argmax(bad))
        raise UserError(
            f"{name} of case {cases.case_id[first]} has values from {low[first]:g} to {high[first]:g}; "
            "mend the file: values must be finite and scaled to [0, 1]"
        )


def _check_columns(cases: Cases) -> None:
    count = len(cases.image)
    kinds = {
        "label": "i",
        "case_id": "U",
        "patient_id": "U",
        "margin": "i",
        "diameter_mm": "f",
        "has_mask": "b",
    }
    for name, kind in kinds.items():
        column = getattr(cases, name)
        if column.shape != (count,) or (count and column.dtype.kind != kind):
            raise UserError(
                f"{name} is {column.dtype} of shape {column.shape}; it must be of kind '{kind}', ({count},)"
            )
    if not set(np.unique(cases.label).tolist()) <= set(cases.task.labels):
        names = ", ".join(f"{number} {name}" for number, name in cases.task.labels.items())
        raise UserError(f"labels must be one of {names}; mend the label column")
    if len(np.unique(cases.case_id)) != count:
        raise UserError("case ids are not unique; give every case its own id")
    if count and not 0 <= cases.margin.min() <= cases.margin.max() <= cases.rim:
        raise UserError(
            f"margins must lie in 0..{cases.rim}, the rim of the stored images; mend the margin column"
        )
