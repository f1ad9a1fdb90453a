"""Texts of figures, and the programs that draw them."""

import subprocess
import sys

from places import SCRIPTS


def texts(axes) -> str:
    found = [*axes.texts, axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]
    found += axes.get_legend().get_texts() if axes.get_legend() else []
    return "\n".join(text.get_text() for text in found)


def program(name: str, *arguments: object) -> None:
    command = [
        sys.executable,
        SCRIPTS / f"{name}.py",
        "--what",
        '{"version":1}',
        *map(str, arguments),
    ]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
