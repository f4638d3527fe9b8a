"""What all data modules share: split, training samples, loaders, a summary and a fingerprint."""

from __future__ import annotations

import hashlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from cycle_am.contract import HU_MAX, HU_MIN, check_batch, scale_hu
from cycle_am.data.augmentation import augment
from cycle_am.data.cases import Cases
from cycle_am.data.splits import (
    Split,
    check_labels,
    check_no_leak,
    split,
    stratified_subset,
    with_validation,
)
from cycle_am.errors import UserError
from cycle_am.identity import check_spellings
from cycle_am.task import Task

SampleKey = tuple[int, int]  # (epoch, index of the case)
CONTRAST = 0.1  # of [0, 1], 140 HU: in a window that spans less there is no lung beside tissue
LUNG = float(scale_hu(np.array(-500.0)))  # and what is darker than this


class EvaluationSamples(Dataset):
    """Every case once, as it is: the centred window, neither shifted nor augmented."""

    def __init__(self, cases: Cases) -> None:
        self.cases = cases
        self.image, self.mask = cases.window()

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = {"image": self.image[index], **_describe_case(self.cases, index)}
        return sample if self.mask is None else {**sample, "mask": self.mask[index]}


class TrainingSamples(Dataset):
    """Training cases, shifted by cropping and augmented: a function of (seed, epoch, index) alone.

    The key that the sampler hands over carries the epoch, so any number of workers and of processes sees the
    same samples. With `pairs`, `other` is the image of a random other case, treated alike (sec. 2.3).
    """

    def __init__(
        self, cases: Cases, shift: int, augmentation: nn.Module | None, pairs: bool, seed: int
    ) -> None:
        if pairs and len(cases) < 2:
            raise UserError(
                f"pairs need two training cases, not {len(cases)}; give more data or set data.pairs=false"
            )
        self.cases, self.augmentation, self.pairs, self.seed = cases, augmentation, pairs, seed
        self.reach = np.minimum(cases.margin, shift)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, key: SampleKey) -> dict[str, Any]:
        epoch, index = key
        random = np.random.default_rng((self.seed, epoch, index))
        image, mask = self._view(index, random)
        sample = {"image": image, **_describe_case(self.cases, index)}
        if mask is not None:
            sample["mask"] = mask
        if self.pairs:
            sample["other"] = self._view(self._partner(index, random), random)[0]
        return sample

    def _view(self, index: int, random: np.random.Generator) -> tuple[Tensor, Tensor | None]:
        """Image (C, S, S) and mask (1, S, S) of a case, shifted and augmented with these random numbers."""
        top, left = self.cases.rim - random.integers(-self.reach[index], self.reach[index], 2, endpoint=True)
        area = (index, ..., slice(top, top + self.cases.size), slice(left, left + self.cases.size))
        image = _layers(self.cases.image[area])
        mask = None if self.cases.mask is None else _layers(self.cases.mask[area])
        seed = int(random.integers(2**63))
        return (image, mask) if self.augmentation is None else augment(self.augmentation, image, mask, seed)

    def _partner(self, index: int, random: np.random.Generator) -> int:
        """Any other case, all equally likely."""
        return (index + 1 + int(random.integers(len(self.cases) - 1))) % len(self.cases)


class EpochSampler(DistributedSampler):
    """Keys (epoch, index) in an order that depends on (seed, epoch) only; every process takes its share.

    Process r of w takes every w-th key from r on. The shares are made equally long: by dropping the last keys
    with `drop_last`, else by repeating the first. Lightning calls `set_epoch`, and adds no sampler of its own
    to this class.
    """

    def __init__(self, dataset: Dataset, seed: int, drop_last: bool, rank: int = 0, world: int = 1) -> None:
        super().__init__(dataset, num_replicas=world, rank=rank, shuffle=True, seed=seed, drop_last=drop_last)

    def __iter__(self) -> Iterator[SampleKey]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.dataset))
        own = np.resize(order, self.total_size)[self.rank :: self.num_replicas]
        return iter([(self.epoch, int(index)) for index in own])


def _layers(pixels: np.ndarray) -> Tensor:
    """A copy of (S, S) or (C, S, S) pixels as (C, S, S)."""
    copied = torch.from_numpy(pixels.copy())
    return copied if copied.ndim == 3 else copied[None]


