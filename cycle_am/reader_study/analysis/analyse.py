"""`python study.py action=analyse`: tables, tests, figures, one report and a paragraph of results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from cycle_am.files import write_text
from cycle_am.reader_study.analysis import words
from cycle_am.reader_study.analysis.analysis import Analysis, analysis, frames
from cycle_am.reader_study.analysis.ratings import Ratings, from_csv, from_study
from cycle_am.reader_study.analysis.report import report
from cycle_am.reader_study.analysis.unsealing import open_key
from cycle_am.reader_study.files import ANSWERS, KEY, read_answers, read_study
from cycle_am.reports.page import write_report


def analyse(cfg: DictConfig) -> Path:
    """Analyse a study folder (`cfg.dir`), or a plain CSV (`cfg.study.analyse.ratings`); return the report's file."""
    options = cfg.study.analyse
    ratings, source = _read(cfg)
    result = analysis(ratings, resamples=options.resamples, seed=cfg.seed)
    notes = {
        "Ratings": str(source),
        "Intervals": "95 %, t over readers; of differences also with readers and lesions both random",
        "Intervals of the paper's kind": f"{options.resamples} resamples of answers, seed {cfg.seed}",
        "Data": "simulated" if ratings.simulated else "from readers",
    }
    return write(result, _folder(cfg), notes)


def write(result: Analysis, folder: Path, notes: dict[str, str]) -> Path:
    """Write report.html, results.txt, the CSVs and the figures; return the report's file."""
    for name, frame in frames(result).items():
        write_text(folder / f"{name}.csv", frame.to_csv(index=False, float_format="%.6g"))
    write_text(folder / "results.txt", "\n\n".join(words.results(result)) + "\n")
    return write_report(folder / "report.html", report(result, folder, notes))


def _read(cfg: DictConfig) -> tuple[Ratings, Path]:
    options = cfg.study.analyse
    if options.ratings is not None:
        source = Path(options.ratings)
        return from_csv(source, options.criteria, options.reference, options.low, options.high), source
    folder = Path(cfg.dir)
    study = read_study(folder)
    source = folder / ANSWERS
    answers = read_answers(source)
    opened = open_key(Path(options.key or folder / KEY), study, answers, source, options.interim)
    ratings = from_study(answers, study, opened.key, options.reference)
    return replace(ratings, interim=opened.interim, earlier_looks=opened.earlier_looks), source


def _folder(cfg: DictConfig) -> Path:
    """Where the results go: `<study>/analysis`, or beside a plain CSV, so that they lie with their ratings."""
    options = cfg.study.analyse
    if options.output is not None:
        return Path(options.output)
    if options.ratings is None:
        return Path(cfg.dir) / "analysis"
    source = Path(options.ratings)
    return source.with_name(f"{source.stem}_analysis")
