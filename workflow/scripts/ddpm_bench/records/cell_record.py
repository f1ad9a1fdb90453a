"""Record of a measured cell of the throughput benchmark."""

from typing import Literal

from ddpm_bench.config.benchmark import Cell
from ddpm_bench.config.block import Block
from ddpm_bench.records.json_record import JsonRecord
from ddpm_bench.text import size_text

Status = Literal["ok", "out of memory", "unsupported", "crashed", "timed out"]


class Repetition(Block):
    """One measurement: consecutive steps, with devices synchronised before and after."""

    steps: int
    seconds: float  # of all its steps
    step_ms_median: float  # of the slowest process in each step
    step_ms_q1: float
    step_ms_q3: float
    samples_per_second: float  # of all processes, at the median step
    peak_memory_mb: float  # megabytes of 10^6 bytes, of the process that took most


class Measurement(Block):
    """Measurements of the processes of a cell."""

    repetitions: tuple[Repetition, ...]
    sample: str  # unit of the throughput: image, sequence or sample
    memory: Literal["GPU, allocated", "process, resident"]
    # By the process that sends most, with ring algorithms (throughput/communication.py); 0 for one
    # process.
    sent_bytes_per_step: int
    # Share of a step's time with communication under way, mean over processes; null: not known.
    communication_share: float | None
    parameters: int  # of the whole model
    parameter_bytes: tuple[int, ...]  # held by each process, by rank
    # Of the warm-up steps, means over the global batch; null: not finite.
    losses: tuple[float | None, ...]


class Environment(Block):
    """Machine and software versions of a cell's measurement."""

    started: str  # UTC, ISO 8601
    node: str
    device: str  # the GPU's name, or the processor's
    devices: int  # GPUs used; 0 on CPUs
    processor: str
    cpus: int  # cores of each process
    backend: Literal["gloo", "nccl", "none"]  # none: one process alone
    python: str
    torch: str
    torchvision: str
    transformers: str
    diffusers: str
    denoising_diffusion_pytorch: str
    cuda: str | None
    nccl: str | None  # both null on CPUs
    git_commit: str | None  # of this project; with "-dirty" where files differ from it
    slurm_job: str | None


class CellRecord(JsonRecord):
    """The JSON file of one cell."""

    cell: Cell
    status: Status
    reason: str | None = None  # why it is not ok, in one line
    environment: Environment
    measurement: Measurement | None = None


def in_a_line(result: CellRecord) -> str:
    """Return the outcome of a cell as one line for people."""
    cell, measured = result.cell, result.measurement
    samples = f"{measured.sample if measured else 'sample'}s"
    about = f"{cell.model} {cell.strategy} {cell.precision}, {cell.batch_size} {samples}"
    about += f" x {cell.processes} process{'es' if cell.processes > 1 else ''}"
    if cell.nodes > 1:
        about += f" x {cell.nodes} nodes"
    if measured is None:
        return f"{about}: {result.status}: {result.reason}"
    middle = sorted(measured.repetitions, key=lambda one: one.step_ms_median)
    typical = middle[len(middle) // 2]
    memory = size_text(int(1e6 * max(one.peak_memory_mb for one in measured.repetitions)))
    return (
        f"{about}: {typical.samples_per_second:,.0f} {samples}/s, "
        f"{typical.step_ms_median:.1f} ms a step, {memory}"
    )
