"""Train a classifier or CycleAM: `python train.py --help`."""

from cycle_am.app.entries.train import start

if __name__ == "__main__":
    start()