class CasesDataModule(pl.LightningDataModule, ABC):
    """Base of the data modules; a subclass gives `build_cases`, and `split_cases` if the source has parts.

    batch_size: cases per process and step. num_workers: loader processes; the data lie in memory, 0 will do.
    seed: of order, shifts, augmentation and pairs. split_seed: of the split, so that other seeds compare.
    test_fraction: share of all cases, val_fraction: share of what the test part leaves.
    folds, fold: instead, the test part is outer fold `fold` of all patients.
    limit: a seeded stratified subset of that many cases, for trials.
    shift: largest training shift in pixels, made by cropping (a case with a smaller margin moves less).
    augmentation: kornia module for one sample (`build_augmentation`). pairs: add `other` to training batches.
    drop_last: leave out the last, smaller training batch (another one each epoch).
    fov_mm: side of the window. margin: pixels prepared around it. cache_dir: of prepared cases.
    shuffle_labels: a sanity check (Zhang et al. 2017): labels of training and validation are dealt out at random.

    `task` says what the images and classes are; a source of other than CT nodules gives its own.
    After `prepare_data(); setup()`: cases, train_cases, val_cases, test_cases, class_weights, fingerprint,
    describe(). Raises UserError for a class without cases in the training or validation part, for a patient in
    two parts, and for ids that differ in spelling only. Warns of the same image in two parts and of wrong units.
    """

    def __init__(
        self,
        *,
        batch_size: int = 16,
        num_workers: int = 0,
        seed: int = 0,
        split_seed: int = 0,
        test_fraction: float = 0.3,
        val_fraction: float = 0.15,
        folds: int | None = None,
        fold: int = 0,
        limit: int | None = None,
        shift: int = 4,
        augmentation: nn.Module | None = None,
        pairs: bool = False,
        drop_last: bool = True,
        fov_mm: float = 45.0,
        margin: int = 8,
        cache_dir: str | Path = "cache",
        shuffle_labels: bool = False,
    ) -> None:
        super().__init__()
        _check_arguments(
            batch_size=batch_size, fov_mm=fov_mm, margin=margin, shift=shift, seed=seed, limit=limit
        )
        self.batch_size, self.num_workers, self.drop_last = batch_size, num_workers, drop_last
        self.seed, self.split_seed = seed, split_seed
        self.test_fraction, self.val_fraction = test_fraction, val_fraction
        self.folds, self.fold = folds, fold
        self.limit, self.shift, self.augmentation, self.pairs = limit, shift, augmentation, pairs
        self.fov_mm, self.margin, self.cache_dir = float(fov_mm), margin, Path(cache_dir)
        self.shuffle_labels = shuffle_labels
        self._prepared: Cases | None = None
        self._warned = False

    truth = ""  # what a mask is, where it is the known reason of the label and not an outline

    @property
    def task(self) -> Task:
        """What the images are and which classes they have; complete once the data are prepared."""
        return Task(fov_mm=self.fov_mm)

    @abstractmethod
    def build_cases(self) -> Cases:
        """The whole set; a subclass keeps it on disk with `cases.prepared`."""

    def surroundings(self, margin: int) -> Tensor | None:
        """(M, C, S, S) float32 training images with `margin` pixels on each side of the window, S = size + 2 margin.

        None where the source has no more around its windows; one that has overrides this with `_wider`.
        """
        return None

    def _wider(self, margin: int, **settings: Any) -> Tensor | None:
        """`surroundings` of what `build_cases` gives with this margin, and with other `settings`, attributes."""
        wider = copy(self)
        for name, value in {"margin": margin, **settings}.items():
            setattr(wider, name, value)
        cases = wider.build_cases()
        kept = np.isin(cases.case_id, self.train_cases.case_id) & (cases.margin >= margin)
        if not kept.any():
            return None
        images = torch.from_numpy(cases.image[kept])
        return images if images.ndim == 4 else images[:, None]

    def split_cases(self, cases: Cases) -> Split:
        """Indices of the three parts; a source with a split of its own overrides this."""
        return split(
            cases.label,
            cases.patient_id,
            test_fraction=self.test_fraction,
            val_fraction=self.val_fraction,
            folds=self.folds,
            fold=self.fold,
            seed=self.split_seed,
            classes=self.task.classes,
        )

    def with_validation(self, cases: Cases, parts: Split) -> Split:
        """Parts that a source gives; validation cases are drawn where it gives none."""
        return with_validation(parts, cases.label, cases.patient_id, self.val_fraction, self.split_seed)

    def prepare_data(self) -> None:
        """Fill the cache (once per machine)."""
        if self._prepared is None:
            self._prepared = self.build_cases()

    def setup(self, stage: str | None = None) -> None:
        """Read the cases and split them; the same for every stage."""
        self.prepare_data()
        self._prepared = replace(self._prepared, task=self.task)
        for name in ("case_id", "patient_id"):
            check_spellings(getattr(self._prepared, name), name)
        parts = self.split_cases(self._prepared)
        check_no_leak(self._prepared.patient_id, parts)
        parts = self._limited(parts)
        self.train_cases, self.val_cases, self.test_cases = (self._prepared.select(part) for part in parts)
        self.cases = self._prepared.select(np.sort(np.concatenate(parts)))
        self._warn()
        if self.shuffle_labels:
            self.train_cases, self.val_cases = map(self._shuffled, (self.train_cases, self.val_cases))
        self._check_parts()

    def _warn(self) -> None:
        """Once: a trainer sets up again."""
        if not self._warned:
            warn_of_copies(self._parts())
            if self.task.is_hounsfield:
                warn_of_units(self.cases)
        self._warned = True

    @property
    def class_weights(self) -> Tensor:
        """(K,) float32: inverse to the number of cases of each class, mean 1 over the training cases."""
        count = len(self.task.classes)
        counts = np.array([np.sum(self.train_cases.label == value) for value in range(count)])
        return torch.tensor(counts.sum() / (float(count) * counts), dtype=torch.float32)

    @property
    def fingerprint(self) -> str:
        """Hex digest over the three parts: equal where the very same data are split the same way."""
        digests = [part.digest() for part in self._parts().values()]
        return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:16]

    def describe(self) -> str:
        """A short table: cases, patients and labels of each part."""
        parts = {**self._parts(), "all": self.cases}
        rows = {name: _summary(part, self.task.labels) for name, part in parts.items()}
        return pd.DataFrame.from_dict(rows, orient="index").to_string()

    def train_dataloader(self) -> DataLoader:
        """Shuffled, shifted, augmented batches of this process."""
        samples = TrainingSamples(self.train_cases, self.shift, self.augmentation, self.pairs, self.seed)
        rank, world = _process()
        fills_a_batch = len(samples) >= self.batch_size * world  # else dropping would leave nothing
        drop_last = self.drop_last and fills_a_batch
        sampler = EpochSampler(samples, self.seed, drop_last, rank, world)
        return self._loader(samples, sampler=sampler, drop_last=drop_last)

    def val_dataloader(self) -> DataLoader:
        """Validation cases in order, all of them in every process."""
        return self._loader(EvaluationSamples(self.val_cases))

    def test_dataloader(self) -> DataLoader:
        """Test cases in order, all of them in every process."""
        return self._loader(EvaluationSamples(self.test_cases))

    def _loader(self, samples: Dataset, **options: Any) -> DataLoader:
        return DataLoader(
            samples,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(self.seed),  # the global one belongs to the training step
            collate_fn=partial(collate, task=self.task),
            **options,
        )

    def _parts(self) -> dict[str, Cases]:
        return {"train": self.train_cases, "val": self.val_cases, "test": self.test_cases}

    def _shuffled(self, cases: Cases) -> Cases:
        random = np.random.default_rng(self.split_seed)
        return replace(cases, label=random.permutation(cases.label))

    def _limited(self, parts: Split) -> Split:
        """The parts cut to `limit` cases in all, every label of every part kept if it can be."""
        if self.limit is None:
            return parts
        index = np.concatenate(parts)
        part = np.repeat(np.arange(len(parts)), [len(members) for members in parts])
        kept = stratified_subset(
            part * len(self.task.labels) + self._prepared.label[index], self.limit, self.split_seed
        )
        return Split(*(index[kept][part[kept] == number] for number in range(len(parts))))

    def _check_parts(self) -> None:
        check_labels(self.train_cases.label, self.task.classes, "the training part")
        check_labels(self.val_cases.label, self.task.classes, "the validation part")
        if not len(self.test_cases):
            raise UserError(
                "the test part is empty; raise data.test_fraction or data.limit, or name test rows"
            )


