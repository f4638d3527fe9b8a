"""Hydra's plugin for studies of Optuna."""
