"""`python study.py action=create`: from a comparison of explainers to a study ready to be answered."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from omegaconf import DictConfig

from cycle_am.errors import UserError
from cycle_am.reader_study import files
from cycle_am.reader_study.design import assembly, extend, material, texts
from cycle_am.reader_study.design.blind import study_leaks
from cycle_am.reader_study.design.orders import draw_orders, middle_third
from cycle_am.reader_study.files import Key, Study
from cycle_am.reader_study.web import links
from cycle_am.runs.run import Run

CRITERIA = ["intuitive_validity", "semantic_meaningfulness", "image_quality"]
LOW, HIGH = -4, 4


def create(cfg: DictConfig) -> Path:
    """Write a new study, whole or not at all, and return its folder; with `add_readers`, extend the one there.

    Raises UserError where a study is there already, or the comparison does not give enough cases.
    """
    folder, settings = Path(cfg.dir), cfg.study.create
    if settings.add_readers:
        study = extend.add_readers(folder, settings.add_readers, settings.url)
    else:
        with staged(folder) as stage:
            study = build(stage, cfg)
    print(summary(folder, study))
    return folder


def build(folder: Path, cfg: DictConfig) -> Study:
    """Draw, render and write everything into `folder`."""
    settings = cfg.study.create
    check_settings(cfg)
    methods = {name: settings.names.get(name, name) for name in settings.methods}
    home = Path(
        settings.compare or Run.latest(cfg.paths.runs, "cycle_am_small", "phantom").folder / "compare"
    )
    source = material.read_material(home, list(methods))
    words = texts.read_texts(
        Path(settings.texts or texts.TEXTS), settings.languages, [*methods, *methods.values()]
    )

    nonce, now = secrets.token_hex(32), datetime.now(UTC).replace(microsecond=0)
    rng = assembly.generator(f"seed {cfg.seed}", nonce)
    counts = (settings.benign, settings.malignant)
    drawn = material.draw_cases(source, counts, rng)
    repeated = material.draw_repeats(counts, settings.repeats, rng)
    orders = draw_orders(settings.readers, len(drawn), len(methods), repeated, rng)
    questions = assembly.make_questions(source, drawn, repeated, list(methods), settings.size)

    origin = f"{home}, {material.MAPS} SHA-256 {material.digest(home / material.MAPS)}, seed {cfg.seed}"
    key = Key(files.opaque(), methods, questions.key_items, nonce, origin)
    study = Study(
        study_id=key.study_id,
        created=now.isoformat(),
        seal=files.seal(key),
        criteria=CRITERIA,
        low=LOW,
        high=HIGH,
        fov_mm=source.fov_mm,
        languages=list(words),
        texts=words,
        items=questions.items,
        readers=assembly.make_readers(orders, questions.ids),
        simulated=settings.simulated,
        url=settings.url,
    )
    originals = {item.original for item in study.items.values()}
    assembly.write_pictures(folder / files.IMAGES, questions.pictures, originals, int(now.timestamp()))
    files.write_key(folder, key)
    files.write_study(folder, study)
    links.write_links(folder, links.make_tokens([*study.readers, links.COORDINATOR]), settings.url)
    check_blind(folder, study, key)
    return study


def check_settings(cfg: DictConfig) -> None:
    """Raise UserError for numbers of which no study can be made."""
    settings = cfg.study.create
    least = {"benign": 0, "malignant": 0, "repeats": 0, "readers": 1, "size": 64}
    for name, value in least.items():
        if settings[name] < value:
            raise UserError(f"study.create.{name}={settings[name]} must be at least {value}; raise it")
    lesions = settings.benign + settings.malignant
    most = len(range(lesions)[middle_third(lesions)])
    if settings.repeats > most:
        raise UserError(
            f"study.create.repeats={settings.repeats}: of {lesions} lesions at most {most} can be repeated"
        )
    if len(set(settings.methods)) < max(2, len(settings.methods)) or not lesions:
        raise UserError("a study needs lesions and at least two different methods; set study.create.methods")


def check_blind(folder: Path, study: Study, key: Key) -> None:
    """Raise UserError where what readers may see tells anything of the key."""
    leaks = study_leaks(folder, study, key)
    if leaks:
        raise UserError(f"the study would not be blind: {leaks[0]}; mend that and create it again")


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A folder to build in, which becomes `folder` at the end, or is removed after an error.

    Raises UserError where `folder` holds anything.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(
            f"{folder} is there already and may hold answers; choose another name: python study.py action=create "
            "name=NAME"
        )
    stage = folder.with_name(f".{folder.name}.{files.opaque()}")
    try:
        stage.mkdir(parents=True)
        yield stage
        os.rename(stage, folder)  # refuses a folder that was filled in the meantime
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        with suppress(OSError):  # holds other studies, or the new one
            folder.parent.rmdir()


def summary(folder: Path, study: Study) -> str:
    """What the coordinator should know now."""
    lesions = len(next(iter(study.readers.values())).questions)
    return "\n".join(
        [
            f"study {study.study_id}: {lesions} lesions (with repeats), {len(study.items)} pictures, "
            f"{len(study.readers)} readers, {len(study.items) * len(study.criteria)} answers each",
            f"links to send:   {folder / files.LINKS}",
            f"key, keep apart: {folder / files.KEY} (no server needs it; without it nothing can be analysed)",
            f"next:            python study.py action=serve dir={folder}",
        ]
    )
