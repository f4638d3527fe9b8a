"""Pages that are generated when the site is built: the notebook and the reference. Used by MkDocs (`make docs`)."""

import json
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    sys.path.append(str(ROOT))  # here: MkDocs takes back what its hooks put there when they are loaded
    from cycle_am.app import reference

    pages = {
        "notebook.md": notebook(ROOT / "docs" / "notebook.ipynb"),
        "commands.md": reference.commands(),
        "configuration.md": reference.configuration(),
        "metrics.md": reference.metrics(),
        "api.md": reference.api(),
    }
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def notebook(file: Path) -> str:
    """A notebook as Markdown: its texts, its code and what that printed; pictures are left to the notebook itself."""
    parts = ["This page is [a notebook](notebook.ipynb); download it to go on yourself.\n"]
    for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        printed = "".join(_printed(output) for output in cell.get("outputs", ())).strip()
        if printed:
            parts.append(f"```text\n{printed}\n```")
    return "\n\n".join(parts) + "\n"


def _printed(output: dict) -> str:
    if "text" in output:
        return "".join(output["text"])
    data = output.get("data", {})
    return "".join(data.get("text/plain", ())) + "\n" if "image/png" not in data else ""
