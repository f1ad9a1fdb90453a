"""The installed build of torch, read without importing it."""

import importlib.metadata
import importlib.util
import runpy
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TorchBuild:
    """Versions of torch and of what it was built for. cuda, hip: None if not for such GPUs."""

    version: str
    cuda: str | None = None
    hip: str | None = None


def torch_build() -> TorchBuild:
    """Return the build of the installed torch.

    It is read from torch's version.py, which runs without importing torch.
    """
    found = importlib.util.find_spec("torch")
    file = Path(found.origin).with_name("version.py") if found and found.origin else None
    if file is None or not file.exists():
        with suppress(importlib.metadata.PackageNotFoundError):
            return TorchBuild(importlib.metadata.version("torch"))
        return TorchBuild("not installed")
    names = runpy.run_path(str(file))
    return TorchBuild(str(names["__version__"]), names.get("cuda"), names.get("hip"))
