"""`python -m benchmarks`: every benchmark in turn."""

import sys

from benchmarks import contention, data, explain, training
from cycle_am.console import tolerate_streams

if __name__ == "__main__":
    tolerate_streams()
    sys.exit(data.main([]) or training.main([]) or explain.main([]) or contention.main([]))
