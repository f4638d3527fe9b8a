"""What is watched, kept and stopped while training."""

import utils  # noqa: F401 (before torch)
