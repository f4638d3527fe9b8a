"""Markdown tables: evaluations side by side, the comparison, planted cues."""

from __future__ import annotations

import json

import pytest

from cycle_am.reports.markdown import CUE_METRICS, comparison, cues, figures, main, with_interval


def figure(value, low=None, high=None):
    return {"value": value, "ci_low": low, "ci_high": high, "n": 10}


def test_cells():
    assert with_interval(figure(0.9123, 0.8711, 0.9481)) == ".912 [.871, .948]"
    assert with_interval(figure(-0.05)) == "-.050"
    assert with_interval(figure(1.0)) == "1.000"
    assert with_interval(figure(-0.9996)) == "-1.000"
    assert with_interval(figure(-0.0004, -0.0006, -0.0)) == ".000 [-.001, .000]"
    assert with_interval(figure(None)) == with_interval(None) == "-"


def test_columns_stand_side_by_side_with_the_paper():
    table = figures(
        {"a": {"transfer/explained/pos": figure(0.9)}, "b": {"transfer/explained/neg": figure(0.1)}}
    )
    assert table.splitlines()[:2] == ["| | a | b | paper |", "|---|---|---|---|"]
    assert "| p(malignant) of G⁺(x), explained | .900 | - | .820 |" in table
    assert "| p(malignant) of G⁻(x), explained | - | .100 | .289 |" in table
    assert "judge" not in table


COMPARED = {
    "compare/lrp/deletion": figure(0.25),
    "compare/lrp/insertion": figure(0.5),
    "compare/cycle_am/deletion": figure(0.5),
    "compare/cycle_am/insertion": figure(None),
    "compare/control_centre/deletion": figure(0.125),
    "compare/control_centre/insertion": figure(0.5),
    "compare/lrp/ms_per_case": figure(12.3),
    "compare/lrp/flip_for": figure(0.1),
}


def test_the_best_method_is_bold_controls_aside_and_unknown_values_are_dashes():
    head, _, *rows = comparison({"": COMPARED}).splitlines()
    assert head == "| | deletion ↓ | insertion ↑ | ms a case ↓ |"
    assert rows == [
        "| `lrp` | **.25** | **.50** | **12** |",
        "| `cycle_am` | .50 | – | – |",
        "| `control_centre` | .12 | .50 | – |",
    ]


def test_what_rounds_to_nothing_has_no_sign():
    values = {"stability": -0.004, "flip": -0.006, "sensitivity_n": 0.25, "insertion": -0.0}
    content = {
        f"compare/{name}/{metric}": figure(v) for metric, v in values.items() for name in ("control_a", "b")
    }
    assert comparison({"": content}).splitlines()[2] == "| `control_a` | .00 | -.01 | .25 | .00 |"


def of_cue(**methods):
    return {
        f"compare/{method}/{metric}": figure(value)
        for method, values in methods.items()
        for metric, value in zip(CUE_METRICS, values, strict=True)
    }


CUES = {
    "marker": of_cue(cycle_am=(0.5, 0.25, 0.1), lrp=(0.25, 0.75, None), control_centre=(1.0, 0.0, 0.0)),
    "halo": of_cue(cycle_am=(1.0, 0.75, 0.3), control_centre=(1.0, 0.5, 0.5)),
}


def test_each_cue_and_their_mean_the_best_of_the_methods_bold():
    head, _, *rows = cues(CUES).splitlines()
    assert head == "| | marker | halo | mean |"
    assert rows == [
        "| `cycle_am` | **.50** / .25 / **.10** | **1.00** / **.75** / **.30** | **.75** / **.50** / **.20** |",
        "| `lrp` | .25 / **.75** / – | – / – / – | – / – / – |",
        "| `control_centre` | 1.00 / .00 / .00 | 1.00 / .50 / .50 | 1.00 / .25 / .25 |",
    ]


@pytest.mark.parametrize(
    ("kind", "content", "expected"),
    [
        ("figures", {"classifier/auc": figure(0.8)}, "| AUC | .800 | .809 |"),
        ("comparison", COMPARED, "`lrp`"),
        ("cues", CUES["halo"], "| | one | mean |"),
    ],
)
def test_commands(tmp_path, capsys, kind, content, expected):
    file = tmp_path / "metrics.json"
    file.write_text(json.dumps(content))
    assert main([kind, f"one={file}"]) == 0
    assert expected in capsys.readouterr().out
    assert main([kind, f"one={tmp_path}/none"]) == 1
    assert "no metrics.json there" in capsys.readouterr().err


def test_what_cannot_be_told_is_said(tmp_path, capsys):
    assert main([]) == 2
    assert main(["tables", "x"]) == 2
    file = tmp_path / "metrics.json"
    file.write_text(json.dumps(COMPARED))
    assert main(["comparison", str(file)]) == 0
    assert main(["comparison", f"a={file}", f"b={file}"]) == 1
    assert "give one metrics.json" in capsys.readouterr().err
