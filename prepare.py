"""Prepare data before the first training: `python prepare.py --help`."""

from cycle_am.app.entries.prepare import start

if __name__ == "__main__":
    start()
