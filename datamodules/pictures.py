"""What data modules of plain pictures share: named classes, a size, no millimetres."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

from cycle_am.data.cases import Cases, prepared
from cycle_am.data.pictures import Picture, span_of, to_cases
from cycle_am.errors import UserError
from cycle_am.task import Task
from datamodules.base import CasesDataModule

READING = 1  # raise it when pictures are read otherwise: caches of before are then built anew


class PicturesDataModule(CasesDataModule):
    """Base for pictures; a subclass gives `pictures`, `settings` and `names`, and `split_cases` where there is a split.

    classes: names of two or more, in the order of their labels; of two the second is what p is the probability of.
    None: all that the source has, in its order. Pictures of other classes are left out.
    size: side of the window. margin: pixels kept around it, by which training windows may move. A picture is resized so
    that its shorter side has size + 2 margin pixels, and its middle is cut out.
    channels: 1 grey or 3 colour; None: as the pictures are. range: values that become 0 and 1; None: of 8 and 16 bits
    the whole. thing: what they show, for people. Further arguments as in CasesDataModule.
    """

    source = "pictures"  # begins the name of the cache

    def __init__(
        self,
        *,
        classes: Sequence[str] | None = None,
        size: int = 64,
        channels: int | None = None,
        range: Sequence[float] | None = None,
        thing: str = "object",
        fov_mm: float | None = None,
        margin: int = 0,
        **common: Any,
    ) -> None:
        super().__init__(fov_mm=fov_mm or float(size), margin=margin, **common)
        self.classes = None if classes is None else tuple(map(str, classes))
        self.size, self.channels, self.range, self.thing = size, channels, span_of(range) or (0.0, 1.0), thing
        self.has_mm = fov_mm is not None

    @abstractmethod
    def names(self) -> Sequence[str]:
        """The classes that the source has, in the order in which they are taken unless `classes` says otherwise."""

    @abstractmethod
    def pictures(self, numbers: Mapping[str, int]) -> Iterable[Picture]:
        """All pictures of the classes in `numbers`, name -> label; one after the other, as they may be large."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What the pixels depend on, beside the arguments of this class: they are read anew where it differs."""

    @abstractmethod
    def is_colour(self) -> bool:
        """Whether the source holds pictures in colour."""

    @cached_property  # asked for at every turn, and a folder is listed for it
    def task(self) -> Task:
        """Classes of pictures. Raises UserError where there are fewer than two, or the size does not do."""
        task = Task(
            fov_mm=self.fov_mm if self.has_mm else None,
            size=self.size,
            low=self.range[0],
            high=self.range[1],
            classes=self._chosen(),
            channels=self.channels or (3 if self.is_colour() else 1),
            unit="",
            thing=self.thing,
        )
        task.check()
        return task

    def _chosen(self) -> tuple[str, ...]:
        there = tuple(self.names())
        unknown = [name for name in self.classes or () if name not in there]
        if unknown:
            raise UserError(f"data.classes: there is no class {unknown[0]}; there are {', '.join(there)}")
        return self.classes or there

    def build_cases(self) -> Cases:
        """All pictures of the classes, from the cache where they were read before."""
        task = self.task
        state = {"reading": READING, "task": task.facts(), "margin": self.margin}
        numbers = {name: label for label, name in enumerate(task.classes)}
        read = partial(to_cases, task=task, rim=self.margin)
        return prepared(
            self.cache_dir, self.source, state | self.settings(), lambda: read(self.pictures(numbers))
        )
