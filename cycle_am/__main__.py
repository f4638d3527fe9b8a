"""`python -m cycle_am`: the command `cycle-am`."""

import sys

from cycle_am.app.cli import main
from cycle_am.console import tolerate_streams

if __name__ == "__main__":
    tolerate_streams()
    sys.exit(main())
