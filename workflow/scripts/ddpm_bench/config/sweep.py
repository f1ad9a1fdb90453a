"""`sweep:`, several values of an experiment's keys, each combination an experiment."""

import math
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from ddpm_bench.config.block import Block, PositiveInt, Seed

Number = int | float
# For all sweeps of a config together. Rule `compare` names two files of each member in one command,
# and Linux takes no argument of more than 131,072 bytes: a member needs at most 417 of them if
# results_dir has 100 characters and names have 80, so 250 leave 26,000 for all else. Rule `costs`
# then has 524 for each member's dataset, sets and scores: four names of 80 characters.
MOST_MEMBERS = 250


class ValueRange(Block):
    """Values between two numbers, both included; whole numbers if both ends are whole."""

    first: Number = Field(alias="from", description="Lowest value.")
    last: Number = Field(alias="to", description="Highest value.")
    log: bool = Field(False, description="Draw evenly over the logarithm.")

    def problems(self) -> Iterator[str]:
        if self.first >= self.last:
            yield f"from = {self.first} must be below to = {self.last}; swap them"
        if self.log and self.first <= 0:
            yield f"from = {self.first}: a logarithm needs numbers above 0; raise it"


class Sweep(Block):
    """Several values of an experiment's keys; each combination is an experiment, a member.

    Members are named by their values, such as `digits.dim-16.learning_rate-0.001.seed-0`.
    """

    method: Literal["grid", "random"] = Field(
        "grid", description="grid: each combination of values; random: `count` drawn combinations."
    )
    keys: dict[str, tuple[Any, ...] | ValueRange] = Field(
        min_length=1,
        max_length=20,
        description="Values by key, a path in the experiment: `train.learning_rate: [0.001, "
        "0.002]`, `train.seed: [0, 1, 2]`. For method random also a range: `{from: 0.0001, "
        "to: 0.01, log: true}`.",
    )
    count: PositiveInt | None = Field(
        None,
        le=MOST_MEMBERS,
        description="Members of a random sweep; raising it adds members and changes none.",
    )
    seed: Seed = Field(0, description="Seed of the draws of a random sweep.")

    def problems(self) -> Iterator[str]:
        for path, values in self.keys.items():
            if values == ():
                yield f"keys.{path} has no values; give some, or remove it"
        if self.method == "random":
            if self.count is None:
                yield "method: random needs `count`, how many members to draw"
            return
        for name in ("count", "seed"):
            if name in self.model_fields_set and getattr(self, name):
                yield f"{name} is an option of method: random; remove it"
        ranges = [path for path, values in self.keys.items() if isinstance(values, ValueRange)]
        if ranges:
            yield (
                f"keys {', '.join(ranges)}: a range is for method: random; give a list of values"
            )
        size = math.prod(len(values) for values in self.keys.values() if isinstance(values, tuple))
        if size > MOST_MEMBERS:
            yield (
                f"its grid has {size:,} members, more than {MOST_MEMBERS:,}; give fewer values, or "
                "draw some (method: random), or make more configs with a results_dir each"
            )
