"""Numbers of GPUs in the documentation: a block of Markdown, made of reports of the GPU check."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ddpm_bench.errors import UserError
from ddpm_bench.files import read_json
from ddpm_bench.gpu_check.report import VERSION

BEGIN = "<!-- gpu-check: this block is written by `make docs` from comparisons/gpu/*.json -->"
END = "<!-- gpu-check: end -->"
NONE_YET = "No GPU has been measured yet: `make gpu-check` measures one."
ABOUT = """\
Measured on GPUs by `make gpu-check`, in turns: this project's images/s over those of
denoising-diffusion-pytorch, median (min to max) of all rounds. Training: against its `Trainer` at
its defaults, and against the `Trainer` with a compiled network in this project's precision.
Sampling: against `GaussianDiffusion.sample`. Memory is the peak that torch allocated on the GPU."""
HEAD = (
    *("GPU", "driver, torch", "training", "against the compiled Trainer", "images/s, memory"),
    *("sampling", "images/s, memory", "measured", "failed checks"),
)
UNKNOWN = "not measured"


def read_reports(folder: Path) -> list[dict[str, Any]]:
    """Read the JSON files of GPU checks in a folder, in the order of GPUs and then of time.

    Raises UserError for a file that is none, or that stand-ins made.
    """
    reports = [_report(path) for path in sorted(folder.glob("*.json"))]
    return sorted(reports, key=lambda report: (report["machine"]["gpu"], report["finished"]))


def _report(path: Path) -> dict[str, Any]:
    remedy = "remove it, or copy a reports/gpu-check-<GPU>-<time>.json of `make gpu-check` there"
    try:
        report = read_json(path)
        version, stand_ins = report["version"], report["stand_ins"]
        _ = report["finished"], report["parts"], report["machine"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: no report of a GPU check ({error!r}); {remedy}") from None
    if version != VERSION:
        raise UserError(f"{path}: its version is {version} and not {VERSION}; {remedy}")
    if stand_ins:
        raise UserError(f"{path}: stand-ins made it, which measure no GPU; {remedy}")
    if "gpu" not in report["machine"]:
        raise UserError(f"{path}: it names no GPU: the part machine failed; {remedy}")
    return report


def measured_block(reports: list[dict[str, Any]]) -> str:
    """Return the block of Markdown between its marks: a row for each report, or a sentence."""
    if not reports:
        return f"{BEGIN}\n{NONE_YET}\n{END}"
    rows = [HEAD, ["---"] * len(HEAD), *(_row(report) for report in reports)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    return f"{BEGIN}\n{ABOUT}\n\n{table}\n{END}"


def with_block(text: str, block: str, name: str) -> str:
    """Return a text of Markdown with the block in place of what is between its marks.

    name: of the file, for the UserError that is raised unless each mark is there once.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(END) < text.index(BEGIN):
        raise UserError(f"{name}: must hold, once each and in this order, {BEGIN} and {END}")
    before, _, rest = text.partition(BEGIN)
    return before + block + rest.partition(END)[2]


def _row(report: dict[str, Any]) -> list[str]:
    machine, found = report["machine"], _numbers(report)
    training, sampling = found.get("train", {}), found.get("sample", {})
    versions = [machine.get("driver"), machine.get("torch")]
    cells = [
        machine["gpu"],
        ", ".join(str(version or "unknown") for version in versions),
        _with_setting(_ratio(training, "ratio"), training),
        _ratio(training, "ratio_compiled"),
        _speed(training),
        _with_setting(_ratio(sampling, "ratio"), sampling),
        _speed(sampling),
        report["finished"][:10],
        "; ".join(_failed(report)) or "none",
    ]
    return [re.sub(r"\s+", " ", cell).replace("|", "\\|") for cell in cells]


def _numbers(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the numbers of the comparisons, by the name that each comparison gives itself."""
    checks = (check for part in report["parts"] for check in part["checks"])
    numbers = (check["numbers"] for check in checks)
    return {found["comparison"]: found for found in numbers if "comparison" in found}


def _failed(report: dict[str, Any]) -> Iterator[str]:
    for part in report["parts"]:
        for check in part["checks"]:
            if check["outcome"] == "fail":
                yield f"{part['name']}: {check['name']}"


def _ratio(numbers: dict[str, Any], name: str) -> str:
    """Return a ratio as text: its median, smallest and largest value."""
    values = [numbers.get(f"{name}_{kind}") for kind in ("median", "min", "max")]
    if None in values:
        return UNKNOWN
    median, low, high = values
    return f"{median:.2f} ({low:.2f} to {high:.2f})"


def _with_setting(ratio: str, numbers: dict[str, Any]) -> str:
    """Return a ratio with the precision, batch, size and network that it was measured with."""
    if ratio == UNKNOWN:
        return ratio
    size = numbers["image_size"]
    return (
        f"{ratio}; {numbers['precision_ours']} against {numbers['precision_peer']}, "
        f"{numbers['batch_size']} images at {size}x{size}, dim {numbers['dim']}"
    )


def _speed(numbers: dict[str, Any]) -> str:
    """Return the images/s and memory of both sides as text."""
    sides = []
    for side, words in (("ours", ""), ("peer", " (peer)")):
        speed = numbers.get(f"images_per_second_{side}")
        memory = numbers.get(f"peak_gpu_memory_mb_{side}")
        if speed is None:
            return UNKNOWN
        sides.append(f"{speed:,.0f}{words}" + (f", {memory:,.0f} MB" if memory else ""))
    return "; ".join(sides)
