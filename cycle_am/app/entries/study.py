"""The double-blind reader study: who is asked, how, and what the answers say.

python study.py action=create    draw cases, render all maps alike, seal the key
python study.py action=serve     the readers' web page
python study.py action=export    the answers so far, as a CSV with a checksum
python study.py action=analyse   tables, tests and one HTML report; also of a
                                 table of your own: study.analyse.ratings=FILE
python study.py action=plan      how many readers and cases an effect needs
python study.py action=simulate  synthetic readers, to rehearse a whole study
"""

from __future__ import annotations

import pkgutil
import sys

import hydra
from omegaconf import DictConfig, OmegaConf

from cycle_am import settings
from cycle_am.app import console, entry
from cycle_am.app.config import register

register()


@hydra.main(version_base="1.3", config_path=str(settings.folder()), config_name="study")
def main(cfg: DictConfig) -> None:
    """Run one action; print the folder or file of its results last."""
    if OmegaConf.is_missing(cfg, "action"):
        sys.exit(f"error: which action? Give action=NAME\n\n{__doc__.strip()}")
    # Heavy imports come after --help and the check of the configuration.
    action = pkgutil.resolve_name(cfg.action.value)
    print(entry.run(action, cfg), flush=True)


def start() -> None:
    """Run the command with the arguments it was given."""
    console.start(main, "study", __doc__)


if __name__ == "__main__":
    start()
