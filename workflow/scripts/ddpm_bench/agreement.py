"""Signals that ask a training to stop, and decisions that all its processes take at one step."""

import signal
from types import FrameType

import torch
import torch.distributed as dist

from .program import STOP_SIGNALS


class StopSignal:
    """Notes the signals of a cluster, a terminal and a lost connection instead of dying of them."""

    def __init__(self) -> None:
        self.number: int | None = None  # of the first that arrived

    def listen(self) -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, self._note)

    @property
    def arrived(self) -> bool:
        return self.number is not None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is None:
            self.number = number


class Agreement:
    """Yes to a question as soon as any process says yes, in all processes at the same step.

    With several processes the answers of a step travel while the next step is computed, over gloo,
    so neither the GPU nor the loop waits for them; a yes is known one step later.
    """

    def __init__(self, processes: int) -> None:
        self._group = dist.new_group(backend="gloo") if processes > 1 else None
        self._under_way: tuple[dist.Work, torch.Tensor] | None = None

    def any(self, *questions: bool) -> list[bool]:
        """The answers to yes-or-no questions; every process must ask at every step."""
        if self._group is None:
            return list(questions)
        answers = self._arrived(len(questions))
        votes = torch.tensor(questions, dtype=torch.int32)
        self._under_way = (dist.all_reduce(votes, group=self._group, async_op=True), votes)
        return answers

    def _arrived(self, count: int) -> list[bool]:
        if self._under_way is None:
            return [False] * count
        work, votes = self._under_way
        work.wait()
        return [bool(vote) for vote in votes]

    def end(self) -> None:
        """Let the last votes arrive, and every process: what starts them takes the end of one that
        has nothing to save for a failure, and would not let the first save for long."""
        self._arrived(0)
        self._under_way = None
        if self._group is not None:
            dist.barrier(self._group)
