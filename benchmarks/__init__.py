"""Timings beside a named reference, measured in the same run: `make bench`."""
