"""The table of ratings, checked, as one array: readers x cases x methods x criteria.

A rating that was asked for and not given is NaN in the array and named in `Ratings.missing`. What cannot be right
(two ratings of the same item, a rating off the scale, a case of two labels, one id in two spellings) is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cycle_am.errors import UserError
from cycle_am.identity import check_spellings, visible
from cycle_am.reader_study import paper
from cycle_am.reader_study.files import Key, Study, unseal
from cycle_am.tables import read_table

ITEM = ["reader", "case", "method", "criterion", "repeat"]
NEEDED = ["reader", "case", "method", "criterion", "rating"]
LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "benign": 0, "malignant": 1}
TRUE, FALSE = {"true", "1", "1.0", "yes"}, {"false", "0", "0.0", "no", "nan", "none", ""}
IDS = ["reader", "case", "method", "criterion", "variant"]
OTHERS = ["rating", "label", "repeat", "simulated"]
NOTHING = {
    "",
    "na",
    "n/a",
    "#n/a",
    "nan",
    "<na>",
    "null",
    "none",
}  # how programs write that a value is absent


@dataclass(frozen=True)
class Ratings:
    """All ratings of R readers, C cases, M methods and K criteria.

    scores: (R, C, M, K) float64, the first rating of each item, NaN missing.
    repeats: (R, C, M, K), the second rating of repeated items, NaN elsewhere.
    labels: (C,) 0 benign, 1 malignant, or None where unknown.
    variants: (R,) variant of each reader's questionnaire, or None where unknown.
    methods: id -> name, the reference first.
    missing: one row (ITEM) a rating that was asked for and not given.
    silent: readers who gave no rating at all; they are in `missing` and not in the arrays.
    interim: the study was still open, so that ratings are to come.
    earlier_looks: when the key was opened before while the study was open.
    """

    scores: np.ndarray
    repeats: np.ndarray
    readers: list[str]
    cases: list[str]
    methods: dict[str, str]
    criteria: list[str]
    labels: np.ndarray | None
    variants: np.ndarray | None
    low: float
    high: float
    missing: pd.DataFrame
    silent: list[str]
    simulated: bool
    interim: bool = False
    earlier_looks: Sequence[str] = ()

    @property
    def reference(self) -> str:
        """The method that the others are compared with."""
        return next(iter(self.methods))

    @property
    def names(self) -> list[str]:
        """The methods' names, the reference first."""
        return list(self.methods.values())

    @property
    def criterion_names(self) -> list[str]:
        """The criteria in words."""
        return [name.replace("_", " ") for name in self.criteria]

    def table(self) -> pd.DataFrame:
        """The given ratings as a long table, which `from_csv` reads again."""
        parts = []
        for values, repeat in ((self.scores, False), (self.repeats, True)):
            reader, case, method, criterion = places = np.nonzero(np.isfinite(values))
            part = {
                "reader": np.array(self.readers)[reader],
                "case": np.array(self.cases)[case],
                "method": np.array(list(self.methods))[method],
                "criterion": np.array(self.criteria)[criterion],
                "rating": values[places],
                "repeat": repeat,
            }
            part |= {} if self.labels is None else {"label": self.labels[case]}
            part |= {} if self.variants is None else {"variant": self.variants[reader]}
            parts.append(pd.DataFrame(part))
        return pd.concat(parts, ignore_index=True)


def from_study(answers: pd.DataFrame, study: Study, key: Key, reference: str = paper.REFERENCE) -> Ratings:
    """Ratings of a study: its answers (ANSWER_COLUMNS), unsealed; every item of every reader's order is asked for.

    Raises:
        UserError: for answers of another study, of unknown readers, items or criteria, or that cannot be right.
    """
    known = {"study_id": [study.study_id], "reader": study.readers, "item": study.items}
    for column, allowed in (known | {"criterion": study.criteria}).items():
        strange = answers.loc[~answers[column].isin(list(allowed)), column]
        if len(strange):
            raise UserError(
                f"an answer has {column} {strange.iloc[0]}, which is not in study {study.study_id}; "
                "export the answers of this study again"
            )
    asked = pd.DataFrame(
        [
            (reader, item, criterion)
            for reader, visits in study.readers.items()
            for item in visits.order()
            for criterion in study.criteria
        ],
        columns=["reader", "item", "criterion"],
    )
    # Through unseal, so that what was asked and what was answered cannot be read in two ways.
    asked = unseal(asked.assign(rating=np.nan, position=0), study, key)
    return assemble(
        unseal(answers, study, key),
        asked=asked,
        methods=key.methods,
        criteria=study.criteria,
        reference=reference,
        low=study.low,
        high=study.high,
        simulated=study.simulated or bool(_flags(answers["simulated"], "simulated").any()),
    )


