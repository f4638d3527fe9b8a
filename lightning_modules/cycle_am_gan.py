"""Cycle-consistent activation maximisation (paper, sec. 2): training of G+, G-, D+ and D-."""

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from cycle_am.contract import Changed, changed, relevance
from cycle_am.losses import Augment, GeneratorStep, discriminator
from cycle_am.networks import PairedPatchDiscriminator, UNetGenerator
from cycle_am.networks.classwise import Told, at_class
from cycle_am.randomness import SampleUniform

PAIR = ("pos", "neg")  # the networks of two classes, in the order in which they are built and kept
PAPER = Changed(0, 1)  # G- towards the first class, G+ towards the second


class Term(NamedTuple):
    """One weighted term of the generators' loss: ``function(step) -> number``."""

    weight: float
    function: Callable[[GeneratorStep], Tensor]


class CycleAMGAN(pl.LightningModule):
    """Two generators that change an image so that a frozen classifier says the second class (G+) or the first (G-).

    Each batch trains first both discriminators, then both generators (sec. 2.5), with manual optimisation.

    Of more than two classes there is a generator G_k for each, or one that is told the class. A step is the paper's for
    two different classes a and b, drawn for each image, in the places of the first and the second, so that it costs the
    same for any number; and the way back is through the class c that the classifier sees in x: G_c(G_a(x)) is to be x.

    Args:
        generator: arguments of :class:`networks.UNetGenerator`.
        discriminator: arguments of :class:`networks.PairedPatchDiscriminator`.
        classifier: the explained network, image to logits (N, K); frozen here.
        selector: a classifier that the generators never see; it helps to choose checkpoints and is in none.
        terms: the generators' loss, by name; each is logged as ``loss/<name>``, unweighted.
            A term that is None is left out.
        lr, lr_discriminator, betas: of the two Adam optimisers.
        discriminator_augment: change of the images that the discriminators see, fake and real (paper: none).
        ema: decay of the running average of the generators' weights, which explains; 0 switches it off (paper).
        clip: largest norm of the generators' gradient; 0 switches clipping off.
        classes: K, 2 or more.
        conditional: one generator and one discriminator that are told the class, instead of one for each class. None:
            where there are more than two.
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
        classes: int = 2,
        conditional: bool | None = None,
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
                "classes": classes,
                "conditional": conditional,
                "seed": seed,
            }
        )
        self.classes, self.parts = classes, _parts(classes, conditional)
        told = {"classes": classes} if len(self.parts) == 1 else {}
        for part in self.parts:
            self.add_module(f"g_{part}", UNetGenerator(**generator, **told))
        for part in self.parts:
            self.add_module(f"d_{part}", PairedPatchDiscriminator(**discriminator, **told))
        self.average = (
            nn.ModuleDict({part: _frozen(self._live("g", part)) for part in self.parts}) if ema else None
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
    def explaining_generators(self) -> tuple[nn.Module, ...]:
        """G- and G+, or each G_k, that explain: the averaged ones where there are."""
        networks = self._by_class(self.average.values() if self.average else self._networks("g"))
        if len(networks) == 1:
            return tuple(Told(networks[0], k) for k in range(self.classes))
        return tuple(networks)

    def generate(self, x: Tensor) -> Changed:
        """G-(x) and G+(x), or all G_k(x), of images (N, C, H, W) in [0, 1]."""
        return changed(g(x) for g in self.explaining_generators)

    def cycle(self, x: Tensor) -> Changed:
        """G+(G-(x)) and G-(G+(x)), or all G_c(G_k(x)), c being the classifier's class of x; they should be x again."""
        generators = self.explaining_generators
        if self.classes == 2:
            g_neg, g_pos = generators
            return Changed(g_pos(g_neg(x)), g_neg(g_pos(x)))
        seen = self._seen(x)
        return changed(at_class(generators, seen, _ask, g(x)) for g in generators)

    def relevance(self, x: Tensor) -> Tensor:
        """R = G+(x) - G-(x) (eq. 6), in [-1, 1]: positive where the second class is brighter.

        Of more than two classes: of the one that the classifier sees in x, against the rest.
        """
        return relevance(self.generate(x), self._seen(x) if self.classes > 2 else None)

    forward = generate

    # --------------------------------------------------------------------------------------------- training

    def training_step(self, batch: dict, batch_idx: int) -> dict[str, Tensor]:
        """One step of both discriminators, then one of both generators, on ``image`` x_a and ``other`` x_b.

        Returns both losses, without gradient.
        """
        x_a, x_b = batch["image"], batch["other"]
        uniform = self._uniform(batch_idx)
        optimizer_g, optimizer_d = self.optimizers()
        to = self._drawn(len(x_a), uniform, x_a.device)
        images = Changed(*(self._generated(x_a, k) for k in to))
        loss_d = self.discriminator_loss(images, x_b, uniform, to)
        self._update(optimizer_d, loss_d)
        loss_g = self.generator_loss(x_a, x_b, images, uniform, to)
        self._update(optimizer_g, loss_g, self.hparams.clip)
        self._average_generators()
        return {"generators": loss_g.detach(), "discriminators": loss_d.detach()}

    def discriminator_loss(
        self, images: Changed, x_b: Tensor, uniform: SampleUniform, to: Changed = PAPER
    ) -> Tensor:
        """Cross entropy of D- and D+, each in [0, inf), 2 log 2 in sum where both guess; no gradient to generators."""
        fakes = Changed(*(image.detach() for image in images))
        return self._logged(
            "loss/discriminator", discriminator(*self._answers(fakes, x_b, uniform, to)), len(x_b)
        )

    def generator_loss(
        self, x_a: Tensor, x_b: Tensor, images: Changed, uniform: SampleUniform, to: Changed = PAPER
    ) -> Tensor:
        """Weighted sum of the terms (eq. 4); gradients reach both generators and, frozen by hand, no discriminator."""
        with _without_gradient(*self._networks("d")):
            answers = self._answers(images, x_b, uniform, to)
            back = (to.pos, to.neg) if self.classes == 2 else (self._seen(x_a),) * 2
            cycles = [self._generated(image, k) for image, k in zip(images, back, strict=True)]
            step = GeneratorStep(x_a, *images, *cycles, *answers, self.classifier, uniform, *to)
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
        generators, discriminators = (
            [weight for network in self._networks(kind) for weight in network.parameters()] for kind in "gd"
        )
        return [
            torch.optim.Adam(generators, self.hparams.lr, betas),
            torch.optim.Adam(discriminators, self.hparams.lr_discriminator, betas),
        ]

    # ---------------------------------------------------------------------------------------------- helpers

    def _uniform(self, batch_idx: int) -> SampleUniform:
        key = (self.hparams.seed, self.current_epoch, batch_idx)
        return SampleUniform(key, self.global_rank, self.trainer.world_size)

    def _live(self, kind: str, part: str) -> nn.Module:
        return getattr(self, f"{kind}_{part}")

    def _networks(self, kind: str) -> list[nn.Module]:
        """All that are trained: `g` generators, `d` discriminators."""
        return [self._live(kind, part) for part in self.parts]

    def _drawn(self, count: int, uniform: SampleUniform, device: torch.device) -> Changed:
        """The two classes on the way to which each image is: of two always these, of more any two, different."""
        if self.classes == 2:
            return PAPER
        u = uniform(count, 2)
        first = (u[:, 0] * self.classes).long()
        second = (first + 1 + (u[:, 1] * (self.classes - 1)).long()) % self.classes
        return Changed(first.to(device), second.to(device))

    @torch.no_grad()
    def _seen(self, x: Tensor) -> Tensor:
        return self.classifier(x).argmax(1)

    def _generated(self, x: Tensor, to: int | Tensor) -> Tensor:
        return at_class(self._by_class(self._networks("g")), to, _ask, x)

    def _by_class(self, networks: Iterable[nn.Module]) -> list[nn.Module]:
        """Networks of one kind in the order of their classes; of two, the second's is built and kept first."""
        networks = list(networks)
        return networks[::-1] if self.parts == PAIR else networks

    def _answers(self, fakes: Changed, x_b: Tensor, uniform: SampleUniform, to: Changed) -> tuple:
        """Of D- and of D+, which draws first."""
        change = self.discriminator_augment or (lambda image, _: image)
        pos, neg = (
            at_class(
                self._by_class(self._networks("d")),
                k,
                lambda d, fake, real, k: d(fake, real, uniform, k),
                change(fake, uniform),
                change(x_b, uniform),
            )
            for k, fake in ((to.pos, fakes.pos), (to.neg, fakes.neg))
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
        for part in self.parts:
            live = self._live("g", part)
            for mean, value in zip(self.average[part].parameters(), live.parameters(), strict=True):
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


def _parts(classes: int, conditional: bool | None) -> tuple[str, ...]:
    """Names of the networks of a kind: of two classes the paper's, of more their numbers; `any` for a single one."""
    if classes < 2:
        raise ValueError(f"classes is {classes}; at least two are told apart")
    if conditional or (conditional is None and classes > 2):
        return ("any",)
    return PAIR if classes == 2 else tuple(map(str, range(classes)))


def _ask(network: nn.Module, x: Tensor, to: Tensor | None) -> Tensor:
    return network(x) if to is None else network(x, to)


def _frozen(module: nn.Module) -> nn.Module:
    return deepcopy(module).requires_grad_(False)


def _plain(mapping: Mapping) -> dict:
    """Plain numbers, strings and lists only: a checkpoint must load with ``weights_only=True``."""
    return {
        k: list(v) if not isinstance(v, str) and isinstance(v, Iterable) else v for k, v in mapping.items()
    }
