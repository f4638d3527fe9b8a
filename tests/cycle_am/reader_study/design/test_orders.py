"""Orders: Williams squares counted by hand, balance over readers and questions, mirrored variants, late repeats."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from cycle_am.reader_study.design.orders import draw_orders, middle_third, sequences, shuffled, williams


def rng(seed=0):
    return np.random.default_rng(seed)


def neighbours(rows):
    return Counter(pair for row in rows for pair in pairwise(row))


@pytest.mark.parametrize("methods", [2, 3, 4, 5, 6])
def test_williams_squares_balance_places_and_predecessors(methods):
    rows = williams(methods).tolist()
    each = len(rows) // methods
    assert each == (1 if methods % 2 == 0 else 2)
    for place in range(methods):
        assert Counter(row[place] for row in rows) == dict.fromkeys(range(methods), each)
    pairs = neighbours(rows)
    assert len(pairs) == methods * (methods - 1)
    assert set(pairs.values()) == {each}


def test_williams_square_of_four_as_published():
    assert williams(4).tolist() == [[0, 1, 3, 2], [1, 2, 0, 3], [2, 3, 1, 0], [3, 0, 2, 1]]


def test_every_reader_and_every_question_is_balanced():
    found = sequences(4, 24, 4, rng())
    for of_one in [*found, *found.swapaxes(0, 1)]:  # a reader's questions; a question's readers
        each = len(of_one) // 4
        for place in range(4):
            assert Counter(of_one[:, place].tolist()) == dict.fromkeys(range(4), each)
        assert set(neighbours(of_one.tolist()).values()) == {each}
    assert len({tuple(row) for row in found.reshape(-1, 4).tolist()}) > 12  # not one square throughout


@pytest.mark.parametrize(("pairs", "questions", "methods"), [(1, 1, 2), (3, 7, 3), (5, 26, 4)])
def test_sequences_of_numbers_that_do_not_divide_are_permutations(pairs, questions, methods):
    found = sequences(pairs, questions, methods, rng())
    assert (np.sort(found, -1) == np.arange(methods)).all()


def test_variants_alternate_and_mirror_each_other():
    a, b, *others = draw_orders(8, 24, 4, [3, 15], rng())
    assert [one.variant for one in (a, b, *others)] == ["A", "B"] * 4
    assert b.questions[:24] == [shown[::-1] for shown in a.questions[23::-1]]
    assert b.questions[24:] == [shown[::-1] for shown in a.questions[:23:-1]]
    assert a.questions != others[0].questions
    everything = {(q, m) for q in range(26) for m in range(4)}
    for one in (a, b, *others):
        assert {item for shown in one.questions for item in shown} == everything
        assert all(len({q for q, _ in shown}) == 1 for shown in one.questions)
    assert len(draw_orders(7, 24, 4, [], rng())) == 7


def test_repeats_come_well_after_their_originals_in_both_variants():
    repeated = [0, 1, 12, 13]
    for seed in range(20):
        for one in draw_orders(4, 24, 4, repeated, rng(seed)):
            shown = [questions[0][0] for questions in one.questions]
            assert sorted(shown[24:]) == [24, 25, 26, 27]
            for number, original in enumerate(repeated):
                assert shown.index(24 + number) - shown.index(original) > 8


def test_questions_are_shuffled_evenly():
    first = Counter(shuffled(6, [], rng(seed))[0] for seed in range(3000))
    assert all(first[question] == pytest.approx(500, abs=100) for question in range(6))


@pytest.mark.parametrize("questions", [1, 2, 3, 10, 24, 25])
def test_the_middle_third_is_its_own_mirror_image(questions):
    middle = list(range(questions))[middle_third(questions)]
    assert middle == sorted(questions - 1 - place for place in middle)
    assert len(middle) >= questions / 3
