"""The comparison as Markdown."""

from __future__ import annotations

import json

from cycle_am.reports.comparison_table import main, markdown


def figure(value):
    return {"value": value, "ci_low": None, "ci_high": None, "n": 3}


FIGURES = {
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
    head, _, *rows = markdown(FIGURES).splitlines()
    assert head == "| | deletion ↓ | insertion ↑ | ms a case ↓ |"
    assert rows == [
        "| `lrp` | **.25** | **.50** | **12** |",
        "| `cycle_am` | .50 | – | – |",
        "| `control_centre` | .12 | .50 | – |",
    ]


def test_what_rounds_to_nothing_has_no_sign():
    values = {"stability": -0.004, "flip": -0.006, "sensitivity_n": 0.25, "insertion": -0.0}
    table = markdown(
        {f"compare/{name}/{metric}": figure(v) for metric, v in values.items() for name in ("control_a", "b")}
    )
    assert table.splitlines()[2] == "| `control_a` | .00 | -.01 | .25 | .00 |"


def test_entry(tmp_path, capsys):
    (tmp_path / "metrics.json").write_text(json.dumps(FIGURES))
    assert main([str(tmp_path / "metrics.json")]) == 0
    assert "`lrp`" in capsys.readouterr().out
    assert main([str(tmp_path / "none.json")]) == 1
    assert "no metrics.json there" in capsys.readouterr().err
    assert main([]) == 2
