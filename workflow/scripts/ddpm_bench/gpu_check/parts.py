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
        "sampling",
        "images of two solvers, drawn by one job and by two, and on the CPU",
        f"{HERE}.sampling:check_sampling",
        seconds=120,
        unseen="the GPU's images, and how far they are from the CPU's",
    ),
    Part(
        "scores",
        "features and scores, on the GPU and the CPU",
        f"{HERE}.scores:check_scores",
        seconds=120,
        unseen="features that a GPU computes, and TF32",
    ),
    Part(
        "groups",
        "two processes on one GPU over gloo, one over NCCL",
        f"{HERE}.groups:check_groups",
        seconds=120,
        unseen="NCCL, and gloo's collectives of tensors on a GPU",
    ),
    Part(
        "strategies",
        "each strategy of the benchmark that one GPU can run",
        f"{HERE}.strategies:check_strategies",
        seconds=150,
        unseen="NCCL, the GPU's kernels, speeds and memory",
    ),
)
