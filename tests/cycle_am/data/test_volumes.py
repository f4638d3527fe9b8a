"""Where planes lie in the patient, and whether a mask lies where its image does, whatever order either is stored in."""

import itertools
import struct

import numpy as np
import pytest
import SimpleITK as sitk

from cycle_am.data.images import read_image, read_mask
from cycle_am.data.volumes import open_volume
from cycle_am.errors import UserError

ORDERS = ["LPS", "RAS", "LAS", "LPI", "SRP", "PIL"]
SPACING, ORIGIN = (0.7, 0.8, 2.5), (-20.0, 13.0, -400.0)


@pytest.fixture
def hu():
    """(slices, rows, columns), all voxels different."""
    return np.random.default_rng(4).permutation(5 * 9 * 7).reshape(5, 9, 7).astype(np.int16) - 900


@pytest.fixture
def outline():
    """A mask of the same shape without any symmetry."""
    return np.random.default_rng(5).integers(0, 2, (5, 9, 7)).astype(np.uint8)


def image_of(array, spacing=SPACING, origin=ORIGIN, direction=None):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing[: array.ndim])
    image.SetOrigin(origin[: array.ndim])
    if direction is not None:
        image.SetDirection(direction)
    return image


def store(path, image, order="LPS"):
    sitk.WriteImage(sitk.DICOMOrient(image, order) if image.GetDimension() == 3 else image, str(path))
    return path


def oblique():
    a, b = 0.3, 0.2
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return (about_x @ about_z).ravel()


def refused(action, *words):
    with pytest.raises(UserError) as caught:
        action()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("direction", [None, oblique()], ids=["straight", "oblique"])
def test_positions_are_those_of_simpleitk_in_every_order(tmp_path, hu, order, direction):
    image = image_of(hu, direction=direction)
    path = store(tmp_path / "ct.nii.gz", image, order)
    for k, row, column in ((0, 0, 0), (3, 8, 2), (4, 1.25, 5.5)):
        point = image.TransformContinuousIndexToPhysicalPoint([column, row, float(k)])
        plane = read_image(path, point_mm=point)
        assert plane.index == k
        np.testing.assert_array_equal(plane.pixels, hu[k])
        assert plane.pixel(point) == pytest.approx((row, column), abs=1e-3)
        np.testing.assert_allclose(plane.volume.place(k).point(row, column), point, atol=1e-3)
    beyond = image.TransformContinuousIndexToPhysicalPoint([3.0, 3.0, 4.6])
    refused(lambda: read_image(path, point_mm=beyond), "ct.nii.gz has no slice at [")


def test_files_that_do_not_say_where_they_lie_have_no_positions(tmp_path, hu, write_ct):
    np.save(tmp_path / "a.npy", hu)
    store(tmp_path / "flat.mha", image_of(hu[0]))
    write_ct(tmp_path / "a.dcm", hu[0] + 1024, ImagePositionPatient=None, ImageOrientationPatient=None)
    write_ct(tmp_path / "b.dcm", hu[0] + 1024, PixelSpacing=None)
    for k in range(2):
        write_ct(tmp_path / "folder" / f"{k}.dcm", hu[k] + 1024, z=k, PixelSpacing=None)
    store(tmp_path / "a.nii", image_of(hu, origin=(0, 0, 0)))
    header = bytearray((tmp_path / "a.nii").read_bytes())
    header[252:256] = struct.pack("<hh", 0, 0)  # qform_code, sform_code: unknown
    (tmp_path / "a.nii").write_bytes(header)
    start = b"NRRD0004\ntype: int16\ndimension: 3\nsizes: 7 9 5\nencoding: raw\nendian: little\n\n"
    (tmp_path / "a.nrrd").write_bytes(start + hu.tobytes())
    for path in sorted(tmp_path.iterdir()):
        assert read_image(path, 0).pixels[0, 0] == hu[0, 0, 0]
        refused(
            lambda path=path: read_image(path, point_mm=(0, 0, 0)), path.name, "does not say where it lies"
        )


