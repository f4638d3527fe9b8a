"""First contact: --help, commands without what they need, what Hydra cannot read, and streams that are not UTF-8."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from cycle_am.app import console
from cycle_am.reports import markdown
from tests.helpers import ROOT, environment, run

EXPERIMENTS = sorted(console.options("experiment", [ROOT / "conf"]))
COMMANDS = ["train", "evaluate", "prepare", "study"]


def piped(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    """A Python command, its output as bytes, its environment with these variables."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, env={**environment(), **variables})


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_examples_and_fits_a_terminal(name):
    done = run(f"{name}.py", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(f"python {name}.py ") >= 3
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "--cfg job" in done.stdout


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_help_has_a_line_for_each_experiment_and_the_groups(name):
    lines = run(f"{name}.py", "-h").stdout.splitlines()
    for experiment in EXPERIMENTS:
        assert any(re.match(rf"  {experiment} +\S.{{20}}", line) for line in lines)
    assert "  data            arrays, cifar10, digits, folder, lidc, manifest, medmnist," in lines
    assert any(line.startswith("  logger  ") and "mlflow" in line for line in lines)


def test_experiments_are_described_by_the_head_of_their_files(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text(
        "# @package _global_\n# python train.py\n# My own.\nname: mine\n"
    )
    done = run("train.py", "--help", "--config-dir", str(tmp_path))
    assert re.search(r"^  mine +My own\.$", done.stdout, re.MULTILINE)


def test_help_of_the_study_lists_its_actions():
    text = run("study.py", "--help").stdout
    for action in ("create", "serve", "export", "analyse", "plan", "simulate"):
        assert f"action={action} " in text


def test_help_imports_nothing_heavy():
    done = piped("-X", "importtime", "train.py", "--help")
    imported = {line.split("|")[-1].strip() for line in done.stderr.decode().splitlines()}
    assert "cycle_am.app.console" in imported
    assert not imported & {"torch", "pytorch_lightning", "numpy", "pandas"}


@pytest.mark.parametrize("arguments", [[], ["-m"], ["--info", "config"]])
def test_without_an_experiment_all_are_listed(arguments, tmp_path):
    done = run("train.py", *arguments, f"paths.root={tmp_path}")
    assert done.returncode == 1
    for experiment in EXPERIMENTS:
        assert re.search(rf"^  {experiment} +\S", done.stderr, re.MULTILINE)
    assert "Config search path" not in done.stderr
    assert "HYDRA_FULL_ERROR" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["experiment=cycle_an"], "experiment=cycle_an: there is no such option; did you mean cycle_am, "),
        (["-m", "experiment=clasifier"], "did you mean classifier?"),
        (["experiment=classifier", "data=phantm"], "did you mean phantom, planted?"),
        (["experiment=classifier", "logger=null"], "a group is left out with '~GROUP'"),
    ],
)
def test_a_misspelt_option_is_one_line_with_the_near_ones(arguments, said, tmp_path):
    done = run("train.py", *arguments, f"paths.root={tmp_path}")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_a_misspelt_key_is_told_the_near_ones():
    done = run("train.py", "experiment=classifier", "trainer.max_epoch=3")
    assert done.returncode == 1
    assert "There is no trainer.max_epoch; did you mean max_epochs" in done.stderr


def test_near_names_stand_once():
    assert console.near("xyz", ["data", "model", "data"]) == "there are data, model"


def test_a_value_with_a_comma_is_told_how_to_quote():
    done = run("train.py", "experiment=classifier", "data.csv=a,b.csv")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("""'data.csv="a,b.csv"'""")


def test_a_study_without_an_action_lists_them():
    done = run("study.py")
    assert done.returncode == 1
    assert "which action?" in done.stderr
    assert "action=simulate" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_action_is_told_the_known_ones():
    assert "[create, serve, export, analyse, plan, simulate]" in run("study.py", "action=plann").stderr


