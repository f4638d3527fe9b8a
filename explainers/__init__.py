"""Every explainer behind one protocol (`explainers.base`), built by name (`explainers.build`)."""

import utils  # noqa: F401 (before torch)
