"""`python study.py action=simulate`: the coordinator's rehearsal, with synthetic readers in the place of real ones."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from cycle_am.errors import UserError
from cycle_am.reader_study import files
from cycle_am.reader_study.analysis.unsealing import close, open_for_rehearsal
from cycle_am.reader_study.planning import visits
from cycle_am.reader_study.planning.readers import Ability
from cycle_am.reader_study.planning.rehearsal import answer, make_up, readers_model


def simulate(cfg: DictConfig) -> Path:
    """Answer the study in `cfg.dir`, or one that is made up there, and write `export/answers.csv`; return it.

    With `url`, the answers go to the running server instead, and the study's folder is returned.

    Raises UserError where real answers would be overwritten or mixed with simulated ones, or for settings that fit no
    reader or method of the study.
    """
    folder, settings = Path(cfg.dir), cfg.study.simulate
    file = folder / files.ANSWERS
    refuse_real(file)
    if settings.url is None and not (folder / files.STUDY).is_file():
        study, key = make_up(
            settings.readers, settings.benign, settings.malignant, settings.repeats, cfg.seed
        )
        files.write_key(folder, key)
        files.write_study(folder, study)
    study = files.read_study(folder)
    key = open_for_rehearsal(folder / files.KEY, study)
    options = OmegaConf.to_container(settings, resolve=True)
    model = readers_model(list(key.methods), study.criteria, options["effects"], settings.preference)
    answers = answer(study, key, model, abilities(options, study), cfg.seed)
    if settings.url is not None:
        visits.send(study, answers, folder, settings.url)
        return folder
    close(files.write_answers(file, answers))
    return file


def refuse_real(file: Path) -> None:
    """Raise UserError where `file` holds answers of real readers."""
    if file.exists() and not files.read_answers(file)["simulated"].all():
        raise UserError(f"{file} holds answers of real readers; rehearse another study: name=NAME")


def abilities(options: dict, study: files.Study) -> dict[str, Ability]:
    """Each reader's ability, from `study.simulate.abilities` and `.missing`. Raises UserError for unknown names."""
    given = options["abilities"] or {}
    strangers = given.keys() - study.readers.keys()
    if strangers:
        raise UserError(f"there is no reader {min(strangers)}; there are {', '.join(study.readers)}")
    try:
        return {
            name: Ability(**({"missing": options["missing"]} | given.get(name, {}))) for name in study.readers
        }
    except TypeError as error:
        raise UserError(
            f"study.simulate.abilities: {error}; there are {', '.join(Ability._fields)}"
        ) from error
