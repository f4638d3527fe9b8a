"""What a plan calculates: power by design, what the paper's own design can detect, false positives of its tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from cycle_am.errors import UserError
from cycle_am.progress import steps
from cycle_am.reader_study import paper
from cycle_am.reader_study.planning import calibration
from cycle_am.reader_study.planning.power import false_positives, power_table
from cycle_am.reader_study.planning.readers import Model

#: Assumed shares of a reader's own variance that are lasting preferences, to show what hangs on it.
PREFERENCES = (0.25, 0.5, 0.75)
AS_STATED = "so strong that t is as stated"
CHECKS = 1000  # simulated studies behind each line of the paper's own design


@dataclass(frozen=True)
class Plan:
    """What was asked and what came out.

    Attributes:
        effect: difference of the mean ratings, reference less best other method, in points.
        rivals: methods to be beaten, the best first.
        power: see `power.power_table`.
        own_design: the paper's own design and effects under several assumptions.
        false_positives: see `power.false_positives`, of the paper's design.
    """

    criterion: str
    effect: float
    rivals: list[str]
    alpha: float
    wanted: float
    studies: int
    preference: float
    power: pd.DataFrame
    own_design: pd.DataFrame
    false_positives: pd.DataFrame


def calculate(settings: DictConfig, seed: int) -> Plan:
    """All simulations, for the settings `study.plan`. Raises UserError for an effect that leaves the scale."""
    shares = sorted({*PREFERENCES, settings.preference})
    total = 3 * settings.studies + CHECKS * (len(shares) + 1) * len(paper.TESTS)
    with steps(what="simulating", total=total, unit="studies") as bar:
        like_paper = calibration.published(settings.preference)
        model, effect, rivals = with_effect(like_paper.only(settings.criterion), settings.effect)
        rivals = rivals if settings.against == "all" else rivals[:1]
        options = {"studies": settings.studies, "seed": seed, "alpha": settings.alpha, "progress": bar}
        power = power_table(
            model, paper.REFERENCE, rivals, settings.readers, settings.cases, wanted=settings.power, **options
        )
        nulls = false_positives(model, paper.READERS, paper.LESIONS, **options)
        own = own_design(shares, {**options, "studies": CHECKS, "wanted": settings.power})
    return Plan(
        criterion=settings.criterion,
        effect=effect,
        rivals=rivals,
        alpha=settings.alpha,
        wanted=settings.power,
        studies=settings.studies,
        preference=settings.preference,
        power=power,
        own_design=own,
        false_positives=nulls,
    )


def with_effect(model: Model, effect: float | str) -> tuple[Model, float, list[str]]:
    """A model of one criterion whose reference is rated `effect` points better than the best other method.

    Args:
        effect: points of the mean rating, or "paper" for the published difference.

    Returns:
        The model, the effect in points, and the other methods, the best first.
    """
    means = {method: row[model.criteria[0]].mean for method, row in paper.RAW.items()}
    rivals = sorted((method for method in means if method != paper.REFERENCE), key=means.get, reverse=True)
    best = means[rivals[0]]
    if effect == "paper":
        return model, means[paper.REFERENCE] - best, rivals
    means[paper.REFERENCE] = best + float(effect)
    try:
        return model.expecting(np.array(list(means.values()))[:, None]), float(effect), rivals
    except ValueError as error:
        raise UserError(
            f"study.plan.effect={effect} leaves the scale: the best other method has {best}, so give less than "
            f"{paper.HIGH - best:.2f}"
        ) from error


def percent(share: float) -> str:
    """A share in whole percent."""
    return f"{100 * share:.0f}\u00a0%"  # a no-break space


def own_design(shares: Sequence[float], options: dict) -> pd.DataFrame:
    """What the paper's numbers of readers and lesions can detect, for its own effects.

    Args:
        shares: assumed shares of a reader's own variance that are preferences.
        options: of :func:`power.power_table`.

    Returns:
        One row a criterion and assumption: `rho` that the readers would have, and power and detectable difference of
        both tests.
    """
    assumed = {percent(share): calibration.published(share) for share in shares}
    assumed[AS_STATED] = calibration.as_stated()
    rows = []
    for test in paper.TESTS:
        for name, whole in assumed.items():
            model = whole.only(test.criterion)
            table = power_table(
                model, paper.REFERENCE, [test.method], [paper.READERS], [paper.LESIONS], **options
            ).set_index("test")
            rows.append(
                {
                    "criterion": test.criterion,
                    "preference": name,
                    "effect": paper.RAW[paper.REFERENCE][test.criterion].mean
                    - paper.RAW[test.method][test.criterion].mean,
                    "published_t": test.t,
                    "rho": calibration.expected_rho(whole)[list(paper.CRITERIA).index(test.criterion)],
                    "published_rho": paper.INTER_OBSERVER_RHO[test.criterion],
                }
                | {
                    f"{column}_{kind}": table.loc[kind, column]
                    for kind in table.index
                    for column in ("power", "low", "high", "detectable")
                }
            )
    return pd.DataFrame(rows)
