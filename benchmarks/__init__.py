"""Timings beside a named reference, measured in the same run: `make bench`."""

import cycle_am  # noqa: F401 (before torch)
