"""The reference as Markdown: commands from their --help, keys from `conf/` and the catalogue of measures, Python from
docstrings.
"""

from __future__ import annotations

import html
import importlib
import inspect
import itertools
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from cycle_am import measures, settings
from cycle_am.app import cli, console
from cycle_am.reports.markdown import with_interval

ENTRIES = ("train", "evaluate", "prepare", "study")
# What is meant for users of the library, in the order of the page.
API = {
    "cycle_am": ("load", "models", "fit", "Model", "Explanation", "UserError"),
    "cycle_am.onnx": ("export", "load", "Exported"),
    "cycle_am.place": ("Place",),
    "cycle_am.task": ("Task",),
    "cycle_am.model.trust": ("Trust",),
    "cycle_am.sources": ("read",),
    "cycle_am.explainers.build": ("available", "build", "Context"),
    "cycle_am.losses": None,
    "cycle_am.networks": None,
}
WIDTH = 100  # of a signature on one line
KEY = re.compile(
    r"^(?P<indent>\s*)(?P<key>[\w.-]+):(?:\s+(?P<value>[^#\s][^#]*?))?(?:\s+#\s*(?P<comment>.*))?$"
)


def commands() -> str:
    """What each command prints on --help."""
    parts = ["# Commands"]
    for name in ENTRIES:
        entry = importlib.import_module(f"cycle_am.app.entries.{name}")
        parts.append(f"## `python {name}.py`\n\n```text\n{console.overview(name, entry.__doc__ or '')}\n```")
    parser = cli.parser()
    parts.append(f"## `cycle-am`\n\n```text\n{parser.format_help()}```")
    for name, part in parser.commands.items():
        parts.append(f"### `cycle-am {name}`\n\n```text\n{part.format_help()}```")
    return "\n\n".join(parts) + "\n"


def configuration() -> str:
    """Every key of `conf/`, file by file, with its value and comment."""
    root = settings.folder()
    parts = ["# Configuration", "Each key can be set on the command line: `key.of.it=value`."]
    for file in sorted(root.rglob("*.yaml"), key=lambda file: (len(file.relative_to(root).parts), file)):
        if "texts" in file.parts or "local" in file.parts:
            continue
        parts.append(f"## conf/{file.relative_to(root)}\n\n{_keys(file.read_text(encoding='utf-8'))}")
    return "\n\n".join(parts) + "\n"


def _keys(text: str) -> str:
    """A file's head comment as words, and a table of its keys."""
    first = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    head = [line.lstrip("# ") for line in first if "@package" not in line]
    rows = [f"| `{name}` | {_code(value)} | {_cell(comment)} |" for name, value, comment in keys(text)]
    table = "\n".join(["| key | value | |", "|---|---|---|", *rows]) if rows else ""
    return "\n\n".join(filter(None, (_cell(" ".join(head)), table)))


def keys(text: str) -> Iterator[tuple[str, str | None, str | None]]:
    """(dotted key, value, comment) of each setting in a YAML file that has a value or a comment."""
    path: list[tuple[int, str]] = []
    for line in text.splitlines():
        match = KEY.match(line)
        if match is None or line.lstrip().startswith(("#", "-")):
            continue
        depth = len(match["indent"])
        path = [(at, key) for at, key in path if at < depth] + [(depth, match["key"])]
        if path[0][1] != "defaults" and (match["value"] or match["comment"]):
            yield ".".join(key for _, key in path), match["value"], match["comment"]


def metrics() -> str:
    """Every key of metrics.json, its meaning, and what the paper has."""
    rows = [
        f"| `{key}` | {_cell(measure.label)} | {measures.SIGNS.get(measure.better, measure.better)} | "
        f"{_cell(measure.meaning)} | {with_interval(measure.paper) if measure.paper else ''} |"
        for key, measure in measures.CATALOGUE.items()
    ]
    head = "| key | in tables | better | meaning | paper |\n|---|---|---|---|---|"
    return (
        "\n\n".join(
            (
                "# Keys of metrics.json",
                "Each holds `value`, `ci_low`, `ci_high` (95 %, over patients) and `n`; `*` stands for any name. "
                "What a measure means and when it misleads: [What each measure means](measures.md).",
                "\n".join([head, *rows]),
            )
        )
        + "\n"
    )


def _code(value: str | None) -> str:
    return f"`{value.replace('|', chr(92) + '|')}`" if value else ""


def _cell(text: str | None) -> str:
    """Words that Markdown leaves as they are."""
    return html.escape(re.sub(r"([|\[\]*])", r"\\\1", (text or "").strip()), quote=False)


def api() -> str:
    """Signatures and docstrings of what users import."""
    parts = ["# Python"]
    for name, wanted in API.items():
        module = importlib.import_module(name)
        parts.append(f"## {name}\n\n{_text(module.__doc__)}")
        parts += [_entry(module, item) for item in wanted or module.__all__]
    return "\n\n".join(parts) + "\n"


def _entry(module: ModuleType, name: str) -> str:
    item = getattr(module, name)
    parts = [f"### {module.__name__}.{name}", _signature(name, item), _text(inspect.getdoc(item))]
    if inspect.isclass(item) and not issubclass(item, Exception):
        for key, member in vars(item).items():
            if not key.startswith("_") and inspect.isfunction(member) and member.__doc__:
                parts += [f"#### {name}.{key}", _signature(key, member), _text(inspect.getdoc(member))]
    return "\n\n".join(filter(None, parts))


def _signature(name: str, item: Any) -> str:
    try:
        line = f"{name}{inspect.signature(item)}".replace("'", "")
    except (TypeError, ValueError):  # of an exception
        return ""
    if len(line) > WIDTH:
        line = line.replace("(", "(\n    ", 1).replace(", *, ", ",\n    *, ")
    return f"```python\n{line}\n```"


def _text(doc: str | None) -> str:
    return f"```text\n{inspect.cleandoc(doc)}\n```" if doc else ""
