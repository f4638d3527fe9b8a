"""Parallel planes out of DICOM files, whose places are known without their pixels: a kind of `volumes.Volume`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cycle_am.data.series import SAME_AXIS, SAME_MM
from cycle_am.data.volumes import Place

THIN = 1.5  # times its thickness apart from others a plane still stands for what is between


@dataclass(frozen=True, eq=False)
class Planes:
    """Planes (K, rows, columns), turned so that rows run front to back and columns right to left.

    origins (K, 3): mm of the first stored pixel of each, ascending along the normal. axes (2, 3): unit vectors along
    which columns and rows count up, as stored. stored: rows and columns, as stored. pixel: mm per row and column, as
    stored, None where the file does not say. thickness (K,): mm, 0 where unsaid. decode: plane number -> pixels
    (rows, columns) as stored. placed: whether origins and axes are the file's. numbers: of frames, in their file.
    """

    path: Path
    origins: np.ndarray
    axes: np.ndarray
    stored: tuple[int, int]
    pixel: tuple[float, float] | None
    thickness: np.ndarray
    decode: Callable[[int], np.ndarray]
    placed: bool = True
    numbers: Sequence[int] = ()
    flat = False

    @property
    def normal(self) -> np.ndarray:
        """(3,) unit vector along which planes count up: to the head, of axial ones."""
        normal = np.cross(*self.axes)
        return -normal if normal[2] < 0 else normal

    @property
    def _swapped(self) -> bool:
        """Whether stored rows run from front to back."""
        return abs(self.axes[0][1]) > abs(self.axes[0][0])

    @property
    def _turned_axes(self) -> tuple[np.ndarray, np.ndarray, bool, bool]:
        """(down, right, whether rows are turned round, whether columns are)."""
        right, down = self.axes[::-1] if self._swapped else self.axes
        return (
            -down if down[1] < 0 else down,
            -right if right[0] < 0 else right,
            bool(down[1] < 0),
            bool(right[0] < 0),
        )

    @property
    def turned(self) -> bool:
        """Whether pixels are stored in another order than they count here."""
        return not np.allclose(self.axes, np.stack(self._turned_axes[1::-1]), atol=SAME_AXIS)

    @property
    def size(self) -> tuple[int, int, int]:
        """Planes, rows, columns."""
        return (len(self.origins), *(self.stored[::-1] if self._swapped else self.stored))

    @property
    def spacing(self) -> tuple[float, float] | None:
        """mm per row and column."""
        return self.pixel[::-1] if self.pixel and self._swapped else self.pixel

    def pixels(self, index: int) -> np.ndarray:
        """(rows, columns) float32, turned."""
        array = self.decode(index)
        array = array.T if self._swapped else array
        _, _, up, left = self._turned_axes
        return np.ascontiguousarray(array[:: -1 if up else 1, :: -1 if left else 1])

    def locate(self, voxel: Sequence[float]) -> tuple[float, float, float]:
        """(plane, row, column) of (column, row, plane) as stored."""
        column, row, index = voxel
        row, column = (column, row) if self._swapped else (row, column)
        _, _, up, left = self._turned_axes
        _, rows, columns = self.size
        return index, rows - 1 - row if up else row, columns - 1 - column if left else column

    def place(self, index: int) -> Place:
        """Where a plane lies."""
        down, right, up, left = self._turned_axes
        _, rows, columns = self.size
        spacing = self.spacing or (1.0, 1.0)
        shift = -up * (rows - 1) * spacing[0] * down - left * (columns - 1) * spacing[1] * right
        origin = self.origins[index] + shift
        return Place(tuple(map(float, origin)), tuple(down), tuple(right), spacing)

    @property
    def step(self) -> float:
        """The usual distance between planes in mm; of a single one its thickness."""
        return float(np.median(np.diff(self._heights))) if len(self.origins) > 1 else float(self.thickness[0])

    @property
    def _heights(self) -> np.ndarray:
        return self.origins @ self.normal

    def nearest(self, point: Sequence[float]) -> int | None:
        """The plane that holds a point (3,) in mm: the nearest within half a step; None where none does.

        Where planes lie further apart than usual, as far as half of the smaller distance to a neighbour, if the plane
        is so thick. And no further than the planes' thickness reaches, some allowed for (`THIN`), since what is missing
        or was never recorded is not made up for by a neighbour.
        """
        heights = self._heights
        distance = np.abs(heights - np.asarray(point, float) @ self.normal)
        k = int(distance.argmin())
        apart = np.abs(np.diff(heights))[max(k - 1, 0) : k + 1].min(initial=np.inf)
        thickness = float(self.thickness[k])
        reach = max(min(self.step, THIN * thickness or np.inf), min(thickness, apart))
        return k if distance[k] <= max(reach / 2, SAME_MM) * 1.001 else None
