"""Keys of a score that is asked for on the command line, without a config."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from ddpm_bench.config.messages import described
from ddpm_bench.config.scoring import Score, ScoreRun, ScoreSettings
from ddpm_bench.errors import UserError

# One call scores one set of samples: it has no use for `checkpoints_per_job`.
RUN_KEYS = tuple(name for name in ScoreRun.model_fields if name != "checkpoints_per_job")
SETTINGS = tuple(ScoreSettings.model_fields)


def option_fields() -> dict[str, FieldInfo]:
    """Return the keys that are options of the command line, by name, with default and meaning."""
    fields = ScoreSettings.model_fields | ScoreRun.model_fields
    return {name: fields[name] for name in SETTINGS + RUN_KEYS}


def score_keys(
    options: Mapping[str, Any], weights: Path | None, sha256: str | None, name: str | None
) -> Score:
    """Return the keys that the config would hold for a score.

    options: values of `features` and of `option_fields()`, as text; sha256 and name: those of the
    weights, None for the published Inception's. Raises UserError naming every value that is wrong.
    """
    given = {key: options[key] for key in ("features", *SETTINGS)}
    given["run"] = {key: options[key] for key in RUN_KEYS}
    if sha256 is not None:
        given["weights"] = {"path": str(weights), "sha256": sha256, "name": name}
    try:
        return Score(**given)
    except ValidationError as error:
        raise UserError(f"the options do not fit: {described(error)}") from None
