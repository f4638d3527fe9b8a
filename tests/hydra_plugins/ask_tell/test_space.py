"""Hydra's grammar as a search space."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from cycle_am.errors import UserError
from hydra_plugins.ask_tell.space import split


def parsed(*overrides: str):
    return OverridesParser.create().parse_overrides(list(overrides))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("choice(0.5,1.0)", CategoricalDistribution(["0.5", "1.0"])),
        ("relu,null", CategoricalDistribution(["relu", "null"])),
        ("choice([2,2],[3,4])", CategoricalDistribution(["[2,2]", "[3,4]"])),
        ("range(1,4)", IntDistribution(1, 3)),
        ("range(2,9,3)", IntDistribution(2, 8, step=3)),
        ("range(0.0,1.0,0.25)", FloatDistribution(0.0, 0.75, step=0.25)),
        ("interval(0.1,1)", FloatDistribution(0.1, 1.0)),
        ("int(interval(1,8))", IntDistribution(1, 8)),
        ("tag(log,interval(1e-4,1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("tag(log,int(interval(2,64)))", IntDistribution(2, 64, log=True)),
    ],
)
def test_each_sweep_has_its_distribution(text, expected):
    assert split(parsed(f"key={text}")) == ([], {"key": expected})


def test_the_last_override_of_a_key_holds():
    fixed, space = split(parsed("a=interval(0,1)", "b=1", "a=2", "b=choice(3,4)", "~c", "+d=[1,2]"))
    assert fixed == ["a=2", "~c=null", "+d=[1,2]"]
    assert space == {"b": CategoricalDistribution(["3", "4"])}


@pytest.mark.parametrize("text", ["interval(2,1)", "range(3,3)", "tag(log,interval(0,1))"])
def test_an_impossible_range_is_one_clear_line(text):
    with pytest.raises(UserError, match=r"key=.*; give e\.g\. interval"):
        split(parsed(f"key={text}"))
