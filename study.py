"""The double-blind reader study: `python study.py --help`."""

from cycle_am.app.entries.study import start

if __name__ == "__main__":
    start()
