"""The folder of a training: its states, its checkpoints, and the room that they take.

    results/<experiment>/training/<fingerprint>/    state/, checkpoints/, thinned.json,
                                                    metrics.csv and progress.jsonl
    results/<experiment>/training/compiled/         code that torch.compile has made

Another configuration has another fingerprint (description.py), so it trains in a folder of its own
and nothing trained is ever deleted.
"""

import itertools
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from ddpm_bench.errors import UserError
from ddpm_bench.files import allowed, room
from ddpm_bench.text import size_text
from ddpm_bench.training.checkpoints import Checkpoints
from ddpm_bench.training.states import STATES_KEPT, SavedStates


class TrainingFolder:
    """The folder of one training (one fingerprint) of an experiment.

    `check` is called before anything in it appears under its name, and prevents that by raising.
    """

    def __init__(
        self, experiment_folder: Path, name: str, check: Callable[[], None] = allowed
    ) -> None:
        self.experiment_folder = experiment_folder
        self.name = name
        self.check = check
        self.path = experiment_folder / "training" / name
        self.compiled = experiment_folder / "training" / "compiled"
        self.states = SavedStates(self.path / "state", check)
        self.checkpoints = Checkpoints(self.path, experiment_folder / "checkpoints", check)

    def remove_leftovers(self) -> None:
        """Remove half-written files of a process that was killed; for the owner alone."""
        ours, safetensors = ".*.partial*", ".tmp*"  # it writes under a name of its own first
        for place, name in itertools.product(("training", "checkpoints"), (ours, safetensors)):
            for leftover in list((self.experiment_folder / place).rglob(name)):
                if leftover.is_dir():
                    shutil.rmtree(leftover)
                else:
                    leftover.unlink(missing_ok=True)
        remove_half_written_libraries(self.compiled)

    def check_room(self, checkpoints: int, checkpoint_bytes: int, state_bytes: int) -> str:
        """Return a line on the bytes that a job will write and those that are free.

        States that lie there already need no room. checkpoints: the number of files of averaged
        weights that are still to be written, of checkpoint_bytes each; state_bytes: of each state.
        Raises UserError when they do not fit.
        """
        states = STATES_KEPT + 1 - min(STATES_KEPT, len(self.states.folders()))
        parts = [(checkpoints, "checkpoint", checkpoint_bytes), (states, "state", state_bytes)]
        listing = " and ".join(
            f"{count} {name}{'s' if count > 1 else ''} of {size_text(size)}"
            for count, name, size in parts
            if count
        )
        needed, free = sum(count * size for count, _, size in parts), room(self.path)
        if needed > free:
            raise UserError(
                f"{self.experiment_folder} has no room for this training: {listing} take "
                f"{size_text(needed)} in all and {size_text(free)} are free. Make room, or set "
                "results_dir to a folder on a larger disk, or make fewer checkpoints with a larger "
                "train.checkpoint_every; `keep` thins those that are scored"
            )
        return (
            f"disk: {listing}, {size_text(needed)} in all; {size_text(free)} are free in "
            f"{self.experiment_folder}"
        )


def remove_half_written_libraries(folder: Path) -> None:
    """Remove libraries that a compiler was killed over, at any depth of a folder.

    torch.compile takes whatever lies under a library's name for finished code: each later start
    would end with "file too short".
    """
    for library in list(folder.rglob("*.so")):
        if not is_whole_library(library):
            library.unlink(missing_ok=True)


def is_whole_library(path: Path) -> bool:
    """Return True if a file is at least as long as its ELF header says.

    Compilers write the table of sections at its end: elf(5), e_shoff, e_shentsize and e_shnum of
    64 bits.
    """
    with path.open("rb") as file:
        header = file.read(64)
    if len(header) < 64 or header[:4] != b"\x7fELF":
        return False
    offset = int.from_bytes(header[40:48], sys.byteorder)
    size, count = (int.from_bytes(header[at : at + 2], sys.byteorder) for at in (58, 60))
    return offset > 0 and offset + size * count <= path.stat().st_size
