"""Folders of the project, as tests need them."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "workflow" / "scripts"
COMMANDS = SCRIPTS / "commands"
HELPERS = REPOSITORY / "tests" / "helpers"
