"""Explain images by a trained model: `cycle-am` from a clone, whose first word `explain` may be left out.

    python explain.py scan/ --model phantom --out explained --at -61.2 40 -132.5
    python explain.py models

`python explain.py --help` says what there is.
"""

from __future__ import annotations

import sys

from cycle_am.app.cli import main, parser
from cycle_am.console import tolerate_streams

if __name__ == "__main__":
    tolerate_streams()
    arguments = sys.argv[1:]
    named = bool(arguments) and arguments[0] in parser().commands
    sys.exit(main(arguments if named else ["explain", *arguments]))
