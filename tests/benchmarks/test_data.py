"""The data benchmark: its sampling, its table, and a small run that must show ratios to pylidc."""

import json

import pytest

from benchmarks import data
from cycle_am.data.lidc.annotations import load_scans


def test_sample_has_the_mean_of_all_scans():
    """An even spread over the order keeps the mean, which the extrapolation rests on."""
    scans = load_scans()
    mean = sum(len(scan.annotations) for scan in scans) / len(scans)
    sample = data.spread(scans, 40)
    assert len({scan.scan_id for scan in sample}) == 40
    assert sum(len(scan.annotations) for scan in sample) / 40 == pytest.approx(mean, rel=0.05)


def test_ratio_is_reference_over_ours():
    line = data.row("ours", 2.0, "theirs", 5.0)
    assert line["ratio"] == 2.5
    assert "2.5" in data.table([line])


def test_small_run_writes_ratios(tmp_path, capsys):
    out = tmp_path / "runs" / "bench.json"
    assert data.main([str(out), "--sample", "4", "--dicom-root", str(tmp_path / "absent")]) == 0
    rows = json.loads(out.read_text())
    assert [line["reference"] for line in rows] == ["pylidc cluster_annotations"] * 2
    assert all(line["seconds"] > 0 and line["reference_seconds"] > 0 for line in rows)
    output = capsys.readouterr()
    assert output.out.splitlines()[-1] == str(out)
    assert "preparation is not timed" in output.err


def test_preparation_of_the_real_patient_is_timed(real_data):
    (line,) = data.preparation_rows(real_data / "lidc_dicom")
    assert "133 slices" in line["what"]
    assert line["ratio"] > 1