def test_a_single_slice_that_is_not_axial_is_refused(tmp_path, hu, write_ct):
    path = write_ct(tmp_path / "scout.dcm", hu[0] + 1024, ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    refused(lambda: read_image(path), "scout.dcm", "coronal or sagittal slice; give axial ones")
    path = store(tmp_path / "coronal.nii.gz", image_of(hu[:, :1]))
    refused(lambda: read_image(path), "coronal or sagittal slice")


# Masks


@pytest.mark.parametrize(("image_order", "mask_order"), itertools.product(ORDERS, ORDERS[:4]))
def test_a_mask_of_the_same_geometry_fits_in_whatever_order_both_are_stored(
    tmp_path, hu, outline, image_order, mask_order
):
    image = store(tmp_path / "ct.nii.gz", image_of(hu), image_order)
    mask = store(tmp_path / "mask.nrrd", image_of(outline), mask_order)
    for k in (0, 3):
        plane = read_image(image, k)
        np.testing.assert_array_equal(plane.pixels, hu[k])
        np.testing.assert_array_equal(read_mask(mask, image=plane).pixels, outline[k])


def test_a_mask_of_a_part_of_the_slices_is_laid_where_it_belongs(tmp_path, hu, outline, write_ct):
    image = store(tmp_path / "ct.nii.gz", image_of(hu), "RAS")
    part = store(tmp_path / "part.mha", image_of(outline[2:4], origin=(*ORIGIN[:2], ORIGIN[2] + 5)))
    np.testing.assert_array_equal(read_mask(part, image=read_image(image, 3)).pixels, outline[3])
    refused(lambda: read_mask(part, image=read_image(image, 1)), "part.mha", "slice 1 of", "ct.nii.gz")
    whole = store(tmp_path / "mask.mha", image_of(outline, (0.7, 0.8, 2.5), (0, 0, -5)))
    slice_ = write_ct(tmp_path / "one.dcm", hu[3] + 1024, z=2.5)
    np.testing.assert_array_equal(read_mask(whole, image=read_image(slice_)).pixels, outline[3])


CHANGES = {
    "mirrored": {"direction": (-1, 0, 0, 0, -1, 0, 0, 0, 1)},
    "bare": {"direction": (-1, 0, 0, 0, -1, 0, 0, 0, 1), "spacing": (1, 1, 1), "origin": (0, 0, 0)},
    "unscaled": {"spacing": (1, 1, 1)},
    "unscaled across": {"spacing": (0.7, 0.8, 1)},
    "a fifth of a pixel off": {"origin": (ORIGIN[0] + 0.14, *ORIGIN[1:])},
    "a slice off": {"origin": (*ORIGIN[:2], ORIGIN[2] + 1)},
    "not moved": {"origin": (0, 0, 0)},
    "tilted": {"direction": oblique()},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("order", ["LPS", "RAS"])
def test_a_mask_that_lies_elsewhere_is_refused_with_both_names(tmp_path, hu, outline, change, order):
    image = store(tmp_path / "ct.nii.gz", image_of(hu), order)
    mask = tmp_path / "mask.nii.gz"
    sitk.WriteImage(image_of(outline, **change), str(mask))
    refused(
        lambda: read_mask(mask, image=read_image(image, 1)),
        "mask.nii.gz",
        "ct.nii.gz",
        "does not lie on slice 1",
        "save it with",
    )


def test_rounded_headers_still_fit(tmp_path, hu, outline):
    image = store(tmp_path / "ct.nii.gz", image_of(hu, direction=oblique()), "RAS")
    spacing, origin = (0.7005, 0.8004, 2.4999), (ORIGIN[0] + 0.03, ORIGIN[1], ORIGIN[2] + 0.02)
    mask = tmp_path / "m.mha"
    sitk.WriteImage(image_of(outline, spacing, origin, oblique()), str(mask))
    np.testing.assert_array_equal(read_mask(mask, image=read_image(image, 4)).pixels, outline[4])


@pytest.mark.parametrize("suffix", [".nii.gz", ".npy"])
@pytest.mark.parametrize("order", ORDERS)
def test_an_array_beside_a_turned_volume_is_refused(tmp_path, hu, outline, order, suffix):
    """Either way round: mask or image is the array. Stored as it counts, it is taken."""
    for name, volume in (("ct", hu), ("mask", outline)):
        store(tmp_path / f"{name}.nii.gz", image_of(volume), order)
        np.save(tmp_path / f"{name}.npy", volume)
    image = tmp_path / f"ct{suffix}"
    mask = tmp_path / ("mask.npy" if suffix == ".nii.gz" else "mask.nii.gz")
    if order == "LPS":
        np.testing.assert_array_equal(read_mask(mask, image=read_image(image, 3)).pixels, outline[3])
        return
    refused(
        lambda: read_mask(mask, image=read_image(image, 3)), "is stored turned", "does not say how it lies"
    )


def test_arrays_must_have_the_same_number_of_slices_or_be_the_slice(tmp_path, hu, outline):
    np.save(tmp_path / "ct.npy", hu)
    np.save(tmp_path / "mask.npy", outline[1:])
    np.save(tmp_path / "slice.npy", outline[2])
    plane = read_image(tmp_path / "ct.npy", 2)
    np.testing.assert_array_equal(read_mask(tmp_path / "slice.npy", image=plane).pixels, outline[2])
    refused(
        lambda: read_mask(tmp_path / "mask.npy", image=plane), "(4, 9, 7), the image (5, 9, 7); make them"
    )
    np.save(tmp_path / "one.npy", hu[2])
    refused(
        lambda: read_mask(tmp_path / "mask.npy", image=read_image(tmp_path / "one.npy")),
        "(4, 9, 7), the image (9, 7)",
    )


def test_masks_beside_a_dicom_folder(tmp_path, hu, outline, write_ct):
    """Stored as it counts, and of a patient who lies on the belly, which is turned."""
    for k in range(5):
        write_ct(tmp_path / "back" / f"{k}.dcm", hu[k] + 1024, z=2.5 * k)
        turned = {
            "ImagePositionPatient": [4.2, 6.4, 2.5 * k],
            "ImageOrientationPatient": [-1, 0, 0, 0, -1, 0],
        }
        write_ct(tmp_path / "belly" / f"{k}.dcm", hu[k, ::-1, ::-1] + 1024, **turned)
    np.save(tmp_path / "mask.npy", outline)
    placed = store(tmp_path / "mask.nii.gz", image_of(outline, origin=(0, 0, 0)), "RAS")
    for name in ("back", "belly"):
        plane = read_image(tmp_path / name, 3)
        np.testing.assert_array_equal(plane.pixels, hu[3])
        np.testing.assert_array_equal(read_mask(placed, image=plane).pixels, outline[3])
        assert open_volume(tmp_path / name).turned == (name == "belly")
    plane = read_image(tmp_path / "back", 3)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.npy", image=plane).pixels, outline[3])
    refused(
        lambda: read_mask(tmp_path / "mask.npy", image=read_image(tmp_path / "belly", 3)),
        "belly is stored turned",
    )


def test_files_of_two_dimensions(tmp_path, hu, outline):
    flipped = (-1, 0, 0, -1)
    image = store(tmp_path / "a.nii.gz", image_of(hu[0], direction=flipped))
    same = store(tmp_path / "same.nii.gz", image_of(outline[0], direction=flipped))
    np.testing.assert_array_equal(read_mask(same, image=read_image(image)).pixels, outline[0])
    for change in ({}, {"direction": flipped, "spacing": (1, 1)}, {"direction": flipped, "origin": (0, 0)}):
        other = store(tmp_path / "other.nii.gz", image_of(outline[0], **change))
        refused(
            lambda other=other: read_mask(other, image=read_image(image)), "other.nii.gz", "does not lie on"
        )
    np.save(tmp_path / "a.npy", outline[0])
    refused(lambda: read_mask(tmp_path / "a.npy", image=read_image(image)), "stored turned")
    volume = store(tmp_path / "v.nii.gz", image_of(hu))
    flat = store(tmp_path / "flat.mha", image_of(outline[3], (1.0, 1.0)))
    refused(lambda: read_mask(flat, image=read_image(volume, 3)), "mm a pixel", "make them alike")
    flat = store(tmp_path / "flat.mha", image_of(outline[3]))
    np.testing.assert_array_equal(read_mask(flat, image=read_image(volume, 3)).pixels, outline[3])
