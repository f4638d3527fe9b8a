"""The phantom as a DICOM tree in LIDC-IDRI's layout, under LIDC's own UIDs: the LIDC path without LIDC.

`python -m cycle_am.data.phantom.dicom ROOT [--patients 12] ...` writes `<patient>/<study uid>/<series
uid>/*.dcm`. Around each lesion the pixels are the phantom's, at the place and height of the readers'
outlines; the rest of a slice is a schematic thorax. A LIDC data module over the tree gives the phantom's
images, up to the rounding to whole HU.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from cycle_am.console import tolerate_streams
from cycle_am.data.lidc.annotations import Scan, load_scans
from cycle_am.data.lidc.lesions import Lesion
from cycle_am.data.phantom.cohort import cohort, finding, scene_size
from cycle_am.data.phantom.render import render_slice
from cycle_am.data.phantom.scene import Scene, draw_scene
from cycle_am.errors import UserError
from cycle_am.progress import steps

SIZE = 512
OUTSIDE = -1024.0
SLOPE, INTERCEPT = 1.0, -1024.0
WHOLE, ABSENT, CUT_SHORT = "whole", "absent", "cut short"


@dataclass(frozen=True)
class Flaws:
    """What is to be wrong with a tree.

    absent: lesions whose slice is missing; cut_short: lesions whose slice is half a file; duplicated: series
    in which every position occurs twice, the second file (of higher InstanceNumber) being air.
    """

    absent: int = 0
    cut_short: int = 0
    duplicated: int = 0


def write_dicom_tree(
    root: str | Path, n_patients: int = 12, seed: int = 0, *, around: int = 2, flaws: Flaws | None = None
) -> pd.DataFrame:
    """Write the lesions of n_patients patients below `root`, with `around` slices on either side of each.

    Patients are drawn by `seed`, malignant and benign ones in turn; it is the phantom's render seed too.
    Returns one row a lesion: lesion_id, patient_id, scan_id, label, path of its slice, state (whole | absent
    | cut short). Raises UserError where `root` holds something already or there are not so many patients.
    """
    root, flaws = Path(root), flaws or Flaws()
    if root.exists() and any(root.iterdir()):
        raise UserError(f"{root} is not empty; give a new folder")
    lesions = choose_patients(n_patients, seed)
    scans = group_by_scan(lesions)
    twice = {scan.scan_id for scan, _ in scans[: flaws.duplicated]}
    states = assign_flaws(lesions, flaws, seed, spared=twice)
    rows = []
    for scan, members in steps(scans, "DICOM", unit="scans"):
        paths = write_series(root, scan, members, seed, around, twice=scan.scan_id in twice)
        rows += [_row(lesion, paths[lesion.slice_k], states[lesion.lesion_id]) for lesion in members]
    table = pd.DataFrame(rows)
    table.apply(lambda row: damage(Path(row["path"]), row["state"]), axis=1)
    return table


def choose_patients(n_patients: int, seed: int) -> list[Lesion]:
    """All labelled lesions of n_patients random patients; every second has a malignant one."""
    by_patient = defaultdict(list)
    for lesion in cohort():
        by_patient[lesion.patient_id].append(lesion)
    shuffled = np.random.default_rng(seed).permutation(sorted(by_patient)).tolist()
    malignant = [p for p in shuffled if any(lesion.label == "malignant" for lesion in by_patient[p])]
    benign = [p for p in shuffled if p not in set(malignant)]
    if not 1 <= n_patients <= 2 * min(len(malignant), len(benign)):
        raise UserError(
            f"{n_patients} patients were asked for; use 1 to {2 * min(len(malignant), len(benign))}"
        )
    chosen = [p for pair in zip(malignant, benign, strict=False) for p in pair][:n_patients]
    return [lesion for patient in chosen for lesion in by_patient[patient]]


def assign_flaws(lesions: list[Lesion], flaws: Flaws, seed: int, spared: set[int]) -> dict[str, str]:
    """lesion_id -> state; only lesions alone on their slice and not in `spared` scans get a flaw."""
    places = Counter((lesion.scan_id, lesion.slice_k) for lesion in lesions)
    alone = [
        lesion.lesion_id
        for lesion in lesions
        if places[lesion.scan_id, lesion.slice_k] == 1 and lesion.scan_id not in spared
    ]
    wanted = [ABSENT] * flaws.absent + [CUT_SHORT] * flaws.cut_short
    if len(wanted) > len(alone):
        raise UserError(
            f"{len(wanted)} flaws do not fit {len(alone)} lesions; ask for fewer or for more patients"
        )
    drawn = np.random.default_rng((seed, 1)).permutation(alone)[: len(wanted)].tolist()
    return {lesion.lesion_id: WHOLE for lesion in lesions} | dict(zip(drawn, wanted, strict=True))


def group_by_scan(lesions: Iterable[Lesion]) -> list[tuple[Scan, list[Lesion]]]:
    """Lesions with their scan, in the order in which the scans occur."""
    scans, groups = {scan.scan_id: scan for scan in load_scans()}, defaultdict(list)
    for lesion in lesions:
        groups[lesion.scan_id].append(lesion)
    return [(scans[scan_id], members) for scan_id, members in groups.items()]


def write_series(
    root: Path, scan: Scan, lesions: list[Lesion], seed: int, around: int, twice: bool = False
) -> dict[int, Path]:
    """Write the slices around a scan's lesions; returns slice index -> file."""
    folder = root / scan.patient_id / scan.study_uid / scan.series_uid
    folder.mkdir(parents=True)
    scenes = [(lesion, draw_scene(finding(lesion), seed)) for lesion in lesions]
    count, paths = len(scan.slice_zvals), {}
    for k in wanted_slices(lesions, around, count):
        paths[k] = folder / f"{k + 1:06d}.dcm"
        write_slice(paths[k], scan, k, slice_hu(scan, scenes, k), number=count - k)
        if twice:
            air = np.full((SIZE, SIZE), OUTSIDE)
            write_slice(folder / f"{k + 1 + count:06d}.dcm", scan, k, air, number=2 * count - k)
    return paths


