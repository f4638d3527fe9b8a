"""Reading slices: every format gives the same pixels; windows against an independent interpolation."""

import warnings

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image
from scipy.interpolate import RegularGridInterpolator

from cycle_am.data.images import cut, equivalent_diameter_mm, reach_mm, read_image, read_mask
from cycle_am.errors import UserError


@pytest.fixture
def volume():
    """(slices, rows, columns) int16 in HU, all directions distinguishable."""
    return np.random.default_rng(0).integers(-1000, 400, (5, 7, 6)).astype(np.int16)


def write_itk(path, array, spacing=(0.7, 0.8, 2.5), direction=None):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing[: array.ndim])
    if direction is not None:
        image.SetDirection(direction)
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".mhd", ".nrrd"])
def test_volumes_give_central_or_named_slice_with_row_and_column_spacing(tmp_path, volume, suffix):
    path = write_itk(tmp_path / f"ct{suffix}", volume)
    plane = read_image(path)
    np.testing.assert_array_equal(plane.pixels, volume[2])
    assert plane.pixels.dtype == np.float32
    assert plane.spacing == pytest.approx((0.8, 0.7))
    np.testing.assert_array_equal(read_image(path, 0).pixels, volume[0])
    np.testing.assert_array_equal(read_image(path, 4).pixels, volume[4])


def test_orientation_is_brought_to_one(tmp_path, volume):
    flipped = np.ascontiguousarray(
        volume[:, ::-1, ::-1]
    )  # stored left to right and back to front, as many NIfTI are
    path = write_itk(tmp_path / "ras.nii.gz", flipped, direction=(-1, 0, 0, 0, -1, 0, 0, 0, 1))
    np.testing.assert_array_equal(read_image(path, 1).pixels, volume[1])
    head_first = write_itk(
        tmp_path / "lpi.mha", np.ascontiguousarray(volume[::-1]), direction=(1, 0, 0, 0, 1, 0, 0, 0, -1)
    )
    np.testing.assert_array_equal(read_image(head_first, 1).pixels, volume[1])
    sagittal = np.ascontiguousarray(volume.transpose(2, 0, 1))  # third axis runs right to left
    path = write_itk(tmp_path / "sagittal.mha", sagittal, (0.8, 2.5, 0.7), (0, 0, 1, 1, 0, 0, 0, 1, 0))
    np.testing.assert_array_equal(read_image(path, 3).pixels, volume[3])
    assert read_image(path, 3).spacing == pytest.approx((0.8, 0.7))


def test_npy_and_2d_files(tmp_path, volume):
    np.save(tmp_path / "v.npy", volume)
    np.save(tmp_path / "p.npy", volume[0].astype(np.float64))
    np.testing.assert_array_equal(read_image(tmp_path / "v.npy").pixels, volume[2])
    np.testing.assert_array_equal(read_image(tmp_path / "p.npy").pixels, volume[0])
    assert read_image(tmp_path / "v.npy").spacing is None
    path = write_itk(tmp_path / "flat.mha", volume[0])
    np.testing.assert_array_equal(read_image(path).pixels, volume[0])
    assert read_image(path).spacing == pytest.approx((0.8, 0.7))


@pytest.mark.parametrize(
    ("shape", "said"), [((8, 8, 5), True), ((8, 8, 12), True), ((5, 8, 8), False), ((8, 8, 8), False)]
)
def test_an_array_that_seems_to_count_x_y_z_is_said(tmp_path, shape, said):
    np.save(tmp_path / "v.npy", np.full(shape, -500, np.int16))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert read_image(tmp_path / "v.npy").pixels.shape == shape[1:]
    assert ["save" in str(one.message) and "transpose(2, 1, 0)" in str(one.message) for one in caught] == [
        True
    ] * said


