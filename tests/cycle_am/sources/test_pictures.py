"""Pictures and arrays: windows as they are, larger ones by their pixel size, and what is neither."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cycle_am.sources import Failure, read


@pytest.fixture
def values():
    """A window of 64 x 64 in 0..255, all of it smooth, so that JPEG keeps it."""
    rows, columns = np.indices((64, 64))
    return (2 * rows + 2 * columns).astype(np.uint8)


@pytest.mark.parametrize("ending", [".png", ".tif", ".bmp", ".npy", ".jpg"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_window_of_8_bit_is_taken_as_it_is(tmp_path, values, windows, ending, mode):
    path = tmp_path / f"case{ending}"
    if ending == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values).convert(mode).save(path, **({"quality": 100} if ending == ".jpg" else {}))
    (window,) = windows(path)
    assert window.image.dtype == np.float32
    np.testing.assert_allclose(window.image, values / 255, atol=0.02 if ending == ".jpg" else 1e-6)
    assert window.place.source == path.name
    assert window.place.centre_mm is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("shape", [(64, 64), (5, 64, 64), (5, 1, 64, 64)])
def test_fractions_are_taken_as_they_are(tmp_path, windows, dtype, shape):
    array = np.random.default_rng(0).random(shape).astype(dtype)
    np.save(tmp_path / "cases.npy", array)
    found = windows(tmp_path / "cases.npy")
    np.testing.assert_array_equal([one.image for one in found], array.reshape(-1, 64, 64).astype(np.float32))
    assert [one.place.name for one in found] == (
        [""] if len(shape) == 2 else [f"image {i}" for i in range(1, 6)]
    )


def test_pages_and_sixteen_bits(tmp_path, values, windows):
    pages = [Image.fromarray(values.astype(np.uint16) * 128), Image.fromarray(values.astype(np.uint16) * 257)]
    pages[0].save(tmp_path / "two.tiff", save_all=True, append_images=pages[1:])
    first, second = windows(tmp_path / "two.tiff")
    np.testing.assert_allclose(first.image, values * (128 / 65535), atol=1e-6)
    np.testing.assert_allclose(second.image, values / 255, atol=1e-6)


def test_a_turned_photograph_is_shown_as_viewers_do(tmp_path, values, windows):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    values = np.tril(values)
    Image.fromarray(values).save(tmp_path / "turned.png", exif=exif)
    (window,) = windows(tmp_path / "turned.png")
    np.testing.assert_allclose(window.image, np.rot90(values, -1) / 255, atol=1e-6)


def test_a_larger_picture_needs_its_pixel_size(tmp_path, windows, failure):
    rows, columns = np.indices((200, 180))
    picture = (rows + columns // 4).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "large.png", dpi=(300, 300))
    assert "says no pixel size" in failure(tmp_path / "large.png").reason
    with pytest.warns(match="around the middle"):
        (window,) = windows(tmp_path / "large.png", spacing=45 / 64)
    np.testing.assert_allclose(window.image, picture[68:132, 58:122] / 255, atol=1e-5)
    assert window.place.spacing_mm == (45 / 64, 45 / 64)
    (window,) = windows(tmp_path / "large.png", spacing=(45 / 64, 45 / 64), voxel=(100.5, 80.5))
    np.testing.assert_allclose(window.image, picture[49:113, 69:133] / 255, atol=1e-5)
    assert "does not say where it lies" in failure(tmp_path / "large.png", spacing=1, at=(0, 0, 0)).reason


def test_arrays_in_hounsfield_units(tmp_path, windows, failure, task):
    array = np.random.default_rng(1).integers(-1000, 400, (3, 100, 100)).astype(np.int16)
    np.save(tmp_path / "hu.npy", array)
    assert "say where in it" in failure(tmp_path / "hu.npy", spacing=45 / 64).reason
    (window,) = windows(tmp_path / "hu.npy", spacing=45 / 64, voxel=(50.5, 40.5, 2))
    np.testing.assert_allclose(window.image, task.scale(array[2, 9:73, 19:83]), atol=1e-5)
    assert "has no slice 3" in failure(tmp_path / "hu.npy", spacing=1, voxel=(50, 50, 3)).reason


def test_a_window_of_hounsfield_units_has_a_pixel_size(tmp_path, windows, failure, task):
    array = np.random.default_rng(1).integers(-1000, 400, (64, 64)).astype(np.int16)
    np.save(tmp_path / "hu.npy", array)
    assert "says no pixel size" in failure(tmp_path / "hu.npy").reason
    with pytest.warns(match="around the middle"):
        (window,) = windows(tmp_path / "hu.npy", spacing=45 / 64)
    np.testing.assert_allclose(window.image, task.scale(array), atol=1e-5)
    assert "leaves the image by" in failure(tmp_path / "hu.npy", spacing=0.6).reason


def test_a_mask_of_a_window_belongs_to_it(tmp_path, values, windows):
    Image.fromarray(values).save(tmp_path / "case.png")
    mask = np.zeros((64, 64), np.uint8)
    mask[20:30, 25:40] = mask[50:55, 50:55] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    (window,) = windows(tmp_path / "case.png", mask=tmp_path / "mask.png")
    np.testing.assert_array_equal(window.mask, mask / 255)
    np.testing.assert_allclose(window.image, values / 255, atol=1e-6)


def colours(path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)).save(path)


def dark(path):
    Image.fromarray(np.ones((64, 64), np.uint8)).save(path)


def transparent(path):
    Image.fromarray(np.full((64, 64, 4), 9, np.uint8)).save(path)


def truncated(path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (colours, "in colours"),
        (dark, "is it a mask"),
        (transparent, "transparent"),
        (truncated, "cannot be read"),
        (lambda path: path.write_bytes(b"text"), "cannot be read"),
        (lambda path: None, "does not exist"),
    ],
)
def test_pictures_that_are_refused(tmp_path, failure, write, message):
    write(tmp_path / "case.png")
    assert message in failure(tmp_path / "case.png").reason
    assert str(tmp_path) not in failure(tmp_path / "case.png").reason


@pytest.mark.parametrize("array", [np.full((64, 64), np.nan), np.array([{}]), np.zeros((64, 64, 3, 2))])
def test_arrays_that_are_refused(tmp_path, failure, array):
    np.save(tmp_path / "case.npy", array, allow_pickle=True)
    failure(tmp_path / "case.npy")


def test_an_array_with_a_damaged_header(tmp_path, failure):
    np.save(tmp_path / "case.npy", np.zeros((64, 64)))
    data = (tmp_path / "case.npy").read_bytes()
    (tmp_path / "case.npy").write_bytes(data.replace(b"), }", b"(((("))
    assert "cannot be read" in failure(tmp_path / "case.npy").reason


def test_a_bomb_is_refused(tmp_path, values, failure, monkeypatch):
    Image.fromarray(values).save(tmp_path / "case.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert "larger than pictures are" in failure(tmp_path / "case.png").reason


def test_a_folder_of_pictures(tmp_path, values, task):
    for name in ("Secret A.png", "Secret B.png"):
        Image.fromarray(values).save(tmp_path / name)
    colours(tmp_path / "Secret C.png")
    one, two, three = read(tmp_path, task)
    assert [one.place.name, two.place.name] == ["file 1", "file 2"]
    assert three == Failure(
        "file 3", "it is a picture in colours, the model explains grey ones; save it as greyscale"
    )
