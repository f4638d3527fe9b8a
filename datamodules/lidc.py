"""LIDC-IDRI from a user's own DICOM folder: `data=lidc data.dicom_root=...`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from cycle_am.contract import BENIGN, IMAGE_SIZE, MALIGNANT, scale_hu
from cycle_am.data.cases import Cases, prepared, settings_digest
from cycle_am.data.dicom import find_folders, index_series
from cycle_am.data.lidc.lesions import MIN_READERS, Lesion, load_lesions
from cycle_am.data.lidc.pieces import VERSION, Job, Piece, Window, folder_state, prepare_scans
from cycle_am.errors import UserError
from cycle_am.files import write_atomically
from datamodules.base import CasesDataModule

LABELS = {"benign": BENIGN, "malignant": MALIGNANT}
SKIP_COLUMNS = ["lesion_id", "reason", "detail"]


class LIDCDataModule(CasesDataModule):
    """The cohort of sec. 3.1: one axial slice a lesion, 45 x 45 mm, median malignancy as label, consensus
    as mask.

    dicom_root: folder with the patients' folders (pylidc's layout, or any other).
    min_readers: a lesion needs at least that many annotations. workers: processes that prepare; None: every
    core. Other arguments: CasesDataModule. Preparation is kept in cache_dir scan by scan, so an
    interrupted one goes on where it stopped, and ends with the list of lesions that could not be had
    (`skipped.csv` beside the pieces). Raises UserError where dicom_root is absent, empty or holds nothing
    of LIDC-IDRI.
    """

    def __init__(
        self,
        dicom_root: str | Path,
        *,
        min_readers: int = MIN_READERS,
        workers: int | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        if min_readers < 1:
            raise UserError(f"data.min_readers is {min_readers}; use 1 or more (the paper: {MIN_READERS})")
        self.dicom_root, self.min_readers, self.workers = Path(dicom_root).expanduser(), min_readers, workers

    @property
    def window_geometry(self) -> Window:
        """Field of view, pixels and margin of the prepared windows."""
        return Window(self.fov_mm, IMAGE_SIZE, self.margin)

    @property
    def piece_settings(self) -> dict[str, Any]:
        """What a prepared scan depends on, its files aside."""
        return {
            "version": VERSION,
            "fov_mm": self.fov_mm,
            "margin": self.margin,
            "min_readers": self.min_readers,
        }

    @property
    def piece_folder(self) -> Path:
        """Where prepared scans and `skipped.csv` are kept for these settings."""
        return self.cache_dir / f"lidc-{settings_digest(self.piece_settings)}"

    def build_cases(self) -> Cases:
        """The lesions whose slices are at hand; cached until settings or DICOM folders change."""
        states = sorted(map(folder_state, find_folders(self.dicom_root)))
        settings = {**self.piece_settings, "folders": states}
        return prepared(self.cache_dir, "lidc", settings, self._prepare)

    def surroundings(self, margin: int) -> Tensor | None:
        """As the base class says, read from the scans again."""
        return self._wider(margin)

    def prepare_shard(self, shard: int, shards: int) -> int:
        """Prepare every `shards`-th scan, from number `shard` on, into the same cache; returns how many those are.

        Shares of one `shards` have no scan in common, so that jobs on several machines can make them at the same
        time; `prepare_data` then finds their pieces.
        """
        lesions = [lesion for lesion in load_lesions(self.min_readers) if lesion.included]
        mine = self._jobs(lesions, index_series(self.dicom_root))[shard::shards]
        return sum(1 for _ in prepare_scans(mine, self.workers))

    def _prepare(self) -> Cases:
        lesions = [lesion for lesion in load_lesions(self.min_readers) if lesion.included]
        jobs = self._jobs(lesions, index_series(self.dicom_root))
        pieces = list(prepare_scans(jobs, self.workers))
        self._drop_outdated({job.path for job in jobs})
        self._report(skip_list(lesions, pieces))
        return self._cases({lesion.lesion_id: lesion for lesion in lesions}, pieces)

    def _jobs(self, lesions: list[Lesion], series: dict[str, list[Path]]) -> list[Job]:
        """One a scan that is at hand, in the order of the cohort. Raises UserError where none is."""
        by_scan = defaultdict(list)
        for lesion in lesions:
            if lesion.series_uid in series:
                by_scan[lesion.scan_id].append(lesion)
        if not by_scan:
            raise UserError(
                f"no series of LIDC-IDRI with a lesion below {self.dicom_root}; check data.dicom_root"
            )
        return [self._job(scan_id, members, series) for scan_id, members in by_scan.items()]

    def _job(self, scan_id: int, lesions: list[Lesion], series: dict[str, list[Path]]) -> Job:
        folders = series[lesions[0].series_uid]
        states = [folder_state(folder) for folder in folders]
        state = states[0] if len(states) == 1 else settings_digest({"folders": states})
        path = self.piece_folder / f"{scan_id:04d}-{state}.npz"
        return Job(tuple(lesions), tuple(folders), self.window_geometry, path)

    def _drop_outdated(self, current: set[Path]) -> None:
        for path in set(self.piece_folder.glob("*.npz")) - current:
            path.unlink(missing_ok=True)

    def _report(self, skipped: pd.DataFrame) -> None:
        """Write skipped.csv and say in plain words what is missing."""
        path = self.piece_folder / "skipped.csv"
        write_atomically(path, lambda unfinished: skipped.to_csv(unfinished, index=False))
        print(describe_skipped(skipped, path))

    def _cases(self, lesions: dict[str, Lesion], pieces: list[Piece]) -> Cases:
        ids = np.concatenate([piece.lesion_id for piece in pieces])
        if not len(ids):
            raise UserError(
                f"none of the {len(lesions)} lesions could be read below {self.dicom_root}; "
                f"see {self.piece_folder / 'skipped.csv'} for the reasons"
            )
        chosen = [lesions[lesion_id] for lesion_id in ids]
        return Cases(
            image=scale_hu(np.concatenate([piece.hu for piece in pieces])),
            mask=np.concatenate([piece.mask for piece in pieces]),
            label=np.array([LABELS[lesion.label] for lesion in chosen], dtype=np.int64),
            case_id=ids,
            patient_id=np.array([lesion.patient_id for lesion in chosen]),
            margin=np.concatenate([piece.margin for piece in pieces]),
            diameter_mm=np.array([lesion.diameter_mm for lesion in chosen], dtype=np.float32),
            pixel_mm=self.fov_mm / IMAGE_SIZE,
        )


def skip_list(lesions: list[Lesion], pieces: list[Piece]) -> pd.DataFrame:
    """Every lesion of the cohort that was not prepared: lesion_id, patient_id, scan_id, reason, detail."""
    rows = np.concatenate([piece.skipped for piece in pieces])
    prepared_ids = {lesion_id for piece in pieces for lesion_id in piece.lesion_id}
    known = prepared_ids | set(rows[:, 0])
    absent = [
        (le.lesion_id, "scan absent", "no folder of this series")
        for le in lesions
        if le.lesion_id not in known
    ]
    table = pd.DataFrame([*rows.tolist(), *absent], columns=SKIP_COLUMNS)
    names = pd.DataFrame(
        [(le.lesion_id, le.patient_id, le.scan_id) for le in lesions],
        columns=["lesion_id", "patient_id", "scan_id"],
    )
    return names.merge(table, on="lesion_id")


def describe_skipped(skipped: pd.DataFrame, path: Path) -> str:
    """Plain lines: how many lesions are missing and why, and each one that is not simply an absent scan."""
    if skipped.empty:
        return "LIDC: no lesion was skipped"
    counts = [f"  {len(rows)} lesions: {reason}" for reason, rows in skipped.groupby("reason")]
    others = skipped[skipped["reason"] != "scan absent"]
    single = [f"  {row.lesion_id}: {row.reason} ({row.detail})" for row in others.itertuples()]
    return "\n".join([f"LIDC: {len(skipped)} lesions skipped, listed in {path}", *counts, *single])
