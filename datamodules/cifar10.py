"""CIFAR-10 (Krizhevsky 2009) from its binary files: 60 000 photographs of 32 x 32 pixels in ten classes.

The folder holds `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`, each of records of 3 073 bytes: the
label, then 1 024 bytes of red, of green and of blue, row by row. The pickled version is not opened: pickles are
programs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cycle_am.data.cases import Cases
from cycle_am.data.pictures import Picture
from cycle_am.data.splits import Split
from cycle_am.errors import UserError
from datamodules.pictures import PicturesDataModule

SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FILES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")


class Cifar10DataModule(PicturesDataModule):
    """CIFAR-10 (see above), with the published test part; validation pictures are drawn from the rest.

    root: the folder. Which photographs are alike is not known. Further arguments as in PicturesDataModule. Raises
    UserError for another folder.
    """

    source = "cifar10"

    def __init__(
        self, *, root: str | Path, size: int = SIDE, thing: str = "photograph", **common: Any
    ) -> None:
        super().__init__(size=size, thing=thing, **common)
        self.root = Path(root)
        for name in FILES:
            _check(self.root / name)

    def names(self) -> Sequence[str]:
        """In the order of the labels."""
        return CLASSES

    def is_colour(self) -> bool:
        """They are."""
        return True

    def pictures(self, numbers: Mapping[str, int]) -> Iterator[Picture]:
        """Those of the classes, file by file."""
        for name in FILES:
            records = np.fromfile(self.root / name, np.uint8).reshape(-1, RECORD)
            if records[:, 0].max() >= len(CLASSES):
                raise UserError(f"{self.root / name} holds label {records[:, 0].max()}; it is not CIFAR-10's")
            part = Path(name).stem
            for i in np.flatnonzero(np.isin(records[:, 0], [CLASSES.index(chosen) for chosen in numbers])):
                values = np.moveaxis(records[i, 1:].reshape(3, SIDE, SIDE), 0, -1)
                label, case = numbers[CLASSES[records[i, 0]]], f"{part}-{i:05d}"
                yield Picture(values, label, case, case)

    def split_cases(self, cases: Cases) -> Split:
        """The published test part; validation pictures are drawn."""
        is_test = np.char.startswith(cases.case_id, "test")
        parts = Split(np.flatnonzero(~is_test), np.flatnonzero(is_test[:0]), np.flatnonzero(is_test))
        return self.with_validation(cases, parts)

    def settings(self) -> dict[str, Any]:
        """Sizes and times of the files."""
        states = [(self.root / name).stat() for name in FILES]
        return {"root": str(self.root.resolve()), "files": [[s.st_size, s.st_mtime_ns] for s in states]}


def _check(path: Path) -> None:
    if not path.is_file():
        pickled = path.with_suffix("").is_file()
        mend = "get the binary version; pickles are not opened" if pickled else f"it needs {', '.join(FILES)}"
        raise UserError(f"{path.parent} is no folder of CIFAR-10, {path.name} is absent ({mend})")
    size = path.stat().st_size
    if not size or size % RECORD:
        raise UserError(
            f"{path} has {size} bytes, no multiple of {RECORD}; get CIFAR-10's binary version again"
        )
