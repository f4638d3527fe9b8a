"""Timings beside a named reference, measured in the same run: `make bench`."""

import utils  # noqa: F401 (before torch)
