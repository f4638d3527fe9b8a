"""Everything that is computed from the ratings of a study, once; report, words and figures only show it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from cycle_am.metrics.bootstrap import RESAMPLES
from cycle_am.metrics.paired import holm
from cycle_am.reader_study.analysis import factor, gaps, inference, reliability, tables
from cycle_am.reader_study.analysis.ratings import Ratings


@dataclass(frozen=True)
class Analysis:
    """The ratings and what follows from them. means, by_label: see `tables`; tests: `inference.pairwise` for each scale
    of `tables.scales`; friedman, agreement: one row a criterion; repeats: a row a reader and criterion, and `all`;
    mixed: criterion -> both models; correlations (K, K); phi: the general factor, None where it has no value, and
    phi_scores (R, C, M) of it."""

    ratings: Ratings
    gaps: gaps.Gaps
    means: pd.DataFrame
    by_label: pd.DataFrame
    label_tests: pd.DataFrame
    tests: pd.DataFrame
    friedman: pd.DataFrame
    mixed: dict[str, list[inference.Mixed]]
    agreement: pd.DataFrame
    repeats: pd.DataFrame
    variants: pd.DataFrame
    correlations: np.ndarray
    kmo: float
    phi: factor.GeneralFactor | None
    phi_means: pd.DataFrame
    phi_tests: pd.DataFrame

    @cached_property
    def phi_scores(self) -> np.ndarray | None:
        """Phi of every reader, case and method (R, C, M)."""
        return None if self.phi is None else self.phi.of(self.ratings.scores)

    def mean(self, scale: str, criterion: str, method: str) -> pd.Series:
        """One row of `means`."""
        return _row(self.means, scale=scale, criterion=criterion, method=method)

    def test(self, scale: str, criterion: str, method: str) -> pd.Series:
        """The reference against `method`: one row of `tests`."""
        return _row(self.tests, scale=scale, criterion=criterion, first=self.ratings.reference, second=method)

    def pair(self, scale: str, criterion: str, one: str, other: str) -> pd.Series:
        """Two methods, in whichever order `tests` has them."""
        rows = self.tests[(self.tests["scale"] == scale) & (self.tests["criterion"] == criterion)]
        return rows[rows["first"].isin([one, other]) & rows["second"].isin([one, other])].iloc[0]


def analysis(ratings: Ratings, resamples: int = RESAMPLES, seed: int = 0) -> Analysis:
    """Analyse ratings; resamples, seed: of the intervals. Takes seconds, most of them for the mixed models."""
    scores, methods, criteria = ratings.scores, list(ratings.methods), ratings.criteria
    own = tables.reader_means(scores)
    complete = tables.reader_means(tables.matched(scores))
    answers = scores.reshape(-1, len(criteria))
    phi = factor.general_factor(answers)
    correlations = factor.correlations(answers)
    return Analysis(
        ratings=ratings,
        gaps=gaps.gaps(ratings),
        means=tables.means(ratings, resamples, seed),
        by_label=tables.by_label(ratings, resamples, seed),
        label_tests=_label_tests(ratings),
        tests=_tests(ratings),
        friedman=pd.DataFrame(
            {"criterion": criterion} | inference.friedman(complete[:, :, k])
            for k, criterion in enumerate(criteria)
        ),
        mixed={
            criterion: [inference.mixed_model(scores[..., k], methods, model) for model in inference.MODELS]
            for k, criterion in enumerate(criteria)
        },
        agreement=_agreement(ratings),
        repeats=_repeats(ratings),
        variants=inference.variant_differences(own, ratings.variants, methods, criteria),
        correlations=correlations,
        kmo=factor.kmo(correlations),
        phi=phi,
        phi_means=_phi_means(ratings, phi, resamples, seed),
        phi_tests=_phi_tests(ratings, phi),
    )


def frames(result: Analysis) -> dict[str, pd.DataFrame]:
    """Every table as it is written to a CSV of that name; each says in a column whether the data is simulated, and if
    it is an interim look."""
    marks = {"simulated": result.ratings.simulated} | ({"interim": True} if result.ratings.interim else {})
    found = {
        "ratings": result.ratings.table(),
        "missing": result.ratings.missing,
        "missing_counts": result.gaps.counts,
        "means": result.means,
        "means_by_label": result.by_label,
        "label_tests": result.label_tests,
        "tests": result.tests,
        "friedman": result.friedman,
        "mixed_effects": _mixed_effects(result),
        "mixed_variances": _mixed_variances(result),
        "agreement": result.agreement,
        "repeats": result.repeats,
        "variants": result.variants,
        "correlations": _correlation_frame(result),
        "factor": _factor_frame(result),
        "factor_means": result.phi_means,
        "factor_tests": result.phi_tests,
    }
    return {name: frame.assign(**marks) for name, frame in found.items() if len(frame.columns)}


def _row(frame: pd.DataFrame, **keys: str) -> pd.Series:
    chosen = np.logical_and.reduce([frame[name] == value for name, value in keys.items()])
    return frame[chosen].iloc[0]


def _tests(ratings: Ratings) -> pd.DataFrame:
    parts = []
    for name, scale in tables.scales(ratings).items():
        rows = inference.pairwise(scale.of(ratings.scores), list(ratings.methods), ratings.criteria)
        rows.insert(0, "scale", name)
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def _label_tests(ratings: Ratings) -> pd.DataFrame:
    """Malignant against benign cases, by both tests (`inference.pairwise`), Holm-corrected over all rows."""
    if ratings.labels is None or len(np.unique(ratings.labels)) < 2:
        return pd.DataFrame()
    benign, malignant = (ratings.scores[:, ratings.labels == label] for label in (0, 1))
    own = [tables.reader_means(label) for label in (malignant, benign)]
    rows = pd.DataFrame(
        {"criterion": criterion, "method": method}
        | asdict(inference.paired(*(label[:, m, k] for label in own)))
        | asdict(inference.groups_random(malignant[:, :, m, k], benign[:, :, m, k]))
        for k, criterion in enumerate(ratings.criteria)
        for m, method in enumerate(ratings.methods)
    )
    return rows.assign(**{f"{p}_holm": holm(rows[p].to_numpy()) for p in ("p", "p_both")})


def _agreement(ratings: Ratings) -> pd.DataFrame:
    rows = []
    for k, criterion in enumerate(ratings.criteria):
        questionnaires = ratings.scores[..., k].reshape(len(ratings.readers), -1)
        rho, icc = reliability.inter_observer_rho(questionnaires), reliability.icc(questionnaires)
        rows.append(
            {"criterion": criterion}
            | rho._asdict()
            | {f"icc_{name}": value for name, value in icc._asdict().items()}
            | {"alpha": reliability.alpha(questionnaires)}
        )
    return pd.DataFrame(rows)


def _repeats(ratings: Ratings) -> pd.DataFrame:
    """Agreement of readers with themselves; no rows where nothing was repeated."""
    if not np.isfinite(ratings.repeats).any():
        return pd.DataFrame()
    rows = []
    for k, criterion in enumerate(ratings.criteria):
        first, second = ratings.scores[..., k], ratings.repeats[..., k]
        groups = {"all": slice(None)} | {name: [r] for r, name in enumerate(ratings.readers)}
        for name, of in groups.items():
            agreement = reliability.self_agreement(first[of], second[of])
            rows.append({"criterion": criterion, "reader": name} | agreement._asdict())
    return pd.DataFrame(rows)


def _phi_means(ratings: Ratings, phi: factor.GeneralFactor | None, resamples: int, seed: int) -> pd.DataFrame:
    if phi is None:
        return pd.DataFrame()
    scores = phi.of(ratings.scores)
    return pd.DataFrame(
        {"method": method} | tables.mean_row(scores[:, :, m], resamples, seed)
        for m, method in enumerate(ratings.methods)
    )


def _phi_tests(ratings: Ratings, phi: factor.GeneralFactor | None) -> pd.DataFrame:
    if phi is None:
        return pd.DataFrame()
    return inference.pairwise(phi.of(ratings.scores)[..., None], list(ratings.methods), ["phi"])


def _mixed_effects(result: Analysis) -> pd.DataFrame:
    parts = [
        fit.effects.assign(criterion=criterion, model=fit.model, converged=fit.converged)
        for criterion, fits in result.mixed.items()
        for fit in fits
        if len(fit.effects)
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _mixed_variances(result: Analysis) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "criterion": criterion,
            "model": fit.model,
            "n": fit.n,
            "converged": fit.converged,
            "remark": fit.remark,
        }
        | dict(fit.components)
        for criterion, fits in result.mixed.items()
        for fit in fits
    )


def _correlation_frame(result: Analysis) -> pd.DataFrame:
    names = result.ratings.criteria
    return pd.DataFrame(
        result.correlations, index=pd.Index(names, name="criterion"), columns=names
    ).reset_index()


def _factor_frame(result: Analysis) -> pd.DataFrame:
    if result.phi is None:
        return pd.DataFrame()
    return pd.DataFrame(
        {
            "criterion": result.ratings.criteria,
            "weight": result.phi.weights,
            "loading": result.phi.loadings,
            "eigenvalue": result.phi.eigenvalues,
            "explained": result.phi.eigenvalues / result.phi.eigenvalues.sum(),
            "kmo": result.kmo,
        }
    )
