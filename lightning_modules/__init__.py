"""Training of the classifier and of CycleAM: orchestration only."""

import utils  # noqa: F401 (before torch)
