"""What a run can be repeated from: its settings, the code, the packages and the machine, in two files of its folder.

`environment.json` says what the run was made with, `repeat.yaml` repeats it: `python train.py --config-dir RUN
--config-name repeat`. Neither names a person: no user, no host, no branch; paths below the working folder are relative,
others below the home folder begin with `~`.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shlex
import subprocess
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from cycle_am.runs.checkpoints import resolve_checkpoint
from cycle_am.files import write_atomically

ENVIRONMENT = "environment.json"
REPEAT = "repeat.yaml"
DIFF = "git.diff"
ROOT = Path(__file__).resolve().parents[2]
PLAIN = ("--binary", "--no-color", "--no-ext-diff")
CODE = ("*.py", "*.yaml", "*.j2", "*.toml")  # what counts of files that git does not know yet
DIFF_LIMIT = 2**20  # bytes; a larger diff is not kept, only its digest
KEPT = {
    "ckpt": "classifier",
    "selector": "selector",
    "judge": "judge",
}  # of cfg.classifier: copies that a run keeps


def record(cfg: DictConfig) -> None:
    """Write `environment.json`, `repeat.yaml` and, where the code is not what was committed, `git.diff`.

    Called where a training begins, data and classifiers being found. What an earlier start of a resumed run wrote
    goes on under `earlier`, newest first.
    """
    run_dir = Path(cfg.paths.run_dir)
    state, diff = git_state()
    facts = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": state,
        "machine": machine(cfg),
        "packages": packages(),
        "inputs": {key: digest(path) for key, path in inputs(cfg).items()},
        "config": plain(cfg),
        "earlier": _earlier(run_dir / ENVIRONMENT),
    }
    _write(run_dir / ENVIRONMENT, json.dumps(facts, indent=1) + "\n")
    _write(run_dir / REPEAT, HEAD.format(command=command(run_dir)) + OmegaConf.to_yaml(repeatable(cfg)))
    if diff and len(diff) <= DIFF_LIMIT:
        write_atomically(run_dir / DIFF, lambda path: path.write_bytes(diff))
    else:
        (run_dir / DIFF).unlink(missing_ok=True)


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The settings as `environment.json` holds them: resolved, and without names of persons."""
    return nameless(OmegaConf.to_container(cfg, resolve=True))


def command(run_dir: str | Path) -> str:
    """The line that repeats a run, to be given in the folder that the run was started in."""
    home, rest = re.fullmatch("(~/)?(.*)", nameless(str(Path(run_dir).resolve())), re.DOTALL).groups("")
    return f"python train.py --config-dir {home}{shlex.quote(rest)} --config-name repeat"


HEAD = """\
# The same run again, in a new folder, to the same numbers on a CPU:
#   {command}
# Any setting can be changed behind it, e.g. seed=1. `latest` is left alone unless publish=true is given.
"""


def repeatable(cfg: DictConfig) -> DictConfig:
    """The configuration as Hydra takes it, with everything fixed that would otherwise be looked up anew: `latest`,
    the classifiers (their copies in the run's folder), the threads and the precision (both change the rounding).
    """
    fixed = OmegaConf.create(OmegaConf.to_container(cfg, resolve=False))
    fixed.paths.run_dir = "${hydra:runtime.output_dir}"
    fixed.publish = False
    fixed.extras.threads = torch.get_num_threads()
    fixed.trainer.precision = cfg.trainer.precision
    fixed.ckpt_path = None  # unless it went on from another run; its own interrupted part is trained again
    for key, path in inputs(cfg).items():
        OmegaConf.update(fixed, key, str(path))
    plain = nameless(OmegaConf.to_container(fixed, resolve=False), home="${oc.env:HOME}")
    return OmegaConf.create({"defaults": ["train_schema", "_self_", {"hydra": "default"}], **plain})