@pytest.mark.parametrize("suffix", [".png", ".npy", ".mha"])
def test_eight_bits_are_scaled_by_the_range(tmp_path, suffix):
    grey = np.arange(0, 252, 6, dtype=np.uint8).reshape(6, 7)
    path = tmp_path / f"g{suffix}"
    {
        ".png": lambda: Image.fromarray(grey).save(path),
        ".npy": lambda: np.save(path, grey),
        ".mha": lambda: write_itk(path, grey),
    }[suffix]()
    np.testing.assert_allclose(read_image(path).pixels, grey / 255 * 1400 - 1000, atol=1e-3)
    np.testing.assert_allclose(
        read_image(path, hu_range=(-1350, 150)).pixels, grey / 255 * 1500 - 1350, atol=1e-3
    )


def test_sixteen_bit_png_spans_the_range_too(tmp_path):
    grey = np.array([[0, 32768], [65535, 100]], dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "g.png")
    np.testing.assert_allclose(read_image(tmp_path / "g.png").pixels, grey / 65535 * 1400 - 1000, atol=1e-3)


def write_dicom(path, stored, z=0.0, series="1.2.3", slope=1.0, intercept=-1024.0):
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    data.SeriesInstanceUID, data.StudyInstanceUID, data.Modality = series, "1.2", "CT"
    data.Rows, data.Columns = stored.shape
    data.PixelSpacing, data.SliceThickness = [0.8, 0.7], 2.5
    data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, z], [1, 0, 0, 0, 1, 0]
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.RescaleSlope, data.RescaleIntercept = slope, intercept
    data.PixelData = stored.astype("<u2").tobytes()
    data.save_as(path, enforce_file_format=True)


def test_dicom_file_and_folder_are_rescaled_and_sorted(tmp_path, volume):
    (tmp_path / "series").mkdir()
    for number, name in zip(range(5), "dbeac", strict=True):  # names in another order than positions
        write_dicom(tmp_path / "series" / f"{name}.dcm", volume[number] + 1024, z=2.5 * number)
    one = read_image(tmp_path / "series" / "e.dcm")
    np.testing.assert_array_equal(one.pixels, volume[2])
    assert one.spacing == pytest.approx((0.8, 0.7))
    np.testing.assert_array_equal(read_image(tmp_path / "series", 3).pixels, volume[3])
    write_dicom(tmp_path / "series" / "z.dcm", volume[0] + 1024, series="1.2.4")
    with pytest.raises(UserError, match="holds 2 DICOM series"):
        read_image(tmp_path / "series")


