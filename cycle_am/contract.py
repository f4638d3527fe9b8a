"""The batch contract of all data modules: sizes, label values, the intensity scale, the check of a batch.

A batch is a dict with
    image       float32 (N, C, S, S) in [0, 1]; channels C, side S and what 0 and 1 stand for are the task's
                (`cycle_am.task`); of CT 1, 64, and Hounsfield units clipped to [-1000, 400] and scaled linearly
    label       int64 (N,): number of one of the task's classes (of CT 0 benign, 1 malignant), -1 unknown (never in a
                loss or a metric)
    case_id     list of N str
    patient_id  list of N str
    mask        float32 (N, 1, S, S) in [0, 1], share of readers who drew the pixel; absent where the source
                has none
    has_mask    bool (N,), beside `mask`: False where this case has none (its mask is zero)
    other       float32 (N, C, S, S) in [0, 1], another training case each; only where pairs were asked for
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from cycle_am.errors import UserError

if TYPE_CHECKING:
    import torch  # imported where tensors come in: exported models are explained without it

HU_MIN = -1000.0
HU_MAX = 400.0
IMAGE_SIZE = 64
BENIGN = 0
MALIGNANT = 1
UNKNOWN = -1
LABEL_NAMES = {BENIGN: "benign", MALIGNANT: "malignant", UNKNOWN: "unknown"}


class Changed(NamedTuple):
    """What becomes of images on the way to each class, tensors or arrays (N, C, H, W) in [0, 1].

    An explained model gives two of them: `generate(x)`, G-(x) and G+(x); and `cycle(x)`, each brought back by the other
    generator, G+(G-(x)) and G-(G+(x)), which should be x again.
    """

    neg: Any
    pos: Any


def changed(images: Iterable[Any]) -> Changed | tuple[Any, ...]:
    """What becomes of images on the way to each class, in the classes' order: `Changed` of two, a tuple of more."""
    images = tuple(images)
    return Changed(*images) if len(images) == 2 else images


def relevance(images: Sequence[Any], of: Any) -> Any:
    """R (N, C, H, W), which of two classes is G+(x) - G-(x) (eq. 6), whatever the classifier says of x.

    Of more it is R of the class `of` (N,) against the rest: G_k(x) minus the mean of the others. images: tensors or
    arrays as `changed` gives them; `of` of the same kind.
    """
    if len(images) == 2:
        return images[1] - images[0]
    own = sum(image * (of == k)[:, None, None, None] for k, image in enumerate(images))
    return own - (sum(images) - own) / (len(images) - 1)


def one_map(change: Any) -> Any:
    """A change of images, tensor or array (N, C, H, W), as one number a pixel (N, H, W).

    Of one channel it is the change itself. Of several it is their root mean square, so that a change of colour alone
    counts too, negative where the pixel becomes darker (the mean falls).
    """
    if change.shape[1] == 1:
        return change[:, 0]
    darker = change.mean(1) < 0
    return (change**2).mean(1) ** 0.5 * (1 - 2 * (darker.float() if hasattr(darker, "float") else darker))


@overload
def scale_hu(hu: torch.Tensor) -> torch.Tensor: ...
@overload
def scale_hu(hu: np.ndarray) -> np.ndarray: ...
def scale_hu(hu):
    """Hounsfield units, numpy or tensor of any shape -> float32 in [0, 1].

    Clipped to [-1000, 400], linear.
    """
    if not isinstance(hu, np.ndarray) and hasattr(hu, "float"):
        return ((hu.float() - HU_MIN) / (HU_MAX - HU_MIN)).clamp(0.0, 1.0)
    scaled = (np.asarray(hu, dtype=np.float32) - np.float32(HU_MIN)) / np.float32(HU_MAX - HU_MIN)
    return np.clip(scaled, 0.0, 1.0)


def check_batch(batch: dict[str, Any], channels: int = 1, size: int = IMAGE_SIZE, classes: int = 2) -> None:
    """Raise UserError where a batch breaks the contract above (missing key, shape, type, range, NaN)."""
    for key in ("image", "label", "case_id", "patient_id"):
        if key not in batch:
            raise UserError(
                f"batch has no '{key}'; the data module must give image, label, case_id and patient_id"
            )
    count = len(batch["image"])
    for key, depth in (("image", channels), ("mask", 1), ("other", channels)):
        if key in batch:
            _check_image(key, batch[key], (count, depth, size, size))
    _check_label(batch["label"], count, classes)
    for key in ("case_id", "patient_id"):
        _check_ids(key, batch[key], count)


def _check_image(key: str, image: Any, expected: tuple[int, int, int, int]) -> None:
    import torch

    if not isinstance(image, torch.Tensor) or image.dtype != torch.float32:
        kind = getattr(image, "dtype", type(image).__name__)
        raise UserError(f"batch['{key}'] is {kind}; convert it to a float32 tensor")
    if tuple(image.shape) != expected:
        raise UserError(
            f"batch['{key}'] has shape {tuple(image.shape)}, not {expected}; resample it to the window"
        )
    low, high = (image.min().item(), image.max().item()) if len(image) else (0.0, 1.0)
    if not (low >= 0.0 and high <= 1.0):  # written so that NaN fails too
        raise UserError(
            f"batch['{key}'] has values from {low:g} to {high:g}; scale it to [0, 1] (Task.scale) without NaN"
        )


def _check_label(label: Any, count: int, classes: int) -> None:
    import torch

    if not isinstance(label, torch.Tensor) or label.dtype != torch.int64 or tuple(label.shape) != (count,):
        raise UserError(f"batch['label'] must be an int64 tensor of shape ({count},); convert it")
    wrong = sorted(set(label.tolist()) - set(range(UNKNOWN, classes)))
    if wrong:
        raise UserError(f"batch['label'] holds {wrong}; use 0 to {classes - 1}, or -1 where unknown")


def _check_ids(key: str, ids: Any, count: int) -> None:
    if (
        not isinstance(ids, (list, tuple))
        or len(ids) != count
        or not all(isinstance(name, str) for name in ids)
    ):
        raise UserError(f"batch['{key}'] must be a list of {count} str; convert it")
