import numpy as np
import pytest
from PIL import Image

from cycle_am.data import pictures
from cycle_am.data.pictures import Picture
from cycle_am.errors import UserError
from cycle_am.task import Task

COLOUR = Task(fov_mm=None, size=32, low=0, high=1, classes=("a", "b"), channels=3, unit="")
RED = np.zeros((32, 32, 3), np.uint8) + np.array([255, 0, 0], np.uint8)


def saved(tmp_path, image: Image.Image, name: str = "a.png"):
    image.save(tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif"])
def test_colour_comes_back_as_it_was_saved(tmp_path, name):
    values = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        pictures.read_picture(saved(tmp_path, Image.fromarray(values), name)), values
    )


def test_palettes_and_transparency_become_colours(tmp_path):
    palette = saved(tmp_path, Image.fromarray(RED).convert("P"))
    np.testing.assert_array_equal(pictures.read_picture(palette), RED)
    clear = Image.fromarray(np.dstack([RED, np.full((32, 32), 0, np.uint8)]), "RGBA")
    assert not pictures.read_picture(saved(tmp_path, clear, "b.png")).any()


def test_sixteen_bits_and_arrays_keep_their_values(tmp_path):
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    np.testing.assert_array_equal(pictures.read_picture(saved(tmp_path, Image.fromarray(deep))), deep)
    np.save(tmp_path / "a.npy", deep.astype(np.float64))
    np.testing.assert_array_equal(pictures.read_picture(tmp_path / "a.npy"), deep)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_text("no picture"), "cannot be read"),
        (
            lambda path: Image.new("L", (4, 4)).save(
                path, save_all=True, append_images=[Image.new("L", (4, 4))]
            ),
            "2 pict",
        ),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path, write, message):
    write(tmp_path / "a.tif")
    with pytest.raises(UserError, match=message):
        pictures.read_picture(tmp_path / "a.tif")


def test_a_damaged_header_and_a_picture_beyond_all_bounds_are_refused(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.zeros((4, 4)))
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content.replace(b"{'descr'", b"{('desc"))
    with pytest.raises(UserError, match="cannot be read"):
        pictures.read_picture(tmp_path / "a.npy")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match=r"cannot be read \(Image size"):
        pictures.read_picture(saved(tmp_path, Image.fromarray(RED)))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 4, 5)), r"shape \(2, 3, 4, 5\)"),
        (np.zeros((4, 4, 2)), r"shape \(4, 4, 2\)"),
        (np.full((4, 4), np.nan), "not all finite"),
        (np.array([["a"]]), "not all finite"),
    ],
)
def test_other_arrays_are_refused(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(UserError, match=message):
        pictures.read_picture(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("values", "span", "expected"),
    [
        (np.array([0, 51, 255], np.uint8), None, [0, 0.2, 1]),
        (np.array([0, 13107, 65535], np.uint16), None, [0, 0.2, 1]),
        (np.array([0.0, 0.2, 1.0]), None, [0, 0.2, 1]),
        (np.array([-5, 100, 4095], np.int16), (0, 1000), [0, 0.1, 1]),
    ],
)
def test_values_are_scaled_to_one(values, span, expected):
    np.testing.assert_allclose(pictures.unit(values, span, "a"), expected, atol=1e-6)


def test_values_of_no_known_range_ask_for_one():
    with pytest.raises(UserError, match=r"a holds int16; say .*data.range=\[LOW,HIGH\]"):
        pictures.unit(np.array([5], np.int16), None, "a")


def test_channels():
    grey = np.full((4, 5), 0.5, np.float32)
    assert pictures.in_channels(grey, 3).shape == (3, 4, 5)
    colour = np.stack([np.full((4, 5), level, np.float32) for level in (1, 0.5, 0)], -1)
    np.testing.assert_array_equal(pictures.in_channels(colour, 3)[1], colour[..., 1])
    luma = np.asarray(Image.fromarray((colour * 255).round().astype(np.uint8)).convert("L")) / 255
    np.testing.assert_allclose(pictures.in_channels(colour, 1)[0], luma, atol=1 / 255)


def test_a_picture_of_the_right_size_is_untouched_and_others_are_cut_from_the_middle():
    image = np.random.default_rng(0).random((3, 32, 32), dtype=np.float32)
    same, scale, corner = pictures.squared(image, 32)
    np.testing.assert_array_equal(same, image)
    assert (scale, corner) == (1, (0, 0))
    wide = np.zeros((1, 20, 60), np.float32)
    wide[:, :, 20:40] = 1
    cut, scale, corner = pictures.squared(wide, 20)
    assert (cut.shape, scale, corner) == ((1, 20, 20), 1, (0, 20))
    assert cut.min() == 1
    larger, scale, corner = pictures.squared(wide, 40)
    assert (larger.shape, scale, corner) == ((1, 40, 40), 2, (0, 40))


def test_a_box_lies_on_what_it_marks():
    """A white square, its box, and a resized cut: the mask is where the square is."""
    image = np.zeros((60, 80), np.uint8)
    image[20:40, 30:50] = 255
    picture = Picture(image, 1, "a", "p", (30, 20, 50, 40))
    grey = Task(fov_mm=None, size=30, low=0, high=1, classes=("a", "b"), unit="")
    cases = pictures.to_cases([picture, Picture(image, 0, "b", "q")], grey, rim=0)
    assert cases.has_mask.tolist() == [True, False]
    np.testing.assert_array_equal(cases.mask[0] > 0.5, cases.image[0] > 0.5)
    assert not cases.mask[1].any()


def test_cases_have_the_tasks_form():
    cases = pictures.to_cases([Picture(RED, 0, "a", "p"), Picture(RED[:20], 1, "b", "q")], COLOUR, rim=4)
    assert cases.image.shape == (2, 3, 40, 40)
    assert cases.window()[0].shape == (2, 3, 32, 32)
    assert (cases.image[:, 0] == 1).all()
    assert not cases.image[:, 1:].any()
    assert (cases.task, cases.rim, cases.pixel_mm, cases.mask) == (COLOUR, 4, 1.0, None)


def test_a_window_for_explaining_is_the_training_window():
    values = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    cases = pictures.to_cases([Picture(values, 0, "a", "p")], COLOUR, rim=0)
    np.testing.assert_array_equal(pictures.to_window(values, COLOUR, "a"), cases.image[0])


@pytest.mark.parametrize("span", [[1, 0], [1], "ab", [0, 0]])
def test_what_is_no_range_is_refused(span):
    with pytest.raises(UserError, match=r"data\.range"):
        pictures.span_of(span)
