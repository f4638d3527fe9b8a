"""MedMNIST's 2-D sets (Yang et al. 2023) from their .npz files, of any of its sizes, with the published split."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cycle_am.data.cases import Cases
from cycle_am.data.pictures import Picture
from cycle_am.data.splits import Split
from cycle_am.errors import UserError
from datamodules.pictures import PicturesDataModule

PARTS = Split._fields
ORGANS = (
    *("bladder", "femur left", "femur right", "heart", "kidney left", "kidney right"),
    *("liver", "lung left", "lung right", "pancreas", "spleen"),
)
# Names of the labels 0, 1, ... as MedMNIST's info file has them, some shortened.
LABELS = {
    "breastmnist": ("malignant", "normal or benign"),
    "pneumoniamnist": ("normal", "pneumonia"),
    "octmnist": ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    "bloodmnist": (
        *("basophil", "eosinophil", "erythroblast", "immature granulocyte"),
        *("lymphocyte", "monocyte", "neutrophil", "platelet"),
    ),
    "pathmnist": (
        *("adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle"),
        *("normal colon mucosa", "cancer-associated stroma", "colorectal adenocarcinoma epithelium"),
    ),
    "dermamnist": (
        *("actinic keratosis", "basal cell carcinoma", "benign keratosis-like lesion", "dermatofibroma"),
        *("melanoma", "melanocytic nevus", "vascular lesion"),
    ),
    "organamnist": ORGANS,
    "organcmnist": ORGANS,
    "organsmnist": ORGANS,
}
# The order in which classes are taken where the second is to be the finding: of BreastMNIST label 0 is malignant.
ORDER = {"breastmnist": ("normal or benign", "malignant")}


class MedMNISTDataModule(PicturesDataModule):
    """One of MedMNIST's 2-D sets (see above).

    npz: its file, as `breastmnist.npz` or `breastmnist_64.npz`. MedMNIST does not say which images are of one patient.
    Further arguments as in PicturesDataModule; size None: as stored. Raises UserError for another file.
    """

    source = "medmnist"

    def __init__(self, *, npz: str | Path, size: int | None = None, **common: Any) -> None:
        self.npz = Path(npz)
        super().__init__(size=size or self._arrays["train_images"].shape[1], **common)

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        wanted = [f"{part}_{what}" for part in PARTS for what in ("images", "labels")]
        try:
            with np.load(self.npz, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in wanted}
        except FileNotFoundError as error:
            raise UserError(f"data.npz={self.npz} does not exist; get it from medmnist.com") from error
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{self.npz} is no file of MedMNIST ({error}); get it from medmnist.com"
            ) from error
        for part in PARTS:
            images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
            flat = labels.reshape(len(labels), -1)
            if images.ndim not in (3, 4) or len(flat) != len(images) or flat.shape[1] != 1:
                raise UserError(
                    f"{self.npz}: {part}_images {images.shape} and {part}_labels {labels.shape} are not those of a 2-D "
                    "set with one label an image"
                )
            arrays[f"{part}_labels"] = flat[:, 0].astype(np.int64)
        return arrays

    @property
    def _set(self) -> str:
        """Which set it is: `breastmnist` of `breastmnist_64.npz`."""
        return self.npz.stem.partition("_")[0].lower()

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels 0, 1, ...; their numbers where the set is not known here."""
        count = 1 + max(int(self._arrays[f"{part}_labels"].max()) for part in PARTS)
        names = LABELS.get(self._set, ())
        return names if len(names) >= count else tuple(map(str, range(count)))

    def names(self) -> Sequence[str]:
        """In the order of the labels, but the finding second where it is not."""
        return ORDER.get(self._set, self.labels)

    def is_colour(self) -> bool:
        """Whether the images have three channels."""
        return self._arrays["train_images"].ndim == 4

    def pictures(self, numbers: Mapping[str, int]) -> list[Picture]:
        """All images of the classes, part by part."""
        return [
            Picture(image, numbers[self.labels[label]], f"{part}-{i:06d}", f"{part}-{i:06d}")
            for part in PARTS
            for i, (image, label) in enumerate(
                zip(self._arrays[f"{part}_images"], self._arrays[f"{part}_labels"], strict=True)
            )
            if self.labels[label] in numbers
        ]

    def split_cases(self, cases: Cases) -> Split:
        """As published."""
        of = np.array([name.partition("-")[0] for name in cases.case_id])
        return Split(*(np.flatnonzero(of == part) for part in PARTS))

    def settings(self) -> dict[str, Any]:
        """What the file holds."""
        state = hashlib.sha256()
        for array in self._arrays.values():
            state.update(np.ascontiguousarray(array).tobytes())
        return {"npz": state.hexdigest(), "labels": self.labels}
