"""One self-contained HTML report: no file or address outside it is needed to read it."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cycle_am.estimate import Estimate
from cycle_am.files import write_text

MISSING = "–"


@dataclass(frozen=True)
class Table:
    """A table of ready-made cells; the first column names the line."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """An image file and the sentence that explains it. fits: readable in a phone's width, so that nobody need pan."""

    path: Path
    caption: str
    fits: bool = False

    @property
    def source(self) -> str:
        """The image itself as a data address."""
        return "data:image/png;base64," + base64.b64encode(self.path.read_bytes()).decode()


@dataclass(frozen=True)
class Section:
    """A heading, what is to be said, tables, pictures."""

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class Headline:
    """A number to see first: what it is, its value, and what to hold it against."""

    name: str
    value: str
    against: str = ""


@dataclass(frozen=True)
class Report:
    """A whole page, read from top to bottom."""

    title: str
    lead: str
    headlines: Sequence[Headline]
    sections: Sequence[Section]
    notes: Mapping[str, str] = field(default_factory=dict)


def decimals(value: float, digits: int = 3) -> str:
    """A number with so many decimals; what rounds to 0 has no sign."""
    return f"{value:z.{digits}f}"


def number(value: float, digits: int = 3) -> str:
    """A number for people; an en dash where it is undefined."""
    return decimals(value, digits).replace("-", "−") if math.isfinite(value) else MISSING


def with_interval(figure: Estimate, digits: int = 3) -> str:
    """`.842 [.790, .881]`, without brackets where there is no interval."""
    if not math.isfinite(figure["ci_low"]):
        return number(figure["value"], digits)
    value, low, high = (number(figure[key], digits) for key in ("value", "ci_low", "ci_high"))
    return f"{value} [{low}, {high}]"


def p_value(figure: Estimate) -> str:
    """A p-value for people."""
    if not math.isfinite(figure["value"]):
        return MISSING
    return "< 0.00001" if figure["value"] < 1e-5 else number(figure["value"], 5)


def render(report: Report) -> str:
    """The page as text; everything that comes from data is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template("page.html.j2").render(report=report)


def write_report(path: Path, report: Report) -> Path:
    """Write the page; it appears whole or not at all."""
    return write_text(path, render(report))
