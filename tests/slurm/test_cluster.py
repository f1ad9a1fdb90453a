"""The private cluster has the shape that is asked for."""

from cluster import Shape, cluster


def test_a_cluster_of_another_shape_stands_beside_the_first(slurm, short_folder):
    shape = Shape(gpu_nodes=3, gpus=1, gpu_partition="a100", cpu_partition="batch")
    with cluster(short_folder(), shape) as other:
        assert nodes(slurm) == {"gpu": {"gpu:a100:2": 2}, "cpu*": {"(null)": 1}}
        assert nodes(other) == {"a100": {"gpu:a100:1": 3}, "batch*": {"(null)": 1}}
        seen = other.run("srun", "--partition=a100", "--gpus=1", "printenv", "CUDA_VISIBLE_DEVICES")
        assert seen == "0"


def nodes(of) -> dict[str, dict[str, int]]:
    """Number of nodes by partition and GPUs."""
    table: dict[str, dict[str, int]] = {}
    for line in of.run("sinfo", "--noheader", "--format=%P %G %D").splitlines():
        partition, gpus, count = line.split()
        table.setdefault(partition, {})[gpus] = int(count)
    return table
