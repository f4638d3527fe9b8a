"""Made-up trials with known parts: readers' severity, cases, methods, criteria, noise; rounded to the scale."""

import numpy as np
import pandas as pd

from cycle_am.reader_study import paper

#: Method effects near the paper's Table 2, method x criterion.
EFFECTS = np.array([[cell.mean for cell in row.values()] for row in paper.RAW.values()])
METHODS, CRITERIA = list(paper.METHODS), list(paper.CRITERIA)


def trial_scores(
    readers=8, cases=24, effects=EFFECTS, *, severity=0.4, difficulty=0.6, taste=0.5, noise=1.0, seed=0
) -> np.ndarray:
    """(R, C, M, K) integral ratings from -4 to 4; taste: how much readers differ about a method."""
    rng = np.random.default_rng(seed)
    methods, criteria = effects.shape
    latent = (
        effects
        + rng.normal(0, severity, (readers, 1, 1, 1))
        + rng.normal(0, difficulty, (1, cases, 1, 1))
        + rng.normal(0, taste, (readers, 1, methods, 1))
        + rng.normal(0, noise, (readers, cases, methods, 1))  # shared by the criteria
        + rng.normal(0, noise, (readers, cases, methods, criteria))
    )
    return np.clip(np.rint(latent), paper.LOW, paper.HIGH)


def trial_table(scores: np.ndarray, *, repeated=0, seed=0, **columns) -> pd.DataFrame:
    """Long table of scores, NaN left out: labels alternate, variants too; the first `repeated` cases are rated twice,
    the second time one point off at random."""
    reader, case, method, criterion = (i.ravel() for i in np.indices(scores.shape))
    table = pd.DataFrame(
        {
            "reader": [f"r{i + 1}" for i in reader],
            "variant": np.array(["A", "B"])[reader % 2],
            "case": [f"case{i + 1}" for i in case],
            "label": case % 2,
            "method": np.array(METHODS)[method],
            "criterion": np.array(CRITERIA)[criterion],
            "rating": scores.ravel(),
            "repeat": False,
        }
    )
    again = table[case < repeated].assign(repeat=True)
    shift = np.random.default_rng(seed).integers(-1, 2, len(again))
    again["rating"] = np.clip(again["rating"] + shift, paper.LOW, paper.HIGH)
    return pd.concat([table, again]).dropna(subset="rating").assign(**columns).reset_index(drop=True)
