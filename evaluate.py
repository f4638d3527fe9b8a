"""Evaluate what an experiment trained: `python evaluate.py --help`."""

from cycle_am.app.entries.evaluate import start

if __name__ == "__main__":
    start()
