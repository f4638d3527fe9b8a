"""What a model takes and says: its images, their geometry and intensity, and the names of its classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cycle_am.contract import HU_MAX, HU_MIN, IMAGE_SIZE, UNKNOWN
from cycle_am.errors import UserError

CHANNELS = (1, 3)
SMALLEST, LARGEST = 28, 256  # sides, in pixels
HOUNSFIELD = "HU"


@dataclass(frozen=True)
class Task:
    """Images of `channels` x `size` x `size` pixels over fov_mm x fov_mm, and the classes that are told apart.

    fov_mm: None where pixels have no size in mm; what is counted in mm elsewhere is then counted in pixels.
    low, high: what 0 and 1 of an image stand for, in `unit` ("HU", or "" for plain brightness).
    classes: names of what the classifier's logits stand for; of two, the second is what p is the probability of.
    channels: 1 grey, 3 red, green and blue.
    thing: what the images show, for people.
    """

    fov_mm: float | None = 45.0
    size: int = IMAGE_SIZE
    low: float = HU_MIN
    high: float = HU_MAX
    classes: tuple[str, ...] = ("benign", "malignant")
    channels: int = 1
    unit: str = HOUNSFIELD
    thing: str = "nodule"

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel of the window; 1 where it has none in mm."""
        return 1.0 if self.fov_mm is None else self.fov_mm / self.size

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image: channels, height, width."""
        return self.channels, self.size, self.size

    @property
    def labels(self) -> dict[int, str]:
        """Names of all values that a label can have."""
        return {**dict(enumerate(self.classes)), UNKNOWN: "unknown"}

    def side(self) -> str:
        """How large an image is, for people."""
        return f"{self.size} pixels" if self.fov_mm is None else f"{self.fov_mm:g} mm"

    def images(self) -> str:
        """What the images are, for people."""
        pixels = f"{self.size} x {self.size} pixels"
        if not self.is_hounsfield:
            of = "" if self.fov_mm is None else f", {self.fov_mm:g} x {self.fov_mm:g} mm"
            return f"{'grey' if self.channels == 1 else 'colour'} pictures of {pixels}{of}"
        return (
            f"windows of {self.fov_mm:g} x {self.fov_mm:g} mm, {pixels}, {self.low:g} to {self.high:g} Hounsfield "
            "units, the lesion in the middle"
        )

    def name(self, label: int) -> str:
        """Of a case, for people."""
        return "no label" if label == UNKNOWN else self.classes[label]

    @property
    def is_hounsfield(self) -> bool:
        """Whether brightness is a physical number, so that its range can be checked."""
        return self.unit == HOUNSFIELD

    def worded(self, label: str) -> str:
        """A label of the catalogue, which speaks of malignant nodules and mm, for these classes and lengths."""
        return label.replace("p(malignant)", self.p()).replace("+ 3 mm", f"+ {self.length(3.0)}")

    def length(self, mm: float) -> str:
        """A length for people: in pixels where these have no size in mm."""
        return f"{mm:g} mm" if self.fov_mm is not None else f"{mm:g} pixels"

    @property
    def is_nodule(self) -> bool:
        """Whether it is the paper's: lung nodules in CT, whose size says much and beside whom its figures stand."""
        return self.is_hounsfield and self.thing == Task.thing

    def p(self, of: str = "") -> str:
        """`p(malignant)`: how the probability is written, `of` what."""
        return f"p({self.classes[1]})" + (f" of {of}" if of else "")

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Task:
        """From JSON; what an older file leaves out is as in CT. Raises UserError where this version cannot serve it."""
        try:
            fov_mm = facts["fov_mm"]
            task = cls(
                fov_mm=None if fov_mm is None else float(fov_mm),
                size=int(facts["size"]),
                low=float(facts["low"]),
                high=float(facts["high"]),
                classes=tuple(map(str, facts["classes"])),
                channels=int(facts.get("channels", cls.channels)),
                unit=str(facts.get("unit", cls.unit)),
                thing=str(facts.get("thing", cls.thing)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"the model's task is incomplete ({error}); pack the model again") from error
        task.check()
        return task

    def check(self) -> None:
        """Raise UserError where networks, explanations and reports cannot serve such images or classes."""
        if self.channels not in CHANNELS or not SMALLEST <= self.size <= LARGEST:
            raise UserError(
                f"images of {self.channels} x {self.size} x {self.size} cannot be explained; there are 1 or 3 channels "
                f"and sides of {SMALLEST} to {LARGEST} pixels"
            )
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise UserError(
                f"two or more classes are told apart, not {', '.join(self.classes) or 'none'}; see data.classes"
            )
        if not self.low < self.high or not (self.fov_mm is None or self.fov_mm > 0):
            raise UserError(
                f"the model is for other images ({self}) than this version explains; update cycle-am"
            )

    @property
    def is_pair(self) -> bool:
        """Whether two classes are told apart, as in the paper."""
        return len(self.classes) == 2

    def check_pair(self, what: str) -> None:
        """Raise UserError for more than two classes where `what` takes only two."""
        if not self.is_pair:
            raise UserError(
                f"{what} takes two classes at a time, not {len(self.classes)}; choose two of "
                f"{', '.join(self.classes)}: data.classes=[A,B], and train with them"
            )

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"classes": list(self.classes)}

    def scale(self, values: np.ndarray) -> np.ndarray:
        """Hounsfield units, or whatever `unit` is, of any shape -> float32 in [0, 1], clipped."""
        scaled = (np.asarray(values, np.float32) - np.float32(self.low)) / np.float32(self.high - self.low)
        return np.clip(scaled, 0.0, 1.0)


CT = Task()  # the paper's, and what stands where nothing is said
