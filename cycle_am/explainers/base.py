"""The one protocol of all explainers: `explain(image, target)` gives a map of the image's size for each case.

A subclass writes `_explain`; what every method owes its caller (cases do not depend on each other, the classifier
stays as it was found, gradients work inside `torch.no_grad()`) is done here once. A classifier maps images
(N, C, H, W) in [0, 1] to logits (N, 2), before any softmax. Some methods read its weights when they
are built or first used, so an explainer serves one classifier with one set of weights: build another for another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cycle_am.contract import one_map
from cycle_am.errors import UserError

FLOOR = 0.01  # of a logit, which moves p by at most .0025: smaller promises are not divided by
BATCH = 256  # images that go through the classifier at once


class Unsupported(UserError):
    """A method that cannot handle a network. One line: the method, and what it cannot handle."""

    def __init__(self, method: str, reason: str) -> None:
        super().__init__(f"{method} cannot explain this classifier: {reason}")


class Explainer(ABC):
    """A method that says which pixels speak for a class.

    Attributes:
        evidence: True: positive where the pixel speaks for `target`. False: signed *brightness*, positive where a
            brighter pixel speaks for it (CycleAM's R, plain gradients, activation maximisation).
        signed: False where the map is never negative (Grad-CAM, deep Taylor, controls that mark a place).
    """

    evidence: bool = True
    signed: bool = True

    def __init__(self, classifier: nn.Module | None = None) -> None:
        self.classifier = classifier

    def explain(self, image: Tensor, target: int | Tensor) -> Tensor:
        """Map (N, 1, H, W) float32, detached, on the image's device.

        Args:
            image: (N, C, H, W) in [0, 1]; of several channels, evidence is summed and brightness as in `one_map`.
            target: 0 or 1, for all cases or one each (N,).

        Raises:
            Unsupported: where the method cannot handle the classifier.
        """
        # Leaving inference mode lets the copies made below take part in gradients.
        with torch.inference_mode(False), torch.enable_grad(), frozen(self.classifier):
            inside = image.detach().to(self.device, torch.float32, copy=True)
            parts = chunks(BATCH, inside, targets(target, inside))
            whole = joined(self._explain(*part) for part in parts).to(image.device, torch.float32)
        return whole.sum(1, keepdim=True) if self.evidence else one_map(whole)[:, None]

    @abstractmethod
    def _explain(self, image: Tensor, target: Tensor) -> Tensor:
        """(N, C, H, W) on the classifier's device and (N,) int64 -> map (N, 1, H, W) or (N, C, H, W).

        Gradients are on; at most BATCH cases come at once.
        """

    def completeness(self, image: Tensor, target: int | Tensor, relevance: Tensor) -> Tensor | None:
        """(N,) relative error of what the method promises of the map's sum, or None where it promises nothing.

        |sum - promised| / max(|promised|, 0.01), on the CPU; 0 is perfect. `image` and `target` as of `explain`,
        whose answer `relevance` is.
        """
        with torch.no_grad(), frozen(self.classifier):
            inside = image.detach().to(self.device, torch.float32)
            promised = self._promised(inside, targets(target, inside))
        if promised is None:
            return None
        promised = promised.double().cpu()
        error = relevance.detach().double().cpu().sum((1, 2, 3)) - promised
        return error.abs() / promised.abs().clamp_min(FLOOR)

    def _promised(self, image: Tensor, target: Tensor) -> Tensor | None:
        """(N,) what the map of each case should sum to; None where nothing is promised."""
        return None

    @property
    def device(self) -> torch.device:
        """Where the classifier lives; the CPU where there is none."""
        first = next(self.classifier.parameters(), None) if self.classifier is not None else None
        return torch.device("cpu") if first is None else first.device


def targets(target: int | Tensor, image: Tensor) -> Tensor:
    """One class for each image: (N,) int64 on the image's device."""
    return torch.as_tensor(target, dtype=torch.int64, device=image.device).expand(len(image))


def logit(classifier: nn.Module, image: Tensor, target: Tensor) -> Tensor:
    """(N,) logit of each case's target (N,)."""
    return classifier(image).gather(1, target[:, None])[:, 0]


def margin(classifier: nn.Module, image: Tensor, target: Tensor) -> Tensor:
    """(N,) logit of each case's target minus the other's: the log odds of the target."""
    logits = classifier(image)
    return (logits - logits.flip(1)).gather(1, target[:, None])[:, 0]


def chunks(size: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Parts of at most `size` cases (at least one) of tensors with the same first dimension."""
    return zip(*(tensor.split(max(1, size)) for tensor in tensors), strict=True)


@contextmanager
def frozen(module: object) -> Iterator[None]:
    """Holds a module in evaluation mode; each of its parts has its own mode back afterwards.

    Something that is no module, or None, is left alone.
    """
    training = [part for part in module.modules() if part.training] if isinstance(module, nn.Module) else []
    try:
        for part in training:
            part.training = False
        yield
    finally:
        for part in training:
            part.training = True


def joined(parts: Iterator[Tensor]) -> Tensor:
    """The parts' maps as one batch; each is let go of its graph at once."""
    return torch.cat([part.detach() for part in parts])
