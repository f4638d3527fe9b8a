"""`evaluate.py evaluation=compare`: the run's classifier and generators, the plan, and what is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from cycle_am.app.classifiers import Classifiers, find_classifiers
from cycle_am.app.tasks.evaluation import Evaluation
from cycle_am.app.tasks.retrain import variant
from cycle_am.app.tasks.train import say
from cycle_am.data.cases import Cases, settings_digest
from cycle_am.data.splits import stratified_subset
from cycle_am.errors import UserError
from cycle_am.explainers.build import available
from cycle_am.files import write_npz, write_text
from cycle_am.metrics.comparison import (
    LAST,
    WHOLE,
    Plan,
    Shared,
    Subject,
    compare_all,
    needs_generators,
    share,
    table,
)
from cycle_am.metrics.localisation import DILATION_MM
from cycle_am.model.explanation import held
from cycle_am.reports import comparison as page
from cycle_am.reports.page import write_report
from cycle_am.runs.checkpoints import load_module
from cycle_am.runs.results import write_cases, write_maps, write_metrics
from cycle_am.runs.run import Run

BACKGROUND = 128  # training images, for baselines and for the statistics of random networks


def compare_explainers(
    cfg: DictConfig, run: Run, data: pl.LightningDataModule, out_dir: Path, notes: Mapping[str, str]
) -> Evaluation:
    """Explain the test cases by every method and write metrics.json, compare.csv, cases.csv, relevance.npz, images.npz,
    figures/ and report.html into `out_dir`."""
    data.task.check_pair("the comparison of explainers")
    preset = chosen_preset(cfg)
    classifiers = find_classifiers(cfg, data, run.checkpoint())
    say(classifiers.describe())
    classifiers.check_split(data)
    plan = make_plan(cfg, preset)
    subject = make_subject(cfg, preset, plan, run, classifiers, data)
    shared = share(subject, plan)
    own = {key: value for key, value in preset.items() if key != "explainers"}  # each is kept by itself
    own |= {"overrides": dict(plan.overrides), "seed": plan.seed}
    digest = settings_digest({"plan": own, "run": _state(run), "cases": subject.cases.digest()})
    results = compare_all(subject, plan, shared, out_dir / "parts", digest)
    options = {"resamples": cfg.evaluation.resamples, "seed": cfg.evaluation.seed}
    compared = page.compared(subject, shared, results, table(results), **options)
    metrics, tests = page.metrics(compared, bool(data.truth)), page.tests_table(compared)
    write_metrics(out_dir / "metrics.json", metrics)
    write_text(out_dir / "compare.csv", tests.to_csv(index=False, float_format="%.6g"))
    write_cases(out_dir / "cases.csv", page.cases_table(compared))
    write_maps(
        out_dir / "relevance.npz",
        subject.cases.case_id,
        **{name: measured.maps for name, measured in compared.supported.items()},
    )
    write_npz(out_dir / "images.npz", images(subject, shared))
    seconds = (run.finished() or {}).get("seconds") or np.nan
    whose = "the readers' consensus outline" if data.task.is_nodule else "the outline"
    truth = data.truth or f"{whose}, grown by {data.task.length(DILATION_MM)}"
    bootstrap = f"{cfg.evaluation.resamples} resamples of patients, seed {cfg.evaluation.seed}"
    small_print = {"Preset": cfg.evaluation.preset, "Bootstrap": bootstrap, **notes}
    write_report(
        out_dir / "report.html",
        page.report(compared, out_dir / "figures", cfg.evaluation.examples, seconds, small_print, truth),
    )
    return Evaluation(
        metrics, lambda: {"cases": page.logged_rows(compared), "compare": tests.to_dict("records")}
    )


def images(subject: Subject, shared: Shared) -> dict[str, np.ndarray]:
    """What the maps explain, in the order of relevance.npz: `case_id` (N,), `image` (N, H, W) or in colour (N, 3, H, W)
    in [0, 1], `label` (N,) 0, 1 or -1 unknown, `p_malignant` (N,) of the second class by the explained classifier,
    `fov_mm` of the image's side (pixels where they have no size), `classes` their names."""
    cases = subject.cases
    shown = held(shared.images.cpu().numpy())
    return {
        "case_id": np.asarray(cases.case_id, dtype=np.str_),
        "image": shown,
        "label": cases.label,
        "p_malignant": shared.p,
        "fov_mm": np.array(cases.pixel_mm * shown.shape[-1]),
        "classes": np.array(cases.task.classes),
    }


def chosen_preset(cfg: DictConfig) -> dict[str, Any]:
    """The preset's settings, `explainers=` taking the place of its own. Raises UserError for an unknown name."""
    presets = OmegaConf.to_container(cfg.evaluation.presets, resolve=True)
    if cfg.evaluation.preset not in presets:
        raise UserError(
            f"evaluation.preset={cfg.evaluation.preset} is unknown; choose one of {', '.join(presets)}"
        )
    preset = presets[cfg.evaluation.preset]
    wanted = OmegaConf.to_container(cfg.explainers) if cfg.explainers is not None else preset["explainers"]
    wanted = [wanted] if isinstance(wanted, str) else wanted or available()
    unknown = [name for name in wanted if name not in available()]
    if unknown:
        raise UserError(f"there is no explainer {unknown[0]}; choose from {', '.join(available())}")
    return preset | {"explainers": wanted}


def make_plan(cfg: DictConfig, preset: Mapping[str, Any]) -> Plan:
    """What is measured, from the preset."""
    overrides = OmegaConf.to_container(cfg.evaluation.overrides, resolve=True)
    own = {key: preset[key] for key in ("explainers", "cascade", "copies", "subsets", "repeats")}
    return Plan(**own, overrides=overrides, seed=cfg.evaluation.seed)


def make_subject(
    cfg: DictConfig,
    preset: Mapping[str, Any],
    plan: Plan,
    run: Run,
    classifiers: Classifiers,
    data: pl.LightningDataModule,
) -> Subject:
    """Networks, cases and variants; generators are trained again where the preset asks for it."""
    gan = load_module(run.checkpoint(), get_class(cfg.model._target_), **classifiers.networks())
    background = some(data.train_cases, BACKGROUND, plan.seed).window()[0]
    generators = any(map(needs_generators, plan.explainers))
    kinds = preset["retrain"] or [LAST, WHOLE]
    variants = [
        variant(kind, run, classifiers, background, bool(preset["retrain"]) and generators, cfg.paths.cache)
        for kind in kinds
    ]
    variants = [trained for trained in variants if trained]
    cases = some(data.test_cases, preset["cases"], plan.seed)
    return Subject(classifiers.load_explained().net, gan, background, cases, variants)


def some(cases: Cases, count: int | None, seed: int) -> Cases:
    """A seeded draw of `count` cases with as many of each label as there are, in their order; all where None."""
    if count is None or count >= len(cases):
        return cases
    return cases.select(np.sort(stratified_subset(cases.label, count, seed)))


def _state(run: Run) -> list[Any]:
    """What changes when the run's generators or classifier do."""
    files = [path for name in ("best", "classifier") if (path := run.checkpoint(name)).is_file()]
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