def from_csv(
    file: Path,
    criteria: Sequence[str] | None = None,
    reference: str = paper.REFERENCE,
    low: float = paper.LOW,
    high: float = paper.HIGH,
) -> Ratings:
    """Ratings of a plain CSV, long (a column `criterion` and a column `rating`) or wide (a column a criterion).

    Columns reader, case and method are needed; variant, label, repeat and simulated are used where present, others
    ignored. Every reader is taken to have been asked for every criterion of every case by every method, and for a
    second rating of every item that anybody rated twice. criteria: those to analyse; None: all of a long file, those
    of the paper in a wide one. Blanks around ids count for nothing.

    Raises:
        UserError: where the file is absent, lacks a column or a criterion, or holds what cannot be right.
    """
    if not file.is_file():
        raise UserError(f"there is no {file}; give an existing CSV: study.analyse.ratings=FILE.csv")
    chosen = None if criteria is None else [_tidy(name) for name in criteria]
    table = _long(_read(file, chosen or list(paper.CRITERIA)), file, chosen)
    absent = [name for name in NEEDED if name not in table]
    if absent:
        raise UserError(f"{file} has no column {absent[0]}; needed: {', '.join(NEEDED)}")
    table = table.apply(lambda column: column.map(_tidy if column.name in IDS else _value))
    for name in (identity for identity in IDS if identity in table):
        check_spellings(table[name].dropna().unique(), f"{file}: {name}")
    _refuse_unknown(chosen or [], table["criterion"].dropna().unique(), file)
    return assemble(
        table,
        criteria=chosen,
        reference=_tidy(reference),
        low=low,
        high=high,
        simulated=bool(_flags(table["simulated"], "simulated").any()) if "simulated" in table else False,
    )


def assemble(
    table: pd.DataFrame,
    *,
    asked: pd.DataFrame | None = None,
    methods: Mapping[str, str] | None = None,
    criteria: Sequence[str] | None = None,
    reference: str = paper.REFERENCE,
    low: float = paper.LOW,
    high: float = paper.HIGH,
    simulated: bool = False,
) -> Ratings:
    """Check a long table and arrange it; see :class:`Ratings`.

    Args:
        table: columns NEEDED; variant, label, repeat where known. An empty rating is a missing one.
        asked: the ratings that were asked for (columns ITEM); None: see :func:`from_csv`.
        methods: id -> name, in order; None: the paper's order and names, then as they appear.

    Raises:
        UserError: see above; also for fewer than two readers or methods with ratings.
    """
    table = _checked(table, low, high)
    chosen = (
        _in_order(table["criterion"], paper.CRITERIA) if criteria is None else list(dict.fromkeys(criteria))
    )
    table = table[table["criterion"].isin(chosen)]
    asked = _everything(table) if asked is None else _checked(asked, low, high)
    given = table[table["rating"].notna()]
    missing = asked[ITEM].merge(given[ITEM], how="left", on=ITEM, indicator=True)
    missing = missing[missing.pop("_merge") == "left_only"].reset_index(drop=True)
    readers = sorted(given["reader"].unique(), key=_natural)
    cases = sorted(asked["case"].unique(), key=_natural)
    names = _ordered_methods(asked["method"].unique(), methods, reference)
    for what, levels in (("readers", readers), ("methods", names)):
        if len(levels) < 2:
            raise UserError(f"ratings by {len(levels)} of the needed two or more {what}: nothing to compare")
    axes = [readers, cases, list(names), chosen]
    first, second = (_array(given[given["repeat"] == again], axes) for again in (False, True))
    everything = pd.concat([asked, table])
    labels = _one_each(everything, "case", "label", cases)
    return Ratings(
        scores=first,
        repeats=second,
        readers=readers,
        cases=cases,
        methods=names,
        criteria=chosen,
        labels=None if labels is None else labels.astype(int),
        variants=_one_each(everything, "reader", "variant", readers),
        low=low,
        high=high,
        missing=missing,
        silent=sorted(set(asked["reader"]) - set(readers), key=_natural),
        simulated=simulated,
    )


def _read(file: Path, criteria: Sequence[str]) -> pd.DataFrame:
    """The cells of a CSV as text. Raises UserError where it is no table, or holds a column twice."""
    try:
        lines = read_table(file, [*IDS, *OTHERS, *criteria], IDS)
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); mend it") from error
    return pd.DataFrame([line.cells for line in lines])


def _tidy(text: str | None) -> str | None:
    """An id without what the eye does not see; None where nothing is left."""
    return (visible(text) or None) if isinstance(text, str) else None


def _value(text: str | None) -> str | None:
    """A cell that is no id, None where it says that there is no value."""
    return None if text is None or text.strip().lower() in NOTHING else text.strip()


def _refuse_unknown(criteria: Iterable[str], known: Sequence[str], file: Path) -> None:
    unknown = [criterion for criterion in criteria if criterion not in known]
    if unknown:
        raise UserError(
            f"{file} has no criterion {unknown[0]}; it has {', '.join(known)}: study.analyse.criteria="
        )


