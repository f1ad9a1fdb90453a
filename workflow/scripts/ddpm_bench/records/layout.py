"""Names of steps, images and checkpoints in the results."""

WEIGHTS = "autoencoder.safetensors"


STEP_DIGITS = 8
IMAGE_DIGITS = 6


def padded_step(step: int) -> str:
    """A training step as it stands in file names."""
    return f"{step:0{STEP_DIGITS}}"


def checkpoint_name(step: int) -> str:
    """The stem of a checkpoint's file and of everything made from it: step-00000300."""
    return f"step-{padded_step(step)}"
