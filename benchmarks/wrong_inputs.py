"""Images that a model must not be trusted on, made of phantom lesions and, where they are at hand, of real CT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cycle_am.contract import HU_MAX, HU_MIN, IMAGE_SIZE, scale_hu
from cycle_am.data.images import cut, read_image
from cycle_am.data.lidc.lesions import Lesion
from cycle_am.data.phantom.cohort import finding, render_cases, scene_window
from cycle_am.data.phantom.scene import draw_scene
from cycle_am.data.series import only
from datamodules.manifest import read_rows

NAMED = {"lung": (-1350.0, 150.0), "soft tissue": (-160.0, 240.0), "wide": (-1024.0, 3071.0)}  # HU
LUNG = (-950.0, -700.0)  # HU of lung without anything in it


class Wrong(NamedTuple):
    """Images (N, 1, 64, 64) of one kind, and whether the model learned such a mistake (of other images)."""

    images: Tensor
    known: bool


def other_intensities(images: Tensor) -> dict[str, Wrong]:
    """Right windows (N, 1, 64, 64) as another window, inverted, and with a contrast like that of an MR image."""
    named = {f"{name} window": Wrong(rewindowed(images, *ends), True) for name, ends in NAMED.items()}
    return named | {"inverted": Wrong(1 - images, True), "MR-like contrast": Wrong(mr_like(images), True)}


def rewindowed(images: Tensor, low: float, high: float) -> Tensor:
    """As if [low, high] HU had been scaled to [0, 1] instead of the task's window."""
    hounsfield = HU_MIN + images * (HU_MAX - HU_MIN)
    return ((hounsfield - low) / (high - low)).clamp(0, 1)


def mr_like(images: Tensor) -> Tensor:
    """Soft tissue bright, air and bone dark, with noise everywhere."""
    random = torch.Generator().manual_seed(0)
    bright = 0.8 * (-(((images - 0.55) / 0.25) ** 2)).exp()
    return (bright + 0.1 * torch.rand(images.shape, generator=random)).clamp(0, 1)


def noise(count: int) -> Tensor:
    """Half of it uniform, half of it normal."""
    random = torch.Generator().manual_seed(0)
    shape = (count // 2, 1, IMAGE_SIZE, IMAGE_SIZE)
    normal = 0.5 + 0.15 * torch.randn(shape, generator=random)
    return torch.cat([torch.rand(shape, generator=random), normal.clamp(0, 1)])


def photographs(count: int) -> Tensor:
    """Parts of scikit-learn's two photographs, in grey."""
    from sklearn.datasets import load_sample_image

    pictures = [load_sample_image(name).mean(2) / 255 for name in ("china.jpg", "flower.jpg")]
    random = np.random.default_rng(0)
    return torch.cat([_part(pictures[i % 2], random) for i in range(count)])


def _part(picture: np.ndarray, random: np.random.Generator) -> Tensor:
    side = int(random.choice([64, 128, 200, 400]))
    row, column = (int(random.integers(0, length - side + 1)) for length in picture.shape)
    part = torch.from_numpy(picture[None, None, row : row + side, column : column + side]).float()
    return interpolate(part, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=True).clamp(0, 1)


def rendered(lesions: list[Lesion], fov_mm: float) -> Tensor:
    """The lesions' phantom windows, with another field of view."""
    return render_cases(lesions, fov_mm, 0).window()[0]


def without_lesion(lesions: list[Lesion], fov_mm: float) -> Tensor:
    """The lesions' phantom surroundings, with nothing in their middle."""
    return torch.from_numpy(np.stack([_emptied(lesion, fov_mm) for lesion in lesions]))[:, None]


def _emptied(lesion: Lesion, fov_mm: float) -> np.ndarray:
    item = finding(lesion)
    return scene_window(draw_scene(replace(item, fraction=np.zeros_like(item.fraction))), fov_mm, 0)


def of_phantom(lesions: list[Lesion], images: Tensor, fov_mm: float) -> dict[str, Wrong]:
    """Every kind, of the lesions and their right windows `images`."""
    count = len(images)
    return {
        **other_intensities(images),
        "noise": Wrong(noise(count), False),
        "photograph": Wrong(photographs(count), False),
        "no lesion": Wrong(without_lesion(lesions, fov_mm), True),
        "half the field of view": Wrong(rendered(lesions, fov_mm / 2), True),
        "twice the field of view": Wrong(rendered(lesions, fov_mm * 2), True),
    }


def real_windows(folder: Path, fov_mm: float) -> Tensor:
    """The middle slices of the volumes that `volumes.csv` of the folder names."""
    paths = [folder / row.image for row in read_rows(folder / "volumes.csv")]
    return _stacked([_central(path, fov_mm) for path in paths])


def _central(path: Path, fov_mm: float) -> np.ndarray:
    plane = read_image(path)
    centre = tuple((length - 1) / 2 for length in plane.pixels.shape)
    return cut(plane.pixels, plane.spacing, centre, fov_mm / IMAGE_SIZE, 0)


def real_lung(folder: Path, count: int, fov_mm: float) -> Tensor:
    """Windows of lung from the one CT series in the folder, with nothing but lung in their middle."""
    series, random, windows = only(_series_folder(folder)), np.random.default_rng(0), []
    while len(windows) < count:
        pixels = np.squeeze(series.read(int(random.integers(len(series.slices)))))
        centres = random.integers(40, np.array(pixels.shape) - 40, (50, 2))
        lung = next(filter(partial(_is_lung, pixels), centres), None)
        if lung is not None:
            windows.append(
                cut(pixels.astype(np.float32), series.spacing, tuple(lung), fov_mm / IMAGE_SIZE, 0)
            )
    return _stacked(windows)


def _series_folder(folder: Path) -> Path:
    """The folder below that holds most files."""
    return max(
        (path for path in folder.rglob("*") if path.is_dir()), key=lambda path: len(list(path.iterdir()))
    )


def _is_lung(pixels: np.ndarray, centre: np.ndarray) -> bool:
    row, column = centre
    around = pixels[row - 20 : row + 20, column - 20 : column + 20]
    middle = around[16:24, 16:24]
    share = ((around > LUNG[0]) & (around < LUNG[1])).mean()
    return bool(share > 0.5 and LUNG[0] < middle.mean() < LUNG[1] and middle.max() < -600)


def _stacked(planes: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(scale_hu(np.stack(planes)))[:, None].float()


def of_real(shared: Path, images: Tensor, fov_mm: float) -> Mapping[str, Wrong]:
    """Kinds that can be made of the real CT at hand; its volumes are too small for a larger field of view."""
    return {
        **other_intensities(images),
        "no lesion": Wrong(real_lung(shared / "lidc_dicom", len(images), fov_mm), True),
        "half the field of view": Wrong(real_windows(shared / "real_nodules", fov_mm / 2), True),
    }
