"""Members of sweeps: their values, names and experiments.

A member's name and values are a function of the sweep alone, so that jobs that read the config on
other machines find the same. A name depends on the member's own values, in the order of the keys'
names: a further value adds members and renames none.
"""

import copy
import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ddpm_bench.config.block import Block, canonical_json
from ddpm_bench.config.plain_data import MOST_VALUES, count_values, shown
from ddpm_bench.config.sweep import MOST_MEMBERS, Sweep, ValueRange
from ddpm_bench.config.sweep_keys import NoSuchKeyError, SweptKey, swept_key
from ddpm_bench.files import sha256_text

LONGEST_NAME = 80  # of an experiment
HASH_DIGITS = 8
SIGNIFICANT_DIGITS = 3  # of numbers drawn from a range, which are part of names
DRAWS_PER_MEMBER = 100  # attempts to draw a member that differs from all before
SHOWN_MEMBERS = 2  # in errors

Values = dict[str, Any]  # of a member, by path


@dataclass(frozen=True)
class SweptExperiment:
    """A sweep with its values as experiments hold them, and its members' values by name."""

    sweep: Sweep
    members: dict[str, Values]

    @property
    def note(self) -> str | None:
        """Message that draws repeat, so that there are fewer members than `count`; or None."""
        count, found = self.sweep.count, len(self.members)
        if count is None or found >= count:
            return None
        return f"{found} members, and not {count}: its values allow no more that differ"


def members(name: str, sweep: Sweep) -> dict[str, Values]:
    """Return each member's values by its name, in the order of the grid or of the draws."""
    found = _grid(sweep) if sweep.method == "grid" else _draws(sweep)
    short = short_names(sorted(sweep.keys))
    return {member_name(name, values, short): values for values in found}


def _grid(sweep: Sweep) -> Iterator[Values]:
    paths = sorted(sweep.keys)
    choices = [values for path in paths if isinstance(values := sweep.keys[path], tuple)]
    for values in itertools.product(*choices):
        yield dict(zip(paths, values, strict=True))


def _draws(sweep: Sweep) -> Iterator[Values]:
    """Yield the values of random members.

    Draw i is a function of the seed, i and the values alone; one that repeats an earlier one is
    left out. So a higher count adds members to those of a lower one.
    """
    assert sweep.count is not None
    seen: set[tuple[float, ...]] = set()
    paths = sorted(sweep.keys)
    for index in range(DRAWS_PER_MEMBER * sweep.count):
        drawn = [_drawn(sweep, path, index) for path in paths]
        choice = tuple(position for position, _ in drawn)
        if choice in seen:
            continue
        seen.add(choice)
        yield {path: value for path, (_, value) in zip(paths, drawn, strict=True)}
        if len(seen) == sweep.count:
            return


def _drawn(sweep: Sweep, path: str, index: int) -> tuple[float, Any]:
    """Return a drawn value, and the number by which it differs from the key's other values."""
    values = sweep.keys[path]
    share = int(sha256_text(f"{sweep.seed}/{index}/{path}")[:13], 16) / 16**13  # [0, 1)
    if isinstance(values, tuple):
        place = int(share * len(values))
        return place, values[place]
    low, high = values.first, values.last
    if isinstance(low, int) and isinstance(high, int):
        whole = min(high, math.floor(_between(low, high + 1, share, values.log)))
        return whole, whole
    drawn = float(f"{_between(low, high, share, values.log):.{SIGNIFICANT_DIGITS}g}")
    drawn = min(max(drawn, float(low)), float(high))
    return drawn, drawn


def _between(low: float, high: float, share: float, log: bool) -> float:
    return low * (high / low) ** share if log else low + share * (high - low)


def short_names(paths: list[str]) -> dict[str, str]:
    """Return short names of keys: the last part of the path, or more if two parts are equal."""
    taken = dict.fromkeys(paths, 1)
    while True:
        short = {path: "_".join(path.split(".")[-taken[path] :]) for path in paths}
        alike = [path for path in paths if list(short.values()).count(short[path]) > 1]
        longer = [path for path in alike if taken[path] < path.count(".") + 1]
        if not longer:
            return short
        for path in longer:
            taken[path] += 1


def member_name(sweep: str, values: Values, short: dict[str, str]) -> str:
    """Return a member's name, such as digits.dim-16.learning_rate-0.001.

    Values beyond 80 characters are replaced by a hash.
    """
    parts = [f"{_allowed(short[path])}-{value_text(values[path])}" for path in sorted(values)]
    whole = ".".join([sweep, *parts])
    if len(whole) <= LONGEST_NAME:
        return whole
    name = sweep
    for part in parts:
        if len(name) + 1 + len(part) + 1 + HASH_DIGITS > LONGEST_NAME:
            break
        name = f"{name}.{part}"
    return f"{name}.{sha256_text(canonical_json(values))[:HASH_DIGITS]}"


