"""The training loop: from a training's last saved state to a job's last step."""

import numpy as np

from ddpm_bench.errors import EXIT_SAVED_AND_STOPPED
from ddpm_bench.machine.process_group import shorten_patience
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
    shorten_patience()  # the first process has read what it must before the others can begin

    # Build the network, its averages and the optimiser, and the writer of their files.
    trainer = Trainer(job.stage, job.run, images, accelerator, folder.compiled)
    metrics = Metrics(keys, folder, accelerator)
    saver = Saver(trainer, metrics, folder, owner, job.about)

    # Take over the saved state, or begin.
    if saved is None:
        trainer.begin()
    else:
        restore(folder.states.read(saved), trainer, metrics)
    saver.check_room(len(missing))
    stop, processes = stop or StopSignal(), accelerator.num_processes
    protocol = StopProtocol(stop, owner, job.run.save_seconds, processes)
    progress = Progress(folder, trainer.step, job, accelerator, quiet=owner is None)

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
    progress.end(trainer.step, stopped=None if ended else protocol.reason)
    return 0 if ended else EXIT_SAVED_AND_STOPPED
