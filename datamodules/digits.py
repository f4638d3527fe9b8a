"""scikit-learn's 1 797 scanned digits (Alpaydin and Kaynak 1998), 8 x 8 pixels of 17 grey values: no download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from cycle_am.data.pictures import Picture
from datamodules.pictures import PicturesDataModule


class DigitsDataModule(PicturesDataModule):
    """The digits, enlarged to `size`; who wrote which is not known. Arguments as in PicturesDataModule."""

    source = "digits"

    @cached_property
    def _digits(self) -> tuple[np.ndarray, np.ndarray]:
        digits = load_digits()
        return (digits.images / 16 * 255).round().astype(np.uint8), digits.target

    def names(self) -> Sequence[str]:
        """`0` to `9`."""
        return tuple("0123456789")

    def is_colour(self) -> bool:
        """They are grey."""
        return False

    def pictures(self, numbers: Mapping[str, int]) -> list[Picture]:
        """Those of the chosen digits, in the set's order."""
        return [
            Picture(image, numbers[str(digit)], f"digit-{i:04d}", f"digit-{i:04d}")
            for i, (image, digit) in enumerate(zip(*self._digits, strict=True))
            if str(digit) in numbers
        ]

    def settings(self) -> dict[str, Any]:
        """Nothing: they are part of scikit-learn."""
        return {}
