"""What a study is made of: images and maps of an `evaluate.py evaluation=compare`, and the draw of cases."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from cycle_am.errors import UserError

COMMAND = "python evaluate.py experiment=cycle_am_small evaluation=compare"
MAPS, PICTURES = "relevance.npz", "images.npz"
LABELS = ("benign", "malignant")


@dataclass(frozen=True)
class Material:
    """N explained cases.

    case_id: (N,) str. image: (N, H, W) in [0, 1]. label: (N,) 0 benign, 1 malignant, -1 unknown. p: (N,) p(malignant)
    of the explained classifier. maps: method -> (N, H, W), positive for malignant. fov_mm: side of the images.
    """

    case_id: np.ndarray
    image: np.ndarray
    label: np.ndarray
    p: np.ndarray
    maps: dict[str, np.ndarray]
    fov_mm: float

    def usable(self) -> np.ndarray:
        """(N,) bool: known label, classified correctly, and every method has a map."""
        correct = (self.label >= 0) & (decided(self.p) == self.label)
        known = [np.isfinite(maps).all((1, 2)) for maps in self.maps.values()]
        return correct & np.logical_and.reduce(known)


def decided(p: np.ndarray) -> np.ndarray:
    """The class that the classifier decides for, 1 from p(malignant) = .5 on."""
    return (p >= 0.5).astype(np.int64)


def read_material(folder: Path, methods: Sequence[str]) -> Material:
    """Images and maps of a comparison's folder. Raises UserError where something is absent or does not fit, and for
    other classes than the study's questions are about.

    A comparison explains the class that the classifier decided for; here all maps are turned towards malignant.
    """
    maps, pictures = _load(folder / MAPS), _load(folder / PICTURES)
    absent = [name for name in methods if name not in maps]
    if absent:
        there = ", ".join(sorted(maps.keys() - {"case_id"}))
        raise UserError(
            f"{folder / MAPS} has no maps of {absent[0]}; there are {there}: study.create.methods"
        )
    if not np.array_equal(maps["case_id"], pictures["case_id"]):
        raise UserError(f"{MAPS} and {PICTURES} in {folder} hold different cases; run `{COMMAND}` again")
    classes = tuple(pictures.get("classes", LABELS))
    if classes != LABELS:
        raise UserError(
            f"{folder} explains {' or '.join(classes)}; a study asks its readers about {' or '.join(LABELS)} in grey "
            "images"
        )
    p = pictures["p_malignant"].astype(np.float64)
    towards = np.where(decided(p) == 1, 1.0, -1.0)[:, None, None]
    return Material(
        case_id=pictures["case_id"].astype(str),
        image=pictures["image"],
        label=pictures["label"],
        p=p,
        maps={name: maps[name] * towards for name in methods},
        fov_mm=float(pictures["fov_mm"]),
    )


def draw_cases(material: Material, counts: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Indices of `counts` usable cases (benign, malignant), random, the benign first.

    Raises UserError where there are fewer.
    """
    usable = material.usable()
    pools = [np.flatnonzero(usable & (material.label == label)) for label in range(len(LABELS))]
    for name, wanted, there in zip(LABELS, counts, pools, strict=True):
        if len(there) < wanted:
            raise UserError(
                f"only {len(there)} {name} cases of {(material.label == LABELS.index(name)).sum()} were classified "
                f"correctly and explained by all methods, {wanted} are wanted; set study.create.{name}={len(there)}"
            )
    return np.concatenate(
        [rng.choice(there, count, replace=False) for there, count in zip(pools, counts, strict=True)]
    )


def draw_repeats(counts: Sequence[int], repeats: int, rng: np.random.Generator) -> list[int]:
    """Which of the drawn cases (places, the benign first) are shown again: benign and malignant by turns."""
    benign, malignant = (rng.permutation(count).tolist() for count in counts)
    queues = [benign, [counts[0] + place for place in malignant]]
    longest = max(counts, default=0)
    turns = [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]
    return turns[:repeats]


def digest(file: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _load(file: Path) -> dict[str, np.ndarray]:
    if not file.is_file():
        raise UserError(f"there is no {file}; run `{COMMAND}`, or give its folder: study.create.compare=PATH")
    try:
        with np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise UserError(f"{file} cannot be read ({error}); run `{COMMAND}` again") from error
