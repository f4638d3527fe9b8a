"""Helpers shared by the entry points: errors, run folders, checkpoints, seeds, training."""
