"""Cases: windows against plain slicing, checks, the file format and the cache."""

import dataclasses
import os

import numpy as np
import pytest
import torch

from cycle_am.data.cases import Cases, prepared, settings_digest
from cycle_am.errors import UserError


def make(count=5, rim=6, masks=True, seed=0, **changes):
    rng = np.random.default_rng(seed)
    size = 64 + 2 * rim
    values = {
        "image": rng.random((count, size, size), dtype=np.float32),
        "mask": rng.random((count, size, size), dtype=np.float32) if masks else None,
        "label": np.arange(count) % 3 - 1,
        "case_id": np.array([f"{seed}-c{number}" for number in range(count)]),
        "patient_id": np.array([f"P{number // 2}" for number in range(count)]),
        "margin": np.arange(count) % (rim + 1),
        "diameter_mm": np.array([np.nan] + [7.5] * (count - 1), dtype=np.float32),
        "pixel_mm": 45 / 64,
    }
    return Cases(**{**values, **changes})


def test_centred_window_is_the_middle():
    cases = make(rim=6)
    image, mask = cases.window()
    assert image.shape == mask.shape == (5, 1, 64, 64)
    assert image.dtype == mask.dtype == torch.float32
    np.testing.assert_array_equal(image[:, 0], cases.image[:, 6:-6, 6:-6])
    np.testing.assert_array_equal(mask[:, 0], cases.mask[:, 6:-6, 6:-6])
    assert make(masks=False).window()[1] is None


def test_content_moves_by_the_shift():
    cases = make(margin=np.full(5, 6))
    for down, right in ((6, -6), (0, 3), (-1, -2)):
        moved, mask = cases.window((down, right))
        centred, centred_mask = cases.window()
        for after, before in (
            (moved, centred),
            (mask, centred_mask),
        ):  # the overlap is the centred one, displaced
            rolled = torch.roll(before, (down, right), (2, 3))
            assert torch.equal(after[..., 6:-6, 6:-6], rolled[..., 6:-6, 6:-6])


def test_each_case_has_its_own_shift_up_to_its_own_margin():
    cases = make(margin=np.array([0, 1, 2, 3, 6]))
    shifts = cases.reachable((-6, 2))
    assert shifts.tolist() == [[0, 0], [-1, 1], [-2, 2], [-3, 2], [-6, 2]]
    images, _ = cases.window(shifts)
    for number, shift in enumerate(shifts):
        assert torch.equal(images[number], cases.select([number]).window(shift)[0][0])
    with pytest.raises(UserError, match=r"shift \(-6, 2\) exceeds the margin of 0 pixels of case 0-c0; .*"):
        cases.window((-6, 2))


def test_window_is_a_copy():
    cases = make()
    before = cases.image.copy()
    cases.window()[0].zero_()
    np.testing.assert_array_equal(cases.image, before)


def test_select_by_index_and_by_truth():
    cases = make()
    for chosen, expected in (([3, 1], [3, 1]), (cases.label == 1, [2]), ([], []), (np.array([0]), [0])):
        picked = cases.select(chosen)
        assert len(picked) == len(expected)
        assert picked.case_id.tolist() == cases.case_id[expected].tolist()
        np.testing.assert_array_equal(picked.image, cases.image[expected])
        assert picked.pixel_mm == cases.pixel_mm
    assert make(masks=False).select([1]).mask is None
    assert len(cases.select([]).window()[0]) == 0


def test_has_mask_follows_the_masks_unless_it_is_given():
    assert make().has_mask.all()
    assert not make(masks=False).has_mask.any()
    given = np.array([True, False, True, True, False])
    assert make(has_mask=given).select([1, 2]).has_mask.tolist() == [False, True]


def test_digest_sees_every_field():
    cases = make()
    assert cases.digest() == make().digest()
    changes = {
        "image": cases.image * np.float32(0.999),
        "mask": None,
        "label": -cases.label,
        "case_id": np.char.add(cases.case_id, "x"),
        "patient_id": cases.patient_id[::-1],
        "margin": cases.margin * 0,
        "diameter_mm": cases.diameter_mm + 1,
        "pixel_mm": 0.5,
        "has_mask": ~cases.has_mask,
    }
    assert set(changes) == {field.name for field in dataclasses.fields(Cases)} - {"task"}
    digests = {dataclasses.replace(cases, **{name: value}).digest() for name, value in changes.items()}
    assert len(digests | {cases.digest()}) == len(changes) + 1


