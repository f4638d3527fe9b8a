"""Synthetic readers answer a study, item by item in each reader's own order; or a study without pictures is made up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from cycle_am.errors import UserError
from cycle_am.reader_study import paper
from cycle_am.reader_study.design.assembly import make_readers
from cycle_am.reader_study.design.orders import draw_orders
from cycle_am.reader_study.files import ANSWER_COLUMNS, Item, Key, KeyItem, Study, opaque, seal
from cycle_am.reader_study.planning import calibration
from cycle_am.reader_study.planning.readers import Ability, Model, Panel, opinions, rate

SECONDS_PER_ITEM = 30
Points = float | Mapping[str, float]


def answer(
    study: Study, key: Key, model: Model, abilities: Mapping[str, Ability], seed: int = 0
) -> pd.DataFrame:
    """Answers (ANSWER_COLUMNS) of synthetic readers, `simulated` true; those that a reader leaves out are absent.

    A repeated item meets the same opinion and new noise. The time of an answer is made up, counted from the study's.

    Args:
        model: its methods and criteria are those of the study, in any order of the methods.
        abilities: of each reader; an ordinary one where absent.
    """
    rng = np.random.default_rng(seed)
    labels = {item.case_id: item.label for item in key.items.values()}
    case = {name: place for place, name in enumerate(labels)}
    method = {name: place for place, name in enumerate(model.methods)}
    panel = Panel([abilities.get(name, Ability()) for name in study.readers])
    thought = opinions(model, rng, 1, panel, np.array(list(labels.values())))
    parts = []
    for number, (name, reader) in enumerate(study.readers.items()):
        shown = [key.items[item] for item in reader.order()]
        own = thought[:, [number]][:, :, [case[i.case_id] for i in shown], [method[i.method] for i in shown]]
        alone = Panel([panel.readers[number]])
        given = rate(model, rng, own, alone, np.linspace(0, 1, len(shown))[None, None])[0, 0]
        answered = rng.random(given.shape) >= alone.readers[0].missing
        parts.append(_rows(study, name, given)[answered.ravel()])
    return pd.concat(parts, ignore_index=True)[ANSWER_COLUMNS]


def _rows(study: Study, name: str, given: np.ndarray) -> pd.DataFrame:
    """One reader's complete answers: ratings (items, criteria), in their order."""
    order = study.readers[name].order()
    start = datetime.fromisoformat(study.created)
    times = [(start + timedelta(seconds=SECONDS_PER_ITEM * n)).isoformat() for n in range(1, len(order) + 1)]
    each = len(study.criteria)
    return pd.DataFrame(
        {
            "study_id": study.study_id,
            "reader": name,
            "item": np.repeat(order, each),
            "criterion": study.criteria * len(order),
            "rating": given.ravel().astype(int),
            "position": np.repeat(np.arange(1, len(order) + 1), each),
            "answered_at": np.repeat(times, each),
            "revisions": 0,
            "simulated": True,
        }
    )


def make_up(readers: int, benign: int, malignant: int, repeats: int, seed: int = 0) -> tuple[Study, Key]:
    """A study of the paper's methods and criteria without pictures, marked as simulated, and its key.

    The first `repeats` lesions, benign and malignant by turns, are shown twice. Ids are random, orders follow `seed`.
    """
    labels = [0] * benign + [1] * malignant
    turns = [place for pair in zip(range(benign), range(benign, len(labels)), strict=False) for place in pair]
    repeated, methods = turns[:repeats], list(paper.METHODS)
    places = [*range(len(labels)), *repeated]
    ids = [[opaque() for _ in methods] for _ in places]
    items = {
        name: KeyItem(
            f"simulated_{place + 1:02d}", labels[place], method, ids[place][m] if q >= len(labels) else None
        )
        for q, place in enumerate(places)
        for m, (name, method) in enumerate(zip(ids[q], methods, strict=True))
    }
    orders = draw_orders(readers, len(labels), len(methods), repeated, np.random.default_rng(seed))
    key = Key(opaque(), dict(paper.METHODS), items, source=f"simulated, seed {seed}")
    study = Study(
        study_id=key.study_id,
        created=datetime.now(UTC).replace(microsecond=0).isoformat(),
        seal=seal(key),
        criteria=list(paper.CRITERIA),
        low=paper.LOW,
        high=paper.HIGH,
        fov_mm=float("nan"),
        languages=[],
        texts={},
        items={name: Item(f"{opaque()}.png", f"{opaque()}.png") for name in sorted(items)},
        readers=make_readers(orders, ids),
        simulated=True,
    )
    return study, key


def readers_model(
    methods: Sequence[str],
    criteria: Sequence[str],
    effects: str | Mapping[str, Points] = "paper",
    preference: float = calibration.PREFERENCE,
) -> Model:
    """Readers like the paper's, who rate the given methods.

    Args:
        effects: "paper" for the published means; "none" for methods that are all alike; or mean ratings by method, one
            for all criteria or one for each, with the published ones for methods that are not named.

    Raises:
        UserError: for a criterion that the paper has not, a method without a mean, or a mean beyond the scale.
    """
    if isinstance(effects, str) and effects not in ("paper", "none"):
        raise UserError(
            f"study.simulate.effects={effects}: give paper, none or mean ratings, e.g. {{lrp: 1.0}}"
        )
    unknown = [criterion for criterion in criteria if criterion not in paper.CRITERIA]
    if unknown:
        raise UserError(
            f"nothing is published of the criterion {unknown[0]}, so no reader can be made for it"
        )
    model = calibration.published(preference).only(*criteria)
    if effects == "none":
        means = np.broadcast_to(calibration.RAW.mean(0), (len(methods), len(paper.CRITERIA)))
        means = means[:, [list(paper.CRITERIA).index(criterion) for criterion in criteria]]
    else:
        given = {} if effects == "paper" else effects
        means = np.array([[_mean(method, criterion, given) for criterion in criteria] for method in methods])
    try:
        return replace(model, methods=tuple(methods)).expecting(means)
    except ValueError as error:
        raise UserError(f"study.simulate.effects: {error}") from error


def _mean(method: str, criterion: str, given: Mapping[str, Points]) -> float:
    if method in given:
        points = given[method]
        return float(points[criterion] if isinstance(points, Mapping) else points)
    if method not in paper.RAW:
        raise UserError(
            f"{method} has no published ratings; give its mean: study.simulate.effects={{{method}: 1.0}}"
        )
    return paper.RAW[method][criterion].mean