def value_text(value: Any) -> str:
    """Return a value as a part of a name; different values have different texts.

    Texts that are not plain names end in a hash.
    """
    if value is None or isinstance(value, bool | int | float):
        return canonical_json(value).replace("e+", "e")
    if isinstance(value, list) and value and all(type(item) in (int, float) for item in value):
        return "-".join(map(value_text, value))
    text = value if isinstance(value, str) else "-".join(map(str, value))
    plain = _allowed(text)
    is_plain = isinstance(value, str) and plain == text and re.match("[A-Za-z]", text)
    if is_plain and text not in ("true", "false", "null"):
        return plain
    return f"{plain[:20]}-{sha256_text(canonical_json(value))[:4]}".lstrip("-.")


def _allowed(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "", text)


# Sweeps of a parsed config


def expand_sweeps(
    merged: dict[str, Any], experiment_model: type[Block]
) -> tuple[dict[str, Any], dict[str, SweptExperiment], list[str]]:
    """Replace each experiment that has a sweep by its members.

    Returns the parsed config with the members, the sweeps by name, and messages about wrong
    sweeps. merged: the parsed config with its defaults. An experiment with a wrong sweep is given
    the first of its values, so that all other problems are found too.
    """
    experiments = merged.get("experiments")
    if not isinstance(experiments, dict):
        return merged, {}, []
    expanded: dict[str, Any] = {}
    sweeps: dict[str, SweptExperiment] = {}
    problems: list[str] = []
    autoencoders = merged.get("autoencoders")
    taken = {*experiments, *(autoencoders if isinstance(autoencoders, dict) else ())}
    for name, experiment in experiments.items():
        sweep = _valid_sweep(experiment)
        if sweep is None:
            expanded[name] = experiment
            continue
        base = {key: value for key, value in experiment.items() if key != "sweep"}
        keys, wrong = _swept_keys(f"experiments.{name}", base, sweep, experiment_model)
        # Beyond the limit, which `_too_many` reports, members are no longer made.
        found = None
        if not wrong and _count_members(sweeps) <= MOST_MEMBERS:
            swept = _swept(sweep, keys)
            found = SweptExperiment(swept, members(str(name), swept))
            wrong += _wrong_draws(f"experiments.{name}", found, keys)
            wrong += _too_large(f"experiments.{name}", found, base)
        if found is None or wrong:
            problems += wrong
            first = {path: one.first for path, one in keys.items()}
            expanded[name] = _with_values(base, first, keys)
            continue
        problems += _misnamed(str(name), found, taken - {name})
        taken |= set(found.members)
        sweeps[name] = found
        for member, values in found.members.items():
            expanded[member] = recording_failures(_with_values(base, values, keys))
    problems += _too_many(sweeps)
    return {**merged, "experiments": expanded}, sweeps, problems


def _count_members(sweeps: dict[str, SweptExperiment]) -> int:
    return sum(len(found.members) for found in sweeps.values())


def _too_large(where: str, found: SweptExperiment, base: dict[str, Any]) -> Iterator[str]:
    """Yield a message if the members' experiments have too many values to be checked."""
    count = len(found.members) * count_values(base)
    if count > MOST_VALUES:
        yield (
            f"{where}.sweep: its {len(found.members)} members have {count:,} values together, more "
            f"than {MOST_VALUES:,}; shorten the lists in the experiment, or give fewer members"
        )


def _too_many(sweeps: dict[str, SweptExperiment]) -> Iterator[str]:
    """Yield a message if all sweeps together have too many members."""
    count = _count_members(sweeps)
    if count > MOST_MEMBERS:
        yield (
            f"experiments: the sweeps {', '.join(sweeps)} have {count:,} members together, more "
            f"than {MOST_MEMBERS:,}; give fewer values, or move a sweep to a config of its own "
            "with another results_dir"
        )


@dataclass(frozen=True)
class _Swept:
    """A key, and its values as the experiment will hold them."""

    key: SweptKey
    values: tuple[Any, ...] | ValueRange

    @property
    def first(self) -> Any:
        """First of the values, or the lower end of their range."""
        return self.values[0] if isinstance(self.values, tuple) else self.values.first


def _valid_sweep(experiment: Any) -> Sweep | None:
    """Return an experiment's sweep; None without one, or if it is wrong (reported elsewhere)."""
    if not isinstance(experiment, dict) or experiment.get("sweep") is None:
        return None
    try:
        return Sweep.model_validate(experiment["sweep"])
    except ValidationError:
        return None


def _swept_keys(
    where: str, base: dict[str, Any], sweep: Sweep, experiment_model: type[Block]
) -> tuple[dict[str, _Swept], list[str]]:
    """Return the keys of a sweep with their values, and a line for each wrong one."""
    keys: dict[str, _Swept] = {}
    wrong = []
    for path, values in sweep.keys.items():
        here = f"{where}.sweep.keys.{path}"
        try:
            key = swept_key(experiment_model, base, path)
            keys[path] = _Swept(key, _canonical(key, values))
        except NoSuchKeyError as error:
            wrong.append(f"{here}: {error}")
        except ValueError as error:
            wrong.append(f"{here} {error}")
    return keys, wrong


