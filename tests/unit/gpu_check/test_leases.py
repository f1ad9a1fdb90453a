"""Programs that held a lease of one GPU at the same time are noticed."""

from ddpm_bench.gpu_check.leases import overlapping


def test_leases_of_one_gpu_at_a_time_do_not_overlap():
    first = {"names": ["0"], "began": 1.0, "ended": 2.0}
    after = {"names": ["0"], "began": 2.0, "ended": 3.0}
    beside = {"names": ["1"], "began": 1.0, "ended": 3.0}
    during = {"names": ["0"], "began": 1.5, "ended": 2.5}
    assert overlapping([first, after, beside]) == 0
    assert overlapping([first, during]) == 1
    assert overlapping([first, after, during]) == 2
