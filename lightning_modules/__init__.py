"""Training of the classifier and of CycleAM: orchestration only."""

import cycle_am  # noqa: F401 (before torch)
