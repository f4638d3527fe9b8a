import numpy as np
import pydicom
import pytest

from cycle_am.data.lidc.annotations import load_scans
from cycle_am.data.phantom.cohort import finding, render_cases, scene_size
from cycle_am.data.phantom.dicom import (
    ABSENT,
    CUT_SHORT,
    WHOLE,
    Flaws,
    assign_flaws,
    choose_patients,
    group_by_scan,
    main,
    write_dicom_tree,
    write_series,
)
from cycle_am.data.phantom.render import render_slice
from cycle_am.data.phantom.scene import draw_scene
from cycle_am.errors import UserError
from datamodules.lidc import LIDCDataModule

PATIENTS, SEED = 10, 0


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    return root, write_dicom_tree(
        root, PATIENTS, SEED, around=1, flaws=Flaws(absent=1, cut_short=1, duplicated=1)
    )


@pytest.fixture(scope="module")
def module(tree, tmp_path_factory):
    data = LIDCDataModule(tree[0], workers=1, cache_dir=tmp_path_factory.mktemp("cache"))
    data.prepare_data()
    return data


def test_layout_and_headers_are_lidcs(tmp_path):
    scan, lesions = group_by_scan(choose_patients(1, SEED))[0]
    paths = write_series(tmp_path, scan, lesions[:1], SEED, around=1)
    k = lesions[0].slice_k
    assert sorted(paths) == [k - 1, k, k + 1]
    assert paths[k].parent == tmp_path / scan.patient_id / scan.study_uid / scan.series_uid
    data = pydicom.dcmread(paths[k])
    assert (data.Rows, data.Columns, data.pixel_array.dtype) == (512, 512, np.int16)
    assert float(data.ImagePositionPatient[2]) == pytest.approx(lesions[0].slice_z_mm, abs=1e-3)
    assert float(data.PixelSpacing[0]) == pytest.approx(scan.pixel_spacing)


def test_pydicom_reads_the_rendered_hounsfield_units(tmp_path):
    scan, lesions = group_by_scan(choose_patients(1, SEED))[0]
    lesion = lesions[0]
    path = write_series(tmp_path, scan, [lesion], SEED, around=0)[lesion.slice_k]
    data = pydicom.dcmread(path)
    hu = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
    drawn = render_slice(draw_scene(finding(lesion), SEED), scene_size(lesion.pixel_spacing))
    half, i, j = 20, round(lesion.centre_i), round(lesion.centre_j)
    middle = drawn.shape[0] // 2
    expected = drawn[middle - half : middle + half, middle - half : middle + half].clip(-1024, 3071)
    assert np.abs(hu[i - half : i + half, j - half : j + half] - expected).max() <= 0.5


def test_neighbouring_slices_show_the_same_surroundings_with_other_noise(tmp_path):
    scan, lesions = group_by_scan(choose_patients(1, SEED))[0]
    paths = write_series(tmp_path, scan, lesions[:1], SEED, around=1)
    i, j = round(lesions[0].centre_i), round(lesions[0].centre_j)
    cut = [pydicom.dcmread(p).pixel_array[i - 30 : i + 30, j - 30 : j + 30].ravel() for p in paths.values()]
    assert 0.3 < np.corrcoef(cut[0], cut[1])[0, 1] < 0.9999


def test_lidc_module_extracts_the_phantoms_images_and_masks(tree, module):
    cases = module._prepared
    by_id = {lesion.lesion_id: lesion for lesion in choose_patients(PATIENTS, SEED)}
    single = [s for s in group_by_scan(by_id.values()) if len(s[1]) == 1]  # no neighbour in the window
    ids = [lesions[0].lesion_id for _, lesions in single if lesions[0].lesion_id in cases.case_id]
    expected = render_cases([by_id[name] for name in ids], fov_mm=45.0, margin=8, seed=SEED)
    found = cases.select([cases.case_id.tolist().index(name) for name in ids])
    assert len(ids) >= 3
    assert np.abs(found.image - expected.image).max() <= 0.5 / 1400 + 1e-6  # rounding to whole HU
    np.testing.assert_allclose(found.mask, expected.mask, atol=1e-6)
    np.testing.assert_array_equal(found.label, expected.label)


def test_lidc_modules_skip_list_is_what_was_damaged(tree, module):
    _, table = tree
    written = set(table["lesion_id"][table["state"] == WHOLE])
    assert set(module._prepared.case_id) == written
    skipped = {
        line.split(",")[0]: line for line in (module.piece_folder / "skipped.csv").read_text().splitlines()
    }
    for lesion_id, state in zip(table["lesion_id"], table["state"], strict=True):
        reason = {ABSENT: "slice absent", CUT_SHORT: "unreadable file", WHOLE: None}[state]
        assert (lesion_id in skipped) == (reason is not None)
        assert reason is None or reason in skipped[lesion_id]


def test_duplicated_positions_hold_air_of_higher_instance_number(tree):
    root, _ = tree
    scan = group_by_scan(choose_patients(PATIENTS, SEED))[0][0]
    files = sorted((root / scan.patient_id / scan.study_uid / scan.series_uid).glob("*.dcm"))
    headers = [pydicom.dcmread(path) for path in files]
    heights = [float(h.ImagePositionPatient[2]) for h in headers]
    assert len(set(heights)) * 2 == len(heights)
    for h in headers:
        twins = [o for o in headers if o.ImagePositionPatient[2] == h.ImagePositionPatient[2]]
        later = max(twins, key=lambda t: t.InstanceNumber)
        assert (later.pixel_array == 0).all()
        assert len({t.SOPInstanceUID for t in twins}) == 2


def test_uids_are_the_databases(tree):
    _, table = tree
    scans = {scan.scan_id: scan for scan in load_scans()}
    for row in table[table["state"] == WHOLE].itertuples():
        data = pydicom.dcmread(row.path, stop_before_pixels=True)
        scan = scans[row.scan_id]
        assert (data.StudyInstanceUID, data.SeriesInstanceUID) == (scan.study_uid, scan.series_uid)
        assert data.SOPInstanceUID.is_valid


def test_both_classes_are_drawn():
    assert {lesion.label for lesion in choose_patients(4, 3)} == {"benign", "malignant"}


def test_flaws_spare_shared_slices_and_named_scans():
    lesions = choose_patients(PATIENTS, SEED)
    spared = {lesions[0].scan_id}
    states = assign_flaws(lesions, Flaws(absent=2, cut_short=2), SEED, spared)
    assert sorted(states.values()).count(ABSENT) == 2
    assert all(states[le.lesion_id] == WHOLE for le in lesions if le.scan_id in spared)


@pytest.mark.parametrize(("patients", "flaws"), [(0, Flaws()), (100_000, Flaws()), (2, Flaws(absent=500))])
def test_impossible_wishes_are_refused(tmp_path, patients, flaws):
    with pytest.raises(UserError, match=r"use 1 to|ask for fewer"):
        write_dicom_tree(tmp_path / "tree", patients, flaws=flaws)
    assert not (tmp_path / "tree").exists()


def test_command_refuses_a_folder_in_use(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("precious")
    assert main([str(tmp_path)]) == 1
    assert "is not empty" in capsys.readouterr().err
