"""The machine and the job: GPUs, processor cores, memory, processes, SLURM."""
