"""DeepSHAP (Lundberg & Lee 2017) by the reference implementation, shap's DeepExplainer, as in the paper (sec. 3.4)."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from cycle_am.errors import UserError
from cycle_am.explainers.base import Explainer, Unsupported, frozen, logit
from cycle_am.explainers.graph import nonlinear, record

CHUNK_CPU = (
    10  # background images at once: the map is a mean over them, and what stays in the cache is twice as fast
)


class DeepShap(Explainer):
    """Shapley values of the target's logit, approximated with DeepLIFT against a background of training images.

    Promise (additivity): the map sums to logit(x) - mean logit of the background. shap would stop at an error above
    .01; here it is measured instead (`completeness`). Works with nn.Module layers of kinds that shap knows, each used
    once; anything else would silently get a plain gradient and is refused. shap's hooks live on a private copy of
    the classifier, made here.

    Args:
        background: (M, 1, H, W) training images.
        samples: how many of them are used, drawn once (seeded). The cost is proportional.
    """

    def __init__(
        self, classifier: nn.Module, background: Tensor | None, seed: int = 0, samples: int = 50
    ) -> None:
        super().__init__(classifier)
        if background is None or not len(background):
            raise UserError("deep_shap needs training images as a background; give some")
        order = torch.randperm(len(background), generator=torch.Generator().manual_seed(seed))
        self.background = background[order[:samples]].to(self.device, torch.float32)
        with frozen(classifier):
            check(classifier, self.background[:1])
        parts = self.background.split(CHUNK_CPU if self.device.type == "cpu" else len(self.background))
        with torch.inference_mode(False):  # the copies are to have gradients
            self.explainers = {t: [_explainer(classifier, t, part) for part in parts] for t in (0, 1)}
        self.weights = [len(part) / len(self.background) for part in parts]

    def _explain(self, image: Tensor, target: Tensor) -> Tensor:
        relevance = torch.zeros_like(image)
        for value in target.unique().tolist():
            cases = target == value
            for weight, explainer in zip(self.weights, self.explainers[value], strict=True):
                # One case at a time inside: as many copies of it as there are background images, and these.
                values = explainer.shap_values(image[cases], check_additivity=False)
                values = torch.as_tensor(values, dtype=torch.float32, device=image.device)
                relevance[cases] += weight * values.reshape(image[cases].shape)
        return relevance

    def _promised(self, image: Tensor, target: Tensor) -> Tensor:
        expected = self.classifier(self.background).mean(0)
        return logit(self.classifier, image, target) - expected[target]


class OneLogit(nn.Module):
    """One logit (N, 1) of a network: shap explains every output it sees, and only one is asked for."""

    def __init__(self, net: nn.Module, target: int) -> None:
        super().__init__()
        self.net, self.target = net, target

    def forward(self, image: Tensor) -> Tensor:
        """Images (N, 1, H, W) -> (N, 1)."""
        return self.net(image)[:, self.target : self.target + 1]


def _explainer(classifier: nn.Module, target: int, background: Tensor):
    from shap import DeepExplainer  # takes seconds to import

    return DeepExplainer(OneLogit(_copy(classifier), target).eval(), background)


def _copy(classifier: nn.Module) -> nn.Module:
    """A copy whose activations are not in place, which backward hooks cannot have; the numbers are the same."""
    copy = deepcopy(classifier)
    for part in copy.modules():
        if getattr(part, "inplace", False):
            part.inplace = False
    return copy


def check(classifier: nn.Module, image: Tensor) -> None:
    """Raise Unsupported where a nonlinear step is not a module that shap handles, or such a module is used twice."""
    from shap.explainers._deep.deep_pytorch import op_handler

    if any(isinstance(part, torch.jit.ScriptModule) for part in classifier.modules()):
        raise Unsupported("deep_shap", "its hooks do not reach into TorchScript")
    known = {name for name, rule in op_handler.items() if rule.__name__ in ("nonlinear_1d", "maxpool")}
    used = _calls(classifier, image, known)
    twice = next((name for name, count in used.items() if count > 1), None)
    if twice:
        raise Unsupported(
            "deep_shap", f"its layer {twice} is used {used[twice]} times; each use needs its own"
        )
    names = nonlinear(record("deep_shap", classifier, image))
    if len(names) > len(used):
        kinds = ", ".join(dict.fromkeys(names))
        raise Unsupported(
            "deep_shap",
            f"only {len(used)} of its {len(names)} nonlinear steps ({kinds}) are layers that shap knows",
        )


def _calls(classifier: nn.Module, image: Tensor, kinds: set[str]) -> dict[str, int]:
    """How often each module of the given class names runs for one image."""
    counts: dict[str, int] = {}
    handles = []
    for name, part in classifier.named_modules():
        if type(part).__name__ in kinds and not list(part.children()):
            count = lambda *_, name=name: counts.update({name: counts.get(name, 0) + 1})  # noqa: E731
            handles.append(part.register_forward_hook(count))
    try:
        with torch.no_grad():
            classifier(image)
    finally:
        for handle in handles:
            handle.remove()
    return counts
