"""Every figure of short trainings and evaluations of each kind, to tell whether a change of the code changed them.

    python -m benchmarks.pinned run before.json --checkout ../before
    python -m benchmarks.pinned run after.json
    python -m benchmarks.pinned equal before.json after.json

`run` uses nothing of a checkout but its commands, so it serves older ones too.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cycle_am.console import tolerate_streams

SHORT = ["data.limit=64", "trainer=cpu", "trainer.max_epochs=2", "trainer.precision=32-true", "seed=3"]
FEW = ["trainer.limit_train_batches=3", "trainer.min_epochs=1", "callbacks.early_stopping=null"]
QUICK = ["data.limit=64", "trainer=cpu", "evaluation.resamples=200"]
CORE = ["evaluation=compare", "evaluation.preset=core", "evaluation.presets.core.cases=6", "explainers=null"]
CORE += ["evaluation.presets.core.explainers=null", "evaluation.presets.core.subsets=4"]
COMMANDS: dict[str, list[str]] = {
    "classifier": ["train.py", "experiment=classifier", *SHORT],
    "classifier_planted": ["train.py", "experiment=classifier", "data=planted", *SHORT, "companions=null"],
    "cycle_am_small": ["train.py", "experiment=cycle_am_small", *SHORT, *FEW],
    "cycle_am": ["train.py", "experiment=cycle_am", *SHORT, *FEW, "trainer.max_epochs=1"],
    "cycle_am_paper": ["train.py", "experiment=cycle_am_paper", *SHORT, *FEW, "trainer.max_epochs=1"],
    "evaluate_classifier": ["evaluate.py", "experiment=classifier", *QUICK],
    "evaluate_cycle_am": ["evaluate.py", "experiment=cycle_am_small", *QUICK],
    "compare": ["evaluate.py", "experiment=cycle_am_small", *QUICK, *CORE],
}
ASIDE = ("seconds", "epoch", "step", "ms_per_case", "peak_mb", "time")  # depend on the machine, or count


def main() -> None:
    """Run the commands of a checkout, or compare two records."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", required=True)
    run = actions.add_parser("run")
    run.add_argument("record", type=Path)
    run.add_argument("--checkout", type=Path, default=Path.cwd())
    equal = actions.add_parser("equal")
    equal.add_argument("before", type=Path)
    equal.add_argument("after", type=Path)
    arguments = parser.parse_args()
    if arguments.action == "run":
        arguments.record.write_text(json.dumps(figures(arguments.checkout.resolve()), indent=1) + "\n")
    else:
        sys.exit(difference(*(json.loads(file.read_text()) for file in (arguments.before, arguments.after))))


def figures(checkout: Path) -> dict[str, float]:
    """`command/file:row/column` -> value of all that the commands leave."""
    values: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        seen: set[Path] = set()
        for name, command in COMMANDS.items():
            print(name, flush=True)
            call = [sys.executable, *command, f"paths.root={folder}"]
            subprocess.run(call, cwd=checkout, check=True, stdout=subprocess.DEVNULL, env=_environment())
            new = {
                path for pattern in ("metrics.csv", "metrics.json") for path in Path(folder).rglob(pattern)
            } - seen
            seen |= new
            for path in sorted(new):
                read = _table if path.suffix == ".csv" else _metrics
                values |= {f"{name}/{_place(path)}:{key}": value for key, value in read(path)}
    return values


def difference(before: dict[str, float], after: dict[str, float], tolerance: float = 1e-6) -> str | None:
    """Print the largest differences; what is wrong in a line, None where nothing is."""
    lost, new = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
    apart = {key: abs(before[key] - after[key]) for key in before.keys() & after.keys()}
    worst = sorted(apart, key=apart.__getitem__, reverse=True)[:5]
    print(f"{len(apart)} figures in both, {len(lost)} lost, {len(new)} new; largest differences:")
    for key in worst:
        print(f"  {apart[key]:.2e}  {key}")
    for key in [*lost, *new][:10]:
        print(f"  only in one: {key}")
    over = sum(value > tolerance for value in apart.values())
    return f"{over} figures differ by more than {tolerance}" if over else ("keys were lost" if lost else None)


def _place(path: Path) -> str:
    """What of a file's place does not name the time: the folder of a companion, an evaluation, a comparison."""
    return path.parent.name if path.parent.name in ("selector", "judge", "evaluation", "compare") else "run"


def _table(path: Path) -> Iterator[tuple[str, float]]:
    with path.open(newline="") as stream:
        for number, row in enumerate(csv.DictReader(stream)):
            for key, value in row.items():
                if value not in ("", "nan") and not any(part in key for part in ASIDE):
                    yield f"{number}/{key}", float(value)


def _metrics(path: Path) -> Iterator[tuple[str, float]]:
    for key, figure in json.loads(path.read_text()).items():
        for part in ("value", "ci_low", "ci_high"):
            if figure[part] is not None and not any(aside in key for aside in ASIDE):
                yield f"{key}/{part}", figure[part]


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "WANDB_MODE": "offline"}


if __name__ == "__main__":
    tolerate_streams()
    main()
