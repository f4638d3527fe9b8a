"""Lesions: labels, midpoints and masks against pylidc, and the resampling against scipy and closed forms."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from cycle_am.data.lidc.annotations import import_pylidc, load_scans
from cycle_am.data.lidc.lesions import (
    annotation_mask,
    diameter_mm,
    find_lesions,
    interpolation,
    lesion_mask,
    load_lesions,
    slice_consensus,
)


@pytest.fixture(scope="module")
def pylidc():
    return import_pylidc()


@pytest.fixture(scope="module")
def scans():
    """Scans with holes in their outlines first, then others."""
    scans = load_scans()
    holes = [s for s in scans if any(not c.inclusion for a in s.annotations for c in a.contours)]
    assert len(holes) > 10
    return [*holes[:6], *scans[10:20]]


def reference(pylidc, annotation):
    return pylidc.query(pylidc.Annotation).filter(pylidc.Annotation.id == annotation.annotation_id).one()


def test_masks_equal_pylidc_on_every_slice(pylidc, scans):
    compared = 0
    for annotation in (a for scan in scans for a in scan.annotations[:4]):
        theirs = reference(pylidc, annotation)
        box = theirs.bbox_matrix()
        mask = theirs.boolean_mask()
        for k in range(box[2, 0], box[2, 1] + 1):
            ours = annotation_mask(annotation, k, box[:2, 0], mask.shape[:2])
            np.testing.assert_array_equal(ours, mask[:, :, k - box[2, 0]])
            compared += 1
    assert compared > 150


def test_consensus_equals_the_mean_of_pylidc_masks(pylidc):
    from pylidc.utils import consensus

    for lesion in [le for scan in load_scans()[11:40] for le in find_lesions(scan) if le.included][:10]:
        theirs = [reference(pylidc, a) for a in lesion.annotations]
        _, box, masks = consensus(theirs, clevel=0.5)
        expected = np.mean(masks, axis=0)[:, :, lesion.slice_k - box[2].start]
        fraction, low = slice_consensus(lesion)
        embedded = np.zeros_like(expected)
        i, j = low - (box[0].start, box[1].start)
        embedded[i : i + fraction.shape[0], j : j + fraction.shape[1]] = fraction
        np.testing.assert_allclose(embedded, expected, atol=1e-12)


def test_diameter_and_midpoint_equal_pylidc(pylidc, scans):
    for scan in scans:
        for lesion in find_lesions(scan):
            theirs = [reference(pylidc, a) for a in lesion.annotations]
            centre = np.mean([a.centroid for a in theirs], axis=0)
            np.testing.assert_allclose([lesion.centre_i, lesion.centre_j], centre[:2])
            assert lesion.diameter_mm == pytest.approx(np.mean([a.diameter for a in theirs]))
            distances = np.abs(
                scan.slice_zvals - np.interp(centre[2], range(len(scan.slice_zvals)), scan.slice_zvals)
            )
            assert distances[lesion.slice_k] == pytest.approx(distances.min(), abs=1e-6)


def test_labels_follow_the_median():
    lesions = [lesion for scan in load_scans()[:120] for lesion in find_lesions(scan)]
    for lesion in lesions:
        median = sorted(lesion.malignancies)[(lesion.n_readers - 1) // 2 : lesion.n_readers // 2 + 1]
        sign = np.sign(np.mean(median) - 3)
        assert lesion.label == {-1: "benign", 0: "borderline", 1: "malignant"}[int(sign)]
        assert lesion.included == (lesion.n_readers >= 3 and sign != 0)
    assert {lesion.label for lesion in lesions} == {"benign", "borderline", "malignant"}


def test_min_readers_is_the_threshold():
    scan = load_scans()[2]
    for minimum in (1, 4):
        reasons = [(le.n_readers, le.excluded_because) for le in find_lesions(scan, minimum)]
        assert all((n < minimum) == (f"fewer than {minimum} readers" in why) for n, why in reasons)


def test_interpolation_equals_scipy():
    source = np.random.default_rng(0).normal(size=40)
    weights = interpolation(40, centre=18.3, step=0.83, count=32)
    coordinates = 18.3 + (np.arange(32) - 15.5) * 0.83
    np.testing.assert_allclose(weights @ source, map_coordinates(source, [coordinates], order=1), atol=1e-12)


def test_interpolation_keeps_the_area_when_shrinking():
    source = np.zeros(300)
    source[120:181] = 1  # 61 pixels wide, sampled every 4.7
    shrunk = interpolation(300, centre=150, step=4.7, count=60, oversampling=4) @ source
    assert shrunk.sum() * 4.7 == pytest.approx(61, rel=0.01)


def test_mask_keeps_area_and_place_at_any_sampling():
    for lesion in [le for scan in load_scans()[:30] for le in find_lesions(scan) if le.included][:12]:
        fraction, low = slice_consensus(lesion)
        area = fraction.sum() * lesion.pixel_spacing**2
        index = np.indices(fraction.shape).reshape(2, -1)
        centre = (index * fraction.ravel()).sum(1) / fraction.sum() + low
        offset_mm = (centre - (lesion.centre_i, lesion.centre_j)) * lesion.pixel_spacing
        for size, margin in ((64, 0), (64, 8), (192, 0)):
            mask = lesion_mask(lesion, 45.0, size, margin)
            pixel = 45.0 / size
            assert mask.shape == (size + 2 * margin,) * 2
            assert mask.dtype == np.float32
            assert mask.sum() * pixel**2 == pytest.approx(area, rel=0.03)
            grid = (np.indices(mask.shape) - (mask.shape[0] - 1) / 2) * pixel
            np.testing.assert_allclose((grid * mask).sum((1, 2)) / mask.sum(), offset_mm, atol=0.1)


def test_margin_only_adds_a_border():
    lesion = next(le for le in find_lesions(load_scans()[11]) if le.included)
    np.testing.assert_allclose(lesion_mask(lesion, margin=8)[8:-8, 8:-8], lesion_mask(lesion), atol=1e-6)


def test_diameter_of_a_square():
    from cycle_am.data.lidc.annotations import Annotation, Contour

    square = Contour(np.array([[0, 0], [0, 4], [3, 4], [3, 0]]), 0.0, 0, True)
    assert diameter_mm(Annotation(1, 1, (square,), *[3] * 9), pixel_spacing=0.5) == pytest.approx(2.5)


def test_loading_with_another_threshold_equals_finding_with_it():
    scan = load_scans()[2]
    loaded = [lesion for lesion in load_lesions(4) if lesion.scan_id == scan.scan_id]
    found = find_lesions(scan, 4)
    assert [(le.lesion_id, le.excluded_because) for le in loaded] == [
        (le.lesion_id, le.excluded_because) for le in found
    ]
    assert len({le.included for le in load_lesions(4)}) == 2
