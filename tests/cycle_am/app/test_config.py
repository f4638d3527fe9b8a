"""The check of a configuration against the constructors that it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from omegaconf import OmegaConf

from cycle_am.app.config import check_config
from cycle_am.arguments import fits
from cycle_am.errors import UserError


class Base:
    """A constructor that others pass arguments on to."""

    def __init__(self, size: int = 1, **others: Any) -> None: ...


class Child(Base):
    """Inherits the annotation of `size`."""

    def __init__(self, *, rate: float = 0.1, **others: Any) -> None: ...


class Closed:
    """Takes nothing else."""

    def __init__(self, mode: Literal["a", "b"] = "a") -> None: ...


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (1, int, True),
        (1.0, int, False),
        (True, int, False),
        (1, float, True),
        ("1", float, False),
        (None, int | None, True),
        ([1, 2], Sequence[int], True),
        (1, Sequence[int], False),
        ({"a": 1}, Mapping, True),
        ("a", Literal["a", "b"], True),
        ("c", Literal["a", "b"], False),
        ("a", str | Path | Sequence[str], True),
        (3, Any, True),
    ],
)
def test_values_and_annotations(value, hint, expected):
    assert fits(value, hint) is expected


def check(name: str, **arguments: Any) -> None:
    check_config(OmegaConf.create({"part": {"_target_": f"{__name__}.{name}", **arguments}}))


def test_good_arguments_pass():
    check("Child", rate=1, size=3, anything=[])
    check("Closed", mode="b")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("Child", {"rate": "fast"}, r"part\.rate=fast: expected float, not str"),
        ("Child", {"size": 1.5}, r"part\.size=1\.5: expected int"),
        ("Closed", {"mode": "c"}, r"part\.mode=c"),
        ("Closed", {"made": "a"}, r"has no argument 'made'; it takes"),
        ("Absent", {}, r"part\._target_=.*Absent cannot be imported"),
        ("Closed", {"mode": "???"}, r"part\.mode is not set; give it on the command line: part\.mode=VALUE"),
    ],
)
def test_bad_arguments_are_named(name, arguments, message):
    with pytest.raises(UserError, match=message):
        check(name, **arguments)
