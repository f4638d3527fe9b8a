"""Small CT volumes with a bright ball at a place that is known in mm, written as every kind of file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest

from cycle_am.sources import Failure, Window, read
from cycle_am.task import Task
from tests.series import _write_ct

SECRETS = ("Secret", "Name", "19991231", "1.2.3")
STEP = 2.5


@dataclass(frozen=True)
class Ball:
    """Lung of -800 HU with a ball of 100 HU around `centre` (x, y, z), mm."""

    centre: tuple[float, float, float]
    radius: float = 6.0

    def planes(self, grid: np.ndarray) -> np.ndarray:
        """(..., 3) mm -> HU, int16; values vary along x and y, so that turned pictures differ."""
        inside = np.linalg.norm(grid - self.centre, axis=-1) <= self.radius
        slope = 0.5 * (grid[..., 0] - self.centre[0]) + 1.0 * (grid[..., 1] - self.centre[1])
        return np.where(inside, 100, -800 + slope).round().astype(np.int16)


@pytest.fixture
def ball() -> Ball:
    return Ball((12.0, -20.0, 31.0))


@pytest.fixture
def task() -> Task:
    return Task()


def grid(
    origin: np.ndarray,
    right: np.ndarray,
    down: np.ndarray,
    shape: tuple[int, int],
    spacing: tuple[float, float],
) -> np.ndarray:
    """(rows, columns, 3) mm of a plane's pixels."""
    rows, columns = (np.arange(count) * mm for count, mm in zip(shape, spacing, strict=True))
    return origin + rows[:, None, None] * np.asarray(down) + columns[None, :, None] * np.asarray(right)


@pytest.fixture
def write_series(ball) -> Callable[..., Path]:
    """A folder of axial slices, 1.0 x 0.8 mm, STEP apart, around the ball; their files' names say nothing."""

    def write(
        folder: Path,
        right=(1, 0, 0),
        down=(0, 1, 0),
        count: int = 9,
        order: int = 1,
        series: str = "1.2.3.4.5.6",
        heights=None,
        shape=(100, 110),
        name: str = "Secret^Name",
        **changes,
    ) -> Path:
        spacing = (1.0, 0.8)
        if heights is None:
            heights = ball.centre[2] + STEP * (np.arange(count) - count // 2)
        half = (shape[0] - 1) / 2 * spacing[0] * np.array(down) + (shape[1] - 1) / 2 * spacing[1] * np.array(
            right
        )
        for number, height in enumerate(heights):
            middle = np.array([*ball.centre[:2], height])  # tables move along z, also where slices are tilted
            off = 3 * np.array(right) - 4 * np.array(
                down
            )  # so that the ball is not in the middle of the slice
            origin = middle - half + off
            pixels = ball.planes(grid(origin, right, down, shape, spacing))
            _write_ct(
                folder / f"Secret_Name_19991231_{(order * number) % 1000:03d}.dcm",
                (pixels.astype(np.int32) + 1024).astype(np.uint16),
                series=series,
                **{
                    "PixelSpacing": list(spacing),
                    "ImagePositionPatient": origin.tolist(),
                    "ImageOrientationPatient": [*right, *down],
                    "SliceThickness": STEP,
                    "PatientName": name,
                    "PatientID": "Secret",
                    "PatientBirthDate": "19991231",
                    "InstanceNumber": number + 1,
                }
                | changes,
            )
        return folder

    return write


def affine(axes: np.ndarray, spacing: tuple[float, float, float], origin: np.ndarray) -> np.ndarray:
    """NIfTI's 4 x 4 (right, front, head positive) of DICOM's axes, the columns of `axes`."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes * spacing, origin
    return np.diag([-1, -1, 1, 1]) @ matrix


@pytest.fixture
def write_nifti(ball) -> Callable[..., Path]:
    """A volume whose axes are the columns of `axes` in DICOM's directions, the ball off its middle."""

    def write(path: Path, axes: np.ndarray, spacing=(0.8, 0.9, 2.0), shape=(90, 80, 15)) -> Path:
        corner = axes @ ((np.array(shape) - 1) / 2 * spacing)
        origin = np.array(ball.centre) - corner + axes @ np.array([4.0, -3.0, 2.0])
        steps = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1) * spacing
        image = nibabel.Nifti1Image(ball.planes(origin + steps @ axes.T), affine(axes, spacing, origin))
        nibabel.save(image, path)
        return path

    return write


@pytest.fixture
def windows(task) -> Callable[..., list[Window]]:
    """What a source gives, without failures."""

    def found(source: Path, **where) -> list[Window]:
        result = list(read(source, task, **where))
        assert not [one for one in result if isinstance(one, Failure)]
        return result

    return found


@pytest.fixture
def failure(task) -> Callable[..., Failure]:
    """The one failure of a source: one line that names nobody."""

    def found(source: Path, **where) -> Failure:
        (result,) = read(source, task, **where)
        assert isinstance(result, Failure)
        assert "\n" not in result.reason
        assert not [secret for secret in SECRETS if secret in f"{result.name}{result.reason}"]
        return result

    return found


@pytest.fixture
def check_ball(ball, task) -> Callable[[Window], None]:
    """That every pixel of a window shows what lies at its mm: the ball's values by its formula."""

    def check(window: Window) -> None:
        place, steps = window.place, np.arange(task.size) - (task.size - 1) / 2
        points = (
            np.array(place.centre_mm)
            + steps[:, None, None] * np.array(place.row_mm)
            + steps[None, :, None] * np.array(place.column_mm)
        )
        away = np.abs(np.linalg.norm(points - ball.centre, axis=-1) - ball.radius)
        clear = away > 2.0  # pixels are interpolated at the ball's edge
        expected = task.scale(ball.planes(points))
        assert np.abs(window.image - expected)[clear].max() < 2 / 1400
        assert window.image[31:33, 31:33].min() > 0.7
        assert np.isclose(np.linalg.norm(place.row_mm), task.pixel_mm)
        assert np.isclose(np.linalg.norm(place.column_mm), task.pixel_mm)
        assert place.row_mm[1] > 0.4  # to the back
        assert place.column_mm[0] > 0.4  # to the left

    return check
