"""The reader study as published (Katzmann et al. 2021, sec. 3.4 and 4.2): its numbers as data, computed nowhere."""

from typing import NamedTuple

METHODS = {"cycle_am": "CycleAM", "deep_shap": "DeepSHAP", "deep_taylor": "DeepTaylor", "lrp": "LRP"}
CRITERIA = {
    "intuitive_validity": "intuitive validity",
    "semantic_meaningfulness": "semantic meaningfulness",
    "image_quality": "image quality",
}
REFERENCE = "cycle_am"

READERS, LESIONS, BENIGN, MALIGNANT = 8, 24, 12, 12
LOW, HIGH = -4, 4
VARIANTS = ("A", "B")


class Cell(NamedTuple):
    """A mean with its 95 % CI; `stars` of the t-test against the authors' method: * .05, ** .01, *** .001."""

    mean: float
    low: float
    high: float
    stars: str = ""


Table = dict[str, dict[str, Cell]]


def _table(rows: dict[str, list[Cell]]) -> Table:
    return {method: dict(zip(CRITERIA, cells, strict=True)) for method, cells in rows.items()}


#: Table 2: method -> criterion -> raw average, -4 to 4.
RAW = _table(
    {
        "cycle_am": [Cell(1.92, 0.50, 3.13), Cell(1.76, 0.25, 3.13), Cell(1.04, -0.63, 2.50)],
        "deep_shap": [
            Cell(-1.56, -3.13, 0.13, "*"),
            Cell(-1.54, -3.13, 0.25, "*"),
            Cell(-2.02, -3.25, -0.63, "*"),
        ],
        "deep_taylor": [
            Cell(-1.52, -3.25, 0.38, "*"),
            Cell(-1.72, -3.38, 0.13, "*"),
            Cell(-0.85, -2.50, 0.75),
        ],
        "lrp": [
            Cell(-2.53, -3.63, -1.25, "**"),
            Cell(-2.57, -3.75, -1.13, "**"),
            Cell(-2.16, -3.38, -0.75, "*"),
        ],
    }
)
#: Table 3: called z-adjusted; its means are those of Table 2 less the mean of the four methods.
ADJUSTED = _table(
    {
        "cycle_am": [Cell(2.84, 1.50, 3.98), Cell(2.78, 1.39, 4.10), Cell(2.04, 0.50, 3.41)],
        "deep_shap": [
            Cell(-0.64, -2.00, 0.86, "*"),
            Cell(-0.52, -1.97, 1.05, "*"),
            Cell(-1.02, -2.12, 0.16, "*"),
        ],
        "deep_taylor": [
            Cell(-0.60, -2.16, 1.10, "*"),
            Cell(-0.71, -2.23, 1.00, "*"),
            Cell(0.14, -1.32, 1.57),
        ],
        "lrp": [
            Cell(-1.61, -2.72, -0.33, "**"),
            Cell(-1.55, -2.73, -0.11, "**"),
            Cell(-1.16, -2.24, -0.02, "*"),
        ],
    }
)
#: Table 4: average rank, 1 best. (The text of sec. 4.2 has 3.41 for LRP's semantic meaningfulness; with the 3.14
#: of the table the four ranks add up to 10, as they must.)
RANKS = _table(
    {
        "cycle_am": [Cell(1.28, 1.00, 1.75), Cell(1.36, 1.00, 1.88), Cell(1.52, 1.06, 2.19)],
        "deep_shap": [Cell(2.78, 2.19, 3.38, "**"), Cell(2.75, 2.13, 3.31, "*"), Cell(3.04, 2.50, 3.50, "*")],
        "deep_taylor": [Cell(2.71, 2.06, 3.31, "*"), Cell(2.75, 2.06, 3.38, "*"), Cell(2.36, 1.75, 3.00)],
        "lrp": [Cell(3.23, 2.75, 3.63, "***"), Cell(3.14, 2.63, 3.56, "**"), Cell(3.07, 2.50, 3.56, "*")],
    }
)


class Test(NamedTuple):
    """The authors' method against the second best in raw scores (sec. 4.2), two-tailed, stated as t(6)."""

    criterion: str
    method: str
    t: float
    p: float


STATED_DEGREES = READERS - 2
#: The p of image quality is .132 among the raw scores and .131 among the adjusted ones.
TESTS = [
    Test("intuitive_validity", "deep_taylor", 3.07, 0.018),
    Test("semantic_meaningfulness", "deep_shap", 3.26, 0.014),
    Test("image_quality", "deep_taylor", 1.71, 0.131),
]

#: Equation 7.
INTER_OBSERVER_RHO = {"intuitive_validity": 0.639, "semantic_meaningfulness": 0.590, "image_quality": 0.557}
#: Lowest and highest Pearson correlation of two criteria; the third is not stated.
CRITERIA_CORRELATION = {
    ("image_quality", "intuitive_validity"): 0.689,
    ("intuitive_validity", "semantic_meaningfulness"): 0.862,
}
KMO = 0.716
GENERAL_FACTOR_VARIANCE = 0.846
#: Differences of the variants A and B: lowest, highest and average p, none significant.
VARIANTS_P = (0.133, 0.957, 0.649)
