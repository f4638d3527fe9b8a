"""Who may import whom: entries, then the application, then the library, floor by floor."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENTRIES = ("train", "evaluate", "explain", "prepare", "study")
ROOMS = ("cycle_am", "datamodules", "lightning_modules", "hydra_plugins")

# A room of the library, and those that it may import from beside itself. `ground`: the modules of cycle_am itself.
LIBRARY = {
    "ground": (),
    "networks": ("ground",),
    "losses": ("ground", "networks"),
    "data": ("ground",),
    "runs": ("ground",),
    "explainers": ("ground", "networks", "losses"),
    "metrics": ("ground", "networks", "losses", "explainers", "measures"),
    "reports": ("ground", "runs", "explainers", "metrics", "measures"),
    "measures": ("ground",),
    "sources": ("ground", "data"),
    "outputs": ("ground", "metrics", "reports"),
    "model": ("ground", "measures", "networks", "data", "runs", "explainers", "sources", "outputs"),
    "sweeps": ("ground", "runs"),
    "reader_study": ("ground", "metrics", "reports", "runs"),
    "datamodules": ("ground", "data"),
    "lightning_modules": ("ground", "networks", "losses", "runs"),
}
# What is open to whoever uses the library, beside the ground.
DOORS = {"cycle_am", "cycle_am.onnx", "cycle_am.measures", "cycle_am.__main__"}
FRAMEWORKS = {"hydra", "pytorch_lightning"}
WITH_FRAMEWORKS = {"app", "lightning_modules", "datamodules", "hydra_plugins"}


def files() -> list[Path]:
    return [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room(name: str) -> str | None:
    """The room that a module is in; None for a stranger's."""
    first, *rest = name.split(".")
    if first not in ROOMS:
        return None
    if first != "cycle_am":
        return first
    inner = rest[0] if rest else ""
    return inner if inner in LIBRARY or inner == "app" else "ground"


def imported(path: Path) -> Iterator[str]:
    """What a file imports anywhere, by its full name; imports for type checkers alone do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unreal = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for inner in block.body
        for node in ast.walk(inner)
    }
    for node in ast.walk(tree):
        if node in unreal:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def wrong(path: Path) -> list[str]:
    """What a file imports against the rule."""
    name, own = module(path), room(module(path))
    found = []
    for target in imported(path):
        there = room(target)
        if (target.split(".")[0] in FRAMEWORKS and own not in WITH_FRAMEWORKS) or (
            target.split(".")[0] in ENTRIES and own is not None
        ):
            found.append(target)
        elif name in DOORS or own in ("app", "hydra_plugins") or there in (None, own):
            continue
        elif there not in LIBRARY.get(own, ()):
            found.append(target)
    return found


@pytest.mark.parametrize("path", files(), ids=module)
def test_imports_go_down_only(path):
    assert wrong(path) == []


def test_the_entries_know_the_application_only():
    for entry in ENTRIES:
        targets = {name for name in imported(ROOT / f"{entry}.py") if room(name)}
        assert {room(name) for name in targets} <= {"app", "ground"}, entry


def test_the_rule_sees_what_it_forbids(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    file = tmp_path / "cycle_am" / "losses" / "new.py"
    file.parent.mkdir(parents=True)
    file.write_text("import hydra\n\ndef f():\n    from cycle_am.metrics import paired\n")
    assert wrong(file) == ["hydra", "cycle_am.metrics.paired"]