def warn_of_copies(parts: dict[str, Cases]) -> None:
    """Warn where images of one part are in another too, pixel for pixel: under two names, a patient is in both."""
    pixels_of = {name: _by_pixels(cases) for name, cases in parts.items()}
    for first, second in (("train", "test"), ("val", "test"), ("train", "val")):
        shared = pixels_of[first].keys() & pixels_of[second].keys()
        if shared:
            count = sum(len(pixels_of[second][pixels]) for pixels in shared)
            there, here = min(
                (pixels_of[first][pixels][0], pixels_of[second][pixels][0]) for pixels in shared
            )
            warnings.warn(
                f"images of the {second} part that the {first} part holds too, pixel for pixel: {count} "
                f"(as {here}, there {there}); drop the copies, or give them one patient_id",
                stacklevel=2,
            )


def _by_pixels(cases: Cases) -> dict[bytes, list[str]]:
    """Digest of a window's pixels -> the cases that have it."""
    cases_by: dict[bytes, list[str]] = {}
    for window, name in zip(_windows(cases), cases.case_id, strict=True):
        cases_by.setdefault(hashlib.sha256(window.tobytes()).digest(), []).append(str(name))
    return cases_by


def _windows(cases: Cases) -> np.ndarray:
    """(N, ..., size, size) the centred windows, not copied."""
    centre = slice(cases.rim, cases.rim + cases.size)
    return cases.image[..., centre, centre]