@pytest.mark.parametrize(
    "value", ["epoch=3-auc=0.91.ckpt", "a(1).csv", "wei&rd#.csv", 'say "x"=1', "it's=1", "a=b c,d.csv"]
)
def test_the_quoting_that_is_suggested_is_read_as_the_value(value):
    parse = OverridesParser.create().parse_overrides
    with pytest.raises(OverrideParseException) as refused:
        parse([f"ckpt_path={value}"])
    suggestion = console.words(refused.value).partition("Hydra: ")[2]
    (read,) = parse(shlex.split(suggestion))
    assert read.value() == value


def test_a_home_folder_is_written_out():
    said = console.quoting("data.csv=~/my cases.csv")
    assert said.endswith(f"write 'data.csv=\"{Path.home()}/my cases.csv\"'")


def test_how_to_quote_is_said_on_the_command_line():
    done = run("train.py", "experiment=classifier", "ckpt_path=a=b.ckpt")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("""'ckpt_path="a=b.ckpt"'""")
    assert "key=value" in run("train.py", "classifier").stderr


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_table_is_printed_whatever_the_stream_bears(encoding, tmp_path):
    figures = {f"compare/lrp/{name}": {"value": None} for name in ("auc", "mass")}
    (tmp_path / "m.json").write_text(json.dumps(figures))
    done = piped(
        "-m", "cycle_am.reports.markdown", "cues", f"halo={tmp_path}/m.json", PYTHONIOENCODING=encoding
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.slow
def test_the_words_of_a_plan_are_printed_whatever_the_stream_bears(tmp_path):
    small = [
        "study.plan.studies=100",
        "study.plan.readers=[4]",
        "study.plan.cases=[6]",
        f"study.plan.out={tmp_path}/p",
    ]
    done = piped("study.py", "action=plan", *small, PYTHONIOENCODING="cp1252")
    assert done.returncode == 0, done.stderr


def test_a_task_prints_whatever_the_stream_bears():
    script = (
        "from omegaconf import OmegaConf; from cycle_am.app import entry;"
        "entry.run(lambda cfg: print('\\u2212.5 \\u00b1 \\u03bc'), OmegaConf.create({'paths': {'run_dir': '.'}}))"
    )
    done = piped("-c", script, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [b"?.5", b"?", b"?"]


def test_tables_tell_their_arguments(capsys):
    assert markdown.main(["--help"]) == 0
    assert "python -m cycle_am.reports.markdown comparison " in capsys.readouterr().out


def test_every_command_bears_any_stream():
    rooms = ("cycle_am", "datamodules", "lightning_modules", "benchmarks")
    found = [*ROOT.glob("*.py"), *(file for room in rooms for file in (ROOT / room).rglob("*.py"))]
    commands = {file: text for file in found if '__name__ == "__main__"' in (text := file.read_text("utf-8"))}
    assert len(commands) >= len(COMMANDS)
    for file, text in commands.items():
        block = text.partition('__name__ == "__main__":\n')[2]
        assert block.lstrip().startswith(("tolerate_streams()", "start()")), file


def test_hydras_own_options_work():
    shown = run("train.py", "experiment=classifier", "--cfg", "job", "--package", "trainer")
    assert "max_epochs: ${model.epochs}" in shown.stdout
    assert "== Flags ==" in run("train.py", "--hydra-help").stdout
    assert os.linesep in run("train.py", "experiment=classifier", "--info", "defaults").stdout


def test_who_reads_the_help_may_stop_reading():
    command = f"{shlex.quote(sys.executable)} train.py --help | head -1"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, env=environment(), text=True)
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


def test_warnings_for_users_are_one_line_and_said_once(capsys):
    left = []
    show = console.in_one_line(lambda *given: left.append(given))
    for _ in range(2):
        show(UserWarning("copies"), UserWarning, "base.py", 204)
    show(DeprecationWarning("old"), DeprecationWarning, "torch.py", 1)
    assert capsys.readouterr().err == "warning: copies\n"
    assert [str(message) for message, *_ in left] == ["old"]
