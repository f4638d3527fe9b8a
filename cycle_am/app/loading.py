"""Models by whatever names them: shipped with the package, packed into a file, or a run's folder."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from cycle_am.model import file as model_file
from cycle_am.model import loading
from cycle_am.model.model import Model


def load(source: str | Path, classifier: nn.Module | None = None) -> Model:
    """A shipped name, a model file, or the folder of a CycleAM run.

    classifier: the user's own network, where the file says that it explains one that it could not hold.
    Raises UserError, one line, where there is no such model or it does not fit.
    """
    is_run = str(source) not in loading.models() and Path(source).is_dir()
    return loading.load(_packed(Path(source), classifier) if is_run else source, classifier)


def _packed(run: Path, classifier: nn.Module | None) -> Path:
    """The model file in a run's folder, made where it is absent or older than what it holds: minutes, once."""
    file = run / f"model{model_file.SUFFIX}"
    parts = [part for part in (run / "best.ckpt", run / "evaluation" / "metrics.json") if part.is_file()]
    newest = max((part.stat().st_mtime_ns for part in parts), default=None)
    if newest is None or not file.is_file() or file.stat().st_mtime_ns < newest:
        from cycle_am.app.tasks.pack import of_run  # imports Lightning

        model_file.write(file, of_run(run, classifier=classifier))
    return file
