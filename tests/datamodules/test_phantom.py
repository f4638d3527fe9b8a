import dataclasses

import numpy as np
import pytest

from cycle_am.contract import check_batch
from cycle_am.data.lidc.lesions import lesion_mask
from cycle_am.data.phantom.cohort import (
    cohort,
    consensus,
    finding,
    outlined_slices,
    render_cases,
    render_window,
    scene_size,
)
from cycle_am.data.phantom.render import ct_noise, edge_profile, render_slice, tube_coverage
from cycle_am.data.phantom.scene import Finding, Scanner, draw_scene, outward, scene_seed, signed_distance
from cycle_am.errors import UserError
from datamodules.phantom import PhantomDataModule

QUIET = {"noise": 0.0, "offset": 0.0}


def disc(radius_mm: float, spacing: float = 0.7, **ratings) -> Finding:
    """A ball: discs on slices 1.5 mm apart, the outermost empty."""
    half = int(radius_mm / spacing) + 3
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1] * spacing
    z = np.arange(-7, 8) * 1.5
    radii = np.sqrt(np.clip(radius_mm**2 - z**2, 0, None))
    fraction = np.stack([(np.hypot(rows, columns) < r).astype(np.float32) for r in radii])
    return Finding("disc", fraction, (-half, -half), z, spacing, 1.5, **ratings)


def mean_core(item: Finding, views: int = 5) -> float:
    """Mean HU within 1.5 mm of the middle over several independent renderings."""
    return float(
        np.mean([render_slice(draw_scene(item, 0, view), 41)[18:23, 18:23].mean() for view in range(views)])
    )


@pytest.fixture(scope="module")
def lesions():
    """A spread of the cohort, some of either label."""
    return cohort()[::60]


@pytest.fixture(scope="module")
def cases(lesions):
    return render_cases(lesions, fov_mm=45.0, margin=8)


def test_cases_hold_the_cohort_in_the_contracts_form(lesions, cases):
    assert cases.image.shape == (len(lesions), 80, 80)
    assert cases.image.dtype == np.float32
    assert 0 <= cases.image.min() < 0.2
    assert 0.7 < cases.image.max() <= 1
    assert cases.case_id.tolist() == [lesion.lesion_id for lesion in lesions]
    assert cases.patient_id.tolist() == [lesion.patient_id for lesion in lesions]
    medians = np.array([lesion.median_malignancy for lesion in lesions])
    np.testing.assert_array_equal(cases.label, (medians > 3).astype(int))
    np.testing.assert_allclose(cases.diameter_mm, [lesion.diameter_mm for lesion in lesions], rtol=1e-6)


def test_rendering_is_deterministic_and_depends_on_the_seed(lesions, cases):
    again = render_cases(lesions[:3], 45.0, 8)
    other = render_cases(lesions[:3], 45.0, 8, seed=1)
    np.testing.assert_array_equal(again.image, cases.image[:3])
    assert (np.abs(other.image - again.image).mean(axis=(1, 2)) > 0.01).all()


def test_processes_do_not_change_the_result(lesions, cases, monkeypatch):
    monkeypatch.setattr("cycle_am.data.phantom.cohort.POOL_FROM", 1)
    pooled = render_cases(lesions[:4], 45.0, 8, processes=2)
    np.testing.assert_array_equal(pooled.image, cases.image[:4])


def test_malignancy_never_reaches_the_pixels(lesions):
    """The same lesion with every reader's malignancy turned round gives identical pixels."""
    for lesion in lesions[:6]:
        turned = dataclasses.replace(
            lesion,
            label="benign" if lesion.label == "malignant" else "malignant",
            annotations=tuple(
                dataclasses.replace(a, malignancy=6 - a.malignancy) for a in lesion.annotations
            ),
        )
        pair = [render_window((finding(one), 0), 45.0, 8, 0) for one in (lesion, turned)]
        np.testing.assert_array_equal(*pair)
    assert "malignancy" not in {f.name for f in dataclasses.fields(Finding)}


def test_mask_is_the_consensus_outline(lesions, cases):
    for row, lesion in enumerate(lesions):
        np.testing.assert_array_equal(cases.mask[row], lesion_mask(lesion, 45.0, 64, 8))


def test_the_lesion_lies_where_its_mask_is(cases):
    """Inside the consensus it is brighter than in the lung nearby, in nearly every case."""
    brighter = [
        np.median(image[mask >= 0.75]) > np.quantile(image[mask == 0], 0.25) + 0.1
        for image, mask in zip(cases.image, cases.mask, strict=True)
        if (mask >= 0.75).sum() > 4
    ]
    assert np.mean(brighter) > 0.85