def test_masks_may_be_binary_fractions_or_255(tmp_path):
    binary = np.array([[0, 1], [1, 0]])
    np.save(tmp_path / "bool.npy", binary.astype(bool))
    np.save(tmp_path / "int.npy", binary.astype(np.uint8))
    Image.fromarray((binary * 255).astype(np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray(binary.astype(bool)).save(tmp_path / "one_bit.png")
    for name in ("bool.npy", "int.npy", "grey.png", "one_bit.png"):
        np.testing.assert_array_equal(read_mask(tmp_path / name).pixels, binary)
    np.save(tmp_path / "share.npy", binary * 0.25)
    assert read_mask(tmp_path / "share.npy").pixels.max() == 0.25


@pytest.mark.parametrize(
    ("shape", "spacing"), [((50, 60), (0.8, 0.6)), ((51, 51), (1.0, 1.0)), ((80, 45), (0.6, 1.1))]
)
def test_cut_is_bilinear_around_the_centre(shape, spacing):
    pixels = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    centre, pixel_mm, rim = (shape[0] / 2 - 1.3, shape[1] / 2 + 0.4), 0.35, 3
    out = cut(pixels, spacing, centre, pixel_mm, rim)
    oracle = RegularGridInterpolator(
        [np.arange(count) * size for count, size in zip(shape, spacing, strict=True)], pixels
    )
    mm = (np.arange(70) - 34.5) * pixel_mm
    rows, columns = np.meshgrid(centre[0] * spacing[0] + mm, centre[1] * spacing[1] + mm, indexing="ij")
    np.testing.assert_allclose(out, oracle(np.stack([rows, columns], -1)), atol=1e-4)


def test_cut_of_the_same_grid_is_the_image_itself():
    pixels = np.random.default_rng(2).normal(size=(64, 64)).astype(np.float32)
    np.testing.assert_allclose(cut(pixels, (0.5, 0.5), (31.5, 31.5), 0.5, 0), pixels, atol=1e-6)


def test_reach_is_where_padding_would_begin():
    assert reach_mm((51, 51), (1.0, 1.0), (25.0, 25.0)) == 25
    assert reach_mm((50, 80), (0.6, 0.5), (24.5, 39.5)) == pytest.approx(14.7)
    assert reach_mm((50, 80), (0.6, 0.5), (24.5, 75)) == pytest.approx(2.0)
    assert reach_mm((50, 50), (1.0, 1.0), (-1, 3)) < 0
    ramp = np.broadcast_to(np.arange(50.0), (50, 50))
    reach = int(reach_mm((50, 50), (1.0, 1.0), (24.5, 24.5)) / 0.7 - 31.5)
    steps = np.diff(cut(ramp, (1.0, 1.0), (24.5, 24.5), 0.7, reach)[0])
    np.testing.assert_allclose(steps, 0.7, rtol=1e-3)  # with one pixel more the last step would be shorter
    assert np.diff(cut(ramp, (1.0, 1.0), (24.5, 24.5), 0.7, reach + 1)[0]).min() < 0.69


def test_diameter_of_a_disc():
    rows, columns = np.mgrid[-40:41, -40:41]
    disc = (rows * 0.5) ** 2 + (columns * 0.8) ** 2 <= 10**2
    assert equivalent_diameter_mm(disc.astype(float), (0.5, 0.8)) == pytest.approx(20, rel=0.01)
    assert equivalent_diameter_mm(disc * 0.4, (0.5, 0.8)) == 0


def saved(folder, array):
    np.save(folder / "x.npy", array)
    return folder / "x.npy"


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[0.0, np.nan]]), "1 NaN or infinite pixels; replace them"),
        (np.array([[-500.0, np.inf]]), "1 NaN or infinite pixels"),
        (np.random.default_rng(0).random((4, 4)), "scaled already; save Hounsfield units"),
        (np.arange(16, dtype=np.uint16).reshape(4, 4) * 99, "no value below 0"),
        (np.array([[-1e6, 0.0]]), "from -1e\\+06 to 0; save Hounsfield"),
        (np.zeros((2, 3, 4, 5)), r"shape \(2, 3, 4, 5\); give one channel"),
        (np.zeros((0, 4)), "give one channel"),
        (np.array([["a"]]), "give one channel of numbers"),
        (np.array([[{}]], dtype=object), "x.npy cannot be read"),
    ],
)
def test_unusable_pixels_are_named(tmp_path, array, message):
    with pytest.raises(UserError, match=message) as caught:
        read_image(saved(tmp_path, array))
    assert "\n" not in str(caught.value)
    assert "x.npy" in str(caught.value)


@pytest.mark.parametrize("name", ["x.png", "x.npy", "x.nii.gz", "x.mha", "x.dcm", "x.jpg", "x"])
def test_files_of_no_image_are_named(tmp_path, name):
    for content in (b"", b"this is no image\n" * 10):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="cannot be read") as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)


