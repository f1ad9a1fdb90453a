"""Strategies of the throughput benchmark compute what one process does, in two real processes."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
import strategy_runs
import torch
import torch.distributed as dist
from strategy_runs import (
    ACCURATE,
    CPU,
    FEATURES,
    IN_MICRO_BATCHES,
    LOW_PRECISION,
    LOW_RANK,
    OUTPUTS,
    PROCESSES,
    SAMPLES,
    SEVERAL_BUCKETS,
    STEPS,
    WIDTH,
    WORKLOADS,
    Run,
    stage_of,
)
from torch import nn

from ddpm_bench.planning.benchmark_cells import UnsupportedError
from ddpm_bench.throughput.strategies.build import build_trainer
from ddpm_bench.throughput.strategies.trainers import SGD_MOMENTUM
from ddpm_bench.throughput.workloads.workload import Workload

UNIT_ROUNDOFF = 2.0**-11  # of fp16: half the distance of neighbours, relative
SUBNORMAL_ERROR = 2.0**-25  # half the distance of the smallest fp16 numbers
FLOAT_BYTES = 4


def losses_of(strategy_results: list[dict], run: Run) -> list[float]:
    """Means over the processes that see a loss, for each step."""
    seen = [result[repr(run)]["losses"] for result in strategy_results]
    seen = [losses for losses in seen if None not in losses]
    return [sum(losses) / len(losses) for losses in zip(*seen, strict=True)]


def sent(strategy_results: list[dict], run: Run) -> list[list[float]]:
    """Bytes of each step, by rank."""
    return [result[repr(run)]["sent"] for result in strategy_results]


def named(run: Run) -> str:
    return "-".join((run.workload, run.strategy, run.precision, run.optimizer))


@pytest.mark.parametrize("run", ACCURATE, ids=named)
def test_uncompressed_strategies_have_the_losses_of_one_process(strategy_results, run):
    alone = strategy_runs.losses(run.single())
    assert losses_of(strategy_results, run) == pytest.approx(alone, rel=1e-4)
    assert abs(alone[-1] / alone[0] - 1) > 1e-2  # so that wrong steps would show


@pytest.mark.parametrize("run", IN_MICRO_BATCHES, ids=named)
def test_batch_norm_sees_the_same_micro_batches_in_one_process(strategy_results, run):
    alone = strategy_runs.losses(run.single(micro_batches=2))
    assert losses_of(strategy_results, run) == pytest.approx(alone, rel=1e-4)
    assert strategy_runs.losses(run.single()) != pytest.approx(alone, rel=1e-3)


@pytest.mark.parametrize("run", LOW_PRECISION, ids=named)
def test_low_precision_stays_near_full_precision(strategy_results, run):
    full = strategy_runs.losses(replace(run, strategy="single", precision="fp32").single())
    seen = losses_of(strategy_results, run)
    assert seen == pytest.approx(full, rel=1e-3)
    assert seen != pytest.approx(full, rel=1e-9)


def test_all_processes_skip_a_step_that_overflows_in_one(strategy_results):
    for result in strategy_results:
        first, second = result["scaled steps"]["weights"]
        assert first == [1.0] * 3 and second == [0.75] * 3
        before, after, later = result["scaled steps"]["scales"]
        assert before == 2 * after == 2 * later


# --- Compressed gradients, against bounds ---


def curvature(workload: Workload) -> float:
    """The largest eigenvalue of the Hessian of a mean squared error of a linear layer.

    Of each output the Hessian is 2 / (samples x outputs) X'X, X the inputs with a column of ones.
    """
    (inputs,) = workload.inputs
    rows = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=inputs.dtype)], dim=1)
    return 2 / workload.targets.numel() * torch.linalg.matrix_norm(rows, 2).item() ** 2


def gradient_norm(model: nn.Module, workload: Workload) -> float:
    loss = workload.loss(model(*workload.inputs), workload.targets)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    return torch.nn.utils.get_total_norm(gradients).item()


class Regression:
    """`single` on the regression: losses, and norms of gradients, before each step."""

    def __init__(self, run: Run) -> None:
        self.learning_rate = run.learning_rate
        workload = WORKLOADS[run.workload](run.samples)
        half = run.samples // 2
        self.halves = [workload.share(0, half), workload.share(half, run.samples)]
        self.whole = workload
        trainer = build_trainer(run.stage("single", 1), workload, CPU)
        self.losses, self.norms, self.half_norms = [], [], []
        for _ in range(STEPS):
            self.norms.append(gradient_norm(workload.model, workload))
            self.half_norms.append([gradient_norm(workload.model, part) for part in self.halves])
            self.losses += strategy_runs.losses(trainer, 1)

    def bounds(self, errors: Iterator[float]) -> list[float]:
        """Bounds on the losses' deviation in a run whose gradient is wrong by a known norm.

        With v' = m v + g, w' = w - a v' (momentum m, rate a), g linear in w with curvature L: the
        two runs differ by |dv'| <= m |dv| + L |dw| + error and |dw'| <= |dw| + a |dv'|, and the
        losses, which are quadratic, by at most |g| |dw| + L |dw|^2 / 2. `errors` gets |dw| of the
        step by send().
        """
        steepest = curvature(self.whole)
        found, weights, velocity = [], 0.0, 0.0
        next(errors)
        for norm in self.norms:
            found.append(norm * weights + steepest * weights**2 / 2)
            velocity = SGD_MOMENTUM * velocity + steepest * weights + errors.send(weights)
            weights += self.learning_rate * velocity
        return found

    def rounding(self) -> Iterator[float]:
        """Errors of ddp-fp16, for |dw| before the step.

        Of two processes each rounds its gradient g_i to fp16: by at most u |g_i| + s of each value,
        u the unit roundoff and s half the spacing of subnormal numbers. Half of it is rounded by s
        at most, and the sum of the halves by u of itself. In all (2u + u^2) mean |g_i| + 3 (1 + u)
        s; so it is with norms, s times the root of the number of values. Where the weights are off
        by |dw|, |g_i| is larger by the curvature of the half times |dw| at most. From double
        precision values may go through float32, which adds 2^-24 of them.
        """
        u, count = UNIT_ROUNDOFF, sum(item.numel() for item in self.whole.model.parameters())
        weights = yield
        for norms in self.half_norms:
            pairs = zip(self.halves, norms, strict=True)
            mean = sum(norm + curvature(part) * weights for part, norm in pairs) / 2
            rounded = (2 * u + u**2 + 2.0**-24) * mean
            weights = yield rounded + 3 * (1 + u) * SUBNORMAL_ERROR * count**0.5

    def left_out(self) -> Iterator[float]:
        """Errors of powersgd, for |dw| before the step.

        From the third step on PPt(g + e) is applied, P with orthonormal columns, and e' = g + e -
        PPt(g + e) is kept for the next step: |e'| <= |g| + |e|, at most the sum of the norms of the
        gradients so far. The step lacks g - PPt(g + e) = e' - e of its gradient.
        """
        kept = 0.0
        weights = yield
        for step, norm in enumerate(self.norms):
            if step < 2:
                weights = yield 0.0
                continue
            before, kept = kept, kept + norm + curvature(self.whole) * weights
            weights = yield before + kept


def compressed(strategy: str) -> Run:
    return next(run for run in strategy_runs.COMPRESSED if run.strategy == strategy)


def test_gradients_in_16_bits_stay_within_their_rounding(strategy_results):
    run = compressed("ddp-fp16")
    alone = Regression(run)
    bounds = alone.bounds(alone.rounding())
    seen = losses_of(strategy_results, run)
    for ours, theirs, bound in zip(seen[1:], alone.losses[1:], bounds[1:], strict=True):
        assert 0 < abs(ours - theirs) <= bound
    assert bounds[-1] < 0.01 * (alone.losses[0] - alone.losses[-1])  # it says something


def test_low_rank_gradients_stay_within_what_they_leave_out(strategy_results):
    run = compressed("powersgd")
    alone = Regression(run)
    bounds = alone.bounds(alone.left_out())
    seen = losses_of(strategy_results, run)
    assert seen[:3] == pytest.approx(alone.losses[:3], rel=1e-12)  # whole gradients
    assert bounds[3] < 0.3 * (alone.losses[2] - alone.losses[3])  # it says something
    for ours, theirs, bound in zip(seen[3:], alone.losses[3:], bounds[3:], strict=True):
        assert 1e-6 < abs(ours - theirs) <= bound
    assert all(later < earlier for earlier, later in itertools.pairwise(seen))


def test_the_regression_is_exact_without_compression(strategy_results):
    run = compressed("ddp")
    assert losses_of(strategy_results, run) == pytest.approx(Regression(run).losses, rel=1e-12)


@pytest.mark.parametrize("run", [LOW_RANK, SEVERAL_BUCKETS], ids=named)
def test_low_rank_gradients_lose_nothing_of_gradients_of_low_rank(strategy_results, run):
    """The gradient of a layer's weights is a sum over the samples of matrices of rank 1: with two
    samples, rank 2 is enough. With more gradients than a bucket of DDP holds, too."""
    alone = strategy_runs.losses(run.single())
    assert losses_of(strategy_results, run) == pytest.approx(alone, rel=1e-5)


# --- What is sent and held, of the perceptron: four layers ---

WEIGHTS = 4 * WIDTH * (WIDTH + 1)
RING = (PROCESSES - 1) / PROCESSES


def test_ddp_sends_each_gradient_twice_around(strategy_results):
    for steps in sent(strategy_results, Run("perceptron", "ddp")):
        # In the second step it tells of the order in which gradients came.
        assert steps[0] == steps[2] == 2 * RING * FLOAT_BYTES * WEIGHTS
        assert steps[0] < steps[1] < 1.001 * steps[0]


def test_gradients_in_16_bits_are_half_the_bytes(strategy_results):
    pairs = zip(
        sent(strategy_results, Run("perceptron", "ddp-fp16")),
        sent(strategy_results, Run("perceptron", "ddp")),
        strict=True,
    )
    for ours, whole in pairs:
        assert ours[0] == ours[2] == ours[4] == whole[0] / 2


@pytest.mark.parametrize("rank", [1, 2])
def test_powersgd_sends_factors_from_the_third_step_on(strategy_results, rank):
    run = Run("perceptron", "powersgd") if rank == 1 else LOW_RANK
    biases, factors = 4 * WIDTH, 4 * rank * (WIDTH + WIDTH)
    whole = sent(strategy_results, Run("perceptron", "ddp"))
    for ours, theirs in zip(sent(strategy_results, run), whole, strict=True):
        assert ours[:2] == theirs[:2]
        assert ours[2:] == [2 * RING * FLOAT_BYTES * (biases + factors)] * 3
        assert ours[2] < theirs[2] / 10


@pytest.mark.parametrize("precision, gathered", [("fp32", 4), ("bf16", 2)])
def test_fsdp_gathers_weights_twice_and_scatters_gradients(strategy_results, precision, gathered):
    """The last layer has no shard of its own: it is gathered with the whole, and kept."""
    layer = WEIGHTS / 4
    expected = RING * (gathered * (2 * 3 * layer + layer) + FLOAT_BYTES * WEIGHTS)
    for steps in sent(strategy_results, Run("perceptron", "fsdp", precision)):
        assert steps == [expected] * STEPS
    if precision == "fp32":
        assert expected == pytest.approx(1.5 * 2 * RING * FLOAT_BYTES * WEIGHTS, rel=0.1)


@pytest.mark.parametrize("strategy", strategy_runs.PIPELINES)
def test_stages_send_activations_and_their_gradients(strategy_results, strategy):
    for steps in sent(strategy_results, Run("perceptron", strategy)):
        assert steps[1:] == [FLOAT_BYTES * SAMPLES * WIDTH] * (STEPS - 1)


def test_one_process_sends_nothing():
    with strategy_runs.CountedBytes() as counted:
        strategy_runs.losses(Run("perceptron", "single").single(), 1)
    assert counted.sent == 0


@pytest.mark.parametrize("run", [*ACCURATE, *IN_MICRO_BATCHES], ids=named)
def test_what_is_sharded_is_held_once(strategy_results, run):
    model = WORKLOADS[run.workload](run.samples).model
    whole = FLOAT_BYTES * sum(item.numel() for item in model.parameters())
    held = [result[repr(run)]["parameter_bytes"] for result in strategy_results]
    if run.strategy == "ddp":
        assert held == [whole] * PROCESSES
        return
    assert sum(held) == whole
    if run.workload != "normalised" or run.strategy == "fsdp":  # one of its stages has most weights
        assert max(held) < 0.7 * whole


# --- What cannot be had ---


@pytest.fixture()
def alone() -> Iterator[None]:
    """A process group of this process only."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "strategy, keys, words",
    [
        ("ddp-bf16", {}, "ddp-bf16 needs NCCL"),
        ("powersgd", {"precision": "fp16"}, "take bf16"),
        ("pipeline-gpipe", {"micro_batches": 3}, "numbers that divide them: 1, 2, 4, 8"),
        ("pipeline-1f1b", {"micro_batches": 1, "processes": 2}, "raise micro_batches = 1 to 2"),
        ("single", {"processes": 2}, "single is one process"),
    ],
)
def test_what_cannot_be_had_says_why(alone, strategy, keys, words):
    with pytest.raises(UnsupportedError, match=words):
        build_trainer(stage_of(strategy, **keys), WORKLOADS["perceptron"](), CPU)


def test_weights_that_no_gradient_reaches_are_named_by_ddp(alone):
    workload = WORKLOADS["perceptron"]()
    workload.model.add_module("unused", nn.Identity())
    workload.model.unused.weight = nn.Parameter(torch.zeros(3))
    trainer = build_trainer(stage_of("ddp"), workload, CPU)
    trainer.step()
    with pytest.raises(RuntimeError, match="not used in producing loss"):
        trainer.step()


def test_an_operation_of_unknown_size_is_refused(alone):
    with pytest.raises(AssertionError, match="scatter_"), strategy_runs.CountedBytes():
        dist.scatter(torch.zeros(2), [torch.zeros(2)])


assert OUTPUTS * FEATURES > 2 * (OUTPUTS + FEATURES), "PowerSGD compresses the regression"
