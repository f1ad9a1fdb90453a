"""Parallel decoding of images, by processes that write into one file of rows.

Each process writes its images straight to their places in the file and returns only their records,
so memory does not grow with the number of images. (The pages of a mapped file would count as memory
of the process that touches them, hence plain writes.)
"""

import errno
import hashlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from ddpm_bench.data.standard_datasets import ImageBatch
from ddpm_bench.errors import UserError
from ddpm_bench.images.decoding import DecodedFile, Square, as_image, read_square, to_square
from ddpm_bench.machine.host import usable_cores

FILES_PER_TASK = 16
IMAGES_PER_TASK = 512  # of an array, whose images are small
TASKS_PER_PROCESS = 4  # submitted ahead, so that no process waits


@dataclass(frozen=True)
class Task:
    """Images to decode by one process, into the rows from `first` on."""

    first: int
    images: list[Path] | np.ndarray
    name: str

    @property
    def decode(self) -> Callable[[Path, Square, "Task"], list[DecodedFile]]:
        """Function that decodes the images of this task."""
        return resize_arrays if isinstance(self.images, np.ndarray) else decode_files


def file_tasks(folder: Path, names: list[str]) -> Iterator[Task]:
    """Yield the files of a folder in tasks."""
    for first in range(0, len(names), FILES_PER_TASK):
        paths = [folder / name for name in names[first : first + FILES_PER_TASK]]
        yield Task(first, paths, str(paths[0]))


def array_tasks(batches: Iterable[ImageBatch]) -> Iterator[Task]:
    """Yield the images of all batches in tasks; row numbers run on from batch to batch."""
    row = 0
    for batch in batches:
        for start in range(0, len(batch.images), IMAGES_PER_TASK):
            images = batch.images[start : start + IMAGES_PER_TASK]
            yield Task(row, images, f"{batch.part}[{batch.first + start}]")
            row += len(images)


def decode_all(
    tasks: Iterable[Task], total: int | None, square: Square, rows: Path, cpus: int
) -> list[DecodedFile]:
    """Decode all images into `rows`, a file of uint8 [row, H, W, C]; return outcomes in order.

    At most `cpus` processes are started. The rows of images that are left out, or need a value
    range, stay as they are: empty, if the file is new. Raises
    UserError when a process dies, memory runs out, or the rows cannot be written.
    """
    rows.touch()
    outcomes: list[DecodedFile] = []
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(usable_cores(cpus), mp_context=context, initializer=_start)
    try:
        with tqdm(desc="decoding", total=total, unit=" images") as progress:
            for found in _in_order(pool, tasks, square, rows, ahead=TASKS_PER_PROCESS * cpus):
                outcomes.extend(found)
                progress.update(len(found))
    finally:
        pool.shutdown(cancel_futures=True)
    return outcomes


def _in_order(
    pool: ProcessPoolExecutor, tasks: Iterable[Task], square: Square, rows: Path, ahead: int
) -> Iterator[list[DecodedFile]]:
    """Yield the outcomes of each task in turn, with up to `ahead` more tasks submitted already."""
    waiting: deque[tuple[Task, Future[list[DecodedFile]]]] = deque()
    for task in tasks:
        try:
            waiting.append((task, pool.submit(task.decode, rows, square, task)))
        except BrokenProcessPool:
            raise _died(waiting[0][0]) from None
        if len(waiting) > ahead:
            yield _result(*waiting.popleft(), rows)
    while waiting:
        yield _result(*waiting.popleft(), rows)


def _result(task: Task, future: Future[list[DecodedFile]], rows: Path) -> list[DecodedFile]:
    """Return the outcomes of a task; raise UserError when its process failed."""
    try:
        return future.result()
    except BrokenProcessPool:
        raise _died(task) from None
    except MemoryError:
        raise UserError(f"memory ran out {_near(task)}") from None
    except OSError as error:
        raise UserError(f"{rows}: images cannot be written ({error.strerror})") from None


def _died(task: Task) -> UserError:
    """Return the error for a process that was killed."""
    return UserError(f"a process that decodes images was killed {_near(task)}")


def _near(task: Task) -> str:
    """Return the end of a message: the place of a failure, and the remedy."""
    return (
        f"at {task.name} or one of the next images; give it more memory, "
        "or lower the dataset's run.cpus or max_megapixels"
    )


def decode_files(rows: Path, square: Square, task: Task) -> list[DecodedFile]:
    """Decode the task's files, each into its row."""
    outcomes = []
    with rows.open("r+b") as file:
        for row, path in enumerate(task.images, task.first):
            outcome, pixels = read_square(path, square)
            if pixels is not None:
                _write_row(file, row, pixels)
            outcomes.append(outcome)
    return outcomes


def resize_arrays(rows: Path, square: Square, task: Task) -> list[DecodedFile]:
    """Resize the task's images, uint8 [n, H, W, C], each into its row."""
    outcomes = []
    with rows.open("r+b") as file:
        for row, pixels in enumerate(task.images, task.first):
            image = as_image(pixels)
            _write_row(file, row, to_square(image, square))
            sha256 = hashlib.sha256(pixels.tobytes()).hexdigest()
            outcomes.append(DecodedFile(sha256, *image.size, image.mode))
    return outcomes


def _write_row(file: BinaryIO, row: int, pixels: np.ndarray) -> None:
    """Write one image, uint8 [H, W, C], to its place in the file of rows."""
    if os.pwrite(file.fileno(), pixels.tobytes(), row * pixels.nbytes) < pixels.nbytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _start() -> None:
    """Prepare a decoding process: ignore Ctrl-C, and end when the parent process has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        """Wait for the end of the parent process, then end this one."""
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