def _long(table: pd.DataFrame, file: Path, criteria: Sequence[str] | None) -> pd.DataFrame:
    if "criterion" in table or "rating" in table:
        return table
    wanted = list(paper.CRITERIA if criteria is None else criteria)
    columns = [name for name in wanted if name in table]
    if not columns:
        raise UserError(
            f"{file} has neither columns criterion and rating nor one a criterion; "
            "name its columns: study.analyse.criteria=[NAME,NAME]"
        )
    _refuse_unknown(criteria or [], [name for name in table if name not in NEEDED], file)
    kept = [name for name in table if name not in columns]
    return table.melt(id_vars=kept, value_vars=columns, var_name="criterion", value_name="rating")


def _checked(table: pd.DataFrame, low: float, high: float) -> pd.DataFrame:
    """The used columns in their types; raises UserError for what cannot be right."""
    checked = pd.DataFrame({name: table[name] for name in ITEM[:-1]})
    for name in checked:
        if checked[name].isna().any():
            raise UserError(f"row {int(checked[name].isna().to_numpy().argmax()) + 1} has no {name}")
    checked = checked.astype(str)
    text = table["rating"]
    checked["rating"] = pd.to_numeric(text, errors="coerce")
    unreadable = text[checked["rating"].isna() & text.notna()]
    if len(unreadable):
        raise UserError(f"'{unreadable.iloc[0]}' is no rating; leave it empty where none was given")
    outside = checked[(checked["rating"] < low) | (checked["rating"] > high)]
    if len(outside):
        row = outside.iloc[0]
        raise UserError(
            f"reader {row['reader']} has a rating of {row['rating']:g} for case {row['case']}, outside of "
            f"{low:g} to {high:g}; mend it, or state the scale: study.analyse.low=, study.analyse.high="
        )
    checked["repeat"] = _flags(table["repeat"], "repeat") if "repeat" in table else False
    for name in ("label", "variant"):
        checked[name] = table.get(name, np.nan)
    checked["label"] = _labels(checked["label"])
    double = checked[checked.duplicated(ITEM)]
    if len(double):
        row = double.iloc[0]
        raise UserError(
            f"reader {row['reader']} has two ratings of case {row['case']}, method {row['method']}, criterion "
            f"{row['criterion']}; keep one, or mark the second as repeat"
        )
    return checked


def _labels(column: pd.Series) -> pd.Series:
    text = column.astype(str).str.strip().str.lower()
    unknown = column[column.notna() & ~text.isin(LABELS)]
    if len(unknown):
        raise UserError(f"'{unknown.iloc[0]}' is no label; use 0 or benign, 1 or malignant")
    return text.map(LABELS)


def _flags(column: pd.Series, name: str) -> pd.Series:
    text = column.astype(str).str.strip().str.lower()
    unknown = column[~text.isin(TRUE | FALSE)]
    if len(unknown):
        raise UserError(f"'{unknown.iloc[0]}' in column {name} is neither true nor false")
    return text.isin(TRUE)


def _everything(table: pd.DataFrame) -> pd.DataFrame:
    """Every case by every method, and what anybody rated twice, asked of every reader for every criterion."""
    cases, methods = table[["case"]].drop_duplicates(), table[["method"]].drop_duplicates()
    twice = table.loc[table["repeat"], ["case", "method", "repeat"]].drop_duplicates()
    items = pd.concat([cases.merge(methods, how="cross").assign(repeat=False), twice])
    readers = table[["reader"]].drop_duplicates()
    return items.merge(readers, how="cross").merge(table[["criterion"]].drop_duplicates(), how="cross")


def _ordered_methods(
    methods: Sequence[str], names: Mapping[str, str] | None, reference: str
) -> dict[str, str]:
    """id -> name of the methods that were asked about: the reference first, where it is among them."""
    order = paper.METHODS if names is None else names
    ordered = sorted(_in_order(methods, order), key=lambda name: name != reference)
    return {name: order.get(name, name) for name in ordered}


def _in_order(names: Iterable[str], order: Iterable[str]) -> list[str]:
    """What was found, each once: first what is in `order`, in that order, then the rest as it appears."""
    names = dict.fromkeys(names)
    return list(dict.fromkeys([*(name for name in order if name in names), *names]))


def _array(rows: pd.DataFrame, axes: Sequence[Sequence[str]]) -> np.ndarray:
    values = np.full([len(axis) for axis in axes], np.nan)
    places = (pd.Index(axis).get_indexer(rows[name]) for axis, name in zip(axes, ITEM[:-1], strict=True))
    values[tuple(places)] = rows["rating"]
    return values


def _one_each(table: pd.DataFrame, of: str, what: str, order: Sequence[str]) -> np.ndarray | None:
    """The one `what` of each `of` in `order`; None where some have none."""
    if what not in table:
        return None
    pairs = table[[of, what]].dropna().drop_duplicates()
    double = pairs[pairs.duplicated(of)]
    if len(double):
        raise UserError(f"{of} {double.iloc[0][of]} has more than one {what}; mend the column {what}")
    values = pairs.set_index(of)[what].reindex(order)
    return None if values.isna().any() else values.to_numpy()


def _natural(text: str) -> tuple:
    """Sort key by which r2 comes before r10."""
    return (len(text), text)
