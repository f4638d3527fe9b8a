"""index.html of a batch: a card each, its verdict first, to filter and sort; what failed stands with its reason.

It lies beside the pictures, loads nothing else and needs no server. Whatever comes from names reaches it escaped, and a
content security policy refuses any other script.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cycle_am.files import write_atomically
from cycle_am.outputs import drawing, panel
from cycle_am.reports.colours import scale_words
from cycle_am.task import Task

if TYPE_CHECKING:
    from cycle_am.model.explanation import Explanation

HERE, NAME = Path(__file__).parent, "index.html"
FAILED = "failed"
ORDER = ("refused", "doubtful", "usable", drawing.UNKNOWN, FAILED)
FILES = {"panel": "panel.png", "dial": "dial.gif"}
INLINE = 4  # panels that a notebook shows


def write(folder: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    """Write the page of a batch into its folder; it appears whole or not at all.

    records: in the order of the page: what explanation.json holds, with `folder`, the case's folder relative to the
    page's; and failures, {"name", "reason"}.
    """
    text = render([_card(i, dict(record), Path(folder)) for i, record in enumerate(records)])
    return write_atomically(
        Path(folder) / NAME, lambda path: path.write_text(text, encoding="utf-8", newline="\n")
    )


def render(cards: list[dict[str, Any]]) -> str:
    """The page as text."""
    script, style = (Markup((HERE / f"page.{kind}").read_text(encoding="utf-8")) for kind in ("js", "css"))
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    counts = Counter(card["verdict"] for card in cards)
    return environment.get_template("page.html.j2").render(
        cards=[card for card in cards if card["verdict"] != FAILED],
        failures=[card for card in cards if card["verdict"] == FAILED],
        counts={verdict: counts[verdict] for verdict in ORDER if counts[verdict]},
        models=sorted({card["model"] for card in cards if card.get("model")}),
        words=sorted({card["words"] for card in cards if card.get("words")}),
        signs={verdict: drawing.look(verdict)[0] for verdict in ORDER} | {FAILED: "✕"},
        script=script,
        style=style,
        script_hash=_hash(script),
        style_hash=_hash(style),
    )


def inline(explanation: Explanation) -> str:
    """For a notebook: each verdict with its panel as a picture within the page; of many cases the first ones."""
    shown = [explanation[i] for i in range(min(len(explanation), INLINE))]
    rest = len(explanation) - len(shown)
    more = f"<p>and {rest} more: index them, or save(folder) to see all</p>" if rest else ""
    return f"<div>{''.join(map(_inline, shown))}{more}</div>"


def _inline(explanation: Explanation) -> str:
    word, reasons = drawing.verdict(explanation)
    sign, colour = drawing.look(word)
    data = base64.b64encode(panel.png(explanation)).decode()
    why = html.escape("; ".join(reasons))
    return (
        f'<p><b style="color:{colour}">{sign} {html.escape(word)}</b> {why}</p>'
        f'<img alt="x, G-(x), G+(x), R and attribution" style="max-width:900px;width:100%" '
        f'src="data:image/png;base64,{data}">'
    )


def _card(index: int, record: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What the page shows of a record."""
    name = drawing.plain(record.get("name") or record.get("folder") or f"case {index + 1}", 120)
    if "verdict" not in record:
        return {
            "name": name,
            "verdict": FAILED,
            "reason": drawing.plain(record.get("reason", "unknown"), 400),
        }
    task, where = record["model"]["task"], record.get("folder", "")
    first, second = (drawing.plain(text, 40) for text in record["classes"])
    relevance = f"R: red is brighter where {second}, blue is darker; {scale_words(Task.of(task))}."
    attribution = (
        f"Attribution: red speaks for {second}, blue for {first}, on each case's own scale."
        if record["settings"].get("attribution", True)
        else ""
    )
    files = {key: file for key, file in FILES.items() if (folder / where / file).is_file()}
    return {
        "index": index,
        "name": name,
        "verdict": record["verdict"] if record["verdict"] in ORDER else drawing.UNKNOWN,
        "reasons": record["reasons"],
        "classes": record["classes"],
        "probability": record["probability"],
        "distance": record["distance"],
        "share": None if record["distance"] is None else drawing.share(record["distance"]),
        "model": " ".join(filter(None, (record["model"]["name"], record["model"]["digest"]))),
        "words": " ".join(filter(None, (relevance, attribution))),
        "links": {key: quote("/".join(filter(None, (where, file)))) for key, file in files.items()},
        "facts": quote("/".join(filter(None, (where, "explanation.json")))),
    }


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
