"""In which order a reader sees what: Williams squares within questions, mirrored variants, repeats at the end.

A *question* is one lesion; its items are that lesion's explanations by all methods. Readers come in pairs: the first
has variant A, the second variant B, which is A's order mirrored (paper, sec. 3.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

VARIANTS = ("A", "B")


@dataclass(frozen=True)
class Order:
    """One reader's order: the variant, and (question, method) indices, question after question."""

    variant: str
    questions: list[list[tuple[int, int]]]


def williams(methods: int) -> np.ndarray:
    """Rows (R, methods) in which every method is equally often in every place, and equally often next after every
    other (Williams, Aust. J. Sci. Res. A 2, 1949, 149). R is `methods` where that is even, else twice as many.
    """
    first = [(step + 1) // 2 if step % 2 else -step // 2 for step in range(methods)]  # 0, 1, -1, 2, -2, ...
    square = (np.array(first) + np.arange(methods)[:, None]) % methods
    return square if methods % 2 == 0 else np.concatenate([square, square[:, ::-1]])


def sequences(pairs: int, questions: int, methods: int, rng: np.random.Generator) -> np.ndarray:
    """Order of the methods (pairs, questions, methods) for each pair of readers and question.

    A block of R successive questions and R pairs shares one Williams square of R rows under random names: each pair
    meets all rows once in the block, and each question all rows once over the pairs. So methods are balanced over
    places and predecessors for every pair of readers and for every question, as far as the numbers divide by R.
    """
    square = williams(methods)
    rows = len(square)
    orders = np.empty((pairs, questions, methods), dtype=np.int64)
    for p in range(0, pairs, rows):
        for q in range(0, questions, rows):
            part = orders[p : p + rows, q : q + rows]
            row = np.add.outer(rng.permutation(rows), rng.permutation(rows)) % rows
            part[:] = rng.permutation(methods)[square[row[: part.shape[0], : part.shape[1]]]]
    return orders


def draw_orders(
    readers: int, questions: int, methods: int, repeated: Sequence[int], rng: np.random.Generator
) -> list[Order]:
    """Orders of all readers, variants A and B by turns.

    Questions `questions`, `questions` + 1, ... are those in `repeated` once more: they come after all others, and
    their originals in the middle third, so that in both variants about a third of all lesions or more lies in between.
    Within the limits of that, the order of the questions is random.
    """
    pairs = -(-readers // len(VARIANTS))
    within = sequences(pairs, questions + len(repeated), methods, rng)
    orders = []
    for pair in range(pairs):
        first = shuffled(questions, repeated, rng)
        again = [questions + int(k) for k in rng.permutation(len(repeated))]
        shown = {q: [(q, int(m)) for m in within[pair, q]] for q in [*first, *again]}
        orders.append(Order("A", [shown[q] for q in [*first, *again]]))
        mirrored = [*first[::-1], *again[::-1]]
        orders.append(Order("B", [shown[q][::-1] for q in mirrored]))
    return orders[:readers]


def shuffled(questions: int, middle: Sequence[int], rng: np.random.Generator) -> list[int]:
    """All questions in random order, those of `middle` somewhere in the middle third."""
    places = rng.permutation(np.arange(questions)[middle_third(questions)])[: len(middle)]
    order = np.full(questions, -1)
    order[places] = middle
    order[order < 0] = rng.permutation(np.setdiff1d(np.arange(questions), middle))
    return order.tolist()


def middle_third(questions: int) -> slice:
    """Places of the middle third, which mirroring maps onto itself."""
    return slice(questions // 3, questions - questions // 3)
