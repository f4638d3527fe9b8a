"""Spellings of one id, and ids that only look alike."""

import pytest

from cycle_am.errors import UserError
from cycle_am.identity import check_spellings, is_in, loose_key, visible


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
        ("P7\u200b", "P7"),
        ("\ufeffP7", "P7"),
    ],
)
def test_spellings_of_one_id(one, other):
    assert loose_key(one) == loose_key(other)


def test_an_empty_id_stays_empty():
    assert loose_key("") == loose_key("  ") == ""


def test_what_nobody_sees_goes_and_nothing_else():
    assert visible(" \ufeffMu\u0308ller 01.0\u200b\u00a0") == "M\u00fcller 01.0"


@pytest.mark.parametrize(
    ("one", "other"),
    [("P01", "p1"), ("LIDC-IDRI-0001", "LIDC-IDRI-1"), ("12.10", "12.1"), ("A  1", "a 1"), ("0001", "1.0")],
)
def test_ids_that_may_be_one_patient(one, other):
    assert loose_key(one) == loose_key(other)
    assert is_in([one, "else"], [other]).tolist() == [True, False]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("P10", "P1"),
        ("-1", "1"),
        ("1e3", "1000"),
        ("1.05", "1.5"),
        ("1.2.840.1", "1.2.840.10"),
        ("", "0"),
        ("100", "1"),
        ("P1", "P1a"),
    ],
)
def test_ids_of_two_patients(one, other):
    assert loose_key(one) != loose_key(other)


def test_two_spellings_are_named_with_their_places():
    check_spellings(["1", "2", "1"], "patient_id")
    with pytest.raises(
        UserError, match=r"patient_id '0001' \(a.csv line 2\) and '1' \(b.csv line 9\)"
    ) as caught:
        check_spellings(["0001", "2", "1"], "patient_id", ["a.csv line 2", "a.csv line 3", "b.csv line 9"])
    assert "\n" not in str(caught.value)


def test_two_spellings_that_look_alike_can_be_told_apart_in_the_message():
    with pytest.raises(UserError, match=r"'Zo\\xeb' and 'Zoe\\u0308' differ"):
        check_spellings(["Zo\u00eb", "Zoe\u0308"], "patient_id")
