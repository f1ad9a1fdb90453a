"""The training loop: from a training's last saved state to a job's last step."""

import sys
from contextlib import suppress

import numpy as np

from ddpm_bench.errors import EXIT_SAVED_AND_STOPPED
from ddpm_bench.training.accelerator import build_accelerator
from ddpm_bench.training.coordination import StopProtocol, StopSignal, what_is_left
from ddpm_bench.training.description import TrainingJob
from ddpm_bench.training.folder import TrainingFolder
from ddpm_bench.training.metrics import STEPS_PER_ROW, Metrics
from ddpm_bench.training.ownership import Owner
from ddpm_bench.training.progress import Progress
from ddpm_bench.training.saving import Saver, restore
from ddpm_bench.training.trainer import Trainer


def train(
    job: TrainingJob,
    images: np.ndarray,
    folder: TrainingFolder,
    owner: Owner | None,
    stop: StopSignal | None = None,
) -> int:
    """Train to the job's last step and save its checkpoints; return the exit status.

    images: uint8 [N, H, W, C] or latents float32 [N, h, w, c], memory-mapped. `owner` is None in
    all processes but the first: they compute and write nothing. Returns 0, or 75 when it was
    stopped after saving: by a signal, which `stop` then holds, or by a trainer that follows.
    """
    keys = job.stage.train

    # Find what is left to do.
    accelerator = build_accelerator(keys, job.run, folder.path)
    is_main, steps = accelerator.is_main_process, job.checkpoint_steps()
    missing, saved = what_is_left(folder, steps, keys.ema_sigma_rels, is_main)
    if not missing:
        accelerator.end_training()
        return 0

    # Build the network, its averages and the optimiser, and the writer of their files.
    trainer = Trainer(job.stage, job.run, images, accelerator, folder.compiled)
    metrics = Metrics(keys, folder, accelerator)
    saver = Saver(trainer, metrics, folder, owner, job.about)

    # Take over the saved state, or begin.
    if saved is None:
        trainer.begin()
    else:
        restore(folder.states.read(saved), trainer, metrics)
    began_at = trainer.step
    saver.check_room(len(missing))
    protocol = StopProtocol(
        stop or StopSignal(), owner, job.run.save_seconds, accelerator.num_processes
    )
    progress = Progress(folder, began_at, job, accelerator, quiet=owner is None)

    while trainer.step < job.last:
        # Train one step, and write a row of metrics.csv after some.
        metrics.add(trainer.train_one_step())
        if trainer.step % STEPS_PER_ROW == 0:
            progress.show(trainer.step, metrics.write_row(trainer.step))

        # Save the checkpoint of this step, and the state where it is due.
        decision, ended = protocol.decide(), trainer.step == job.last
        saves_state = decision.save or decision.stop or ended
        saver.save(progress, checkpoint=trainer.step in missing, state=saves_state)
        if saves_state:
            protocol.note_saved()
        if decision.stop:
            break

    # End together.
    protocol.end()
    accelerator.end_training()  # a process group left open can abort the process
    ended = trainer.step == job.last
    reason = "job ended" if ended else protocol.reason
    progress.end(reason, trainer.step, executed=trainer.step - began_at)
    if not ended and owner is not None:
        _print_stopped(reason, trainer.step)
    return 0 if ended else EXIT_SAVED_AND_STOPPED


def _print_stopped(reason: str, step: int) -> None:
    with suppress(OSError):
        print(
            f"{reason}; the state of step {step} is saved, and the same command goes on from it",
            file=sys.stderr,
        )
