"""How the commands speak: what --help prints, and in which words they refuse what Hydra cannot take."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shlex
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cycle_am import settings
from cycle_am.console import asks_for_help, in_one_line, suppress_broken_pipe, tolerate_streams

CONF = settings.folder()
SETTINGS = """Any setting:            key.of.it=value; see them all with --cfg job
Special characters:     'key="a=b, c.csv"', quoted for the shell and for Hydra
More of your own:       --config-dir FOLDER, laid out as conf/
Hydra's own options:    --hydra-help"""
WIDTH = 80  # of what is wrapped
T = TypeVar("T")


def start(main: Callable[[], None], name: str, text: str) -> None:
    """Run an entry point of Hydra's whose configuration is conf/NAME.yaml; `text`, its docstring, begins its --help."""
    tolerate_streams()
    warnings.showwarning = in_one_line(warnings.showwarning)
    if asks_for_help(sys.argv[1:]):
        with suppress_broken_pipe():
            print(overview(name, text, config_dir(sys.argv[1:])), flush=True)
        return
    from hydra._internal import utils as hydra  # what Hydra prints of an error cannot be set

    report = hydra.run_and_report
    hydra.run_and_report = lambda task: report(lambda: in_words(task))
    in_words(main)  # --info composes outside of its report


def overview(name: str, text: str, more: Path | None = None) -> str:
    """What --help prints: examples, experiments, groups; `more` is a folder as conf/ of the user's own."""
    folders = [CONF, *([more] if more else [])]
    defaults = groups(name)
    parts = [text.strip()]
    if "experiment" in defaults:
        parts.append("Experiments:\n" + experiments(folders))
    rows = [row(group, options(group, folders), default) for group, default in defaults.items()]
    if any(rows):
        parts.append("Groups, chosen by group=option (* is the default):\n" + "\n".join(filter(None, rows)))
    return "\n\n".join([*parts, SETTINGS])


def experiments(folders: Sequence[Path] = (CONF,)) -> str:
    """A line for each experiment: its name, and what the head of its file says."""
    return "\n".join(_entry(name, _head(file)) for name, file in options("experiment", folders).items())


def groups(name: str) -> dict[str, str | None]:
    """The groups that conf/NAME.yaml composes, each with its default."""
    import yaml

    content = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    entries = [entry for entry in content["defaults"] if isinstance(entry, dict)]
    return {key: value for entry in entries for key, value in entry.items() if " " not in key}


def options(group: str, folders: Iterable[Path]) -> dict[str, Path]:
    """The options of a group -> their files; what only others build on (`base`) is none."""
    files = [file for folder in folders for file in sorted((folder / group).glob("*.yaml"))]
    return {file.stem: file for file in files if file.stem.rpartition("_")[2] != "base"}


def row(group: str, names: Iterable[str], default: str | None) -> str:
    """A group's line; empty where there is no choice, and for what is listed or belongs to Hydra."""
    names = [f"{name}*" if name == default else name for name in names]
    if len(names) < 2 or group in ("experiment", "hydra"):
        return ""
    return _entry(group, ", ".join(names))


def _entry(name: str, text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent=f"  {name:<16}", subsequent_indent=" " * 18)


def _head(file: Path) -> str:
    """The first line of a configuration's leading comment that says what it is."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith(("# @package", "# python")):
            return line.lstrip("# ")
    return ""


def config_dir(arguments: Sequence[str]) -> Path | None:
    """The folder that Hydra's --config-dir names."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd", type=Path)
    return parser.parse_known_args(arguments)[0].config_dir


def in_words(task: Callable[[], T]) -> T:
    """Call `task`; a configuration that cannot be composed ends the command with what is wrong and how to mend it."""
    from hydra.errors import ConfigCompositionException, OverrideParseException

    try:
        return task()
    except (ConfigCompositionException, OverrideParseException) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        sys.exit(f"error: {words(error)}")
    except ValueError as error:
        if "Config group override must be" not in str(error):
            raise
        sys.exit("error: GROUP=null is not known to Hydra; a group is left out with '~GROUP', e.g. '~logger'")


def words(error: Any) -> str:
    """What one of Hydra's two errors of composing means."""
    if hasattr(error, "override"):
        return f"{error.message.partition(chr(10))[0]} ({error.override})\n{quoting(error.override)}"
    if getattr(error, "options", None):
        group, _, option = error.missing_cfg_file.rpartition("/")
        return f"{group}={option}: there is no such option; {near(option, error.options)}"
    if absent := re.match(r"You must specify '(\w+)'", str(error)):
        group = absent[1]
        listed = experiments() if group == "experiment" else "  " + ", ".join(options(group, [CONF]))
        return f"which {group}? Give {group}=NAME, one of\n{listed}\n--help says more"
    if ambiguous := re.match(r"Ambiguous value for argument '(.*)'\n", str(error)):
        return f"{ambiguous[1]}: several values are given with -m (--multirun) only\n{quoting(ambiguous[1])}"
    said = str(error).partition("\nConfig search path")[0].strip()
    return "\n".join(filter(None, [said, _misspelt(error.__cause__)]))


def _misspelt(cause: Any) -> str:
    """What OmegaConf says of a value, or the near ones of a key that there is not."""
    parent, key = (getattr(cause, name, None) for name in ("parent_node", "key"))
    if not isinstance(parent, Mapping) or key in parent.keys():  # noqa: SIM118 ("in parent" leaves out ???)
        return str(cause or "")
    names = [str(name) for name in parent]
    if parent._get_parent() is None:
        names += [folder.name for folder in CONF.iterdir() if folder.is_dir()]
    return f"There is no {cause.full_key}; {near(str(key), names)}"


def near(name: str, names: Iterable[str]) -> str:
    """`did you mean ...`, or all names where none is near."""
    names = sorted(set(names))
    close = difflib.get_close_matches(name, names, n=4)
    return f"did you mean {', '.join(close)}?" if close else f"there are {', '.join(names)}"


def quoting(override: str) -> str:
    """How an argument that Hydra cannot read is written so that it can."""
    key, equals, value = override.partition("=")
    if not equals:
        return "settings are given as key=value, e.g. experiment=classifier"
    if value.startswith("~"):
        return f"~ is no home folder behind {key}=; write {quoted(key, os.path.expanduser(value))}"
    if value.startswith(("[", "{")):
        return f'quote what has special characters, each by itself: \'{key}=["a=b","c d"]\''
    return f"quote the value, for the shell and for Hydra: {quoted(key, value)}"


def quoted(key: str, value: str) -> str:
    """An argument as it is typed, e.g. `'key="a=b.ckpt"'`; the Windows prompt knows double quotes only."""
    outer, inner = (lambda text: f'"{text}"', "'") if os.name == "nt" else (shlex.quote, '"')
    escaped = value.replace(inner, "\\" + inner)
    return outer(f"{key}={inner}{escaped}{inner}")
