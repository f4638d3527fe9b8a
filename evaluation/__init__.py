"""Numbers, figures and one report over a test set."""

import utils  # noqa: F401 (before torch)
