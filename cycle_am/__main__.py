"""`python -m cycle_am`: the command `cycle-am`."""

import sys

from cycle_am.cli import main

if __name__ == "__main__":
    sys.exit(main())
