"""Explain images by a trained model; the same as `cycle-am explain`.

    python explain.py scan/ --model phantom --out explained --at -61.2 40 -132.5

`python explain.py --help` says what there is.
"""

from __future__ import annotations

import sys

from cycle_am.app.cli import main
from cycle_am.console import tolerate_streams

if __name__ == "__main__":
    tolerate_streams()
    sys.exit(main(["explain", *sys.argv[1:]]))
