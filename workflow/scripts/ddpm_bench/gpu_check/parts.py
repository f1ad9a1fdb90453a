"""The parts of the GPU check, in the order in which they run."""

from ddpm_bench.gpu_check.part import Part

HERE = "ddpm_bench.gpu_check"

PARTS = (
    Part(
        "machine",
        "driver, CUDA, NCCL, compiler and memory",
        f"{HERE}.machine:check_machine",
        seconds=60,
        unseen="the driver, the GPU's memory and NCCL",
    ),
    Part(
        "leases",
        "leases of GPUs, and the GPUs that torch sees of them",
        f"{HERE}.leases:check_leases",
        seconds=60,
        unseen="the GPUs that torch sees",
    ),
    Part(
        "speed",
        "images/s of training and sampling beside denoising-diffusion-pytorch",
        f"{HERE}.speed:check_speed",
        seconds=240,
        unseen="goals, compiled code, and the shares of time on the GPU",
    ),
)
