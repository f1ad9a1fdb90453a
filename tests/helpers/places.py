"""Folders of the project, as tests need them."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "workflow" / "scripts"
HELPERS = REPOSITORY / "tests" / "helpers"
