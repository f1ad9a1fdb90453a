"""Decisions that all processes of a training share: what to go on from, when to save and stop."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from accelerate.utils import broadcast_object_list

from ddpm_bench.machine import process_group
from ddpm_bench.machine.signals import on_stop_signals
from ddpm_bench.training.folder import TrainingFolder
from ddpm_bench.training.ownership import Owner


class StopSignal:
    """The first signal to stop that this process has received since `listen`.

    Signals come from a cluster, a terminal or a lost connection; they end the process no more.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    def listen(self) -> None:
        """Note signals to stop from now on, for the rest of the process's life."""
        on_stop_signals(self._note)

    @property
    def arrived(self) -> bool:
        """Return True once a signal has come."""
        return self.number is not None

    def _note(self, number: int) -> None:
        if self.number is None:
            self.number = number


class Agreement:
    """Answers to yes-or-no questions that are the same in all processes at the same step.

    The answer is yes as soon as any process has voted yes. With several processes the votes of a
    step travel while the next step is computed, over gloo, so neither the GPU nor the loop waits
    for them; a yes arrives one step later.
    """

    def __init__(self, processes: int) -> None:
        patience = process_group.PATIENCE_ONCE_MET
        several = processes > 1
        self._group = dist.new_group(timeout=patience, backend="gloo") if several else None
        self._under_way: tuple[dist.Work, torch.Tensor] | None = None

    def any(self, *questions: bool) -> list[bool]:
        """Return the answers to some questions; every process must ask at every step."""
        if self._group is None:
            return list(questions)
        answers = self._arrived(len(questions))
        votes = torch.tensor(questions, dtype=torch.int32)
        self._under_way = (dist.all_reduce(votes, group=self._group, async_op=True), votes)
        return answers

    def _arrived(self, count: int) -> list[bool]:
        """Return the answers to the questions of the step before; all no at the first step."""
        if self._under_way is None:
            return [False] * count
        work, votes = self._under_way
        work.wait()
        return [bool(vote) for vote in votes]

    def end(self) -> None:
        """Wait for the last votes, and until every process is here.

        The launcher takes the end of a process that has nothing to save for a failure, and would
        soon end the first one, which saves.
        """
        self._arrived(0)
        self._under_way = None
        if self._group is not None:
            dist.barrier(self._group)


@dataclass(frozen=True)
class Decision:
    """Decision of all processes after a step: to save the state, and to stop."""

    save: bool
    stop: bool


class StopProtocol:
    """Decisions after each step, the same in all processes: to save the state, and to stop.

    The state is due every `save_seconds` in the process that owns the folder. A training stops on
    a signal to any process, or when a trainer that follows asks the owner to leave; it saves first.
    """

    def __init__(
        self, stop: StopSignal, owner: Owner | None, save_seconds: float, processes: int
    ) -> None:
        self._stop, self._owner, self._save_seconds = stop, owner, save_seconds
        stop.listen()
        self._agreement = Agreement(processes)
        self._last_save = time.monotonic()

    def decide(self) -> Decision:
        """Return what to do after a step; every process must ask after every step."""
        due = time.monotonic() - self._last_save >= self._save_seconds
        if due:  # asked once: with several processes the answer comes a step later
            self._last_save = time.monotonic()
        owner = self._owner
        leave = self._stop.arrived or (owner is not None and owner.asked_to_leave)
        stop, save = self._agreement.any(leave, due and owner is not None)
        return Decision(save, stop)

    def note_saved(self) -> None:
        """Count `save_seconds` from now on."""
        self._last_save = time.monotonic()

    def end(self) -> None:
        """Wait for all processes of the training."""
        self._agreement.end()

    @property
    def reason(self) -> str:
        """Return why a training stopped before its last step, for messages and progress.jsonl."""
        arrived = self._stop.arrived
        return "stopped by a signal" if arrived else "stopped for a trainer that follows"


def what_is_left(
    folder: TrainingFolder, steps: Sequence[int], sigma_rels: Sequence[float], first: bool
) -> tuple[list[int], int | None]:
    """Return the steps whose checkpoints are missing, and the step of the state to go on from.

    steps: those of all checkpoints; sigma_rels: the averages of each. The state is None to begin at
    step 0. The first process looks and sends the others the answer: on a shared file system each
    may see another folder for a while.
    """
    found: list[tuple[list[int], int | None] | None] = [None]
    if first:
        missing = folder.checkpoints.missing(steps, sigma_rels)
        state = folder.states.latest_valid_step(at_most=missing[0] - 1) if missing else None
        found = [(missing, state)]
    broadcast_object_list(found)
    assert found[0] is not None
    return found[0]
