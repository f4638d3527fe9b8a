"""One reader's questionnaire as it stands: what is answered, what is missing, how far they may turn the pages."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sheet:
    """`order`: item ids as they are shown; `answered`: (item, criterion) of every answer. Positions count from 1."""

    order: Sequence[str]
    criteria: Sequence[str]
    answered: Collection[tuple[str, str]]

    @property
    def total(self) -> int:
        """Number of items."""
        return len(self.order)

    def item(self, position: int) -> str:
        """Item at a position."""
        return self.order[position - 1]

    def missing(self, position: int) -> list[str]:
        """Criteria without an answer at a position."""
        return [
            criterion for criterion in self.criteria if (self.item(position), criterion) not in self.answered
        ]

    def open_positions(self) -> list[int]:
        """Positions where something is missing."""
        return [position for position in range(1, self.total + 1) if self.missing(position)]

    def rated(self) -> int:
        """Number of items whose every criterion is answered."""
        return self.total - len(self.open_positions())

    def reach(self) -> int:
        """The last position that may be opened: the one after the last with any answer, so that nobody sees what is to
        come. The items before may lack single answers, never all of them."""
        begun = [p for p in range(1, self.total + 1) if len(self.missing(p)) < len(self.criteria)]
        return min(max(begun, default=0) + 1, self.total)
