"""What MkDocs does besides: pages from the code (reference.py), files of the repository as pages, and notebooks.

Pages are read in a clone too, so what is to be filled in is a line that says where it is: "[PATH](…) stands here in the
built site.", a file of the repository or a notebook with the outputs that it was saved with; and "`docs/reference.py:
NAME` stands here in the built site …", what the function NAME of reference.py gives.
"""

import json
import re
from pathlib import Path
from typing import Any

import reference

ROOT = Path(__file__).resolve().parents[1]


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Fill in what stands elsewhere."""

    def filled(match: re.Match[str]) -> str:
        if match["name"]:
            return str(getattr(reference, match["name"])())
        file = ROOT / match["path"]
        return notebook(file) if file.suffix == ".ipynb" else repository_file(file)

    return reference.DIRECTIVE.sub(filled, markdown)


def repository_file(file: Path) -> str:
    """A text of the repository; a link to a file that is not part of the site becomes the file's name."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".md":
        return f"```{file.suffix.lstrip('.')}\n{text}```"
    return re.sub(r"\[([^\]\n]+)\]\((?!https?:|#)[^)\n]+\)", r"`\1`", text)


def notebook(file: Path) -> str:
    """Its Markdown, its code, and what the code put out when the notebook was last saved; pictures inside the page."""
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(part for cell in cells for part in _cell(cell))


def _cell(cell: dict[str, Any]) -> list[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return [source]
    return [f"```python\n{source}\n```", *(_output(output) for output in cell["outputs"])]


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        image = "".join("".join(data["image/png"]).split())
        return f'<img alt="output of the code above" src="data:image/png;base64,{image}">'
    text = "".join(output.get("text", data.get("text/plain", [])))
    return f"```text\n{text.rstrip()}\n```" if text else ""
