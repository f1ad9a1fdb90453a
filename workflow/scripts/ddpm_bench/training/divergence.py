"""The error of a training that came to values that are not finite, with advice."""

from ddpm_bench.config.training import Optimisation
from ddpm_bench.errors import DivergedError
from ddpm_bench.training.folder import TrainingFolder


def divergence(keys: Optimisation, folder: TrainingFolder, what: str) -> DivergedError:
    """Return the error of a training that diverged. what: the values, and the step, in words."""
    remedies = [f"a learning_rate below {keys.learning_rate:g}", "a longer warmup_steps"]
    if keys.max_grad_norm is None:
        remedies.append("max_grad_norm 1.0")
    if keys.precision != "fp32":
        remedies.append("precision bf16 or fp32" if keys.precision == "fp16" else "precision fp32")
    advice = ", or ".join(remedies)
    return DivergedError(
        f"training of {folder.experiment_folder.name} diverged: {what}. Try {advice}. "
        f"The states of before are kept in {folder.states.path}",
        f"{what}; try {advice}",
    )
