"""More readers for a study that is there: new orders and links; items, answers and older links stay as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cycle_am.errors import UserError
from cycle_am.reader_study import files
from cycle_am.reader_study.design import assembly
from cycle_am.reader_study.design.orders import VARIANTS, draw_orders
from cycle_am.reader_study.files import Key, Study
from cycle_am.reader_study.web import links


def add_readers(folder: Path, count: int, url: str) -> Study:
    """Add `count` readers to the study in `folder`.

    Raises UserError where it or its key is absent, or the readers there have links to another address than `url`.
    """
    study = files.read_study(folder)
    if study.url and url.rstrip("/") != study.url.rstrip("/"):
        raise UserError(
            f"study.create.url={url}, but the other readers' links lead to {study.url}; give that, or change it in "
            f"{folder / files.STUDY} where the server has moved"
        )
    key = files.read_key(folder / files.KEY, study)
    there = len(study.readers)
    ids, repeated = questions(study, key)
    rng = assembly.generator(f"readers from {there}", key.nonce)
    waiting = there % len(VARIANTS)  # the partner of an odd last reader comes first
    orders = draw_orders(waiting + count, len(ids) - len(repeated), len(key.methods), repeated, rng)
    added = assembly.make_readers(orders[waiting:], ids, there + 1)
    study = replace(study, readers={**study.readers, **added})
    files.write_study(folder, study)
    links.write_links(folder, links.make_tokens(added), url)
    return study


def questions(study: Study, key: Key) -> tuple[list[list[str]], list[int]]:
    """Item ids by question and method, repeats last, and which questions those repeat: as `draw_orders` takes them."""
    methods = list(key.methods)
    shown = next(iter(study.readers.values())).questions
    ordered = [sorted(items, key=lambda name: methods.index(key.items[name].method)) for items in shown]
    repeats = [items for items in ordered if key.items[items[0]].repeat_of]
    originals = sorted(
        (items for items in ordered if items not in repeats), key=lambda items: key.items[items[0]].label
    )
    place = {items[0]: number for number, items in enumerate(originals)}
    return originals + repeats, [place[key.items[items[0]].repeat_of] for items in repeats]
