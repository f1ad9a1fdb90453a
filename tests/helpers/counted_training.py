"""train.py, with each executed step noted in the file $COUNT_STEPS as it ends: a byte per step.

A byte that is written outlives SIGKILL, so that tests can count what was trained. It can be killed
where files of the training change (kill_points.py). With $SILENT_AFTER, a number of steps, the
second process is alive and does nothing more after them, and others wait for it for 2 seconds.
"""

import json
import os
import signal
import sys
from datetime import timedelta

from kill_points import watch_as_asked
from places import SCRIPTS


def count_steps() -> None:
    from ddpm_bench.training.trainer import Trainer

    train_one_step = Trainer.train_one_step
    file = os.open(os.environ["COUNT_STEPS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def counted(self):
        loss_and_norm = train_one_step(self)
        os.write(file, b".")
        return loss_and_norm

    Trainer.train_one_step = counted


def count_reductions() -> None:
    """Note each all-reduce of gradients between processes in $COUNT_STEPS.reductions."""
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

    from ddpm_bench.training.trainer import Trainer

    build = Trainer.__init__
    file = os.open(os.environ["COUNT_STEPS"] + ".reductions", os.O_WRONLY | os.O_CREAT)

    def reduced(group, bucket):
        os.write(file, b".")
        return allreduce_hook(group, bucket)

    def with_hook(self, *arguments) -> None:
        build(self, *arguments)
        if self.accelerator.num_processes > 1:
            self.model.register_comm_hook(None, reduced)

    Trainer.__init__ = with_hook


def fall_silent_as_asked() -> None:
    """Let the second process stop to take part, until a signal ends it."""
    from ddpm_bench.machine import process_group
    from ddpm_bench.training.trainer import Trainer

    if "SILENT_AFTER" not in os.environ:
        return
    process_group.PATIENCE_ONCE_MET = timedelta(seconds=2)
    train_one_step = Trainer.train_one_step

    def silent(self):
        if self.step == int(os.environ["SILENT_AFTER"]):
            signal.pause()
            sys.exit(1)
        return train_one_step(self)

    if os.environ["RANK"] == "1":
        Trainer.train_one_step = silent


def trains_itself() -> bool:
    """True in the process that trains; False in one that starts others for it."""
    from ddpm_bench.machine.watching import is_watched

    how = json.loads(sys.argv[sys.argv.index("--how") + 1])
    several = how.get("gpus", 1) > 1 or how.get("on_failure") == "record"
    return not several or "RANK" in os.environ or (is_watched() and how.get("gpus", 1) == 1)


if __name__ == "__main__":
    sys.path.insert(0, str(SCRIPTS))
    if trains_itself() and os.environ.get("RANK", "0") == "0":
        count_steps()
        count_reductions()
        watch_as_asked()
    if "RANK" in os.environ:
        fall_silent_as_asked()
    import train

    from ddpm_bench.cli import run

    run(train.main)
