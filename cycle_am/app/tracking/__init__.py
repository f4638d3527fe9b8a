"""Loggers, and what they are told of a run."""
