"""`python study.py action=plan`: how many readers and lesions, by simulated studies with readers like the paper's."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from cycle_am.errors import UserError
from cycle_am.files import write_text
from cycle_am.reader_study import paper
from cycle_am.reader_study.planning.planning import calculate
from cycle_am.reader_study.planning.report import power_curves, report, sentences
from cycle_am.reports.page import write_report


def plan(cfg: DictConfig) -> Path:
    """Write plan.csv, paper_design.csv, false_positives.csv, power.png and plan.html; return the page.

    Raises UserError for settings that no study can have.
    """
    check(cfg.study.plan)
    planned = calculate(cfg.study.plan, cfg.seed)
    folder = Path(cfg.study.plan.out)
    for name, table in (
        ("plan", planned.power),
        ("paper_design", planned.own_design),
        ("false_positives", planned.false_positives),
    ):
        write_text(folder / f"{name}.csv", table.to_csv(index=False, float_format="%.4g"))
    picture = power_curves(folder / "power.png", planned)
    print("\n".join(sentences(planned)))
    return write_report(folder / "plan.html", report(planned, picture))


def check(settings: DictConfig) -> None:
    """Raise UserError for a setting that makes no sense."""
    where = "study.plan"
    if settings.criterion not in paper.CRITERIA:
        raise UserError(f"{where}.criterion={settings.criterion}: choose of {', '.join(paper.CRITERIA)}")
    if settings.effect != "paper" and not isinstance(settings.effect, (int, float)):
        raise UserError(f"{where}.effect={settings.effect}: give points, e.g. 2.0, or paper")
    if settings.against not in ("best", "all"):
        raise UserError(f"{where}.against={settings.against}: choose best or all")
    for name in ("readers", "cases"):
        if not settings[name] or min(settings[name]) < 2:
            raise UserError(f"{where}.{name}={settings[name]}: give a list of numbers from 2, e.g. [4,8,16]")
    for name in ("alpha", "power"):
        if not 0 < settings[name] < 1:
            raise UserError(f"{where}.{name}={settings[name]}: give a number between 0 and 1")
    if not 0 <= settings.preference <= 1:
        raise UserError(f"{where}.preference={settings.preference}: give a share from 0 to 1")
    if settings.studies < 100:
        raise UserError(f"{where}.studies={settings.studies}: give 100 or more, fewer tell nothing")
