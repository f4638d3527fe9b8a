"""`python -m benchmarks`: every benchmark in turn."""

import sys

from benchmarks import contention, data, training

if __name__ == "__main__":
    sys.exit(data.main([]) or training.main([]) or contention.main([]))
