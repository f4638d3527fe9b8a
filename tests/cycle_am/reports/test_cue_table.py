"""The planted cues side by side."""

from __future__ import annotations

import json

from cycle_am.reports.cue_table import METRICS, main, markdown


def figures(**methods):
    return {
        f"compare/{method}/{metric}": {"value": value, "ci_low": None, "ci_high": None, "n": 3}
        for method, values in methods.items()
        for metric, value in zip(METRICS, values, strict=True)
    }


CUES = {
    "marker": figures(cycle_am=(0.5, 0.25, 0.1), lrp=(0.25, 0.75, None), control_centre=(1.0, 0.0, 0.0)),
    "halo": figures(cycle_am=(1.0, 0.75, 0.3), control_centre=(1.0, 0.5, 0.5)),
}


def test_each_cue_and_their_mean_the_best_of_the_methods_bold():
    head, _, *rows = markdown(CUES).splitlines()
    assert head == "| | marker | halo | mean |"
    assert rows == [
        "| `cycle_am` | **.50** / .25 / **.10** | **1.00** / **.75** / **.30** | **.75** / **.50** / **.20** |",
        "| `lrp` | .25 / **.75** / – | – / – / – | – / – / – |",
        "| `control_centre` | 1.00 / .00 / .00 | 1.00 / .50 / .50 | 1.00 / .25 / .25 |",
    ]


def test_what_rounds_to_nothing_has_no_sign():
    cues = {"a": figures(cycle_am=(-0.001, -0.006, 0.0)), "b": figures(cycle_am=(0.001, 0.004, -0.0))}
    assert markdown(cues).splitlines()[2].replace("**", "") == (
        "| `cycle_am` | .00 / -.01 / .00 | .00 / .00 / .00 | .00 / .00 / .00 |"
    )


def test_entry(tmp_path, capsys):
    (tmp_path / "metrics.json").write_text(json.dumps(CUES["halo"]))
    assert main([f"halo={tmp_path / 'metrics.json'}"]) == 0
    assert "| | halo | mean |" in capsys.readouterr().out
    assert main([f"halo={tmp_path / 'none.json'}"]) == 1
    assert "no metrics.json there" in capsys.readouterr().err
    assert main([]) == 2
