"""The catalogue of measures: the paper's figures, and what is found by which key."""

import pytest

from cycle_am import measures


def test_what_the_paper_prints():
    assert {key: value["value"] for key, value in measures.paper("transfer/explained/").items()} == {
        "x": 0.470,
        "neg": 0.289,
        "pos": 0.820,
        "t_neg": 14.5,
        "t_pos": 17.9,
    }
    table_one = measures.paper("classifier/")
    assert next(iter(table_one)) == "accuracy"
    assert len(table_one) == 10
    # Of 123 benign and 112 malignant cases: sensitivity and specificity give the predictive values.
    tp, tn = 0.813 * 112, 0.805 * 123
    assert tp / (tp + 123 - tn) == pytest.approx(table_one["ppv"]["value"], abs=2e-3)
    assert tn / (tn + 112 - tp) == pytest.approx(table_one["npv"]["value"], abs=2e-3)
    assert table_one["informedness"]["value"] == pytest.approx(0.813 + 0.805 - 1, abs=2e-3)


def test_keys_with_a_variable_part_are_found():
    assert measures.named("compare/lrp/deletion").label == "deletion"
    assert measures.named("runs/classifier/auc") is measures.CATALOGUE["runs/*"]
    assert measures.named("ensemble/gain_peak").label.startswith("Gain")
    with pytest.raises(KeyError):
        measures.named("compare/lrp/beauty")
    with pytest.raises(KeyError):
        measures.named("classifier/beauty")


@pytest.mark.parametrize(
    "metric", ["deletion", "infidelity", "randomisation_random_labels", "peak_mb", "completeness"]
)
def test_less_is_better(metric):
    assert measures.lower_is_better(metric)


@pytest.mark.parametrize("metric", ["insertion", "pointing", "agreement", "unheard of"])
def test_more_is_better(metric):
    assert not measures.lower_is_better(metric)


def test_every_entry_says_what_it_is():
    assert all(measure.meaning for measure in measures.CATALOGUE.values())
    assert all(measure.label for key, measure in measures.CATALOGUE.items() if not key.endswith("*"))


def test_no_two_rows_of_a_table_are_called_the_same():
    for name in (measures.EVALUATION, measures.SPREAD, measures.COMPARISON):
        labels = [measure.label for measure in measures.table(name).values()]
        assert len(set(labels)) == len(labels) > 5
