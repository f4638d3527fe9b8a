"""The command `cycle-am`: explain images, list, describe, pack and export models.

Exit status: 0 everything was done; 3 some cases could not be explained, the others were; 1 nothing was done, one line
says why and how to mend it; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from cycle_am.console import tolerate_streams
from cycle_am.errors import UserError

if TYPE_CHECKING:
    from types import ModuleType

    from cycle_am.app.tasks.explain import Report

DONE, FAILED, PARTLY, STOPPED = 0, 1, 3, 130
TOLD = 20  # failures that are told one by one
WHERE = ("at", "voxel", "mask", "lesions", "lidc", "series")
EXAMPLES = """examples:
  cycle-am explain scan/ --model phantom --out explained --at -61.2 40 -132.5
  cycle-am explain scan/ --model phantom --out explained --mask lesions.nii.gz
  cycle-am explain windows/*.png --model mine.cycleam --out explained
  cycle-am demo
  cycle-am models"""
INPUT = "DICOM file, folder or ZIP; NIfTI, MHA, NRRD; PNG, JPEG, TIFF, NPY; or a manifest CSV"
MODEL = "a shipped model's name, a model file, or the folder of a run; `cycle-am models` lists those at hand"


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    tolerate_streams()
    warnings.formatwarning = lambda message, *where, **more: f"note: {message}\n"
    try:
        options = parser().parse_args(arguments)
        return options.run(options)
    except UserError as error:
        return _tell(str(error))
    except OSError as error:
        return _tell(
            f"{error.filename or 'a file'}: {error.strerror or error}; give another path, or make room"
        )
    except KeyboardInterrupt:
        return _tell("stopped; the same command goes on where it was", STOPPED)


def _tell(line: str, status: int = FAILED) -> int:
    print(f"error: {line}", file=sys.stderr)
    return status


class Parser(argparse.ArgumentParser):
    """Refuses in one line, as everything else does. `commands`: the parsers of its commands, by their names."""

    commands: Mapping[str, argparse.ArgumentParser]

    def error(self, message: str) -> NoReturn:
        """Raise UserError."""
        raise UserError(f"{message}; `{self.prog} --help` says what there is")


def parser() -> Parser:
    """All commands and options."""
    root = Parser(
        prog="cycle-am",
        description="What would have to change in an image for its classifier to answer otherwise.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = root.add_subparsers(metavar="COMMAND", required=True)
    _explain_options(commands)
    _demo_options(commands)
    _command(
        commands,
        "models",
        models,
        "the models at hand: shipped, files here, and runs below ./runs",
        as_json=True,
    )
    info_ = _command(
        commands, "info", info, "what a model needs, how good it is, and whom it saw", as_json=True
    )
    info_.add_argument("model", metavar="MODEL", help=MODEL)
    _pack_options(commands)
    _export_options(commands)
    root.commands = commands.choices
    return root


def _command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
    as_json: bool = False,
    epilog: str | None = None,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    if as_json:
        parser.add_argument("--json", action="store_true", help="for machines, on stdout")
    return parser


def _explain_options(commands: Any) -> None:
    parser = _command(
        commands, "explain", explain, "explain images by a trained model", as_json=True, epilog=STATUS
    )
    parser.add_argument("inputs", metavar="INPUT", nargs="+", help=INPUT)
    parser.add_argument("--model", required=True, help=MODEL)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where results go")
    where = parser.add_argument_group("where the lesion is (an image of the window's size needs none)")
    where = where.add_mutually_exclusive_group()
    where.add_argument(
        "--at", nargs=3, type=float, metavar=("X", "Y", "Z"), help="mm, patient coordinates as DICOM has them"
    )
    where.add_argument(
        "--voxel",
        nargs=3,
        type=float,
        metavar=("I", "J", "K"),
        help="column, row and slice, from 0, as the file counts them",
    )
    where.add_argument("--mask", metavar="FILE", help="NIfTI or DICOM SEG: every connected lesion")
    where.add_argument("--lesions", metavar="CSV", help="a table of lesions")
    where.add_argument("--lidc", action="store_true", help="the readers' lesions of this series of LIDC-IDRI")
    parser.add_argument("--series", type=int, metavar="N", help="which, where a folder holds several, from 1")
    parser.add_argument(
        "--spacing",
        type=float,
        nargs="+",
        metavar="MM",
        help="per pixel (or row and column), where files do not say",
    )
    parser.add_argument(
        "--dicom", action="store_true", help="DICOM objects too, which refer to the source's series"
    )
    parser.add_argument(
        "--no-trust", action="store_true", help="say nothing about how far each may be trusted: faster"
    )


STATUS = """DIR gets a folder per lesion, index.html and summary.csv; lesions are named by input and number, since file
names may hold names of persons. The same command goes on where it was stopped: what is there already, by the same
model, of the same image and with the same settings, is not made again.

exit status: 0 all were explained; 3 some were not, summary.csv says which and why; 1 none was, or the command
is wrong"""


def _demo_options(commands: Any) -> None:
    parser = _command(commands, "demo", demo, "explain a handful of phantom cases that come with the package")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/demo"), metavar="DIR", help="default: %(default)s"
    )


def _pack_options(commands: Any) -> None:
    parser = _command(commands, "pack", pack, "make one file of a finished CycleAM run, which travels")
    parser.add_argument(
        "run_dir", metavar="RUN", type=Path, help="the run's folder, e.g. runs/cycle_am_small/phantom/latest"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: the name, here")
    parser.add_argument("--name", help="for people; default: experiment and data")
    parser.add_argument(
        "--metrics", type=Path, metavar="JSON", help="of its evaluation, where that lies elsewhere"
    )


def _export_options(commands: Any) -> None:
    parser = _command(commands, "export", export, "write a model's networks for other programs")
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    parser.add_argument("--onnx", required=True, type=Path, metavar="DIR", help="where the ONNX files go")


def explain(options: argparse.Namespace) -> int:
    """`cycle-am explain`."""
    from cycle_am.app import loading
    from cycle_am.app.tasks import explain as batch

    where = {name: getattr(options, name) for name in WHERE}
    where["spacing"] = options.spacing and (
        options.spacing if len(options.spacing) > 1 else options.spacing[0]
    )
    settings = batch.Settings(where, options.dicom, not options.no_trust)
    batch.check(options.inputs, settings)
    with redirect_stdout(sys.stderr):  # a run's data are prepared, with words
        report = batch.explain(loading.load(options.model), options.inputs, options.out, settings)
    _show(report, options.out, options.json)
    return _status(report)


def demo(options: argparse.Namespace) -> int:
    """`cycle-am demo`."""
    from cycle_am.model import loading

    cases = [str(path) for path in sorted((loading.SHIPPED / "cases").glob("*.png"))]
    if not cases or "phantom" not in loading.models():
        raise UserError(
            "this copy has no bundled cases; install the package again, or run `make ship` in a clone"
        )
    return main(["explain", *cases, "--model", "phantom", "--out", str(options.out)])


def _status(report: Report) -> int:
    if not report.failed:
        return DONE
    return PARTLY if report.explained else FAILED


def _show(report: Report, out: Path, as_json: bool) -> None:
    for row in report.rows if not as_json else ():
        print(row.line())
    failed = [row for row in report.rows if row.error]
    for row in failed[:TOLD]:
        print(f"{row.label}: {row.error}", file=sys.stderr)
    if failed[TOLD:]:
        print(f"and {len(failed) - TOLD} more; {out / 'summary.csv'} has all", file=sys.stderr)
    if as_json:
        print(json.dumps(report.facts(), indent=1))
    else:
        print(f"{report.explained} explained, {report.failed} not: {(out / 'index.html').resolve()}")


def models(options: argparse.Namespace) -> int:
    """`cycle-am models`."""
    from cycle_am.app import listing

    found = listing.found()
    if options.json:
        print(json.dumps(found, indent=1))
        return DONE
    for model in found:
        print(f"{model['model']:<{max(len(row['model']) for row in found)}}  {model['what']}")
    if not found:
        raise UserError(
            "there is no model here; train one (`python train.py experiment=cycle_am_small`) and pack it"
        )
    return DONE


def info(options: argparse.Namespace) -> int:
    """`cycle-am info`."""
    from cycle_am.app import listing

    with redirect_stdout(sys.stderr):
        facts, card = listing.described(options.model)
    print(json.dumps(facts, indent=1) if options.json else f"{card.strip()}\n\nDigest: {facts['digest']}")
    return DONE


def pack(options: argparse.Namespace) -> int:
    """`cycle-am pack`."""
    from cycle_am.app import listing

    known = listing.run_name(options.run_dir)  # is it a run at all?
    out = options.out or Path(listing.file_name(options.name or known))
    from cycle_am.app.tasks.pack import pack as write

    print(write(options.run_dir, out, options.name, options.metrics))
    return DONE


def export(options: argparse.Namespace) -> int:
    """`cycle-am export`."""
    onnx = _part("cycle_am.onnx")
    from cycle_am.app.loading import load

    print(onnx.export(load(options.model), options.onnx))
    return DONE


def _part(name: str) -> ModuleType:
    """A module that needs packages of an extra. Raises UserError with what to install where they are absent."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"this needs the package {error.name}; install it: pip install {error.name}"
        ) from error


if __name__ == "__main__":
    tolerate_streams()
    sys.exit(main())
