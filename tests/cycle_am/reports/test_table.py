"""The side-by-side table of several evaluations."""

import json

from cycle_am.reports.table import cell, main, markdown


def figure(value, low=None, high=None):
    return {"value": value, "ci_low": low, "ci_high": high, "n": 10}


def test_cells():
    assert cell(figure(0.9123, 0.8711, 0.9481)) == ".912 [.871, .948]"
    assert cell(figure(-0.05)) == "-.050"
    assert cell(figure(1.0)) == "1.000"
    assert cell(figure(-0.9996)) == "-1.000"
    assert cell(figure(-0.0004, -0.0006, -0.0)) == ".000 [-.001, .000]"
    assert cell(figure(None)) == cell(None) == "-"


def test_columns_stand_side_by_side_with_the_paper():
    table = markdown(
        {"a": {"transfer/explained/pos": figure(0.9)}, "b": {"transfer/explained/neg": figure(0.1)}}
    )
    assert "| of G+(x) | .900 | - | .820 |" in table
    assert "| of G-(x) | - | .100 | .289 |" in table
    assert "judge" not in table


def test_command(tmp_path, capsys):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps({"classifier/auc": figure(0.8)}))
    assert main([f"one={path}"]) == 0
    assert "| classifier: AUC | .800 | .809 |" in capsys.readouterr().out
    assert main([f"one={tmp_path}/none"]) == 1
    assert "no metrics.json there" in capsys.readouterr().err
