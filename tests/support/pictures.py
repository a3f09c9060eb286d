"""`make pictures`: the pictures of `docs/pictures/`: what the command prints on a terminal, the console in a browser.

The middle of a long output is left out, from one empty line to another, and a line says how much.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from tests.support import deploy_tools, screenshots

ROOT: Final = Path(__file__).parents[2]
PICTURES: Final = ROOT / "docs" / "pictures"
WIDTH: Final = 80
HEAD_LINES_MAX: Final = 26
TAIL_LINES_MAX: Final = 24

FORMAT: Final = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code, monospace", "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
)
"""Rich's window, without its web font: a picture asks no other host for anything."""


def printed(*arguments: str) -> str:
    """What the command prints on a colour terminal of 80 columns."""
    environment = {
        name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS", "LINES", "TERM"}
    }
    environment |= {"FORCE_COLOR": "1", "COLUMNS": str(WIDTH), "TERM": "xterm-256color"}
    command = (sys.executable, "-m", "connector", *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment, timeout=300)
    return done.stdout.strip("\n")


def draw(path: Path, title: str, output: str) -> None:
    """The output as an SVG of a terminal window."""
    lines = Text.from_ansi(output).split("\n")
    empty = [number for number, line in enumerate(lines) if not line.plain.strip()]
    first = max((number for number in empty if number < HEAD_LINES_MAX), default=len(lines))
    last = min((number for number in empty if number >= len(lines) - TAIL_LINES_MAX), default=first)
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere)
        for line in lines[:first]:
            console.print(line)
        if last > first:
            console.print(Text(f"\n  ⋮  {last - first} more lines", style="dim italic"))
        for line in lines[max(first, last) :]:
            console.print(line)
        svg = console.export_svg(title=title, code_format=FORMAT, unique_id=path.stem)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    draw(PICTURES / "demo.svg", "make demo", printed("demo"))
    screenshots.draw(deploy_tools.tool("chromium"), PICTURES)