def warn_of_units(cases: Cases) -> None:
    """Warn of windows with next to no contrast, and of a set without lung: of values in another unit, or of centres
    beside the lesions.
    """
    windows = _windows(cases)
    spans, darkest = np.ptp(windows, axis=(1, 2)), float(windows.min())
    flat = np.flatnonzero(spans < CONTRAST)
    mend = "check their units, data.hu_range and centres"
    if len(flat):
        first = flat[spans[flat].argmin()]
        warnings.warn(
            f"images with next to no contrast: {len(flat)} of {len(cases)} (as {cases.case_id[first]}, which spans "
            f"{spans[first] * (HU_MAX - HU_MIN):.0f} HU); {mend}",
            stacklevel=2,
        )
    if darkest > LUNG:
        hu = HU_MIN + darkest * (HU_MAX - HU_MIN)
        warnings.warn(f"no image holds lung or air (the darkest pixel has {hu:.0f} HU); {mend}", stacklevel=2)


def collate(samples: list[dict[str, Any]], task: Task) -> dict[str, Any]:
    """Samples -> one batch of the contract, checked."""
    batch = torch.utils.data.default_collate(samples)
    check_batch(batch, task.channels, task.size, len(task.classes))
    return batch


def _describe_case(cases: Cases, index: int) -> dict[str, Any]:
    described = {
        "label": int(cases.label[index]),
        "case_id": str(cases.case_id[index]),
        "patient_id": str(cases.patient_id[index]),
    }
    return described if cases.mask is None else {**described, "has_mask": bool(cases.has_mask[index])}


def _summary(cases: Cases, names: dict[int, str]) -> dict[str, int]:
    labels = {name: int(np.sum(cases.label == value)) for value, name in names.items()}
    return {"cases": len(cases), "patients": len(np.unique(cases.patient_id)), **labels}


def _process() -> tuple[int, int]:
    """(rank, number of processes)."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def _check_arguments(
    *, batch_size: int, fov_mm: float, margin: int, shift: int, seed: int, limit: int | None
) -> None:
    if batch_size < 1 or (limit is not None and limit < 1):
        raise UserError(f"data.batch_size={batch_size} and data.limit={limit} must be at least 1; raise them")
    if not fov_mm > 0:
        raise UserError(
            f"data.fov_mm={fov_mm} is no field of view; use millimetres above 0, the paper's is 45"
        )
    if min(margin, shift, seed) < 0:
        raise UserError(
            f"data.margin={margin}, data.shift={shift} and seed={seed} must not be negative; use 0 or more"
        )
