"""`python -m benchmarks.trust --model phantom`: are verdicts right? Good cases, wrong inputs, and what usable means.

A good case is one of the phantom's, of a patient whom the model saw neither in training nor in validation, and whose
explanation convinces: G- and G+ change the answers of the explained classifier and of the judge. Where they do not, the
explanation is doubtful by definition. Wrong inputs are made of such cases (`benchmarks.wrong_inputs`); their tables are
Markdown as in docs/trust.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import cycle_am
from benchmarks.wrong_inputs import Wrong, of_phantom, of_real, real_windows
from cycle_am.console import tolerate_streams
from cycle_am.data.cases import Cases
from cycle_am.data.phantom.cohort import cohort, render_cases
from cycle_am.errors import UserError
from cycle_am.metrics.bootstrap import mean_figure
from cycle_am.metrics.localisation import mass_inside, peak_inside, regions
from cycle_am.model.explanation import Explanation
from cycle_am.model.trust import DOUBTFUL, REFUSED, USABLE, flips

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        model = cycle_am.load(options.run or options.model)
        lesions, cases = unseen(model)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    explained = model.explain(cases.window()[0])
    some = spread(len(lesions), options.cases)
    wrong = of_phantom([lesions[i] for i in some], cases.window()[0][some], model.task.fov_mm)
    print_inputs("Phantom", model, explained, wrong)
    print_meaning(model, explained, cases)
    if options.real.is_dir():
        real = real_windows(options.real / "real_nodules", model.task.fov_mm)
        print_inputs("Real CT", model, model.explain(real), of_real(options.real, real, model.task.fov_mm))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", help="a shipped model's name or a model file, of the phantom")
    which.add_argument("--run", help="the folder of a CycleAM run on the phantom")
    parser.add_argument("--cases", type=int, default=66, help="wrong inputs of each kind")
    parser.add_argument("--real", type=Path, default=SHARED, help="real_nodules/ and lidc_dicom/ lie there")
    parser.add_argument("--threads", type=int, default=1)
    return parser


def unseen(model: cycle_am.Model) -> tuple[list, Cases]:
    """The phantom's lesions of patients whom the model did not see, and their cases."""
    seen = set(model.facts["patients"]["public"])
    if not seen:
        raise UserError(
            "the model names no patient whom it saw; validate one that was trained on the phantom"
        )
    lesions = [lesion for lesion in cohort() if lesion.patient_id not in seen]
    return lesions, render_cases(lesions, model.task.fov_mm, 0)


def spread(count: int, wanted: int) -> np.ndarray:
    """At most `wanted` indices, evenly over `count`."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).astype(int))


def convincing(explained: Explanation) -> np.ndarray:
    """(N,) whether both transfers change the answers of the explained classifier and of the judge."""
    return np.array(
        [flips(explained.explained, i) and flips(explained.judge, i) for i in range(len(explained))]
    )


def print_inputs(
    source: str, model: cycle_am.Model, explained: Explanation, wrong: Mapping[str, Wrong]
) -> None:
    """What is said of right inputs and of each kind of wrong ones."""
    print(f"| {source} | n | usable | doubtful | refused | doubted or refused |\n|---|---|---|---|---|---|")
    verdicts = np.array([trust.verdict for trust in explained.trust])
    print(_row("right: all", verdicts))
    print(_row("right: good", verdicts[convincing(explained)]))
    found = {name: said(model, kind) for name, kind in wrong.items()}
    for name, kind in wrong.items():
        print(_row(f"wrong: {name}" + ("" if kind.known else " (never learned)"), found[name]), flush=True)
    print(_row("**wrong: all**", np.concatenate(list(found.values()))) + "\n")


def said(model: cycle_am.Model, kind: Wrong) -> np.ndarray:
    """(N,) verdicts of wrong inputs."""
    return np.array([trust.verdict for trust in model.explain(kind.images).trust])


def _row(name: str, verdicts: np.ndarray) -> str:
    shares = [f"{(verdicts == verdict).mean():.1%}" for verdict in (USABLE, DOUBTFUL, REFUSED)]
    return f"| {name} | {len(verdicts)} | {' | '.join(shares)} | {(verdicts != USABLE).mean():.1%} |"


def print_meaning(model: cycle_am.Model, explained: Explanation, cases: Cases) -> None:
    """Are explanations of usable cases better than those of doubted ones? The judge's answer is measured with verdicts
    that did not ask it."""
    values = qualities(explained, cases)
    blind = np.array([without_judge(model, explained, i) for i in range(len(explained))])
    full = np.array([trust.verdict for trust in explained.trust]) == USABLE
    print("| Test cases, mean [95 % interval] | usable | doubted or refused |\n|---|---|---|")
    for name, value in values.items():
        usable = blind if name.startswith("judge") else full
        print(
            f"| {name} | "
            + " | ".join(_mean(value[part], cases.patient_id[part]) for part in (usable, ~usable))
            + " |"
        )
    print(flush=True)


def qualities(explained: Explanation, cases: Cases) -> dict[str, np.ndarray]:
    """(N,) each: how good an explanation is, by what it did not say of itself."""
    masks = cases.window()[1]
    outlined = regions(masks, np.ones(len(cases), bool), cases.pixel_mm, explained.x.shape).dilated
    judge = np.array([flips(explained.judge, i) for i in range(len(explained))], dtype=float)
    return {
        "judge changes its answer (verdict without the judge)": judge,
        "largest abs(R) in the outline + 3 mm": peak_inside(explained.relevance, outlined),
        "share of abs(R) in the outline + 3 mm": mass_inside(explained.relevance, outlined),
    }


def without_judge(model: cycle_am.Model, explained: Explanation, i: int) -> bool:
    """Whether case i would be usable, had the judge not been asked."""
    figures: Mapping[str, Any] = explained.trust[i].figures
    return model.assessor.verdict(figures, flips(explained.explained, i), True).verdict == USABLE


def _mean(values: np.ndarray, patients: np.ndarray) -> str:
    figure = mean_figure(values, patients)
    return f"{figure['value']:.3f} [{figure['ci_low']:.3f}, {figure['ci_high']:.3f}] (n = {figure['n']})"


if __name__ == "__main__":
    tolerate_streams()
    sys.exit(main())
