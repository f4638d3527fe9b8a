"""Tests and effect sizes: pairs of methods, all methods at once, a mixed model, the variants of the questionnaire.

Methods are compared by the answers that a reader gave to both. Conclusions rest on the test that takes readers and
cases for samples (`difference.over_both`); each other test but the mixed model takes the readers' means, and speaks of
these cases alone. Every function says what it cannot compute by NaN, never by a number that looks like one.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from scipy import stats
from scipy.optimize import brentq
from scipy.special import gammaln
from statsmodels.regression.mixed_linear_model import MixedLMParams

from cycle_am.metrics.bootstrap import LEVEL
from cycle_am.metrics.paired import holm
from cycle_am.reader_study.analysis.difference import Difference, between_groups, over_both_with_gaps
from cycle_am.reader_study.analysis.tables import reader_means

NAN = float("nan")
#: Random effects of the mixed models: name -> patsy formula of each variance component.
INTERCEPTS = {"reader": "0 + C(reader)", "case": "0 + C(case)"}
INTERACTIONS = INTERCEPTS | {
    "reader x method": "0 + C(reader):C(method)",
    "case x method": "0 + C(case):C(method)",
}
MODELS = {"random intercepts": INTERCEPTS, "with interactions": INTERACTIONS}


@dataclass(frozen=True)
class Paired:
    """First against second of N pairs. `difference` first minus second with its t interval; `p` of t(N - 1), the
    degrees of a paired t; `p_paper` of t(N - 2), as the paper states it; `w` and `p_wilcoxon` of the signed-rank
    test; `d` Cohen's d of the differences (mean over their SD) and `g` the same without small-sample bias (Hedges),
    with its exact interval from the non-central t; `rank_biserial` from -1 to 1."""

    n: int
    difference: float
    ci_low: float = NAN
    ci_high: float = NAN
    t: float = NAN
    p: float = NAN
    p_paper: float = NAN
    w: float = NAN
    p_wilcoxon: float = NAN
    d: float = NAN
    g: float = NAN
    g_low: float = NAN
    g_high: float = NAN
    rank_biserial: float = NAN


def paired(first: np.ndarray, second: np.ndarray) -> Paired:
    """Compare two methods by the means (R,) of the same readers; a reader with a NaN is left out of the pair.

    Where all differences are equal, t and the effect sizes have no value; where all are 0, p is 1.
    """
    differences = np.asarray(first, float) - np.asarray(second, float)
    differences = differences[np.isfinite(differences)]
    n = len(differences)
    if n < 2:
        return Paired(n, float(differences[0]) if n else NAN)
    mean, spread = float(differences.mean()), float(differences.std(ddof=1))
    w, p_wilcoxon, rank_biserial = signed_rank(differences)
    if spread <= 1e-12 * max(1.0, abs(mean)):  # rounding leaves a spread of 1e-17 of equal differences
        p = 1.0 if abs(mean) <= 1e-12 else NAN
        return Paired(n, mean, p=p, p_paper=p, w=w, p_wilcoxon=p_wilcoxon, rank_biserial=rank_biserial)
    error = spread / np.sqrt(n)
    t, margin = mean / error, error * stats.t.ppf((1 + LEVEL) / 2, n - 1)
    d, unbiased = mean / spread, hedges_factor(n - 1)
    low, high = (limit / np.sqrt(n) * unbiased for limit in noncentral_limits(t, n - 1))
    return Paired(
        n,
        mean,
        ci_low=mean - margin,
        ci_high=mean + margin,
        t=t,
        p=two_sided(t, n - 1),
        p_paper=two_sided(t, n - 2),
        w=w,
        p_wilcoxon=p_wilcoxon,
        d=d,
        g=d * unbiased,
        g_low=low,
        g_high=high,
        rank_biserial=rank_biserial,
    )


@dataclass(frozen=True)
class Both:
    """Mean difference with readers and cases both random (Dorfman-Berbaum-Metz, Hillis' degrees of freedom): `answers`
    is the number of pairs behind it; t, degrees of freedom, p and interval."""

    answers: int
    t_both: float = NAN
    df_both: float = NAN
    p_both: float = NAN
    both_low: float = NAN
    both_high: float = NAN


def both_random(differences: np.ndarray) -> Both:
    """Test that the mean of differences (R, C) is 0, NaN left out.

    NaN with fewer than two readers or cases, or where all differences are equal; where all are 0, p is 1.
    """
    return _both(over_both_with_gaps(differences), int(np.isfinite(differences).sum()))


def groups_random(first: np.ndarray, second: np.ndarray) -> Both:
    """The same for two groups of other cases, (R, C1) and (R, C2): first less second."""
    return _both(between_groups(first, second), int(np.isfinite(first).sum() + np.isfinite(second).sum()))


def _both(difference: Difference, answers: int) -> Both:
    mean, variance = float(difference.mean[0]), float(difference.variance[0])
    if np.isnan(variance):
        return Both(answers)
    if variance <= 1e-24 * max(1.0, mean**2):  # rounding, as in `paired`
        return Both(answers, p_both=1.0 if abs(mean) <= 1e-12 else NAN)
    freedom, error = float(difference.freedom[0]), float(np.sqrt(variance))
    margin = error * float(stats.t.ppf((1 + LEVEL) / 2, freedom))
    return Both(answers, mean / error, freedom, float(difference.p[0]), mean - margin, mean + margin)


def two_sided(t: float, degrees: float) -> float:
    """Two-sided p of t; NaN without degrees of freedom."""
    return float(2 * stats.t.sf(abs(t), degrees)) if degrees > 0 else NAN


def signed_rank(differences: np.ndarray) -> tuple[float, float, float]:
    """Wilcoxon's W (the smaller sum of ranks), two-sided p, and the rank-biserial correlation; zeros are left out.

    Exact over all sign patterns, also with ties. (NaN, 1, 0) of zeros only.
    """
    # Means of integers that are equal on paper differ by 1e-16 in a computer and would not be seen as ties.
    rounded = np.round(differences, 9)
    rounded = rounded[rounded != 0]
    if not len(rounded):
        return NAN, 1.0, 0.0
    placed = stats.rankdata(np.abs(rounded))
    positive, total = placed[rounded > 0].sum(), placed.sum()
    p = _exact_signed_rank(placed, min(positive, total - positive))
    return float(min(positive, total - positive)), p, float((2 * positive - total) / total)


def _exact_signed_rank(placed: np.ndarray, smaller: float) -> float:
    """Two-sided p: twice the share of sign patterns whose positive ranks add up to `smaller` or less."""
    doubled = np.rint(2 * placed).astype(int)  # ties have ranks at half
    share = np.zeros(doubled.sum() + 1)  # of the sign patterns so far, by the sum of their positive ranks
    share[0] = 1
    for rank in doubled:
        with_it = np.roll(
            share, rank
        )  # what is rolled over the end is 0: no sum is larger than that of all ranks
        share = (share + with_it) / 2
    return float(min(1.0, 2 * share[: round(2 * smaller) + 1].sum()))


def hedges_factor(degrees: int) -> float:
    """What Cohen's d is multiplied by to be unbiased (Hedges 1981); NaN with a single degree of freedom."""
    if degrees < 2:
        return NAN
    return float(np.exp(gammaln(degrees / 2) - gammaln((degrees - 1) / 2)) / np.sqrt(degrees / 2))


def noncentral_limits(t: float, degrees: int, level: float = LEVEL) -> tuple[float, float]:
    """Both non-centralities under which `t` is just at the end of its `level` interval; NaN where the distribution
    cannot be computed there (t of hundreds)."""
    low, high = (_noncentrality(t, degrees, share) for share in ((1 + level) / 2, (1 - level) / 2))
    return low, high


def _noncentrality(t: float, degrees: int, share: float) -> float:
    """The non-centrality whose distribution function at `t` is `share`."""

    def excess(nc: float) -> float:
        below = stats.nct.cdf(t, degrees, nc)
        if not np.isfinite(
            below
        ):  # scipy fails at single points far from t, where it is 1 below t and 0 above
            below = float(nc < t)
        return below - share

    reach = 10 + 4 * abs(t)  # far enough on either side for any number of degrees
    try:
        root = float(brentq(excess, t - reach, t + reach))
    except ValueError:
        return NAN
    return root if abs(excess(root)) < 1e-6 else NAN


def pairwise(scores: np.ndarray, methods: Sequence[str], criteria: Sequence[str]) -> pd.DataFrame:
    """Every pair of methods in every criterion: scores (R, C, M, K) -> one row a pair (:class:`Paired` over readers,
    :class:`Both`), by the answers that a reader gave to both; Holm-corrected over the pairs of the criterion (`p_holm`
    of t(N - 1), `p_wilcoxon_holm`, `p_both_holm`). The first method's pairs come first."""
    pairs = list(combinations(range(len(methods)), 2))
    parts = []
    for k, criterion in enumerate(criteria):
        rows = pd.DataFrame(
            {"criterion": criterion, "first": methods[i], "second": methods[j]}
            | _compared(scores[:, :, i, k] - scores[:, :, j, k])
            for i, j in pairs
        )
        for p in ("p", "p_wilcoxon", "p_both"):
            rows[f"{p}_holm"] = holm(rows[p].to_numpy())
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def _compared(differences: np.ndarray) -> dict[str, float]:
    """Differences (R, C) of two methods by both tests."""
    own = reader_means(differences)
    return asdict(paired(own, np.zeros_like(own))) | asdict(both_random(differences))


def friedman(means: np.ndarray) -> dict[str, float]:
    """Friedman's test of M methods over readers' means (R, M), and Kendall's W (0 to 1: do readers rank alike?).

    Corrected for ties. Readers with a NaN are left out (`n` counts the others). NaN for fewer than three methods, where
    the test is not defined, or where no reader tells any methods apart.
    """
    complete = np.round(means[np.isfinite(means).all(1)], 9)  # see signed_rank
    n, methods = complete.shape
    test = {"n": n, "degrees": methods - 1, "chi2": NAN, "p": NAN, "kendall_w": NAN}
    if n < 2 or methods < 3 or (complete == complete[:, :1]).all():
        return test
    chi2, p = stats.friedmanchisquare(*complete.T)
    return test | {"chi2": float(chi2), "p": float(p), "kendall_w": float(chi2 / (n * (methods - 1)))}


@dataclass(frozen=True)
class Mixed:
    """A linear mixed model of one criterion. effects: one row a method but the first (first less method,
    standard error, interval, z, p); empty where there is no fit. components: variance of each random effect and
    `residual`. remark: what is to be known of the fit, in words; empty where nothing is."""

    model: str
    effects: pd.DataFrame
    components: Mapping[str, float]
    n: int
    converged: bool
    remark: str = ""


def mixed_model(scores: np.ndarray, methods: Sequence[str], model: str = "random intercepts") -> Mixed:
    """Scores (R, C, M), NaN left out, by REML: method fixed, against the first; reader and case crossed and random.

    model: a key of MODELS. Random intercepts alone take every reader to see the same differences between methods, and
    so understate the error of these differences where readers disagree; `with interactions` does not. z is taken as
    normal, without a correction for few readers.
    """
    data = _long(scores)
    components = MODELS[model]
    if data["case"].nunique() < 2:
        return Mixed(model, pd.DataFrame(), {}, len(data), False, "needs two or more cases")
    if data["method"].nunique() < len(methods):
        return Mixed(model, pd.DataFrame(), {}, len(data), False, "needs ratings of every method")
    # One group for all, so that readers and cases can cross.
    options = {"groups": "all", "vc_formula": dict(components), "re_formula": "0"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they say is asked of the fit itself, below
            # Gradient methods stop at points that are no optimum when a variance is near 0; Powell's does not.
            fit = smf.mixedlm("score ~ C(method)", data, **options).fit(
                reml=True, method=["powell"], start_params=_start(scores, sorted(components))
            )
            errors = fit.bse
    except (np.linalg.LinAlgError, ValueError) as error:
        return Mixed(model, pd.DataFrame(), {}, len(data), False, f"could not be fitted ({error})")
    variances = dict(zip(sorted(components), map(float, fit.vcomp), strict=True))
    names = [f"C(method)[T.{m}]" for m in range(1, len(methods))]
    limits = fit.conf_int(1 - LEVEL).loc[names].to_numpy()
    effects = pd.DataFrame(
        {
            "method": list(methods[1:]),
            "difference": -fit.params[names].to_numpy(),
            "error": errors[names].to_numpy(),
            "ci_low": -limits[:, 1],
            "ci_high": -limits[:, 0],
            "z": -fit.tvalues[names].to_numpy(),
            "p": fit.pvalues[names].to_numpy(),
        }
    )
    variances["residual"] = float(fit.scale)
    converged = bool(fit.converged) and bool(np.isfinite(effects["error"]).all())
    return Mixed(model, effects, variances, len(data), converged, _remark(converged, variances))


def mean_squares(scores: np.ndarray) -> dict[str, float]:
    """Variances of reader, case, both by method, and residual, from the mean squares of complete scores (R, C, M), by
    the expected ones of `with interactions`; where a factor has one level, NaN. They may be negative."""
    readers, cases, methods = scores.shape
    grand = scores.mean()
    reader, case, method = (scores.mean(axes) - grand for axes in ((1, 2), (0, 2), (0, 1)))
    by_reader = scores.mean(1) - grand - reader[:, None] - method
    by_case = scores.mean(0) - grand - case[:, None] - method
    left = scores - scores.mean(1)[:, None] - scores.mean(0)[None] + scores.mean((0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        of_reader = cases * methods * (reader**2).sum() / np.float64(readers - 1)
        of_case = readers * methods * (case**2).sum() / np.float64(cases - 1)
        of_reader_method = cases * (by_reader**2).sum() / np.float64((readers - 1) * (methods - 1))
        of_case_method = readers * (by_case**2).sum() / np.float64((cases - 1) * (methods - 1))
        residual = (left**2).sum() / np.float64(methods * (readers - 1) * (cases - 1))
    return {
        "reader": (of_reader - of_reader_method) / (cases * methods),
        "case": (of_case - of_case_method) / (readers * methods),
        "reader x method": (of_reader_method - residual) / cases,
        "case x method": (of_case_method - residual) / readers,
        "residual": residual,
    }


def _start(scores: np.ndarray, components: Sequence[str]) -> MixedLMParams:
    """Where the search begins: the variances by mean squares, a missing score taken as its method's mean."""
    means = np.nanmean(scores, axis=(0, 1))
    squares = mean_squares(np.where(np.isfinite(scores), scores, means))
    residual = squares["residual"] if squares["residual"] > 0 else 1.0
    ratios = np.array([squares[name] for name in components]) / residual
    return MixedLMParams.from_components(
        fe_params=np.r_[means[0], means[1:] - means[0]],
        vcomp=np.maximum(np.nan_to_num(ratios), 1e-3),  # at 0 the search could not leave it
    )


def _long(scores: np.ndarray) -> pd.DataFrame:
    reader, case, method = (index.ravel() for index in np.indices(scores.shape))
    data = pd.DataFrame({"score": scores.ravel(), "reader": reader, "case": case, "method": method, "all": 0})
    return data.dropna()


def _remark(converged: bool, variances: Mapping[str, float]) -> str:
    if not converged:
        return "did not converge; its numbers are not to be used"
    none = [name for name, value in variances.items() if value < 1e-3 * variances["residual"]]
    return f"no variance of {' and '.join(none)} found" if none else ""


def variant_differences(
    means: np.ndarray, variants: np.ndarray | None, methods: Sequence[str], criteria: Sequence[str]
) -> pd.DataFrame:
    """Readers of one variant against those of the other: means (R, M, K), variants (R,) -> one row a method and
    criterion, by the two-sample t-test of equal variances, t(N - 2), Holm-corrected over all rows.

    Empty where there are not exactly two variants. t is NaN where the readers of both variants do not vary.
    """
    if variants is None or len(np.unique(variants)) != 2:
        return pd.DataFrame()
    first, second = (means[variants == variant] for variant in np.unique(variants))
    rows = pd.DataFrame(
        {"criterion": criterion, "method": method} | _two_sample(first[:, m, k], second[:, m, k])
        for k, criterion in enumerate(criteria)
        for m, method in enumerate(methods)
    )
    rows["p_holm"] = holm(rows["p"].to_numpy())
    return rows


def _two_sample(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    first, second = first[np.isfinite(first)], second[np.isfinite(second)]
    count = len(first) + len(second)
    row = {"n": count, "degrees": count - 2, "difference": NAN, "t": NAN, "p": NAN}
    if not len(first) or not len(second):
        return row
    row["difference"] = float(first.mean() - second.mean())
    if count > 2 and max(np.ptp(first), np.ptp(second)) > 1e-9:
        squares = ((first - first.mean()) ** 2).sum() + ((second - second.mean()) ** 2).sum()
        error = np.sqrt(squares / (count - 2) * (1 / len(first) + 1 / len(second)))
        row["t"] = row["difference"] / float(error)
        row["p"] = two_sided(row["t"], count - 2)
    return row
