"""A trained explainer without its training: classifier, generators and judge, ready to explain images in memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from cycle_am.contract import Changed
from cycle_am.errors import UserError
from cycle_am.model import dial
from cycle_am.model.explanation import Explanation, Probabilities, channels_first, held, layered
from cycle_am.model.trust import Assessor, Trust
from cycle_am.networks import ConvNet, UNetGenerator
from cycle_am.task import Task

if TYPE_CHECKING:
    from cycle_am.explainers.base import Explainer
    from cycle_am.sources import Failure, Window

KINDS = {"ConvNet": ConvNet, "UNetGenerator": UNetGenerator}
NETWORKS = ("classifier", "judge", "g_neg", "g_pos")
BATCH = (
    16  # images that are explained at once: bounds the memory, whatever their number, and stays in the cache
)


class Model:
    """Explains images of its task.

    Args:
        networks: `classifier` and `judge`, images (N, 1, H, W) in [0, 1] to logits (N, 2); `g_neg` and `g_pos`.
        task: what the images must be.
        assessor: says how far an explanation may be trusted; None: nothing is said.
        facts: everything else that its file says of it, as JSON.
        digest: of its file, "" where it has none.
        card: its model card.
    """

    gradients = True  # exported models have none, and so no attribution

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        task: Task,
        assessor: Assessor | None = None,
        facts: Mapping[str, Any] | None = None,
        digest: str = "",
        card: str = "",
    ) -> None:
        self.networks = {
            name: networks[name].eval().requires_grad_(False).to(memory_format=torch.channels_last)
            for name in NETWORKS
        }
        self.task, self.assessor, self.facts = task, assessor, dict(facts or {})
        self.digest, self.card = digest, card

    def __repr__(self) -> str:
        return f"<cycle_am.Model {self.name}: {' or '.join(self.task.classes)}, {self.task.side()}>"

    @property
    def name(self) -> str:
        """For people."""
        return str(self.facts.get("name", "model"))

    def probability(self, x: Tensor, by: str = "classifier") -> Tensor:
        """(N, 1, H, W) in [0, 1] -> p of the second class (N,), by the explained `classifier` or the `judge`."""
        return self.networks[by](x).float().softmax(1)[:, 1]

    def generate(self, x: Tensor) -> Changed:
        """G-(x) and G+(x)."""
        return Changed(self.networks["g_neg"](x), self.networks["g_pos"](x))

    def explain(
        self, images: Any, *, spacing: Any = None, trust: bool = True, batch: int = BATCH, **where: Any
    ) -> Explanation:
        """Explain images in memory, or in files.

        images: array or tensor (H, W), (N, H, W) or (N, 1, H, W), in colour (H, W, 3), (N, H, W, 3) or (N, 3, H, W):
        windows of the task's size in [0, 1], or with `spacing` (mm per row and column) planes in Hounsfield units, of
        which the window around the middle is taken.
        Or a path (str or Path) of any source that `cycle_am.sources.read` takes, with its at, voxel, mask, lesions,
        lidc, series; lesions of which there is no window are told in a warning each.
        Windows in float32 are not copied: leave them as they are while the explanation is in use. Raises UserError
        where they are neither, or no window of a source can be had.
        """
        if isinstance(images, str | PurePath):
            return self._explain_source(images, trust, batch, {"spacing": spacing, **where})
        if where:
            raise UserError(
                f"{', '.join(where)} say where in a file; arrays are windows, or planes with spacing"
            )
        x = self.windows(images, spacing)
        parts = (self._explain(part, trust) for part in x.split(batch))
        return _joined(parts, held(x.numpy()), self)

    def _explain_source(
        self, source: str | PurePath, trust: bool, batch: int, where: Mapping[str, Any]
    ) -> Explanation:
        from cycle_am.sources import Failure, read

        lesions = list(read(source, self.task, **where))
        failures = [lesion for lesion in lesions if isinstance(lesion, Failure)]
        if len(failures) == len(lesions):
            raise UserError(_told(failures[0]) if failures else "the source holds no lesion")
        for lesion in failures:
            warnings.warn(_told(lesion), stacklevel=3)
        return self.explain_windows(
            [lesion for lesion in lesions if not isinstance(lesion, Failure)], trust, batch
        )

    def explain_windows(
        self, windows: Sequence[Window], trust: bool = True, batch: int = BATCH
    ) -> Explanation:
        """Explain windows of `cycle_am.sources.read`, at least one; the explanation has their places."""
        explanation = self.explain(np.stack([window.image for window in windows]), trust=trust, batch=batch)
        return replace(explanation, place=tuple(window.place for window in windows))

    def windows(self, images: Any, spacing: Any = None) -> Tensor:
        """Images as `explain` takes them -> (N, C, H, W) float32 in [0, 1]."""
        array = np.asarray(images, dtype=np.float32)
        array = _grey(array) if self.task.channels == 1 else self._colour(array, spacing)
        if not np.isfinite(array).all():
            raise UserError("images hold NaN or infinite values; replace them")
        if spacing is not None and not self.task.is_hounsfield:
            raise UserError(
                "spacing is for Hounsfield units; the model explains pictures, give windows in [0, 1]"
            )
        array = array if spacing is None else self._cut(array, spacing)
        self._check_windows(array)
        return torch.from_numpy(np.ascontiguousarray(layered(array)))

    def _colour(self, array: np.ndarray, spacing: Any) -> np.ndarray:
        shape, channels = array.shape, self.task.channels
        array = channels_first(array[None] if array.ndim == 3 else array)
        if spacing is not None or array.ndim != 4 or array.shape[1] != channels or not len(array):
            raise UserError(
                f"images have shape {shape}; the model explains colour: give (H, W, 3), (N, H, W, 3) or (N, 3, H, W)"
            )
        return array

    def _cut(self, planes: np.ndarray, spacing: Any) -> np.ndarray:
        from cycle_am.data.images import cut

        rows, columns = np.broadcast_to(np.asarray(spacing, dtype=float), 2)
        if not (rows > 0 and columns > 0):
            raise UserError(f"spacing is {spacing}; give millimetres above 0, of rows and columns")
        centre = tuple((count - 1) / 2 for count in planes.shape[1:])
        if any(n * mm < self.task.fov_mm for n, mm in zip(planes.shape[1:], (rows, columns), strict=True)):
            raise UserError(
                f"images span {planes.shape[1] * rows:g} x {planes.shape[2] * columns:g} mm, the model's window "
                f"{self.task.fov_mm:g}; give larger images"
            )
        cuts = [cut(plane, (rows, columns), centre, self.task.pixel_mm, 0) for plane in planes]
        return self.task.scale(np.stack(cuts))

    def _check_windows(self, array: np.ndarray) -> None:
        size, low, high = self.task.size, float(array.min()), float(array.max())
        if array.shape[-2:] != (size, size) or low < 0 or high > 1:
            other = ", or Hounsfield units with spacing=(mm per row, mm per column)"
            raise UserError(
                f"images are {array.shape[-2]} x {array.shape[-1]} with values from {low:g} to {high:g}; give windows "
                f"of {size} x {size} in [0, 1]{other if self.task.is_hounsfield else ''}"
            )

    @torch.inference_mode()
    def _explain(self, x: Tensor, trust: bool) -> Explanation:
        x = x.to(memory_format=torch.channels_last)
        changed = self.generate(x)
        p = {
            by: Probabilities(*(self.probability(image, by).numpy() for image in (x, *changed)))
            for by in ("classifier", "judge")
        }
        images = (held(image.numpy()) for image in (x, *changed))
        verdicts: Iterable = (
            self.assessor.assess(self, x, changed, p["classifier"], p["judge"])
            if trust and self.assessor
            else ()
        )
        return Explanation(*images, p["classifier"], p["judge"], tuple(verdicts), (), self)

    def attribution(self, x: np.ndarray, steps: int = 32) -> np.ndarray:
        """R as signed evidence for the second class: windows as in an explanation -> (N, H, W) of log odds."""
        from cycle_am.explainers.cycle_am_attribution import CycleAMAttribution

        explainer = CycleAMAttribution(self.networks["classifier"], self, steps)
        return explainer.explain(torch.from_numpy(np.ascontiguousarray(layered(x))), 1)[:, 0].numpy()

    @property
    def classifier(self) -> nn.Module:
        """The explained network: images (N, 1, H, W) in [0, 1] -> logits (N, 2)."""
        return self.networks["classifier"]

    def explainer(
        self,
        id: str = "cycle_am_attribution",
        *,
        background: Any = None,
        classifier: nn.Module | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> Explainer:
        """Any explainer of the comparison (`cycle_am.explainers.build.available()`) for this model's classifier.

        background: training images, as `explain` takes images, where a method needs some: no model file holds any.
        classifier: another network than the model's. settings: as in `conf/explainer/<id>.yaml`. Raises UserError for
        an unknown id or setting, and where something is missing.
        """
        from cycle_am.explainers.build import Context, build

        around = None if background is None else self.windows(background)
        return build(
            id, Context(classifier or self.classifier, around, self, self.task.pixel_mm, seed), settings
        )

    def attribute(self, inputs: Any, target: Any = 1, **settings: Any) -> Any:
        """As captum's `attribute`: a tensor (N, 1, H, W) in [0, 1], or a tuple of that one, in; the same out.

        Signed evidence for target (a class for all, or one each), as `Explanation.attribution` has it for 1. settings:
        as of `explainer`, whose `id` may be another.
        """
        if isinstance(inputs, tuple):
            (inputs,) = inputs
            return (self.attribute(inputs, target, **settings),)
        return self.explainer(**settings).explain(inputs, target).to(inputs.dtype)

    def explain_func(self, id: str = "cycle_am_attribution", **settings: Any) -> Callable[..., np.ndarray]:
        """What Quantus calls: `explain_func(model, inputs, targets, **kwargs)`, arrays (N, 1, H, W) in and out.

        It explains the network that it is given (Quantus also gives randomised ones), by this model's generators where
        the method has some. settings: as of `explainer`.
        """

        def explain(model: nn.Module, inputs: Any, targets: Any, **_: Any) -> np.ndarray:
            images, classes = torch.as_tensor(inputs).float(), torch.as_tensor(targets).long()
            return self.explainer(id, classifier=model, **settings).explain(images, classes).cpu().numpy()

        return explain

    @torch.inference_mode()
    def dial_probabilities(
        self, explanation: Explanation, positions: np.ndarray, by: str = "classifier"
    ) -> np.ndarray:
        """(N, T) p along the dial at `positions`, (T,) or (N, T), by the explained `classifier` or the `judge`."""
        count, steps = len(explanation), np.shape(positions)[-1]
        rows = np.broadcast_to(positions, (count, steps))
        at_once = max(1, BATCH // steps)
        probabilities = np.empty((count, steps), np.float32)
        for start in range(0, count, at_once):
            part = slice(start, start + at_once)
            turned = explanation[part].dial(rows[part])
            images = torch.from_numpy(layered(turned.reshape(-1, *turned.shape[2:])))
            parts = [self.probability(some, by) for some in images.split(BATCH)]
            probabilities[part] = torch.cat(parts).view(-1, steps).numpy()
        return probabilities

    def distance(self, explanation: Explanation) -> np.ndarray:
        """(N,) as `Explanation.distance`."""
        return dial.distance(explanation, self.dial_probabilities)


def _grey(array: np.ndarray) -> np.ndarray:
    """(N, H, W) of one image or many. Raises UserError for arrays of another form."""
    shape = array.shape
    array = array[:, 0] if array.ndim == 4 and array.shape[1] == 1 else array
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or not len(array):
        raise UserError(f"images have shape {shape}; give (H, W), (N, H, W) or (N, 1, H, W)")
    return array


def _told(failure: Failure) -> str:
    return f"{failure.name}: {failure.reason}"


def _joined(parts: Iterator[Explanation], x: np.ndarray, model: Model) -> Explanation:
    """One explanation of the images x. Nothing of a part is kept: small arrays that stay between large ones
    that go would keep their memory too.
    """
    neg, pos, p = np.empty_like(x), np.empty_like(x), np.empty((2, 3, len(x)), np.float32)
    trust: list[Trust] = []
    start = 0
    for part in parts:
        here = slice(start, start := start + len(part))
        neg[here], pos[here] = part.x_neg, part.x_pos
        p[..., here] = part.explained, part.judge
        trust += part.trust
    explained, judge = (Probabilities(*by) for by in p)
    return Explanation(x, neg, pos, explained, judge, tuple(trust), (), model)
