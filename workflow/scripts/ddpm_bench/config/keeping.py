"""`keep:`, which checkpoints stay once they are scored."""

from pydantic import Field

from ddpm_bench.config.keys import Keys, Name, PositiveInt


class Keep(Keys):
    """Remove weights of checkpoints that are drawn from and scored, to save disk space: each n-th,
    the best by each metric and the latest stay. What is removed does not come back."""

    every: PositiveInt = Field(description="Each n-th checkpoint stays; 1: all do.")


class ThinSet(Keys):
    """What a set of samples asks for."""

    steps: tuple[PositiveInt, ...]
    ema_sigma_rel: float | None = None


class ThinStage(Keys):
    """What decides which checkpoints stay, but their scores: a program's `--what`."""

    version: PositiveInt
    keep: Keep
    checkpoint_every: PositiveInt
    sets: dict[Name, ThinSet] = Field({})
    scores: tuple[Name, ...] = ()
