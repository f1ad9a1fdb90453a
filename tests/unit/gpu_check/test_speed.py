"""The GPU check's part about speed: its verdicts, and what it runs."""

import json
import runpy
from pathlib import Path

import pytest

from ddpm_bench.errors import UserError
from ddpm_bench.gpu_check import speed
from ddpm_bench.gpu_check.part import ON_A_GPU, WITH_STAND_INS, ProgramError, Setting

RESULT = {
    "ratio_median": 3.4,
    "ratio_min": 3.2,
    "ratio_max": 3.5,
    "images_per_second_ours": 1200.4,
    "images_per_second_peer": 353.1,
    "precision_ours": "bf16",
    "precision_peer": "fp32",
    "compiled_ours": True,
    "share_outside": 0.02,
    "share_in_kernels": 0.95,
}
COMPILED = {
    "ratio_compiled_median": 1.2,
    "ratio_compiled_min": 1.1,
    "ratio_compiled_max": 1.3,
    "images_per_second_peer_compiled": 1000.0,
    "precision_peer_compiled": "bf16",
}
BELOW = {"ratio_median": 2.2, "ratio_min": 2.1, "ratio_max": 2.3}


def on_a_gpu(folder: Path) -> Setting:
    return Setting(folder=folder, gpu=True, **ON_A_GPU)


def test_a_goal_that_is_reached_passes_and_one_that_is_not_fails_with_a_remedy():
    reached = speed.judged(speed.TRAINING, RESULT, gpu=True)
    assert (reached.outcome, reached.remedy) == ("pass", "")
    assert reached.found.startswith("3.40 times (3.20 to 3.50) as fast: 1200 images/s in bf16")
    assert reached.numbers["goal"] == 3.0
    missed = speed.judged(speed.TRAINING, RESULT | BELOW, gpu=True)
    assert missed.outcome == "fail" and missed.remedy
    assert missed.numbers["ratio_median"] == 2.2
    assert speed.judged(speed.SAMPLING, RESULT | {"ratio_median": 2.6}, gpu=True).outcome == "pass"


def test_stand_ins_have_no_goal():
    check = speed.judged(speed.TRAINING, RESULT | BELOW, gpu=False)
    assert check.outcome == "measured"
    assert "goal" not in check.numbers and "goal" not in check.found


@pytest.mark.parametrize(
    ("measured", "advice"),
    [
        ({"ratio_max": 3.1}, "some rounds reach it"),
        ({"compiled_ours": False}, "not compiled"),
        ({"precision_ours": "fp32"}, "fp16"),
        ({"share_outside": 0.3}, "30% of a step lies outside"),
        ({"share_in_kernels": 0.45}, "kernels run for 45% of the time, else the GPU waits"),
        ({}, "kernels run for 95% of the time: the GPU's arithmetic or memory"),
        ({"share_in_kernels": None}, "ERR_NVGPUCTRPERM"),
    ],
)
def test_the_remedy_is_that_of_what_limits_the_speed(measured, advice):
    assert advice in speed.remedy(3.0, RESULT | BELOW | measured)


def test_a_comparison_that_ends_hides_no_other(monkeypatch, tmp_path):
    def run_program(program: Path, *options: object) -> str:
        if program.name == "train.py":
            raise ProgramError("train.py ended with status 1: CUDA out of memory")
        return f"warning\n{json.dumps(RESULT)}\n"

    monkeypatch.setattr(speed, "run_program", run_program)
    monkeypatch.setattr(speed, "photographs", lambda setting: setting.folder)
    monkeypatch.setattr(speed, "_gpu_has_bf16", lambda: True)
    training, sampling = speed.check_speed(on_a_gpu(tmp_path))
    assert training.outcome == "fail" and "out of memory" in training.found
    assert training.remedy.startswith("run it alone: python comparisons/train.py --images")
    assert (sampling.name, sampling.outcome) == (speed.SAMPLING, "pass")


def test_the_compiled_trainer_has_a_row_of_its_own(monkeypatch, tmp_path):
    asked = []

    def run_program(program: Path, *options: object) -> str:
        asked.append([program.name, *map(str, options)])
        return json.dumps(RESULT | COMPILED if program.name == "train.py" else RESULT)

    monkeypatch.setattr(speed, "run_program", run_program)
    monkeypatch.setattr(speed, "photographs", lambda setting: setting.folder)
    monkeypatch.setattr(speed, "_gpu_has_bf16", lambda: True)
    checks = list(speed.check_speed(on_a_gpu(tmp_path)))
    assert [check.name for check in checks] == [speed.TRAINING, speed.COMPILED, speed.SAMPLING]
    assert "1.20 times (1.10 to 1.30)" in checks[1].found
    assert all("bf16" in options for options in asked)
    assert "--peer-compiled" in asked[0]


@pytest.mark.parametrize("program", ["train", "sample"])
@pytest.mark.parametrize("gpu", [True, False])
def test_the_programs_take_the_options_of_both_settings(monkeypatch, tmp_path, program, gpu):
    setting = Setting(folder=tmp_path, gpu=gpu, **(ON_A_GPU if gpu else WITH_STAND_INS))
    monkeypatch.setattr(speed, "photographs", lambda setting: tmp_path)
    monkeypatch.syspath_prepend(speed.COMPARISONS)
    options = {"train": speed.training_options, "sample": speed.sampling_options}[program]
    # Programs of rules have the same names: none may be found under the other's.
    module = runpy.run_path(str(speed.COMPARISONS / f"{program}.py"))
    monkeypatch.setattr("sys.argv", [program, *map(str, options(setting, "bf16"))])
    arguments, check = module["arguments"], module["check"]
    if program == "train":
        monkeypatch.setitem(check.__globals__, "photographs", lambda folder: [folder] * 256)
    args = arguments()
    check(args)
    assert args.image_size == setting.image_size
    assert args.dim_mults == list(setting.dim_mults)


def test_a_gpu_that_torch_cannot_use_is_an_error_before_the_peers_compute_on_the_cpu(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.delenv("DDPM_BENCH_STAND_IN_GPUS", raising=False)
    monkeypatch.setenv("DDPM_BENCH_DEVICES", "0")
    with pytest.raises(UserError, match="torch cannot use"):
        next(speed.check_speed(on_a_gpu(tmp_path)))