def test_consensus_on_the_chosen_slice_agrees_with_the_mask(lesions):
    from cycle_am.data.lidc.annotations import load_scans
    from cycle_am.data.lidc.lesions import slice_consensus

    lesion = lesions[2]
    scan = next(s for s in load_scans() if s.scan_id == lesion.scan_id)
    slices = outlined_slices(lesion, scan)
    fraction, low = consensus(lesion, slices)
    expected, corner = slice_consensus(lesion)
    offset = corner - low
    part = fraction[slices.tolist().index(lesion.slice_k)]
    inner = part[offset[0] : offset[0] + expected.shape[0], offset[1] : offset[1] + expected.shape[1]]
    np.testing.assert_allclose(inner, expected, atol=1e-6)
    assert part.sum() == pytest.approx(expected.sum(), rel=1e-6)


def test_windows_of_any_size_show_the_same_scene(lesions):
    """At a third of the field of view every third pixel is one of the wider window's."""
    item = finding(lesions[1])
    wide, narrow = (render_window((item, 0), fov, 0, 0) for fov in (45.0, 15.0))
    assert scene_size(0.7, 45.0, 8) == scene_size(0.7, 26.0, 8) < scene_size(0.7, 90.0, 8)
    np.testing.assert_allclose(narrow[::3, ::3], wide[21:43, 21:43], atol=1e-6)


def test_module_splits_by_patient_and_gives_batches(tmp_path, monkeypatch):
    few = cohort()[::20]
    monkeypatch.setattr("datamodules.phantom.cohort", lambda: few)
    data = PhantomDataModule(views=2, cache_dir=tmp_path, batch_size=4, fov_mm=26.0, processes=1)
    data.prepare_data()
    data.setup()
    lesions = [np.unique([name.split("+")[0] for name in part.case_id]) for part in data._parts().values()]
    assert len(data.train_cases) == 2 * len(lesions[0])
    assert [len(data.val_cases), len(data.test_cases)] == [len(lesions[1]), len(lesions[2])]
    assert sum(map(len, lesions)) == len(few)
    assert not set(data.train_cases.patient_id) & set(data.test_cases.patient_id)
    batch = next(iter(data.train_dataloader()))
    check_batch(batch)
    assert batch["mask"].shape == (4, 1, 64, 64)
    first, second = (data.train_cases.case_id.tolist().index(lesions[0][0] + view) for view in ("", "+1"))
    assert np.abs(data.train_cases.image[first] - data.train_cases.image[second]).mean() > 0.01
    np.testing.assert_array_equal(data.train_cases.mask[first], data.train_cases.mask[second])


def test_preparation_is_read_back_from_the_cache(tmp_path, monkeypatch):
    few = cohort()[::40]
    monkeypatch.setattr("datamodules.phantom.cohort", lambda: few)
    prepared = PhantomDataModule(cache_dir=tmp_path, processes=1).build_cases()
    monkeypatch.setattr(
        "datamodules.phantom.cohort", lambda: pytest.fail("rendered although it was prepared before")
    )
    assert PhantomDataModule(cache_dir=tmp_path).build_cases().digest() == prepared.digest()


def test_views_must_be_positive():
    with pytest.raises(UserError, match="views"):
        PhantomDataModule(views=0)


def test_densities_follow_the_ratings():
    """Calcified cores lie above 150 HU, solid ones near soft tissue, ground glass far below."""
    solid, glass = mean_core(disc(5)), mean_core(disc(5, texture=1.0))
    mixed, calcified = mean_core(disc(5, texture=3.0)), mean_core(disc(5, calcification=(3, 3, 3, 3)))
    assert calcified > 250
    assert -40 < solid < 90
    assert -750 < glass < -450
    assert glass + 80 < mixed < solid - 80


def test_every_single_calcified_core_is_bright():
    cores = [
        render_slice(draw_scene(disc(6, calcification=(3, 3, 3, 3)), 0, view), 41)[19:22, 19:22].mean()
        for view in range(6)
    ]
    assert np.mean(np.array(cores) > 150) >= 0.8


def test_poorly_defined_margins_are_softer():
    def slope(margin: float) -> float:
        scenes = (draw_scene(disc(6, margin=margin), 0, view) for view in range(7))
        lines = [np.abs(np.diff(render_slice(scene, 61)[30, 30:48])).max() for scene in scenes]
        return float(np.median(lines))

    assert slope(5.0) > slope(1.0) * 1.1


def test_spiculation_adds_strands():
    tubes = [
        sum(len(draw_scene(disc(6, spiculation=s), 0, view).tubes) for view in range(4)) for s in (1.0, 5.0)
    ]
    assert tubes[1] > tubes[0] + 100


def test_cavity_is_air():
    hollow = [
        render_slice(draw_scene(disc(9, cavity=1.0), 0, view), 61)[29:32, 29:32].mean() for view in range(6)
    ]
    assert np.median(hollow) < -600


def test_slices_beyond_the_lesion_do_not_show_it():
    scene = draw_scene(disc(4), 0, 3)
    middle, beyond = (render_slice(scene, 41, z)[18:23, 18:23].mean() for z in (0.0, 12.0))
    assert middle > beyond + 300


