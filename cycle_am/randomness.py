"""Random numbers that belong to a sample, not to a process."""

import numpy as np
import torch
from torch import Tensor


class SampleUniform:
    """Uniform numbers in [0, 1) that are the same for a sample however a batch is spread over processes.

    Every process draws the numbers of the whole batch and takes the rows of its own samples: with ``world``
    processes sample j of process r is sample ``j * world + r`` of the whole, as a distributed sampler deals them.
    A training that resumes at an epoch draws what an uninterrupted one would have drawn.

    Args:
        key: what the numbers depend on, e.g. (seed, epoch, batch index); non-negative integers.
        rank, world: this process, and how many there are.
    """

    def __init__(self, key: tuple[int, ...], rank: int = 0, world: int = 1):
        seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)
        self.generator = torch.Generator().manual_seed(seed)
        self.rank, self.world = rank, world

    def __call__(self, n: int, *shape: int) -> Tensor:
        """Numbers (n, *shape), on the CPU."""
        return torch.rand(n * self.world, *shape, generator=self.generator)[self.rank :: self.world]