def wanted_slices(lesions: list[Lesion], around: int, count: int) -> list[int]:
    """Ascending indices of the slices within `around` of any lesion's slice."""
    near = {k for lesion in lesions for k in range(lesion.slice_k - around, lesion.slice_k + around + 1)}
    return sorted(k for k in near if 0 <= k < count)


def slice_hu(scan: Scan, scenes: list[tuple[Lesion, Scene]], k: int) -> np.ndarray:
    """(512, 512) HU: a schematic thorax, around each lesion the phantom's pixels."""
    image, nearest = thorax(scan.pixel_spacing), np.full((SIZE, SIZE), np.inf)
    for lesion, scene in scenes:
        z = scan.slice_zvals[k] - lesion.slice_z_mm
        paste(image, nearest, render_slice(scene, scene_size(scan.pixel_spacing), z), lesion)
    return image


def thorax(spacing: float) -> np.ndarray:
    """A body of soft tissue with two lungs in air, on 512 x 512 pixels."""
    axis = (np.arange(SIZE) - (SIZE - 1) / 2) * spacing
    rows, columns = axis[:, None], axis[None, :]
    image = np.full((SIZE, SIZE), OUTSIDE)
    image[(rows / 115) ** 2 + (columns / 165) ** 2 < 1] = 40
    image[((rows + 5) / 85) ** 2 + ((np.abs(columns) - 78) / 60) ** 2 < 1] = -860
    return image


def paste(image: np.ndarray, nearest: np.ndarray, patch: np.ndarray, lesion: Lesion) -> None:
    """Put a patch around the lesion's midpoint, in place, where no other lesion is nearer."""
    half = patch.shape[0] // 2
    corner = np.round([lesion.centre_i, lesion.centre_j]).astype(int) - half
    inner = tuple(slice(max(c, 0), min(c + len(patch), SIZE)) for c in corner)
    part = patch[tuple(slice(s.start - c, s.stop - c) for s, c in zip(inner, corner, strict=True))]
    rows, columns = np.ogrid[inner]
    gap = np.hypot(rows - lesion.centre_i, columns - lesion.centre_j)
    closer = gap < nearest[inner]
    image[inner] = np.where(closer, part, image[inner])
    nearest[inner] = np.where(closer, gap, nearest[inner])


def write_slice(path: Path, scan: Scan, k: int, hu: np.ndarray, number: int) -> None:
    """One CT slice (512, 512) in HU as an int16 DICOM file with the geometry and rescale tags of LIDC's."""
    uid = f"{scan.series_uid[:40]}.{scan.scan_id}.{number}"
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, uid
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, uid
    data.Modality, data.PatientID, data.PatientName = "CT", scan.patient_id, ""
    data.StudyInstanceUID, data.SeriesInstanceUID = scan.study_uid, scan.series_uid
    data.InstanceNumber, data.ImageOrientationPatient = number, [1, 0, 0, 0, 1, 0]
    corner = -(SIZE - 1) / 2 * scan.pixel_spacing
    data.ImagePositionPatient = [round(corner, 4), round(corner, 4), round(float(scan.slice_zvals[k]), 4)]
    data.PixelSpacing, data.SliceThickness = [scan.pixel_spacing] * 2, scan.slice_thickness
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = SIZE, SIZE
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.RescaleSlope, data.RescaleIntercept, data.RescaleType = SLOPE, INTERCEPT, "HU"
    data.PixelData = np.round((hu.clip(-1024, 3071) - INTERCEPT) / SLOPE).astype("<i2").tobytes()
    pydicom.dcmwrite(path, data, enforce_file_format=True)


def damage(path: Path, state: str) -> None:
    """Bring a written file into its state: remove it, cut it in half, or leave it."""
    if state == ABSENT:
        path.unlink()
    elif state == CUT_SHORT:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _row(lesion: Lesion, path: Path, state: str) -> dict[str, object]:
    return {
        "lesion_id": lesion.lesion_id,
        "patient_id": lesion.patient_id,
        "scan_id": lesion.scan_id,
        "label": lesion.label,
        "path": str(path),
        "state": state,
    }


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, help="a new folder")
    parser.add_argument("--patients", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--around", type=int, default=2, help="slices on either side of each lesion's slice")
    for flaw in ("absent", "cut-short", "duplicated"):
        parser.add_argument(f"--{flaw}", type=int, default=0, help=f"see Flaws.{flaw.replace('-', '_')}")
    options = parser.parse_args(arguments)
    flaws = Flaws(options.absent, options.cut_short, options.duplicated)
    try:
        table = write_dicom_tree(
            options.root, options.patients, options.seed, around=options.around, flaws=flaws
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print(table.drop(columns="path").to_string(index=False))
    print(options.root)
    return 0


if __name__ == "__main__":
    tolerate_streams()
    sys.exit(main())