def _canonical(key: SweptKey, values: tuple[Any, ...] | ValueRange) -> tuple[Any, ...] | ValueRange:
    """Return a key's values as experiments hold them.

    Raises ValueError for the first value that is not allowed, or that is given twice.
    """
    if isinstance(values, ValueRange):
        ends = [_allowed_value(key, end) for end in (values.first, values.last)]
        if any(isinstance(end, bool) or not isinstance(end, int | float) for end in ends):
            raise ValueError("is no number: give a list of values")
        return ValueRange.model_validate({"from": ends[0], "to": ends[1], "log": values.log})
    found = [_allowed_value(key, value) for value in values]
    seen: set[str] = set()
    for value in found:
        text = canonical_json(value)
        if text in seen:
            raise ValueError(f"has {shown(value)} twice; give each value once")
        seen.add(text)
    return tuple(found)


def _allowed_value(key: SweptKey, value: Any) -> Any:
    try:
        return key.canonical(value)
    except ValueError as error:
        raise ValueError(f"has {shown(value)}: {error}") from None


def _swept(sweep: Sweep, keys: dict[str, _Swept]) -> Sweep:
    return sweep.model_copy(update={"keys": {path: one.values for path, one in keys.items()}})


def _misnamed(name: str, found: SweptExperiment, taken: set[str]) -> Iterator[str]:
    """Yield members whose name is taken, and a sweep whose own name is too long."""
    if len(name) > LONGEST_NAME - 1 - HASH_DIGITS:
        longest = LONGEST_NAME - 1 - HASH_DIGITS
        yield f"experiments.{name}: a sweep's name has at most {longest} characters; shorten it"
    for member in found.members:
        if member in taken:
            yield (
                f"experiments.{name}.sweep: its member {member} has the name of another experiment "
                "or autoencoder; rename one"
            )


def _wrong_draws(where: str, found: SweptExperiment, keys: dict[str, _Swept]) -> Iterator[str]:
    """Yield drawn numbers that their key does not allow, such as one not a multiple of 8."""
    for path, one in keys.items():
        if isinstance(one.values, tuple):
            continue
        for values in found.members.values():
            try:
                _allowed_value(one.key, values[path])
            except ValueError as error:
                yield f"{where}.sweep.keys.{path} {error}; give a list of values"
                break


def _with_values(
    experiment: dict[str, Any], values: Values, keys: dict[str, _Swept]
) -> dict[str, Any]:
    """Return a copy of the experiment with these values."""
    changed = copy.deepcopy(experiment)
    for path, value in values.items():
        *blocks, last = keys[path].key.location
        block = changed
        for part in blocks:
            if not isinstance(block.get(part), dict):
                block[part] = {}
            block = block[part]
        block[last] = value
    return changed


def recording_failures(experiment: dict[str, Any]) -> dict[str, Any]:
    """Set `on_failure: record` in the experiment unless it has another value.

    A member that cannot be trained is then a row of the sweep's table.
    """
    samples = experiment.get("samples")
    blocks = [experiment.get("train"), *(samples.values() if isinstance(samples, dict) else [])]
    for block in blocks:
        if not isinstance(block, dict):
            continue
        if not isinstance(block.setdefault("run", {}), dict):
            continue
        block["run"].setdefault("on_failure", "record")
    return experiment


def grouped_by_sweep(problems: list[str], sweeps: dict[str, SweptExperiment]) -> list[str]:
    """Replace problems of members by one for each sweep.

    A few members are named if not all have the problem.
    """
    sweep_of = {member: name for name, found in sweeps.items() for member in found.members}
    if not sweep_of or not problems:
        return problems
    names = "|".join(map(re.escape, sorted(sweep_of, key=len, reverse=True)))
    pattern = re.compile(rf"\bexperiments\.({names})(?=[.: ]|$)")
    members_of: dict[tuple[str, str | None], list[str]] = {}
    for problem in problems:
        found = pattern.search(problem)
        sweep = sweep_of[found[1]] if found else None
        text = pattern.sub(lambda match: f"experiments.{sweep_of[match[1]]}", problem)
        members_of.setdefault((text, sweep), []).extend([found[1]] if found else [])
    return [
        text if sweep is None else f"{text}{_of_which(wrong, sweeps[sweep])}"
        for (text, sweep), wrong in members_of.items()
    ]


def _of_which(wrong: list[str], sweep: SweptExperiment) -> str:
    wrong = list(dict.fromkeys(wrong))
    if len(wrong) == len(sweep.members):
        return ""
    shown, more = wrong[:SHOWN_MEMBERS], len(wrong) - SHOWN_MEMBERS
    others = f" and {more} more" if more > 0 else ""
    return f" (member{'s' if len(wrong) > 1 else ''} {', '.join(shown)}{others})"
