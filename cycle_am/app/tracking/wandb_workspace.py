"""One W&B dashboard for everyone: `make wandb`, or `python -m cycle_am.app.tracking.wandb_workspace --entity TEAM`.

Makes a workspace in the project: how the explanations are coming along, the fixed cases of every epoch, losses,
classifiers, evaluations and their tables. Needs an account, a network and the package wandb-workspaces.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from cycle_am.app.tracking.loggers import why_offline
from cycle_am.console import tolerate_streams
from cycle_am.errors import UserError

if TYPE_CHECKING:
    import wandb_workspaces.workspaces as ws

PROJECT = "cycle-am"  # as in conf/logger/wandb.yaml
LINES = {  # section -> title of a chart -> keys
    "Explanations": {
        "explanation score": ["val/explanation_score"],
        "its factors": ["val/transfer_gap", "val/ssim", "val/realism"],
        "p(malignant), explained": [f"transfer/explained/{kind}" for kind in ("x", "neg", "pos")],
        "p(malignant), selector": [f"transfer/selector/{kind}" for kind in ("x", "neg", "pos")],
    },
    "Losses": {
        "generators": ["loss/generator"],
        "discriminators": ["loss/discriminator"],
        "terms": [f"loss/{term}" for term in ("activation", "adversarial", "cycle", "similarity")],
    },
    "Classifiers": {"loss": ["train/loss", "val/loss"], "AUC": ["val/auc"], "accuracy": ["val/accuracy"]},
}
MEDIA = {  # section -> keys of pictures and tables
    "The same cases every epoch": ["panels", "panel_table"],
    "Evaluation: cases and figures": [
        "cases",
        "compare",
        "figures/explanations",
        "figures/transfer",
        "figures/worst",
    ],
}
BARS = {  # title -> figures of an evaluation
    "AUC": ["classifier/auc"],
    "judge: p(malignant)": [f"transfer/independent/{kind}" for kind in ("x", "neg", "pos")],
    "similarity": ["similarity/ssim_neg", "similarity/ssim_pos"],
    "share of |R| in the outline + 3 mm": ["localisation/relevance_mass_dilated"],
}


def workspace(entity: str, project: str) -> ws.Workspace:
    """The dashboard, not yet sent. Raises UserError where wandb-workspaces is not installed."""
    try:
        import wandb_workspaces.reports.v2 as panels
        import wandb_workspaces.workspaces as ws
        from wandb_workspaces import expr
    except ModuleNotFoundError as error:
        raise UserError('the dashboard needs wandb-workspaces: pip install -e ".[wandb]"') from error

    sections = {
        name: [panels.LinePlot(title=title, x="epoch", y=keys) for title, keys in charts.items()]
        for name, charts in LINES.items()
    }
    sections |= {
        name: [panels.MediaBrowser(media_keys=[key]) for key in keys] for name, keys in MEDIA.items()
    }
    sections["Evaluation"] = [panels.BarPlot(title=title, metrics=keys) for title, keys in BARS.items()]
    order = ["Explanations", "The same cases every epoch", "Evaluation", "Evaluation: cases and figures"]
    order += [name for name in sections if name not in order]
    return ws.Workspace(
        entity=entity,
        project=project,
        name="CycleAM",
        sections=[ws.Section(name=name, panels=sections[name], is_open=True) for name in order],
        runset_settings=ws.RunsetSettings(groupby=[expr.Metric("Group"), expr.Metric("JobType")]),
    )


def main(arguments: list[str] | None = None) -> str:
    """Make it on the server; returns its address. Raises UserError without an account, a network or the package."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entity", help="account or team; left out: your own")
    parser.add_argument("--project", default=PROJECT)
    options = parser.parse_args(arguments)
    reason = why_offline()
    if reason:
        raise UserError(f"the dashboard is made on the W&B server, and that cannot be had now ({reason})")
    import wandb

    saved = workspace(options.entity or wandb.Api().default_entity, options.project).save()
    return saved.url


if __name__ == "__main__":
    tolerate_streams()
    try:
        print(main())
    except UserError as error:
        sys.exit(f"error: {error}")
