"""What reading an image costs before the image is read."""

from __future__ import annotations

import subprocess
import sys

from tests.helpers import ROOT, environment


def test_torch_is_not_imported():
    """Exported models explain without it."""
    code = "import sys, cycle_am.sources.reading; print('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), timeout=60, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
