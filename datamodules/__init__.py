"""Where images come from: one batch contract, several sources."""

import cycle_am  # noqa: F401 (before torch)