def test_truncated_files_are_named(tmp_path, volume):
    np.save(tmp_path / "v.npy", volume)
    for suffix in (".nii", ".nii.gz", ".mha", ".nrrd"):
        write_itk(tmp_path / f"v{suffix}", volume)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (99, 99), dtype=np.uint8)).save(
        tmp_path / "v.png"
    )
    write_dicom(tmp_path / "v.dcm", volume[0] + 1024)
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        for kept in (len(whole) - 60, len(whole) // 2, 100):
            path.write_bytes(whole[:kept])
            with pytest.raises(UserError, match="cannot be read"):
                read_image(path)


def test_other_slips_are_named(tmp_path, volume):
    Image.new("RGB", (8, 8)).save(tmp_path / "colour.png")
    with pytest.raises(UserError, match="kind RGB; save it as 8 or 16 bit greyscale"):
        read_image(tmp_path / "colour.png")
    np.save(tmp_path / "v.npy", volume)
    for index in (5, -1):
        with pytest.raises(UserError, match=f"no slice {index}; its slices are 0 to 4"):
            read_image(tmp_path / "v.npy", index)
    sitk.WriteImage(
        sitk.GetImageFromArray(np.zeros((4, 5, 3), np.uint8), isVector=True), str(tmp_path / "rgb.mha")
    )
    with pytest.raises(UserError, match="3 channels"):
        read_image(tmp_path / "rgb.mha")
    for wrong in (np.array([[0, 3]]), np.array([[-1.0, 1.0]]), np.array([[0.0, 255.0]])):
        with pytest.raises(UserError, match=r"mask .* save it as 0 and 1"):
            read_mask(saved(tmp_path, wrong))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds 0 DICOM series"):
        read_image(tmp_path / "empty")


def ct(radius=4.0, size=96):
    """Lung with noise and a disc of tissue, HU."""
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    noise = np.random.default_rng(0).normal(0, 20, (size, size))
    return (-850 + 890 * (np.hypot(rows, columns) < radius) + noise).round().astype(np.int32)


@pytest.mark.parametrize(
    "scaled",
    [
        (ct() + 600.0) / 300,  # mean 0, a deviation of some units
        ct() / 1000 + 0.1,  # within [-1, 1]
        np.where(ct() > -400, 15, -12).astype(np.int8),
    ],
)
def test_values_of_a_few_units_are_no_hounsfield_units(tmp_path, scaled):
    with pytest.raises(UserError, match="scaled already; save Hounsfield units"):
        read_image(saved(tmp_path, scaled))


def test_padding_does_not_hide_an_offset(tmp_path):
    stored = ct() + 1024
    stored[:5] = -2000
    with pytest.raises(UserError, match=r"no value below 0, padding aside \(-2000 to"):
        read_image(saved(tmp_path, stored))
    stored = ct()
    stored[:5] = -2000
    np.testing.assert_array_equal(read_image(saved(tmp_path, stored)).pixels, stored)


@pytest.mark.parametrize(("offset", "range_"), [(32768, (-32768, 32767)), (1024, (-1024, 64511))])
@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_with_an_offset_name_the_range_that_is_right(tmp_path, offset, range_, padding, suffix):
    path, stored = tmp_path / f"x.{suffix}", ct() + offset
    if padding:
        stored[:9] = 0
    Image.fromarray(stored.astype(np.uint16)).save(path)
    with pytest.raises(UserError, match=rf"data.hu_range=\[{range_[0]}, {range_[1]}\]") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)
    np.testing.assert_allclose(read_image(path, hu_range=range_).pixels, stored - offset, atol=0.01)


def test_eight_bits_that_hold_a_mask_are_no_image(tmp_path):
    mask = (ct() > -400).astype(np.uint8)
    Image.fromarray(mask).save(tmp_path / "x.png")
    for path in (tmp_path / "x.png", saved(tmp_path, mask)):
        with pytest.raises(UserError, match="no value above 1 of 255"):
            read_image(path)


@pytest.mark.parametrize("suffix", ["jpg", "tif", "bmp"])
def test_other_pictures_are_read_as_png(tmp_path, suffix):
    grey = ((ct(20) + 1000) / 1400 * 255).clip(0, 255).astype(np.uint8)
    for name in (f"x.{suffix}", "x.png"):
        Image.fromarray(grey).save(tmp_path / name)
    other, png = (read_image(tmp_path / name) for name in (f"x.{suffix}", "x.png"))
    assert np.abs(other.pixels - png.pixels).mean() < (20 if suffix == "jpg" else 1e-3)
    Image.fromarray(np.stack([grey] * 3, -1)).save(tmp_path / f"x.{suffix}")
    with pytest.raises(UserError, match="kind RGB"):
        read_image(tmp_path / f"x.{suffix}")


def test_tiff_with_pages_hounsfield_units_and_black_as_its_largest_value(tmp_path):
    pages = [Image.fromarray(ct(radius)) for radius in (5, 10, 20)]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    for index in range(3):
        np.testing.assert_array_equal(read_image(tmp_path / "x.tif", index).pixels, np.array(pages[index]))
    grey = np.random.default_rng(0).integers(0, 256, (9, 9), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "x.tif", tiffinfo={262: 0})
    np.testing.assert_allclose(read_image(tmp_path / "x.tif").pixels, grey / 255 * 1400 - 1000, atol=1e-3)
