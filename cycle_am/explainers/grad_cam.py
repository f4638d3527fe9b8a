"""Grad-CAM (Selvaraju et al. 2017), by captum, and which layer it looks at."""

from __future__ import annotations

from collections.abc import Callable

import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn
from torch.nn.functional import interpolate

from cycle_am.explainers.base import Explainer, Unsupported


class GradCam(Explainer):
    """Feature maps of one layer, weighted by the mean gradient of the target's logit, summed, negative parts cut.

    Magnitude, not signed; enlarged bilinearly from the layer's grid. Nothing is promised of the sum.

    Args:
        layer: dotted name of a module of the classifier; null takes the last one that gives feature maps, in a
            ConvNet the last block.
    """

    signed = False
    method = "grad_cam"

    def __init__(self, classifier: nn.Module, layer: str | None = None) -> None:
        super().__init__(classifier)
        self.layer = layer
        self.found: nn.Module | None = None

    def _explain(self, image: Tensor, target: Tensor) -> Tensor:
        self.found = self.found or find_layer(self.method, self.classifier, image, self.layer)
        small = self._small(image, target, self.found)
        return interpolate(small, image.shape[-2:], mode="bilinear", align_corners=False)

    def _small(self, image: Tensor, target: Tensor, layer: nn.Module) -> Tensor:
        """The map on the layer's grid, (N, 1, h, w) >= 0."""
        captum = LayerGradCam(self.classifier, layer)
        return captum.attribute(image.requires_grad_(), target, relu_attributions=True)


def find_layer(method: str, classifier: nn.Module, image: Tensor, name: str | None) -> nn.Module:
    """The module `name`, or the last to finish that gives feature maps (N, K, h, w) of more than one pixel.

    Raises Unsupported where there is none, or where it runs more than once.
    """
    modules = dict(classifier.named_modules())
    if name is not None and name not in modules:
        raise Unsupported(method, f"it has no layer {name}")
    if any(isinstance(part, torch.jit.ScriptModule) for part in modules.values()):
        raise Unsupported(method, "hooks do not reach into TorchScript")
    finished = _finished(classifier, image[:1])
    chosen = modules[name] if name is not None else (finished[-1] if finished else None)
    if chosen is None or chosen is classifier:
        raise Unsupported(method, "no layer of it gives feature maps")
    if sum(layer is chosen for layer in finished) != 1:
        raise Unsupported(
            method, f"its layer {name or type(chosen).__name__} does not give feature maps once"
        )
    return chosen


def _finished(classifier: nn.Module, image: Tensor) -> list[nn.Module]:
    """Modules that gave feature maps, in the order in which they finished."""
    finished: list[nn.Module] = []

    def note(module: nn.Module, _, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[-2:].numel() > 1:
            finished.append(module)

    with torch.no_grad(), hooked(list(classifier.modules()), note):
        classifier(image)
    return finished


class hooked:
    """Forward hooks inside a `with` block."""

    def __init__(self, modules: list[nn.Module], hook: Callable) -> None:
        self.modules, self.hook = modules, hook

    def __enter__(self) -> None:
        self.handles = [module.register_forward_hook(self.hook) for module in self.modules]

    def __exit__(self, *_) -> None:
        for handle in self.handles:
            handle.remove()
