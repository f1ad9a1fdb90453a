"""Whatever happens in a cell, its program leaves a record that says so, and no process."""

import os
import signal
from pathlib import Path

import psutil
import pytest
from measured_cells import MeasuredCell, wait_for

from ddpm_bench.config.benchmark import CellStage
from ddpm_bench.throughput.unsupported import Machine, known_reason

# Each process of a cell writes down its own id and that of a process that it starts.
NOTED = """
import os, pathlib, subprocess, time
def note(folder={folder!r}):
    helper = subprocess.Popen(["sleep", "300"])
    name = f"{{folder}}/{{os.environ['RANK']}}.pids"
    pathlib.Path(name + ".new").write_text(f"{{os.getpid()}} {{helper.pid}}")
    os.rename(name + ".new", name)
"""
DESKTOP = Machine(gpus=0, cores=2, in_slurm_job=False)


def stage(network: str = "resnet18", measuring: dict | None = None, **cell) -> CellStage:
    keys = {"model": "small", "strategy": "ddp", "precision": "fp32", "batch_size": 4}
    return CellStage.model_validate(
        {
            "version": 1,
            "cell": {**keys, "processes": 2, "nodes": 1, **cell},
            "network": {"name": network},
            "measuring": measuring or {},
        }
    )


@pytest.mark.parametrize(
    ("cell", "machine", "says"),
    [
        (stage(strategy="single"), DESKTOP, "ddp shares a batch"),
        (stage(strategy="ddp-bf16"), DESKTOP, "ddp-fp16 runs on CPUs too"),
        (stage("albert", strategy="pipeline-gpipe"), DESKTOP, "one layer"),
        (stage(strategy="pipeline-gpipe", batch_size=3), DESKTOP, "cannot be cut into"),
        (
            stage(measuring={"micro_batches": 1}, strategy="pipeline-1f1b"),
            DESKTOP,
            "raise micro_batches",
        ),
        (stage(nodes=2), DESKTOP, "--profile profiles/slurm"),
        (stage(processes=4), Machine(2, 64, True), "offers 2"),
        (stage(measuring={"cpus": 2}), DESKTOP, "need 4 CPU cores"),
    ],
)
def test_what_cannot_be_measured_is_known_with_its_remedy(cell, machine, says):
    assert says in known_reason(cell, machine)


@pytest.mark.parametrize(
    ("cell", "machine"),
    [
        (stage(strategy="single", processes=1), DESKTOP),
        (stage(strategy="ddp-bf16"), Machine(2, 1, False)),
        (stage("albert", strategy="fsdp"), DESKTOP),
        (stage(measuring={"micro_batches": 1}, strategy="pipeline-gpipe"), DESKTOP),
        (stage(strategy="pipeline-1f1b", measuring={"micro_batches": 2}), DESKTOP),
        (stage(nodes=2, processes=4), Machine(0, 2, True)),
    ],
)
def test_nothing_is_said_against_what_can_be_measured(cell, machine):
    assert known_reason(cell, machine) is None


def test_an_unsupported_cell_costs_no_process_and_no_torch(tmp_path):
    cell = MeasuredCell(tmp_path, "raise SystemExit('started')", cell={"strategy": "single"})
    before = os.times()
    record, printed = cell.complete()
    assert record.status == "unsupported" and record.measurement is None
    assert record.environment.torch and record.environment.processor
    assert "small single fp32, 4 samples x 2 processes: unsupported: " in printed
    assert "started" not in printed
    used = os.times().children_user - before.children_user
    assert used < 5, "seconds of processor time"


def test_a_measurement_is_recorded_with_its_environment(tmp_path):
    cell = MeasuredCell(
        tmp_path,
        "import os\ndef measure(stage, images):\n"
        "    print('from rank', os.environ['RANK'], os.environ['OMP_NUM_THREADS'])\n"
        "    return measured() if os.environ['RANK'] == '0' else None",
    )
    record, printed = cell.complete()
    assert record.status == "ok" and record.reason is None
    assert record.measurement.repetitions[0].samples_per_second == 100.0
    assert (record.environment.backend, record.environment.devices) == ("gloo", 0)
    assert "from rank 0 1\n" in printed and "from rank 1 1\n" in printed
    line = "small ddp fp32, 4 images x 2 processes: 100 images/s, 20.0 ms a step, 700 MB"
    assert printed.splitlines()[-1] == line
    assert cell.left_over() == []