def inputs(cfg: DictConfig) -> dict[str, Path]:
    """The files and folders of other runs that this one builds on, by the key of the configuration; `latest` is
    followed, and of CycleAM's classifiers the copies in its own folder count.
    """
    run_dir, paths = Path(cfg.paths.run_dir).resolve(), {}
    if cfg.init_from:
        paths["init_from"] = Path(cfg.init_from).resolve()
    if cfg.ckpt_path and cfg.ckpt_path != "auto":
        paths["ckpt_path"] = resolve_checkpoint(cfg.ckpt_path)
    for key, name in KEPT.items():
        if cfg.classifier and key in cfg.classifier:
            paths[f"classifier.{key}"] = run_dir / f"{name}.ckpt"
    own = run_dir / "last.ckpt"
    return {key: path for key, path in paths.items() if path.exists() and path != own}


def digest(path: str | Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits; of a run folder, that of its `best.ckpt`."""
    path = Path(path)
    with (path / "best.ckpt" if path.is_dir() else path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def git_state() -> tuple[dict[str, Any] | str, bytes]:
    """Commit, whether the code differs from it, and the difference: `git apply` restores it from the commit.

    New files of code count, files that git ignores do not. `no repository` where there is none (or no git).
    """
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return "no repository", b""
    diff = _git("diff", *PLAIN, "HEAD", "--", ".") or b""
    new = (_git("ls-files", "--others", "--exclude-standard", "-z", "--", *CODE) or b"").split(b"\0")
    for name in filter(None, new):
        diff += _git("diff", *PLAIN, "--no-index", "--", "/dev/null", os.fsdecode(name)) or b""
    state = {"commit": commit.decode().strip(), "dirty": bool(diff)}
    return state | ({"diff_sha256": hashlib.sha256(diff).hexdigest()} if diff else {}), diff


def _git(*arguments: str) -> bytes | None:
    """What git prints in the folder of the code; None where it fails. `--no-index` ends with 1 on a difference."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return (
        done.stdout if done.returncode == 0 or (done.returncode == 1 and "--no-index" in arguments) else None
    )


def machine(cfg: DictConfig) -> dict[str, Any]:
    """What the numbers depend on besides code and data."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
        "cuda": torch.version.cuda if gpus else None,
        "accelerator": cfg.trainer.accelerator,
        "precision": str(cfg.trainer.precision),
        "matmul_precision": torch.get_float32_matmul_precision(),
    }


def _cpu() -> str:
    """The processor's name; platform's own answer where /proc is absent."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def packages() -> dict[str, str]:
    """Every installed package and its version."""
    versions = {d.metadata["Name"]: d.version for d in distributions() if d.metadata["Name"]}
    return dict(sorted(versions.items(), key=lambda item: item[0].lower()))


def nameless(value: Any, home: str = "~") -> Any:
    """Plain values with paths that name nobody: relative below the working folder, `home` for the home folder."""
    if isinstance(value, dict):
        return {key: nameless(item, home) for key, item in value.items()}
    if isinstance(value, list):
        return [nameless(item, home) for item in value]
    if not isinstance(value, str):
        return value
    value = _folder(Path.cwd()).sub(lambda match: "" if match[1] else ".", value)
    return _folder(Path.home()).sub(lambda match: home + match[1], value)


def _folder(folder: Path) -> re.Pattern:
    """Where a text names `folder` (and no other that merely ends or begins like it); group 1: the slash after it."""
    return re.compile(rf"(?<![^\s=:,;'\"\[(]){re.escape(str(folder))}(/|(?![^\s=:,;'\"\])]))")


def _earlier(file: Path) -> list[dict[str, Any]]:
    """The starts that `file` tells of, newest first; none where it is absent or cut short."""
    try:
        last = json.loads(file.read_text())
    except (OSError, ValueError):
        return []
    return [{key: value for key, value in last.items() if key != "earlier"}, *last.get("earlier", [])]


def _write(file: Path, text: str) -> None:
    write_atomically(file, lambda path: path.write_text(text, encoding="utf-8"))
