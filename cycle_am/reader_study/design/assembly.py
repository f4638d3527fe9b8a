"""From drawn cases and orders to items under opaque ids, their pictures and the key."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from cycle_am.progress import steps
from cycle_am.reader_study.design import render
from cycle_am.reader_study.design.material import Material
from cycle_am.reader_study.design.orders import Order
from cycle_am.reader_study.design.padding import common_size, padded
from cycle_am.reader_study.files import Item, KeyItem, Reader, opaque

Pictures = Mapping[str, Callable[[], bytes]]  # file name -> its content


@dataclass(frozen=True)
class Questions:
    """Items by question and method, and what they show. `ids[q][m]` follows the indices of an `Order`."""

    ids: list[list[str]]
    items: dict[str, Item]
    key_items: dict[str, KeyItem]
    pictures: Pictures


def make_questions(
    material: Material, drawn: Sequence[int], repeated: Sequence[int], methods: Sequence[str], size: int
) -> Questions:
    """Questions of the `drawn` cases (indices), then those of the `repeated` ones (places in `drawn`) once more.

    A repeat has ids and files of its own. All mappings are sorted by id, so that their order tells nothing.
    """
    places = [*range(len(drawn)), *repeated]
    ids = [[opaque() for _ in methods] for _ in places]
    items, key_items, pictures = {}, {}, {}
    for question, place in enumerate(places):
        case = drawn[place]
        original = f"{opaque()}.png"
        pictures[original] = partial(render.original, material.image[case], size)
        p = round(float(material.p[case]), 4)
        for m, (name, method) in enumerate(zip(ids[question], methods, strict=True)):
            items[name] = Item(original, f"{opaque()}.png", p)
            pictures[items[name].overlay] = partial(render.overlay, material.maps[method][case], size)
            repeat_of = ids[place][m] if question >= len(drawn) else None
            key_items[name] = KeyItem(
                str(material.case_id[case]), int(material.label[case]), method, repeat_of
            )
    return Questions(ids, _sorted(items), _sorted(key_items), pictures)


def make_readers(orders: Sequence[Order], ids: Sequence[Sequence[str]], first: int = 1) -> dict[str, Reader]:
    """Readers r01, r02, ... (counted from `first`) with their orders in item ids."""
    return {
        f"r{number:02d}": Reader(order.variant, [[ids[q][m] for q, m in shown] for shown in order.questions])
        for number, order in enumerate(orders, first)
    }


def write_pictures(folder: Path, pictures: Pictures, originals: Collection[str], seconds: int) -> None:
    """Write all pictures in the order of their names, with the same time (since 1970), `originals` and overlays each
    equally long: all of that tells nothing then."""
    folder.mkdir(parents=True)
    drawn = {name: pictures[name]() for name in steps(pictures, "drawing", unit="pictures")}
    for kind in (originals, drawn.keys() - originals):
        size = common_size([len(drawn[name]) for name in kind])
        drawn |= {name: padded(drawn[name], size) for name in kind}
    for name in sorted(drawn):
        file = folder / name
        file.write_bytes(drawn[name])
        os.utime(file, (seconds, seconds))


def generator(purpose: str, nonce: str) -> np.random.Generator:
    """Random numbers of the draw and the orders. They follow from `purpose` (which holds the seed) and the key's
    secret `nonce` together: who has the key can draw again, and nobody else, although seed and code are public."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(f"{purpose} {nonce}".encode()).digest()))


def _sorted(mapping: Mapping) -> dict:
    return dict(sorted(mapping.items()))