FAILURES = {
    "an exception": ("raise ValueError('a matter\\nof two lines')", "crashed", "a matter"),
    "unsupported": (
        "from ddpm_bench.planning.benchmark_cells import UnsupportedError; "
        "raise UnsupportedError('no such cut')",
        "unsupported",
        "no such cut",
    ),
    "out of memory": (
        "raise RuntimeError('of a pipeline') from RuntimeError("
        '"can\'t allocate memory: you tried to allocate 7000 bytes.")',
        "out of memory",
        "7.0 kB more could not be had; a process may take",
    ),
    "by the kernel": ("os.kill(os.getpid(), 9)", "out of memory", "SIGKILL"),
    "an abort": ("os.write(2, b'std::bad_alloc\\n'); os.abort()", "out of memory", "bad_alloc"),
    "another signal": ("os.write(2, b'oh\\n'); os.kill(os.getpid(), 11)", "crashed", "SIGSEGV: oh"),
    "an exit": ("os._exit(3)", "crashed", "exit status 3"),
    "nothing": ("return None", "crashed", "no measurement"),
}


@pytest.mark.parametrize(("does", "status", "says"), FAILURES.values(), ids=FAILURES)
def test_a_failure_is_recorded_with_its_kind_and_reason(tmp_path, does, status, says):
    source = f"import os\ndef measure(stage, images):\n    {does}"
    record, printed = MeasuredCell(tmp_path, source, cell={"processes": 1}).complete()
    assert record.status == status
    assert says in record.reason and "\n" not in record.reason
    assert f"{status}: {record.reason}" in printed.splitlines()[-1]


def test_a_failure_of_one_process_ends_the_others(tmp_path):
    """The other waits for it, as in a collective operation."""
    noted = Noted(tmp_path, second="raise ValueError('alone')")
    record, printed = noted.cell.complete()
    assert record.status == "crashed"
    assert record.reason == "ValueError: alone (traceback in the cell's log)"
    assert "Traceback (most recent call last)" in printed
    assert "not measured after" not in printed, "the others were not waited for"
    assert noted.ids() and noted.run() == [] and noted.cell.left_over() == []


def test_the_cause_is_told_and_not_what_it_brought_about(tmp_path):
    """The first to speak has lost its connection to the one that ran out of memory."""
    cell = MeasuredCell(
        tmp_path,
        "import os, time\ndef measure(stage, images):\n"
        "    if os.environ['RANK'] == '0':\n"
        "        raise RuntimeError('Connection closed by peer')\n"
        "    time.sleep(0.5)\n    raise MemoryError",
    )
    assert cell.complete()[0].status == "out of memory"


def test_a_process_that_needs_more_than_its_ceiling_is_out_of_memory(tmp_path):
    takes = "def measure(stage, images):\n    taken = bytearray({} * 10**6)\n    return measured()"
    keys = {"cell": {"processes": 1}, "measuring": {"memory_mb_per_process": 200}}
    record, _ = MeasuredCell(tmp_path, takes.format(300), **keys).complete()
    assert record.status == "out of memory"
    assert "may take 200 MB (benchmark.memory_mb_per_process): raise it" in record.reason
    assert MeasuredCell(tmp_path, takes.format(100), **keys).complete()[0].status == "ok"


class Noted:
    """A cell whose two processes, and a child of each, note their ids and never end.

    second: what the second process does then.
    """

    def __init__(self, folder: Path, second: str = "pass", **keys) -> None:
        source = NOTED.format(folder=str(folder))
        source += "def measure(stage, images):\n    note()\n"
        source += f"    if os.environ['RANK'] == '1':\n        {second}\n    time.sleep(300)"
        self.folder, self.cell = folder, MeasuredCell(folder, source, **keys)

    def ids(self) -> list[int]:
        return [int(pid) for path in self.folder.glob("*.pids") for pid in path.read_text().split()]

    def run(self) -> list[int]:
        return [pid for pid in self.ids() if psutil.pid_exists(pid) and not is_zombie(pid)]


def is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_cell_that_takes_too_long_is_ended_whole(tmp_path):
    noted = Noted(tmp_path, minutes=3 / 60)
    record, _ = noted.cell.complete()
    assert record.status == "timed out"
    assert "benchmark.run.minutes_per_cell" in record.reason
    assert len(noted.ids()) == 4 and noted.run() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_stop_ends_all_without_a_record(tmp_path, number):
    noted = Noted(tmp_path)
    process = noted.cell.start()
    wait_for(lambda: len(noted.ids()) == 4)
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert not noted.cell.output.exists() and noted.cell.left_over() == []
    assert noted.run() == []


def test_a_killed_program_takes_its_processes_along_and_the_next_removes_what_it_left(tmp_path):
    noted = Noted(tmp_path)
    process = noted.cell.start()
    wait_for(lambda: len(noted.ids()) == 4)
    process.kill()
    process.communicate(timeout=20)
    workers = [int(path.read_text().split()[0]) for path in tmp_path.glob("*.pids")]
    wait_for(lambda: not set(workers) & set(noted.run()))
    for helper in noted.run():  # theirs are orphans, which nobody ends
        os.kill(helper, signal.SIGKILL)
    assert not noted.cell.output.exists() and noted.cell.left_over() != []
    MeasuredCell(tmp_path, "def measure(stage, images): return measured()").complete()
    assert noted.cell.left_over() == []
