"""The commands that Hydra composes: `python train.py` in a clone, `python -m cycle_am.app.entries.train` anywhere."""
