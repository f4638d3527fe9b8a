"""Lesions out of masks: NIfTI and DICOM segmentations."""

from __future__ import annotations

from re import search

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage, generate_uid

from cycle_am.sources import masks
from tests.cycle_am.sources.test_geometry import AXES


@pytest.fixture
def volume(tmp_path, write_nifti):
    """A NIfTI and a function that writes a mask of its geometry, by a rule over DICOM's mm."""

    def write(axes, rule, name="mask.nii.gz", dtype=np.uint8):
        path = write_nifti(tmp_path / "scan.nii.gz", axes, (0.8, 0.9, 1.0), shape=(90, 85, 80))
        image = nibabel.load(path)
        index = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), axis=-1)
        points = nibabel.affines.apply_affine(image.affine, index) * [-1, -1, 1]
        nibabel.save(nibabel.Nifti1Image(rule(points).astype(dtype), image.affine), tmp_path / name)
        return path, tmp_path / name

    return write


def around(centre, radius=6.0):
    return lambda points: np.linalg.norm(points - centre, axis=-1) <= radius


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
def test_a_lesion_in_every_orientation(volume, windows, check_ball, ball, axes):
    scan, mask = volume(axes, around(ball.centre))
    (window,) = windows(scan, mask=mask)
    check_ball(window)
    np.testing.assert_allclose(window.place.centre_mm, ball.centre, atol=1.0)
    bright = window.image > 0.6
    assert np.abs(window.mask - bright).mean() < 0.01
    assert window.mask.max() == 1


def test_every_connected_lesion_by_its_largest_slice(volume, windows, ball):
    """A cone, broad at its feet; two voxels that touch at a corner; from the feet up."""
    x, y, z = ball.centre

    def rule(points):
        depth = points[..., 2] - (z - 6)
        cone = (
            (np.linalg.norm(points[..., :2] - (x, y), axis=-1) <= 6 - depth)
            & (depth >= -0.25)
            & (depth < 5.5)
        )
        index = np.zeros(points.shape[:3], dtype=bool)
        index[40, 40, 70] = index[41, 41, 71] = True
        return cone | index

    scan, mask = volume(np.eye(3), rule)
    cone, corner = windows(scan, mask=mask)
    assert abs(cone.place.centre_mm[2] - (z - 6)) <= 0.51
    np.testing.assert_allclose(cone.place.centre_mm[:2], (x, y), atol=0.5)
    assert (cone.place.name, corner.place.name) == ("lesion 1", "lesion 2")
    assert corner.place.slice == 70
    assert 0 < corner.mask.sum() < 4


@pytest.mark.parametrize("values", ["labels", "255", "fractions", "grey"])
def test_what_masks_may_hold(volume, windows, ball, values):
    x, y, z = ball.centre
    one, two = around((x, y, z), 4), around((x + 8, y, z), 4)  # which touch

    def rule(points):
        if values == "labels":
            return 2 * one(points) + 7 * (two(points) & ~one(points))
        both = (one(points) | two(points)).astype(float)
        if values == "255":
            return 255 * both
        soft = np.clip(6.5 - np.linalg.norm(points - ball.centre, axis=-1), 0, 1)
        return soft if values == "fractions" else np.round(255 * soft)

    scan, mask = volume(np.eye(3), rule, dtype=np.float32 if values == "fractions" else np.uint8)
    found = windows(scan, mask=mask)
    assert len(found) == (2 if values == "labels" else 1)


def damaged(image, kind):
    array, affine = image.get_fdata(), image.affine.copy()
    if kind == "moved":
        affine[0, 3] += 3
    elif kind == "no geometry":
        affine = np.eye(4)
    elif kind == "smaller":
        array = array[:-1]
    elif kind == "empty":
        array = array * 0
    elif kind == "image":
        array = array - 1000
    elif kind == "noise":
        array = np.random.default_rng(0).random(array.shape) > 0.9
    return nibabel.Nifti1Image(array.astype(np.int16), affine)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("moved", "does not lie on the image's slices"),
        ("no geometry", "does not lie on the image's slices"),
        ("smaller", "make them alike"),
        ("empty", "marks nothing"),
        ("image", "is it an image"),
        ("noise", "marks [0-9]+ lesions"),
    ],
)
def test_masks_that_do_not_fit(volume, windows, failure, ball, kind, message):
    scan, mask = volume(np.eye(3), around(ball.centre))
    nibabel.save(damaged(nibabel.load(mask), kind), mask)
    assert len(windows(scan, at=ball.centre)) == 1  # the scan itself is fine
    assert search(message, failure(scan, mask=mask).reason)


def test_a_mask_that_is_no_file_of_any_kind(volume, failure, ball, tmp_path):
    scan, _ = volume(np.eye(3), around(ball.centre))
    (tmp_path / "bad.nii.gz").write_bytes(b"text")
    assert "the mask bad.nii.gz cannot be read" in failure(scan, mask=tmp_path / "bad.nii.gz").reason


