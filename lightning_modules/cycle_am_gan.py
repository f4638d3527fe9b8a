"""Cycle-consistent activation maximisation (paper, sec. 2): training of G+, G-, D+ and D-."""

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from cycle_am.contract import Changed
from cycle_am.losses import Augment, GeneratorStep, discriminator
from cycle_am.networks import PairedPatchDiscriminator, UNetGenerator
from cycle_am.randomness import SampleUniform


class Term(NamedTuple):
    """One weighted term of the generators' loss: ``function(step) -> number``."""

    weight: float
    function: Callable[[GeneratorStep], Tensor]


class CycleAMGAN(pl.LightningModule):
    """Two generators that change an image so that a frozen classifier says the second class (G+) or the first (G-).

    Each batch trains first both discriminators, then both generators (sec. 2.5), with manual optimisation.

    Args:
        generator: arguments of :class:`networks.UNetGenerator`.
        discriminator: arguments of :class:`networks.PairedPatchDiscriminator`.
        classifier: the explained network, image to logits (N, 2); frozen here.
        selector: a classifier that the generators never see; it helps to choose checkpoints and is in none.
        terms: the generators' loss, by name; each is logged as ``loss/<name>``, unweighted.
            A term that is None is left out.
        lr, lr_discriminator, betas: of the two Adam optimisers.
        discriminator_augment: change of the images that the discriminators see, fake and real (paper: none).
        ema: decay of the running average of the generators' weights, which explains; 0 switches it off (paper).
        clip: largest norm of the generators' gradient; 0 switches clipping off.
        seed: of the order in the discriminators and of the augmentations.
    """

    def __init__(
        self,
        generator: Mapping,
        discriminator: Mapping,
        classifier: nn.Module,
        selector: nn.Module | None = None,
        terms: Mapping[str, Term | None] | None = None,
        lr: float = 2e-4,
        lr_discriminator: float = 2e-4,
        betas: Iterable[float] = (0.5, 0.99),
        discriminator_augment: Augment | None = None,
        ema: float = 0.0,
        clip: float = 0.0,
        seed: int = 0,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.save_hyperparameters(
            {
                "generator": _plain(generator),
                "discriminator": _plain(discriminator),
                "lr": lr,
                "lr_discriminator": lr_discriminator,
                "betas": list(betas),
                "ema": ema,
                "clip": clip,
                "seed": seed,
            }
        )
        self.g_pos, self.g_neg = UNetGenerator(**generator), UNetGenerator(**generator)
        self.d_pos, self.d_neg = (
            PairedPatchDiscriminator(**discriminator),
            PairedPatchDiscriminator(**discriminator),
        )
        self.average = (
            nn.ModuleDict({"pos": _frozen(self.g_pos), "neg": _frozen(self.g_neg)}) if ema else None
        )
        self.classifier = classifier.eval().requires_grad_(False)
        # In a tuple, the selector is no submodule: it is neither trained nor saved.
        self._selector = (selector.eval().requires_grad_(False),) if selector else ()
        self.terms = {name: term for name, term in (terms or {}).items() if term is not None}
        self.discriminator_augment = discriminator_augment
        self.to(
            memory_format=torch.channels_last
        )  # convolutions on CPUs and tensor cores: up to five times faster

    def train(self, mode: bool = True) -> "CycleAMGAN":
        """As of ``nn.Module``, but the classifier stays in evaluation mode."""
        super().train(mode)
        self.classifier.eval()
        return self

    @property
    def selector(self) -> nn.Module | None:
        """The selector, on this module's device."""
        return self._selector[0].to(self.device) if self._selector else None

    # ------------------------------------------------------------------------------------------ explanation

    @property
    def explaining_generators(self) -> tuple[nn.Module, nn.Module]:
        """G- and G+ that explain: the averaged ones where there are."""
        return (self.average["neg"], self.average["pos"]) if self.average else (self.g_neg, self.g_pos)

    def generate(self, x: Tensor) -> Changed:
        """G-(x) and G+(x) of images (N, C, H, W) in [0, 1]."""
        g_neg, g_pos = self.explaining_generators
        return Changed(g_neg(x), g_pos(x))

    def cycle(self, x: Tensor) -> Changed:
        """G+(G-(x)) and G-(G+(x)), which should be x again."""
        g_neg, g_pos = self.explaining_generators
        return Changed(g_pos(g_neg(x)), g_neg(g_pos(x)))

    def relevance(self, x: Tensor) -> Tensor:
        """R = G+(x) - G-(x) (eq. 6), in [-1, 1]: positive where the second class is brighter."""
        changed = self.generate(x)
        return changed.pos - changed.neg

    forward = generate

    # --------------------------------------------------------------------------------------------- training

    def training_step(self, batch: dict, batch_idx: int) -> dict[str, Tensor]:
        """One step of both discriminators, then one of both generators, on ``image`` x_a and ``other`` x_b.

        Returns both losses, without gradient.
        """
        x_a, x_b = batch["image"], batch["other"]
        uniform = self._uniform(batch_idx)
        optimizer_g, optimizer_d = self.optimizers()
        changed = Changed(self.g_neg(x_a), self.g_pos(x_a))
        loss_d = self.discriminator_loss(changed, x_b, uniform)
        self._update(optimizer_d, loss_d)
        loss_g = self.generator_loss(x_a, x_b, changed, uniform)
        self._update(optimizer_g, loss_g, self.hparams.clip)
        self._average_generators()
        return {"generators": loss_g.detach(), "discriminators": loss_d.detach()}

    def discriminator_loss(self, changed: Changed, x_b: Tensor, uniform: SampleUniform) -> Tensor:
        """Cross entropy of D- and D+, each in [0, inf), 2 log 2 in sum where both guess; no gradient to generators."""
        fakes = Changed(*(image.detach() for image in changed))
        return self._logged(
            "loss/discriminator", discriminator(*self._answers(fakes, x_b, uniform)), len(x_b)
        )

    def generator_loss(self, x_a: Tensor, x_b: Tensor, changed: Changed, uniform: SampleUniform) -> Tensor:
        """Weighted sum of the terms (eq. 4); gradients reach both generators and, frozen by hand, no discriminator."""
        with _without_gradient(self.d_pos, self.d_neg):
            answers = self._answers(changed, x_b, uniform)
            cycles = self.g_pos(changed.neg), self.g_neg(changed.pos)
            step = GeneratorStep(x_a, *changed, *cycles, *answers, self.classifier, uniform)
            values = {
                name: self._logged(f"loss/{name}", term.function(step), len(x_a))
                for name, term in self.terms.items()
            }
        return self._logged(
            "loss/generator", sum(self.terms[k].weight * v for k, v in values.items()), len(x_a)
        )

    def validation_step(self, batch: dict, batch_idx: int) -> dict[str, Changed]:
        """`changed`, for the callbacks that watch G-(x) and G+(x)."""
        return {"changed": self.generate(batch["image"])}

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for the generators, Adam for the discriminators."""
        betas = tuple(self.hparams.betas)
        generators = [*self.g_pos.parameters(), *self.g_neg.parameters()]
        discriminators = [*self.d_pos.parameters(), *self.d_neg.parameters()]
        return [
            torch.optim.Adam(generators, self.hparams.lr, betas),
            torch.optim.Adam(discriminators, self.hparams.lr_discriminator, betas),
        ]

    # ---------------------------------------------------------------------------------------------- helpers

    def _uniform(self, batch_idx: int) -> SampleUniform:
        key = (self.hparams.seed, self.current_epoch, batch_idx)
        return SampleUniform(key, self.global_rank, self.trainer.world_size)

    def _answers(self, fakes: Changed, x_b: Tensor, uniform: SampleUniform) -> tuple:
        """Of D- and of D+, which draws first."""
        change = self.discriminator_augment or (lambda image, _: image)
        pos, neg = (
            d(change(fake, uniform), change(x_b, uniform), uniform)
            for d, fake in ((self.d_pos, fakes.pos), (self.d_neg, fakes.neg))
        )
        return neg, pos

    def _update(self, optimizer, loss: Tensor, clip: float = 0.0) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        if clip:
            self.clip_gradients(optimizer, gradient_clip_val=clip, gradient_clip_algorithm="norm")
        optimizer.step()

    @torch.no_grad()
    def _average_generators(self) -> None:
        if not self.average:
            return
        # A young average follows quickly, so that it never remembers the untrained generators.
        decay = min(self.hparams.ema, (1 + self.global_step) / (20 + self.global_step))
        for name, live in (("pos", self.g_pos), ("neg", self.g_neg)):
            for mean, value in zip(self.average[name].parameters(), live.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)

    def _logged(self, key: str, value: Tensor, n: int) -> Tensor:
        if self._trainer is not None:
            self.log(key, value.detach(), on_step=False, on_epoch=True, batch_size=n, sync_dist=True)
        return value


class _without_gradient:
    """Freezes modules inside a ``with`` block: gradients pass through them, not into them."""

    def __init__(self, *modules: nn.Module):
        self.modules = modules

    def __enter__(self) -> None:
        for module in self.modules:
            module.requires_grad_(False)

    def __exit__(self, *_) -> None:
        for module in self.modules:
            module.requires_grad_(True)


def _frozen(module: nn.Module) -> nn.Module:
    return deepcopy(module).requires_grad_(False)


def _plain(mapping: Mapping) -> dict:
    """Plain numbers, strings and lists only: a checkpoint must load with ``weights_only=True``."""
    return {
        k: list(v) if not isinstance(v, str) and isinstance(v, Iterable) else v for k, v in mapping.items()
    }
