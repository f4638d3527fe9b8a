"""`python -m benchmarks.sim_to_real --real CSV [--fov 26|45]`: does what the phantom teaches hold on real CT?

The measure of the phantom's realism. The paper's ConvNet learns from phantom lesions of patients who are not
among the real cases, and is tested on those. Beside its AUC (intervals: bootstrap over patients) stand the
AUC of size alone and the AUC among pairs of equal size: malignancy follows size, so only these tell what else
the phantom taught. No choice (epochs, augmentation) may be made on the real labels that are reported.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cycle_am.console import tolerate_streams
from cycle_am.data.augmentation import build_augmentation
from cycle_am.data.cases import Cases
from cycle_am.errors import UserError
from cycle_am.identity import is_in
from cycle_am.metrics.classifier import classifier_result
from cycle_am.networks import ConvNet
from cycle_am.progress import steps
from datamodules.base import TrainingSamples, collate
from datamodules.manifest import ManifestDataModule
from datamodules.phantom import PhantomDataModule

AUGMENTATION = {"brightness": 0.02, "blur": 1.0, "noise": 0.02}
BATCH, RATE, DECAY, SMOOTHING, SHIFT = 32, 2e-3, 1e-2, 0.05, 5
FIGURES = ("auc", "size_only_auc", "auc_minus_size", "auc_size_matched", "size_only_auc_matched")


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        real = ManifestDataModule(
            csv=str(options.real), fov_mm=options.fov, cache_dir=options.cache
        ).build_cases()
        phantom = PhantomDataModule(
            views=options.views, fov_mm=options.fov, cache_dir=options.cache
        ).build_cases()
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    train = without_patients(phantom, real.patient_id)
    print(f"{len(train)} phantom images for training, {len(real)} real ones for the test, {options.fov:g} mm")
    p = np.stack([predict(fit(train, options.epochs, seed), real) for seed in range(options.seeds)])
    report(figures(p, real), options.out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--real", type=Path, required=True, help="manifest CSV of real cases with labels")
    parser.add_argument("--fov", type=float, default=45.0, help="field of view in mm")
    parser.add_argument(
        "--seeds", type=int, default=3, help="classifiers; each is reported, and their mean p"
    )
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--views", type=int, default=1, help="surroundings per phantom lesion")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--out", type=Path, default=Path("runs/sim_to_real.json"))
    return parser


def without_patients(cases: Cases, patients: np.ndarray) -> Cases:
    """The cases of all other patients."""
    return cases.select(~is_in(cases.patient_id, patients))


def fit(cases: Cases, epochs: int, seed: int) -> ConvNet:
    """The paper's ConvNet, trained on all `cases` for a fixed number of epochs; in eval mode. Same seed, same
    weights."""
    torch.manual_seed(seed)
    net = ConvNet().to(memory_format=torch.channels_last)
    samples = TrainingSamples(cases, SHIFT, build_augmentation(**AUGMENTATION), pairs=False, seed=seed)
    count = len(cases) // BATCH  # of steps an epoch
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * count)
    weight = class_weights(cases.label)
    for epoch in steps(range(epochs), f"seed {seed}", unit="epochs"):
        for batch in batches(samples, epoch, seed):
            step(net, batch["image"], batch["label"], weight, optimizer)
            schedule.step()
    return net.eval()


def class_weights(label: np.ndarray) -> Tensor:
    """(2,) inverse to the classes' numbers."""
    counts = np.bincount(label, minlength=2)
    return torch.tensor(counts.sum() / (2 * counts), dtype=torch.float32)


def batches(samples: TrainingSamples, epoch: int, seed: int):
    """Whole batches of one epoch in an order drawn from (seed, epoch)."""
    order = np.random.default_rng((seed, epoch)).permutation(len(samples))
    for start in range(0, len(order) - BATCH + 1, BATCH):
        yield collate([samples[epoch, int(index)] for index in order[start : start + BATCH]])


def step(net: nn.Module, image: Tensor, label: Tensor, weight: Tensor, optimizer) -> None:
    """One optimizer step on class-weighted, smoothed cross entropy."""
    logits = net(image.contiguous(memory_format=torch.channels_last))
    optimizer.zero_grad()
    cross_entropy(logits, label, weight=weight, label_smoothing=SMOOTHING).backward()
    optimizer.step()


@torch.no_grad()
def predict(net: nn.Module, cases: Cases) -> np.ndarray:
    """(N,) p(malignant) of the centred windows."""
    return torch.cat([net(part).softmax(1)[:, 1] for part in cases.window()[0].split(128)]).numpy()


def figures(p: np.ndarray, real: Cases) -> dict[str, dict]:
    """p (seeds, N) -> the mean p's figures by name, and each seed's AUC."""
    result = classifier_result(p.mean(0), real).figures
    single = {f"auc_seed_{seed}": classifier_result(row, real).figures["auc"] for seed, row in enumerate(p)}
    return {name: dict(result[name]) for name in FIGURES} | {name: dict(f) for name, f in single.items()}


def report(figures: dict[str, dict], out: Path) -> None:
    """Print a line a figure, write them all to `out`, and print it last."""
    for name, figure in figures.items():
        value, low, high = (figure[key] for key in ("value", "ci_low", "ci_high"))
        print(f"{name:<22} {value:.3f} [{low:.3f}, {high:.3f}]  n = {figure['n']}")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=2) + "\n")
    print(out)


if __name__ == "__main__":
    tolerate_streams()
    sys.exit(main())
