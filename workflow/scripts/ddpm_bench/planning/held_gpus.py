"""Evidence that the jobs of a run will hold GPUs."""

import shutil
from pathlib import Path

from ddpm_bench.machine.gpu_listing import present_devices
from ddpm_bench.planning.finished_jobs import ANY_BENCHMARK, file_names
from ddpm_bench.records.benchmark_files import JobBenchmark, read_benchmark
from ddpm_bench.records.rule_files import job_benchmark


def will_hold_gpus(results: Path) -> bool:
    """Return True if jobs are likely to hold GPUs.

    The newest training decides: on SLURM it asked for GPUs or not, and elsewhere it ran on those of
    this machine. Before the first one, a machine with GPUs or with SLURM's sbatch has them.
    """
    newest = _newest_training(results)
    if newest is not None and "slurm_partition" in newest.resources:
        return bool(newest.resources.get("gpu"))
    ran_here = newest is not None and bool(newest.resources)  # without resources it is unknown
    return bool(present_devices()) or (not ran_here and shutil.which("sbatch") is not None)


def _newest_training(results: Path) -> JobBenchmark | None:
    """Return the time and the requests of the training job that ended last; None without one."""
    folder = job_benchmark(results, "train", "x").parent
    files = [folder / name for name in file_names(folder, ANY_BENCHMARK)]
    try:
        return read_benchmark(max(files, key=lambda path: path.stat().st_mtime))
    except (OSError, ValueError, KeyError, IndexError):  # none, or removed or damaged
        return None