def test_nifti_on_dicom(tmp_path, write_series, windows, check_ball, ball):
    """A mask that SimpleITK wrote with the geometry of the series it read."""
    folder = write_series(tmp_path / "scan", (0, -1, 0), (1, 0, 0))
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    image = sitk.ReadImage(files)
    sitk.WriteImage(sitk.Cast(image > 50, sitk.sitkUInt8), tmp_path / "mask.nii.gz")
    (window,) = windows(folder, mask=tmp_path / "mask.nii.gz")
    check_ball(window)
    assert np.mean((window.mask > 0.5) != (window.image > (1000 - 350) / 1400)) < 0.002


def of(**elements):
    data = Dataset()
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    return data


def write_seg(path, folder, kind="BINARY", only=None, move=0.0, backwards=False):
    """A segmentation of what is brighter than 50 HU: a segment, or a label, for each half of the rows."""
    frames, groups = [], []
    files = sorted((pydicom.dcmread(one) for one in folder.iterdir()), key=lambda one: -one.InstanceNumber)
    for data in files[:: 1 if backwards else -1]:
        inside = data.pixel_array - 1024.0 > 50
        half = np.arange(inside.shape[1]) < 51
        labels = np.where(half, 1, 2) * inside
        for segment, marked in enumerate((labels,) if kind == "LABELMAP" else (labels == 1, labels == 2), 1):
            if marked.any() and segment != only:
                frames.append(marked)
                position = [*data.ImagePositionPatient[:2], data.ImagePositionPatient[2] + move]
                groups.append(
                    of(
                        PlanePositionSequence=[of(ImagePositionPatient=position)],
                        SegmentIdentificationSequence=[of(ReferencedSegmentNumber=segment)],
                    )
                )
    seg = pydicom.dcmread(next(folder.iterdir()))
    seg.SOPClassUID = seg.file_meta.MediaStorageSOPClassUID = SegmentationStorage
    seg.SOPInstanceUID = seg.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    seg.Modality, seg.SegmentationType, seg.NumberOfFrames = "SEG", kind, len(frames)
    seg.SharedFunctionalGroupsSequence = [
        of(
            PlaneOrientationSequence=[of(ImageOrientationPatient=seg.ImageOrientationPatient)],
            PixelMeasuresSequence=[of(PixelSpacing=seg.PixelSpacing, SliceThickness=2.5)],
        )
    ]
    seg.PerFrameFunctionalGroupsSequence = groups
    array = np.array(frames)
    if kind == "BINARY":
        seg.BitsAllocated = seg.BitsStored = 1
        seg.HighBit = 0
        packed = np.packbits(array.ravel(), bitorder="little").tobytes()
        seg.PixelData = packed + b"\0" * (len(packed) % 2)
    else:
        seg.BitsAllocated = seg.BitsStored = 8
        seg.HighBit = 7
        if kind == "FRACTIONAL":
            seg.MaximumFractionalValue = 200
        seg.PixelData = (array * (150 if kind == "FRACTIONAL" else 1)).astype(np.uint8).tobytes()
    seg.PixelRepresentation = 0
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(seg, keyword)
    seg.save_as(path)
    return path


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("right", "down"), [((1, 0, 0), (0, 1, 0)), ((-1, 0, 0), (0, -1, 0)), ((0, 1, 0), (1, 0, 0))]
)
def test_dicom_segmentations(tmp_path, write_series, windows, ball, kind, backwards, right, down):
    """Each half of the ball is a segment, and a lesion."""
    folder = write_series(tmp_path / "scan", right, down)
    found = windows(folder, mask=write_seg(tmp_path / "seg.dcm", folder, kind, backwards=backwards))
    assert len(found) == 2
    assert [one.place.slice for one in found] == [4, 4]
    middle = np.mean([one.place.centre_mm for one in found], axis=0)
    np.testing.assert_allclose(middle, ball.centre, atol=0.5)
    apart = np.subtract(found[1].place.centre_mm, found[0].place.centre_mm)
    assert 5 < np.abs(apart @ np.array(right)) < 7
    for window in found:  # the marked half is bright
        assert window.image[window.mask > 0.9].min() > 0.7
        assert (window.mask > 0.5).sum() > 40


def test_a_segmentation_with_one_segment(tmp_path, write_series, windows, ball):
    folder = write_series(tmp_path / "scan")
    (window,) = windows(folder, mask=write_seg(tmp_path / "seg.dcm", folder, only=1))
    assert window.place.centre_mm[0] > ball.centre[0]


def test_segmentations_that_do_not_fit(tmp_path, write_series, failure):
    folder = write_series(tmp_path / "scan")
    path = write_seg(tmp_path / "seg.dcm", folder, move=100.0)
    assert "does not lie on the image's slices" in failure(folder, mask=path).reason
    path.write_bytes(path.read_bytes()[:-2000])
    assert "cannot be read" in failure(folder, mask=path).reason
    slice_of_it = next(folder.iterdir()).rename(tmp_path / "slice.dcm")
    assert "is DICOM CT, no segmentation (SEG)" in failure(folder, mask=slice_of_it).reason


def test_the_middle_of_equal_slices():
    layer = {k: np.zeros((9, 9), dtype=bool) for k in range(20, 25)}
    for plane in layer.values():
        plane[2:5, 3:7] = True
    (spot,) = masks._components(layer)
    assert (spot.plane, spot.row, spot.column) == (22, 3.0, 4.5)
    assert spot.mask.sum() == 12
