"""Spellings of one id, and ids that only look alike."""

import pytest

from utils.identity import key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("r01 ", "r01"),
        ("\u00a0Anna", "anna\t"),
        ("Zo\u00eb", "Zoe\u0308"),
        ("STRASSE", "straße"),
        ("0001", "1"),
        ("1.0", "1"),
        ("000", "0.0"),
        ("١", "١ "),
    ],
)
def test_spellings_of_one_id(one, other):
    assert key(one) == key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.1", "1.10"),
        ("r1", "r01"),
        ("1.2.840.1", "1.2.840.10"),
        ("10", "1"),
        ("", "0"),
        ("-1", "1"),
        ("1e3", "1000"),
    ],
)
def test_other_ids(one, other):
    assert key(one) != key(other)


def test_an_empty_id_stays_empty():
    assert key("") == key("  ") == ""
