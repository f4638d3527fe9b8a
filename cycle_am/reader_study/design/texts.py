"""What readers see in words: `conf/study/texts/<language>.yaml`, checked before a study is made of it."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cycle_am import settings as conf
from cycle_am.errors import UserError

TEXTS = conf.folder("study", "texts")
PATTERN_LANGUAGE = "en"  # its keys and placeholders are those that every language must have
SPACES = r"[\s_\-]*"


def read_texts(folder: Path, languages: Sequence[str], names: Iterable[str]) -> dict[str, Any]:
    """Texts by language. `names`: of methods, which no text may hold.

    Raises UserError where a language or a text is absent, a placeholder is unknown, or a method is named.
    """
    pattern = dict(_leaves(_read(TEXTS, PATTERN_LANGUAGE)))
    names = list(names)
    texts = {}
    for language in languages:
        texts[language] = _read(folder, language)
        _check(folder / f"{language}.yaml", dict(_leaves(texts[language])), pattern, names)
    return texts


def naming(name: str) -> re.Pattern[str]:
    """Finds a name as a word of its own, however it is spaced, hyphenated or capitalised."""
    letters = SPACES.join(map(re.escape, re.sub(SPACES, "", name)))
    return re.compile(rf"(?<![^\W_]){letters}(?![^\W_])", re.IGNORECASE)


def _check(file: Path, texts: Mapping[str, str], pattern: Mapping[str, str], names: Sequence[str]) -> None:
    for key, model in pattern.items():
        if not texts.get(key, "").strip():
            raise UserError(f"{file} has no text {key}; add it as in {TEXTS / PATTERN_LANGUAGE}.yaml")
        if _placeholders(texts[key]) != _placeholders(model):
            raise UserError(
                f"{file}: {key} must hold {_listed(model)}, as in {PATTERN_LANGUAGE}.yaml; mend it"
            )
    for key, text in texts.items():
        named = [name for name in names if naming(name).search(text)]
        if named:
            raise UserError(
                f"{file}: {key} names the method '{named[0]}'; readers must not know it, reword it"
            )


def _placeholders(text: str) -> set[str]:
    try:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError:  # an odd brace
        return {text}


def _listed(text: str) -> str:
    return ", ".join(f"{{{name}}}" for name in sorted(_placeholders(text))) or "no {placeholder}"


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """All texts with their dotted keys; a list of paragraphs counts as one text."""
    if isinstance(node, Mapping):
        for key, child in node.items():
            yield from _leaves(child, f"{path}.{key}".lstrip("."))
    else:
        yield path, "\n".join(map(str, node)) if isinstance(node, list) else str(node or "")


def _read(folder: Path, language: str) -> dict[str, Any]:
    file = folder / f"{language}.yaml"
    if not file.is_file():
        there = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
        raise UserError(f"there is no {file}; write it, or choose of {there}: study.create.languages")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is no YAML ({error}); mend it") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} holds no texts; write it as {TEXTS / PATTERN_LANGUAGE}.yaml")
    return content