def test_signed_distance_of_a_disc_is_radius_minus_distance():
    item = disc(6, spacing=0.5)
    plane = signed_distance(item.fraction, item.spacing)[7]
    half = plane.shape[0] // 2
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1] * 0.5
    expected = 6 - np.hypot(rows, columns)
    near = np.abs(expected) < 2
    assert np.abs(plane - expected)[near].max() < 0.35


def test_slices_without_outline_close_the_lesion():
    fraction = np.zeros((3, 9, 9), np.float32)
    fraction[1, 3:6, 3:6] = 1
    distance = signed_distance(fraction, 1.0)
    assert distance[1].max() > 0
    assert distance[0].max() < 0 > distance[2].max()
    assert (signed_distance(np.zeros((2, 5, 5)), 1.0) < 0).all()


def test_tube_coverage_is_its_cross_section():
    """Area covered by a tube that stands upright on the slice: pi r^2."""
    axis = np.arange(-20, 21) * 0.25
    tube = np.array([0, 0, -10, 0, 0, 10, 3.0, 3.0, 40.0])
    covered = tube_coverage(axis[:, None], axis[None, :], 0.0, tube, 0.25).sum() * 0.25**2
    assert covered == pytest.approx(np.pi * 9, rel=0.02)
    assert tube_coverage(axis[:, None], axis[None, :], 20.0, tube, 0.25).max() == 0


def test_edge_profile_is_a_half_on_the_outline():
    np.testing.assert_allclose(edge_profile(np.array([-9.0, 0.0, 9.0]), 0.3), [0, 0.5, 1], atol=1e-9)


def test_noise_has_the_spectrum_of_ct():
    """Unit deviation; a dip at zero frequency, a peak between, little at the highest frequencies."""
    scanner = Scanner(0.5, 0.0, 20.0, 1.5, 0.0, 0.0, 0.0)
    noise = ct_noise(np.random.default_rng(0), (128, 128), scanner)
    assert noise.std() == pytest.approx(1, abs=1e-6)
    power = np.abs(np.fft.fft2(noise)) ** 2
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))
    low, middle, high = (
        power[(radius >= a) & (radius < b)].mean() for a, b in ((0.0, 0.03), (0.12, 0.25), (0.45, 0.5))
    )
    assert low < middle > 5 * high


def test_scanners_noise_is_what_is_added():
    item = disc(3)
    scene = draw_scene(item, 0, 1)
    silent = dataclasses.replace(scene, scanner=dataclasses.replace(scene.scanner, **QUIET))
    loud = dataclasses.replace(scene, scanner=dataclasses.replace(scene.scanner, noise=30.0, offset=0.0))
    difference = render_slice(loud, 61) - render_slice(silent, 61)
    assert difference.std() == pytest.approx(30, rel=0.01)


def test_outward_points_to_the_near_pleura():
    lateral, depth = outward((0.0, 130.0))
    medial, _ = outward((0.0, 40.0))
    assert lateral @ (0, 1) > 0.99
    assert medial @ (0, -1) > 0.9
    assert depth == pytest.approx(52 / 58, rel=0.02)


def test_seeds_differ_by_lesion_view_and_seed():
    seeds = {scene_seed(s, name, v) for s in (0, 1) for name in ("a", "b") for v in (0, 1)}
    assert len(seeds) == 8
    assert scene_seed(0, "a") == scene_seed(0, "a", 0)


def test_patients_of_a_manifest_are_left_out(lesions, tmp_path, monkeypatch):
    monkeypatch.setattr("datamodules.phantom.cohort", lambda: lesions)
    absent = {lesions[0].patient_id, lesions[3].patient_id}
    table = "image,label,patient_id,case_id\n" + "".join(f"a.npy,,{name},{name}\n" for name in sorted(absent))
    (tmp_path / "real.csv").write_text(table)
    whole, part = (
        PhantomDataModule(views=2, cache_dir=tmp_path, processes=1, without=tables).build_cases()
        for tables in ([], [str(tmp_path / "real.csv")])
    )
    assert set(whole.patient_id) - set(part.patient_id) == absent
    assert len(part) == sum(name not in absent for name in whole.patient_id)


def test_patients_are_left_out_in_any_spelling(lesions, tmp_path, monkeypatch):
    monkeypatch.setattr("datamodules.phantom.cohort", lambda: lesions)
    name = lesions[0].patient_id
    for written in (name.lower(), name.replace("-0", "-")):
        (tmp_path / "real.csv").write_text(f"image,label,patient_id\na.npy,,{written}\n")
        data = PhantomDataModule(cache_dir=tmp_path, processes=1, without=[str(tmp_path / "real.csv")])
        assert name not in data.build_cases().patient_id
    (tmp_path / "real.csv").write_text("image,label,patient_id\na.npy,,crop1\n")
    data = PhantomDataModule(cache_dir=tmp_path, processes=1, without=[str(tmp_path / "real.csv")])
    with pytest.warns(UserWarning, match=r"data\.without names no patient of these data"):
        assert name in data.build_cases().patient_id