BAD = np.zeros((5, 76, 76), np.float32)
BAD[3, 0, 0] = np.nan


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": BAD}, r"image of case 0-c3 has values from nan to nan; .*finite"),
        ({"mask": BAD}, "mask of case 0-c3"),
        ({"image": BAD * 0 + 1.5}, r"scaled to \[0, 1\]"),
        ({"image": np.zeros((5, 76, 76))}, "float64.*must be float32"),
        ({"image": np.zeros((5, 75, 75), np.float32)}, r"64 \+ 2 margin"),
        ({"image": np.zeros((5, 62, 62), np.float32)}, r"64 \+ 2 margin"),
        ({"image": np.zeros((5, 76, 78), np.float32)}, r"\(N, S, S\)"),
        ({"mask": np.zeros((5, 74, 74), np.float32)}, "mask is float32 of shape"),
        ({"label": np.zeros(4, np.int64)}, "label is int64"),
        ({"label": np.zeros(5)}, "label is float64"),
        ({"label": np.arange(5)}, "labels must be one of 0 benign, 1 malignant, -1 unknown"),
        ({"case_id": np.array(["a"] * 5)}, "case ids are not unique"),
        ({"case_id": np.arange(5)}, "kind 'U'"),
        ({"margin": np.full(5, 7)}, r"0\.\.6"),
        ({"margin": np.full(5, -1)}, r"0\.\.6"),
        ({"has_mask": np.ones(5)}, "has_mask is float64"),
    ],
)
def test_wrong_content_is_refused(changes, message):
    with np.errstate(invalid="ignore"), pytest.raises(UserError, match=message) as caught:
        make(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("masks", [True, False])
def test_a_saved_set_comes_back_whole(tmp_path, masks):
    cases = make(masks=masks)
    cases.save(tmp_path / "deep" / "cases.npz")
    assert Cases.load(tmp_path / "deep" / "cases.npz").digest() == cases.digest()
    assert os.listdir(tmp_path / "deep") == ["cases.npz"]


def test_an_interrupted_save_leaves_the_good_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "cases.npz"
    make().save(path)

    def interrupted(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(seed=1).save(path)
    assert os.listdir(tmp_path) == ["cases.npz"]
    assert Cases.load(path).digest() == make().digest()


def test_pickled_objects_are_never_loaded(tmp_path):
    np.savez(tmp_path / "evil.npz", image=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        Cases.load(tmp_path / "evil.npz")


class Builder:
    def __init__(self, seed=0):
        self.calls, self.seed = 0, seed

    def __call__(self):
        self.calls += 1
        return make(seed=self.seed)


def test_cache_is_used_for_equal_settings_only(tmp_path):
    build = Builder()
    first = prepared(tmp_path, "set", {"fov": 45, "rim": 6}, build)
    again = prepared(tmp_path, "set", {"rim": 6, "fov": 45}, build)
    assert build.calls == 1
    assert first.digest() == again.digest()
    prepared(tmp_path, "set", {"fov": 26, "rim": 6}, build)
    assert build.calls == 2
    prepared(tmp_path, "set", {"fov": 45, "rim": 6}, build)
    assert build.calls == 2


def test_a_new_version_of_the_format_builds_anew(tmp_path, monkeypatch):
    build = Builder()
    prepared(tmp_path, "set", {}, build)
    monkeypatch.setattr("cycle_am.data.cases.CACHE_VERSION", 10**6)
    prepared(tmp_path, "set", {}, build)
    assert build.calls == 2


def flip(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"no archive",
        lambda data: data[:-30],
    ],
    ids=["bit", "half", "empty", "text", "end"],
)
def test_a_damaged_cache_is_rebuilt_with_a_warning(tmp_path, damage):
    build = Builder()
    good = prepared(tmp_path, "set", {}, build)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match="built again"):
        rebuilt = prepared(tmp_path, "set", {}, build)
    assert build.calls == 2
    assert rebuilt.digest() == good.digest() == Cases.load(path).digest()


def test_a_cache_with_a_missing_array_is_rebuilt(tmp_path):
    build = Builder()
    prepared(tmp_path, "set", {}, build)
    (path,) = tmp_path.iterdir()
    np.savez(path, image=make().image)
    with pytest.warns(UserWarning, match="built again"):
        prepared(tmp_path, "set", {}, build)
    assert build.calls == 2


def test_a_failed_build_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match="source"):
        prepared(
            tmp_path / "cache", "set", {}, lambda: (_ for _ in ()).throw(UserError("no source; give one"))
        )
    assert not (tmp_path / "cache").exists()


def test_settings_digest_ignores_order_and_sees_values():
    assert settings_digest({"a": 1, "b": [1, 2]}) == settings_digest({"b": [1, 2], "a": 1})
    assert (
        len({settings_digest(settings) for settings in ({}, {"a": 1}, {"a": 2}, {"a": "1"}, {"b": 1})}) == 5
    )
