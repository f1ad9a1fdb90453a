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
        "resume",
        "a training that is killed and started again",
        f"{HERE}.resuming:check_resuming",
        seconds=240,
        unseen="kernels of a GPU, compiled code, and trainings that are not deterministic",
    ),
    Part(
        "compile",
        "torch.compile from an empty cache and from a kept one",
        f"{HERE}.compiling:check_compiling",
        seconds=240,
        unseen="Triton's code, its speed, and the seconds that a real network takes",
    ),
    Part(
        "precisions",
        "training in float32, TF32, bfloat16 and float16",
        f"{HERE}.precisions:check_precisions",
        seconds=90,
        unseen="TF32, the speed of tensor cores, and float16 at the real size",
    ),
    Part(
        "speed",
        "images/s of training and sampling beside denoising-diffusion-pytorch",
        f"{HERE}.speed:check_speed",
        seconds=240,
        unseen="goals, compiled code, and the shares of time on the GPU",
    ),
    Part(
        "memory",
        "peak memory of training and sampling, and limits of it",
        f"{HERE}.memory:check_memory",
        seconds=120,
        unseen="the GPU's memory, and the main memory that CUDA takes",
        shares=True,
    ),
    Part(
        "sampling",
        "images of two solvers, drawn by one job and by two, and on the CPU",
        f"{HERE}.sampling:check_sampling",
        seconds=120,
        unseen="the GPU's images, and how far they are from the CPU's",
        shares=True,
    ),
    Part(
        "scores",
        "features and scores, on the GPU and the CPU",
        f"{HERE}.scores:check_scores",
        seconds=120,
        unseen="features that a GPU computes, and TF32",
        shares=True,
    ),
    Part(
        "groups",
        "two processes on one GPU over gloo, one over NCCL",
        f"{HERE}.groups:check_groups",
        seconds=120,
        unseen="NCCL, and gloo's collectives of tensors on a GPU",
        shares=True,
    ),
    Part(
        "strategies",
        "each strategy of the benchmark that one GPU can run",
        f"{HERE}.strategies:check_strategies",
        seconds=150,
        unseen="NCCL, the GPU's kernels, speeds and memory",
        shares=True,
    ),
)
