"""Processes that decode images in parallel and write them into one file of rows.

Each process writes its images straight to their places in the file, and only what is known about
them comes back; so memory does not grow with the number of images. (A mapped file would count as
memory of whoever touches it, hence plain writes.)
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

FILES_PER_TASK = 16
IMAGES_PER_TASK = 512  # of an array, which are small
TASKS_PER_PROCESS = 4  # handed out ahead, so that no process waits


@dataclass(frozen=True)
class Task:
    """Images to decode by one process, into the rows from `first` on."""

    first: int
    images: list[Path] | np.ndarray
    name: str

    @property
    def decode(self) -> Callable[[Path, Square, "Task"], list[DecodedFile]]:
        """The function that does it."""
        return resize_arrays if isinstance(self.images, np.ndarray) else decode_files


def file_tasks(folder: Path, names: list[str]) -> Iterator[Task]:
    """The files of a folder, in tasks."""
    for first in range(0, len(names), FILES_PER_TASK):
        paths = [folder / name for name in names[first : first + FILES_PER_TASK]]
        yield Task(first, paths, str(paths[0]))


def array_tasks(batches: Iterable[ImageBatch]) -> Iterator[Task]:
    """The images of all batches, in tasks; rows are counted on from batch to batch."""
    row = 0
    for batch in batches:
        for start in range(0, len(batch.images), IMAGES_PER_TASK):
            images = batch.images[start : start + IMAGES_PER_TASK]
            yield Task(row, images, f"{batch.part}[{batch.first + start}]")
            row += len(images)


def usable_cpus(asked: int) -> int:
    """The number of processes to start: no more than there are cores for this one."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return max(1, min(asked, len(affinity(0)) if affinity else os.cpu_count() or 1))


def decode_all(
    tasks: Iterable[Task], total: int | None, square: Square, rows: Path, cpus: int
) -> list[DecodedFile]:
    """Decode all images into `rows`, a file of uint8 [row, H, W, C]; their outcomes in order.

    At most `cpus` processes are started. The rows of images that are left out stay empty. Raises
    UserError when a process dies, memory runs out, or the rows cannot be written.
    """
    rows.write_bytes(b"")
    outcomes: list[DecodedFile] = []
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(usable_cpus(cpus), mp_context=context, initializer=_start)
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
    """The outcomes of each task in turn, with up to `ahead` tasks handed out beyond it."""
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
    try:
        return future.result()
    except BrokenProcessPool:
        raise _died(task) from None
    except MemoryError:
        raise UserError(f"memory ran out {_near(task)}") from None
    except OSError as error:
        raise UserError(f"{rows}: images cannot be written ({error.strerror})") from None


def _died(task: Task) -> UserError:
    return UserError(f"a process that decodes images was killed {_near(task)}")


def _near(task: Task) -> str:
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
    if os.pwrite(file.fileno(), pixels.tobytes(), row * pixels.nbytes) < pixels.nbytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _start() -> None:
    """In each process: leave Ctrl-C to the program, and end when the program is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
