"""The phantom: LIDC's lesions, rendered from real outlines and ratings into CT-like surroundings.

Labels are the readers' median malignancies as in LIDC; pixels never depend on them (see `phantom_scene`).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from cycle_am.data.cases import Cases, prepared
from cycle_am.data.phantom.cohort import cohort, cores, render_cases
from cycle_am.data.phantom.scene import VERSION
from cycle_am.data.splits import Split
from cycle_am.errors import UserError
from cycle_am.identity import is_in
from datamodules.base import CasesDataModule
from datamodules.manifest import read_rows


class PhantomDataModule(CasesDataModule):
    """Phantom images of all labelled lesions of LIDC (sec. 3.1's rules); needs no download.

    views: how many independent surroundings each *training* lesion is rendered in; validation and test
    lesions have one. render_seed: of the surroundings and the noise, apart from the training `seed`.
    processes: of the preparation, default one a core. without: manifest tables whose patients are left out, so
    that real images of them can be tested. All other arguments as `CasesDataModule`.
    """

    source = "phantom"  # begins the name of the cache

    def __init__(
        self,
        *,
        views: int = 1,
        render_seed: int = 0,
        processes: int | None = None,
        without: Sequence[str] = (),
        **arguments,
    ) -> None:
        super().__init__(**arguments)
        if views < 1:
            raise UserError(f"data.views={views} must be at least 1; raise it")
        self.views, self.render_seed, self.processes = views, render_seed, processes
        self.without = [row.patient_id for path in without for row in read_rows(Path(path))]

    def build_cases(self) -> Cases:
        """Every labelled lesion of the patients kept, view by view, from the cache where it was prepared before."""
        cases = prepared(self.cache_dir, self.source, self._settings(), self._render)
        left_out = is_in(cases.patient_id, self.without)
        if self.without and not left_out.any():
            warnings.warn(
                "data.without names no patient of these data; check its column patient_id", stacklevel=2
            )
        return cases.select(~left_out)

    def split_cases(self, cases: Cases) -> Split:
        """The base class's split of the lesions; further views join the training part only."""
        lesions = len(cases) // self.views
        parts = super().split_cases(cases.select(np.arange(lesions)))
        train = np.concatenate([parts.train + view * lesions for view in range(self.views)])
        return parts._replace(train=train)

    def surroundings(self, margin: int) -> Tensor | None:
        """As the base class says, of the first view."""
        return self._wider(margin, views=1)

    def _settings(self) -> dict[str, Any]:
        """What the pixels depend on: they are rendered anew where it differs."""
        return {
            "version": VERSION,
            "fov_mm": self.fov_mm,
            "margin": self.margin,
            "views": self.views,
            "seed": self.render_seed,
        }

    def _render(self) -> Cases:
        return render_cases(
            cohort(), self.fov_mm, self.margin, self.render_seed, self.views, self.processes or cores()
        )
