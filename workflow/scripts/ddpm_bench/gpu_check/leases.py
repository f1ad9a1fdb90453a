"""Part "leases": programs that want a GPU at the same time, and the GPU that torch sees in each."""

import json
import subprocess
import sys
from collections.abc import Iterator

from ddpm_bench.gpu_check.part import SCRIPTS, Check, ProgramError, Setting, last_lines
from ddpm_bench.machine.gpu_listing import present_devices

HELD_SECONDS = 1.0
HOLD = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import torch  # which looks for GPUs later only: so the programs wait for their imports at once
from ddpm_bench.machine.gpu_leases import lease
with lease(1) as names:
    began = time.time()
    seen = torch.cuda.device_count()
    time.sleep(float(sys.argv[2]))
    print(json.dumps({"names": names, "began": began, "ended": time.time(), "seen": seen}))
"""


def check_leases(setting: Setting) -> Iterator[Check]:
    """Yield checks of programs, one more than there are GPUs, that hold a lease of one each."""
    devices = present_devices()
    command = [sys.executable, "-c", HOLD, str(SCRIPTS), str(HELD_SECONDS)]
    programs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(len(devices) + 1)
    ]
    held = []
    for program in programs:
        output, errors = program.communicate()
        if program.returncode != 0:
            raise ProgramError(f"a program with a lease ended: {last_lines(errors)}")
        held.append(json.loads(output))
    together = overlapping(held)
    found = f"{len(held)} programs held {len(devices)} GPUs, {together} pairs held one together"
    if together:
        remedy = "is DDPM_BENCH_DEVICE_LOCKS on a file system that keeps locks? Try a local folder"
        yield Check("one program for each GPU at a time", "fail", found, remedy)
    else:
        yield Check("one program for each GPU at a time", "pass", found)
    if not setting.gpu:
        return
    seen = sorted({hold["seen"] for hold in held})
    if seen == [1]:
        yield Check("GPUs that torch sees", "pass", "one in each program, the leased one")
    else:
        remedy = "is CUDA_VISIBLE_DEVICES set to names that the driver does not have?"
        yield Check("GPUs that torch sees", "fail", f"{seen} and not 1", remedy)


def overlapping(held: list[dict]) -> int:
    """Return the number of pairs of programs that held one GPU at the same time.

    held: names of the GPUs, and the seconds at which each program began and ended to hold them.
    """
    return sum(
        bool(set(one["names"]) & set(other["names"]))
        and one["began"] < other["ended"]
        and other["began"] < one["ended"]
        for number, one in enumerate(held)
        for other in held[:number]
    )
