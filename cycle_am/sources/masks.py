"""Lesions out of a mask: every connected one, on its central slice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from cycle_am.data.dicom import may_be_dicom
from cycle_am.data.volumes import SAME_PIXELS, Bare, Volume, nearest_plane, open_volume
from cycle_am.errors import UserError
from cycle_am.sources import nifti
from cycle_am.sources.dicom import modality, segments
from cycle_am.sources.pictures import RASTERS, read_raster
from cycle_am.sources.scan import DAMAGED, Scan, Spot
from cycle_am.sources.words import called

MOST = 1000  # lesions; more are noise
LABELS = 256  # numbers that a map of labels may have; more are grey values
Layer = dict[int, np.ndarray]  # plane of the scan -> (rows, columns) bool


def spots(path: Path, scan: Scan) -> list[Spot]:
    """The lesions of a mask file on a scan, named by number, from the feet up.

    A lesion's slice is the one with most of it, of several the one next to its middle; the window's midpoint is that
    of the box around it in this slice. Raises UserError where mask and scan do not lie alike, or nothing is marked.
    """
    name = called(path)
    try:
        layers = [layer for volume in _volumes(path) for layer in _layers(volume, scan.volume, name)]
    except DAMAGED as error:
        raise UserError(f"the mask {name} cannot be read; give NIfTI or a DICOM segmentation") from error
    marked = [spot for layer in layers for spot in _components(layer)]
    if not marked or len(marked) > MOST:
        raise UserError(
            f"the mask {name} marks {len(marked) or 'nothing'}{' lesions' * bool(marked)}; give one that marks lesions"
        )
    marked.sort(key=lambda spot: (spot.plane, spot.row, spot.column))
    return [spot._replace(name=f"lesion {number}") for number, spot in enumerate(marked, 1)]


def _volumes(path: Path) -> list[Volume]:
    if path.name.lower().endswith(RASTERS):
        return [Bare(path, read_raster(path))]
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    if may_be_dicom(files[0]) and len(files) == 1:
        kind = modality(files[0])
        if kind != "SEG":
            raise UserError(
                f"the mask {called(path)} is DICOM {kind or 'of no kind'}, no segmentation (SEG); give one, or NIfTI"
            )
        return segments(files[0])
    try:
        nifti.check(path)
    except UserError as error:
        raise UserError(f"the mask {called(path)} cannot be used: {error}") from error
    return [open_volume(path)]


def _layers(mask: Volume, image: Volume, name: str) -> list[Layer]:
    """What the mask marks on the scan's planes: a layer for each label."""
    marked = {m: plane for m in range(mask.size[0]) if np.any(plane := mask.pixels(m))}
    if not marked:
        return []
    chosen = _marks(list(marked.values()), name)
    at = _aligned(mask, image, name)
    layers: list[Layer] = []
    for is_marked in chosen:
        layer: Layer = {}
        for m, plane in marked.items():
            inside = is_marked(plane)
            if inside.any():
                k = at(m)
                layer[k] = layer[k] | inside if k in layer else inside
        layers.append(layer)
    return layers


def _marks(planes: list[np.ndarray], name: str) -> list[Callable[[np.ndarray], np.ndarray]]:
    """How to tell what belongs to a lesion: of whole numbers each label, 255 of grey values, one half of fractions."""
    numbers = np.unique(np.concatenate([np.unique(plane) for plane in planes]))
    if not np.isfinite(numbers).all() or numbers[0] < 0:
        raise UserError(f"the mask {name} holds values below 0 or NaN; is it an image?")
    if (numbers % 1 == 0).all() and len(numbers) <= LABELS and not _is_grey(numbers):
        return [lambda plane, label=label: plane == label for label in numbers[numbers > 0]]
    if numbers[-1] <= 1:
        return [lambda plane: plane >= 0.5]
    if numbers[-1] == 255:
        return [lambda plane: plane >= 128]
    raise UserError(f"the mask {name} holds {len(numbers)} values up to {numbers[-1]:g}; is it an image?")


def _is_grey(numbers: np.ndarray) -> bool:
    """Whether these are grey values that end in 255, as of a smoothed or compressed mask, and no labels."""
    return numbers[-1] == 255 and len(numbers) > 2


def _aligned(mask: Volume, image: Volume, name: str) -> Callable[[int], int]:
    """Plane of the mask -> plane of the scan. Raises UserError where they do not lie alike."""
    if mask.size[1:] != image.size[1:]:
        raise UserError(
            f"the mask {name} is {mask.size[1:]}, the image {image.size[1:]} pixels; make them alike"
        )
    if mask.placed and image.placed and mask.flat == image.flat:
        return lambda m: _at_place(mask, image, name, m)
    if mask.turned or image.turned:
        raise UserError(
            f"of the mask {name} and the image one is stored turned, and the other does not say how it lies; save the "
            "mask with the image's geometry"
        )
    if mask.size[0] != image.size[0]:
        raise UserError(
            f"the mask {name} has {mask.size[0]} slices, the image {image.size[0]}; make them alike"
        )
    return lambda m: m


def _at_place(mask: Volume, image: Volume, name: str, m: int) -> int:
    k, apart = nearest_plane(image, mask.place(m))
    if k is None or apart > SAME_PIXELS:
        raise UserError(
            f"the mask {name} does not lie on the image's slices (slice {m} of the mask, from 0); save it with the "
            "image's geometry"
        )
    return k


def _components(layer: Layer) -> Iterator[Spot]:
    if not layer:
        return
    low, high = min(layer), max(layer)
    rows, columns = (np.flatnonzero(_any(layer, axis)) for axis in (1, 0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    array = np.zeros((high - low + 1, np.ptp(rows) + 1, np.ptp(columns) + 1), dtype=bool)
    for k, plane in layer.items():
        array[k - low] = plane[box]
    labels, count = ndimage.label(array, np.ones((3, 3, 3)))
    if count > MOST:
        raise UserError(f"the mask marks {count} lesions; give one that marks lesions")
    shape = next(iter(layer.values())).shape
    for number, area in enumerate(ndimage.find_objects(labels), 1):
        yield _spot(labels[area] == number, area, (low, rows[0], columns[0]), shape)


def _any(layer: Layer, axis: int) -> np.ndarray:
    return np.any([plane.any(axis=axis) for plane in layer.values()], axis=0)


def _spot(
    inside: np.ndarray, area: tuple[slice, ...], low: tuple[int, int, int], shape: tuple[int, int]
) -> Spot:
    """inside (k, r, c): one lesion in its box `area` of an array that begins at `low`."""
    sizes = inside.sum(axis=(1, 2))
    largest = np.flatnonzero(sizes == sizes.max())
    k = int(largest[np.abs(largest - (len(sizes) - 1) / 2).argmin()])
    first = [start + span.start for start, span in zip(low, area, strict=True)]
    rows, columns = (np.flatnonzero(inside[k].any(axis=axis)) for axis in (1, 0))
    mask = np.zeros(shape, dtype=bool)
    mask[first[1] : first[1] + inside.shape[1], first[2] : first[2] + inside.shape[2]] = inside[k]
    return Spot(
        "",
        first[0] + k,
        float(first[1] + (rows[0] + rows[-1]) / 2),
        float(first[2] + (columns[0] + columns[-1]) / 2),
        mask,
    )
