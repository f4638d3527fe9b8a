"""Where images come from: one batch contract, several sources."""

import utils  # noqa: F401 (before torch)
