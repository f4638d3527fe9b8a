"""What NIfTI files say and SimpleITK passes over: a second, other place, and values that are none."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import IO

import numpy as np

from cycle_am.errors import UserError

ENDINGS = (".nii", ".nii.gz")
SAME_MM = 0.1  # by which the two places of any corner may differ
SIZE, SIZE_OF_2 = 348, 540  # of the headers of NIfTI-1 and NIfTI-2, which their first number says
FLOATS = {16: "f4", 64: "f8"}
PIECE = 1 << 22  # a multiple of every item's size


def check(path: Path) -> None:
    """Raise UserError where qform and sform of a NIfTI-1 file differ, of which programs choose either; and where it
    holds NaN or infinite values, which SimpleITK makes 0; and for NIfTI-2, which it does not read. Raises what reading
    raises where it is damaged.
    """
    if not path.name.lower().endswith(ENDINGS):
        return
    with (gzip.open if path.name.lower().endswith(".gz") else open)(path, "rb") as file:
        head = file.read(SIZE)
        for order in "<>":
            if head[:4] == struct.pack(f"{order}i", SIZE_OF_2):
                raise UserError(
                    "it is NIfTI-2; save it as NIfTI-1 (nibabel's Nifti1Image.from_image), MHA or NRRD"
                )
            if head[:4] == struct.pack(f"{order}i", SIZE):
                _check_place(head, order)
                _check_finite(file, head, order)


def _check_place(head: bytes, order: str) -> None:
    if min(struct.unpack_from(f"{order}2h", head, 252)) <= 0:
        return
    shape = np.maximum(struct.unpack_from(f"{order}8h", head, 40)[1:4], 1)
    sizes = struct.unpack_from(f"{order}4f", head, 76)
    sform = np.reshape(struct.unpack_from(f"{order}12f", head, 280), (3, 4))
    numbers = np.array(struct.unpack_from(f"{order}6f", head, 256))
    qform = _matrix(numbers, np.array(sizes[1:]), -1.0 if sizes[0] < 0 else 1.0)
    corners = np.stack(np.meshgrid(*((0, n - 1) for n in shape), (1,), indexing="ij"), axis=-1).reshape(-1, 4)
    if not np.allclose(corners @ sform.T, corners @ qform.T, rtol=0, atol=SAME_MM):
        raise UserError(
            "its header names two places (qform and sform differ), and programs choose differently; save it with one"
        )


def _check_finite(file: IO[bytes], head: bytes, order: str) -> None:
    (kind,), (offset,) = struct.unpack_from(f"{order}h", head, 70), struct.unpack_from(f"{order}f", head, 108)
    if kind not in FLOATS:
        return
    file.seek(int(offset))
    dtype = np.dtype(order + FLOATS[kind])
    for piece in iter(lambda: file.read(PIECE), b""):
        whole = piece[: len(piece) // dtype.itemsize * dtype.itemsize]
        if not np.isfinite(np.frombuffer(whole, dtype)).all():
            raise UserError("it holds NaN or infinite values; replace them, as by -1000")


def _matrix(numbers: np.ndarray, sizes: np.ndarray, side: float) -> np.ndarray:
    """(3, 4) of a quaternion b, c, d and an offset, as NIfTI-1 defines it; side: of the third axis."""
    b, c, d = numbers[:3]
    a = np.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    return np.column_stack([turn * sizes * (1.0, 1.0, side), numbers[3:]])
