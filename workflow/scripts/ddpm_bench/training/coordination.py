"""What all processes of a training agree on: where it goes on from, and when it saves or stops."""

import signal
from collections.abc import Sequence
from types import FrameType

import torch
import torch.distributed as dist
from accelerate.utils import broadcast_object_list

from ddpm_bench.errors import STOP_SIGNALS
from ddpm_bench.training.checkpoints import TrainingFolder


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


def what_is_left(
    folder: TrainingFolder, steps: Sequence[int], sigma_rels: Sequence[float], first: bool
) -> tuple[list[int], int | None]:
    """Those of `steps` whose checkpoints are to be made, and the step of the state to go on from.

    The first process looks and tells the others: on a shared file system each may see another
    folder for a while.
    """
    found: list[tuple[list[int], int | None] | None] = [None]
    if first:
        missing = [step for step in steps if not folder.has_checkpoint(step, sigma_rels)]
        state = folder.latest_valid_step(at_most=missing[0] - 1) if missing else None
        found = [(missing, state)]
    broadcast_object_list(found)
    assert found[0] is not None
    return found[0]
