"""Paths in a config, written as in a shell: `~` and environment variables are replaced."""

from typing import Annotated, Any

from pydantic import AfterValidator

from ddpm_bench.files import expanded_path

# Keys with a path, wherever they stand in a config.
PATH_KEYS = frozenset({"results_dir", "resources_dir", "path"})


OutputFolder = Annotated[str, AfterValidator(expanded_path)]
InputFile = Annotated[str, AfterValidator(expanded_path)]


def paths_written_out(raw: Any) -> Any:
    """Return a copy of a checked, parsed config with its paths expanded.

    It means the same on another machine, where variables may have other values.
    """
    if isinstance(raw, dict):
        return {
            key: expanded_path(value)
            if key in PATH_KEYS and isinstance(value, str)
            else paths_written_out(value)
            for key, value in raw.items()
        }
    return [paths_written_out(value) for value in raw] if isinstance(raw, list) else raw
