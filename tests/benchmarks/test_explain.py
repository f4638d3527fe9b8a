"""The benchmark of explanations: ratios to both other methods, and a peak memory that grows with the images only."""

import json

import pytest

from benchmarks import explain

pytestmark = pytest.mark.slow  # half a minute of computing


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What a run with few images writes."""
    out = tmp_path_factory.mktemp("bench") / "runs" / "explain.json"
    assert explain.main([str(out), "--images", "32"]) == 0
    return json.loads(out.read_text())


def test_every_way_stands_beside_both_other_methods(found):
    ways = {line["what"].split(",")[1].strip() for line in found["rows"]}
    assert "torch" in ways
    assert len(found["rows"]) == len(ways) * 2 * 2
    assert {line["reference"] for line in found["rows"]} == {
        "DeepSHAP, one image",
        "integrated gradients, one image",
    }


def test_r_is_faster_than_both(found):
    assert all(line["ratio"] > 1 for line in found["rows"])


def test_the_peak_is_that_of_a_process_of_its_own(found):
    assert 100 < found["peak_megabytes"] < 600
