"""The comparison on a linear classifier, whose true relevance is known, with explainers whose quality is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cycle_am.explainers.base import Unsupported
from cycle_am.metrics import comparison as comparing
from cycle_am.metrics.bootstrap import mean_figure
from cycle_am.metrics.comparison import (
    Measured,
    Plan,
    Subject,
    Variant,
    compare_all,
    measure,
    read_part,
    share,
    table,
)
from cycle_am.reports import comparison as page
from cycle_am.reports.page import with_interval, write_report
from tests.cycle_am.metrics.fakes import make_cases

PLAN = Plan(
    explainers=("cycle_am", "truth", "control_constant"), infills=("blur",), subsets=8, copies=2, repeats=1
)


class Linear(nn.Module):
    """Malignant by the brightness within 10 pixels of the middle."""

    def __init__(self, sign: float = 1.0):
        super().__init__()
        distance = torch.hypot(
            *torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij")
        )
        self.weight = nn.Parameter(sign * 0.03 * (distance < 10).float(), requires_grad=False)

    def forward(self, image):
        z = (image[:, 0] * self.weight).sum((1, 2)) - 0.03 * 80
        return torch.stack([-z, z], 1)


class Truth:
    """Input times weight: the exact evidence of a linear classifier."""

    evidence = True

    def __init__(self, weight):
        self.weight = weight

    def explain(self, image, target):
        sign = 2 * torch.as_tensor(target).reshape(-1, 1, 1, 1) - 1
        return sign * image * self.weight

    def completeness(self, image, target, relevance):
        return torch.zeros(len(image))


class Constant(Truth):
    """The same everywhere."""

    def explain(self, image, target):
        return torch.ones_like(image)

    def completeness(self, image, target, relevance):
        return None


class Refuses(Truth):
    """Cannot handle the network."""

    def explain(self, image, target):
        raise Unsupported("refuses", "no ReLU modules")


KINDS = {"cycle_am": Truth, "truth": Truth, "control_constant": Constant, "refuses": Refuses}


@pytest.fixture(autouse=True)
def fake_explainers(monkeypatch):
    monkeypatch.setattr(
        comparing, "build", lambda name, context, overrides=None: KINDS[name](context.classifier.weight)
    )


@pytest.fixture
def subject():
    cases = make_cases(8)
    variants = [Variant(comparing.WHOLE, Linear(sign=0.0)), Variant(comparing.SEED, Linear(), gan="trained")]
    return Subject(Linear(), "trained", cases.window()[0], cases, variants)


def test_truth_beats_a_constant_map(subject, tmp_path):
    shared = share(subject, PLAN)
    results = compare_all(subject, PLAN, shared, tmp_path, "a")
    truth, constant = (results[name].columns for name in ("truth", "control_constant"))
    assert np.all(truth["deletion"] < constant["deletion"])
    assert np.all(truth["flip_for"][shared.target == 1] > 0)
    assert np.all(truth["sensitivity_n"] > 0.5)
    assert np.mean(truth["relevance_mass"]) > 2 * np.mean(constant["relevance_mass"])
    area = shared.centred.where.mask.mean((1, 2))
    assert constant["relevance_mass"] == pytest.approx(area)
    assert constant["pointing"] == pytest.approx(area)
    assert np.all(truth["completeness"] == 0)
    assert np.isnan(constant["completeness"]).all()


def test_a_map_that_ignores_the_model_is_told_from_one_that_does_not(subject, tmp_path):
    results = compare_all(subject, PLAN, share(subject, PLAN), tmp_path, "a")
    assert results["control_constant"].columns["randomisation_whole_network"] == pytest.approx(1)
    assert results["truth"].columns["randomisation_whole_network"] == pytest.approx(0)
    assert results["cycle_am"].columns["agreement"] == pytest.approx(1)
    assert np.isnan(results["truth"].columns["agreement"]).all()


def test_generators_that_were_not_trained_for_a_variant_leave_it_open(subject):
    shared = share(subject, PLAN)
    *_, result = measure("cycle_am", subject, shared, PLAN)
    assert np.isnan(result.columns["randomisation_whole_network"]).all()


def test_results_are_kept_and_go_on(subject, tmp_path, monkeypatch):
    shared = share(subject, PLAN)
    first = compare_all(subject, PLAN, shared, tmp_path, "a")

    def never(*_):
        raise AssertionError("measured again")

    monkeypatch.setattr(comparing, "measure", never)
    again = compare_all(subject, PLAN, shared, tmp_path, "a")
    assert np.array_equal(again["truth"].maps, first["truth"].maps)
    assert again["truth"].columns.keys() == first["truth"].columns.keys()
    with pytest.raises(AssertionError, match="measured again"):
        compare_all(subject, PLAN, shared, tmp_path, "other settings")
    whole = (tmp_path / "truth-a.npz").read_bytes()
    for damaged in (b"half", whole[: len(whole) // 2]):
        (tmp_path / "truth-a.npz").write_bytes(damaged)
        assert read_part(tmp_path / "truth-a.npz") is None


def test_a_method_that_cannot_handle_the_network_is_named_and_the_others_run_on(subject, tmp_path):
    plan = Plan(explainers=("truth", "refuses"), infills=("blur",), subsets=4, copies=0, repeats=0)
    shared = share(subject, plan)
    results = compare_all(subject, plan, shared, tmp_path, "a")
    assert results["refuses"].unsupported == "refuses cannot explain this classifier: no ReLU modules"
    one = page.compared(subject, shared, results, table(results), resamples=50)
    assert list(one.supported) == ["truth"]
    assert results["refuses"].unsupported in page.verdicts(one)


def test_a_classifier_whose_classes_are_swapped_is_named(subject):
    plan = Plan(explainers=("truth",), infills=("blur",), subsets=4, copies=0, repeats=0)
    for sign, said in ((-1.0, True), (1.0, False)):
        one = page.Compared(subject, share(replace(subject, classifier=Linear(sign)), plan), {}, [])
        verdicts = " ".join(page.verdicts(one))
        assert ("The explained classifier has an AUC of 0.000, below 0.5" in verdicts) == said


def test_report_names_what_located_nothing(subject, tmp_path):
    shared = share(subject, PLAN)
    results = compare_all(subject, PLAN, shared, tmp_path / "parts", "a")
    one = page.compared(subject, shared, results, table(results), resamples=50)
    figures = page.metrics(one, planted=True)
    for key in (
        "pointing",
        "relevance_mass_shifted",
        "deletion",
        "randomisation",
        "planted_rank",
        "ms_per_case",
    ):
        assert np.isfinite(figures[f"compare/truth/{key}"]["value"]), key
    assert figures["compare/truth/planted_mass"] == figures["compare/truth/relevance_mass"]
    assert page.beats_controls(one, "truth")
    frame = page.tests_table(one)
    assert set(frame.method) == {"cycle_am", "truth", "control_constant"}
    assert frame.query("method == 'truth' and metric == 'deletion'").p_holm.item() == 1
    assert page.cases_table(one)["explainer"].tolist().count("truth") == len(subject.cases)
    report = page.report(one, tmp_path / "figures", 2, 60.0, {"Data": "fake"}, "the disc")
    text = write_report(tmp_path / "report.html", report).read_text()
    assert "beats the controls" in text
    assert text.count("data:image/png") == 4


def test_every_interval_of_the_page_is_that_of_the_resamples_and_seed_asked_for(subject, tmp_path):
    shared = share(subject, PLAN)
    results = compare_all(subject, PLAN, shared, tmp_path / "parts", "a")
    options = {"resamples": 7, "seed": 5}
    one = page.compared(subject, shared, results, table(results), **options)
    tables = [t for part in page.report(one, tmp_path, 1, 1.0, {}, "").sections for t in part.tables]
    checked = 0
    for shown, key in (
        ("stability", "stability"),
        ("largest change", "max_change"),
        ("deletion", "deletion"),
    ):
        (found,) = [t for t in tables if shown in t.columns]
        for name, *cells in found.rows:
            values, patients = results[name].columns[key], subject.cases.patient_id
            cell = cells[found.columns.index(shown) - 1].rstrip("*")
            assert cell == with_interval(mean_figure(values, patients, **options))
            checked += cell != with_interval(mean_figure(values, patients))
    assert checked > 3


def test_the_page_names_only_what_is_there(subject, tmp_path):
    cases = subject.cases.select([1])
    cases = replace(cases, mask=None, has_mask=np.zeros(1, bool), label=np.full(1, -1))
    plan = Plan(explainers=("truth",), infills=("blur",), subsets=4, copies=0, repeats=1)
    subject = replace(subject, cases=cases, variants=())
    shared = share(subject, plan)
    results = compare_all(subject, plan, shared, tmp_path / "parts", "a")
    one = page.compared(subject, shared, results, table(results), resamples=5)
    report = page.report(one, tmp_path, 1, float("nan"), {}, "")
    text = write_report(tmp_path / "report.html", report).read_text()
    assert "differs from truth (" in text  # there is no cycle_am
    assert "The first test cases; there is none with a label" in text
    assert "Yellow" not in text
    assert "How long CycleAM&#39;s training took is not known" in text
    assert "Worst and best" not in text
    assert "Means over 1 cases" in text


def test_counts_and_controls_are_those_that_there_are(subject, tmp_path):
    known = np.arange(8) < 3
    subject = replace(subject, cases=replace(subject.cases, has_mask=known), variants=())
    shared = share(subject, PLAN)
    results = compare_all(subject, PLAN, shared, tmp_path / "parts", "a")
    one = page.compared(subject, shared, results, table(results), resamples=5)
    text = write_report(tmp_path / "a.html", page.report(one, tmp_path, 1, 1.0, {}, "")).read_text()
    assert "Means over 3 to 8 cases" in text
    assert "beats the controls (constant) on moved images" in text


def test_maps_for_benign_cases_are_turned(subject, tmp_path):
    shared = share(subject, PLAN)
    results = {"truth": Measured(np.ones((8, 64, 64), np.float32), {}, np.zeros((2, 8, 1)), {})}
    one = page.Compared(subject, shared, results, [])
    assert np.array_equal(np.sign(page.signed_maps(one)["truth"][:, 0, 0]), np.where(shared.target, 1, -1))
