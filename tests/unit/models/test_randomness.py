"""Randomness is a function of the seed and of counters, and of nothing else."""

import numpy as np
import torch

from ddpm_bench.models.randomness import (
    batch_flips,
    batch_positions,
    derived_seed,
    image_generator,
    sees_estimate,
    step_draws,
)

CPU = torch.device("cpu")


def test_every_image_is_seen_once_per_epoch_whatever_the_batch():
    seen = np.concatenate([batch_positions(0, start, 7, 50) for start in range(0, 150 * 7, 7)])
    for epoch in range(20):
        assert sorted(seen[epoch * 50 : (epoch + 1) * 50]) == list(range(50))


def test_the_order_does_not_depend_on_where_batches_are_cut():
    whole = batch_positions(3, 0, 240, 50)
    pieces = [batch_positions(3, start, 24, 50) for start in range(0, 240, 24)]
    assert (np.concatenate(pieces) == whole).all()


def test_epochs_and_seeds_have_orders_of_their_own():
    first, second = batch_positions(0, 0, 50, 50), batch_positions(0, 50, 50, 50)
    assert (first != second).any()
    assert (first != batch_positions(1, 0, 50, 50)).any()


def test_the_order_is_frozen():
    # Another numpy, Python or machine must not change what a resumed training sees.
    assert batch_positions(0, 0, 6, 1000).tolist() == [180, 571, 767, 835, 71, 857]
    assert derived_seed(0, "training step", 5) == 7844418654510292707


def test_draws_of_a_step_are_repeatable_and_differ_between_steps():
    shape = (4, 1, 8, 8)
    noise, times = step_draws(0, 7, shape, 1000, CPU)
    again, times_again = step_draws(0, 7, shape, 1000, CPU)
    assert torch.equal(noise, again)
    assert torch.equal(times, times_again)
    assert not torch.equal(noise, step_draws(0, 8, shape, 1000, CPU)[0])
    assert not torch.equal(noise, step_draws(1, 7, shape, 1000, CPU)[0])


def test_draws_are_standard_normal_and_uniform():
    noise, times = step_draws(0, 0, (4000, 1, 8, 8), 10, CPU)
    # Standard errors: 1 / sqrt(256,000) of the mean, sqrt(2 / 256,000) of the variance.
    assert abs(float(noise.mean())) < 5 * 0.002
    assert abs(float(noise.var()) - 1) < 5 * 0.0028
    counts = torch.bincount(times, minlength=10)
    assert len(counts) == 10
    assert (counts - 400).abs().max() < 5 * 19


def test_images_of_a_set_have_generators_of_their_own():
    draws = [torch.randn(3, generator=image_generator(0, image)) for image in (0, 1, 0)]
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])


def test_flips_depend_on_the_seed_and_the_image_seen_alone():
    whole = batch_flips(3, 0, 300, images=100)  # three epochs
    assert whole.dtype == bool and 0.4 < whole.mean() < 0.6
    parts = [batch_flips(3, start, 20, images=100) for start in range(0, 300, 20)]
    assert (np.concatenate(parts) == whole).all()
    assert (whole[:100] != whole[100:200]).any(), "each epoch has its own"
    assert (batch_flips(4, 0, 300, images=100) != whole).any()


def test_half_of_the_steps_see_an_estimate():
    seen = [sees_estimate(0, step) for step in range(400)]
    assert 0.4 < np.mean(seen) < 0.6
    assert seen[:50] == [sees_estimate(0, step) for step in range(50)]
    assert seen != [sees_estimate(1, step) for step in range(400)]


def test_offset_noise_adds_one_value_to_each_channel_and_leaves_the_other_draws_alone():
    shape = (500, 3, 4, 4)
    plain, times = step_draws(0, 7, shape, 1000, CPU)
    noise, same_times = step_draws(0, 7, shape, 1000, CPU, offset_noise=0.5)
    offsets = noise - plain
    assert torch.equal(times, same_times)
    torch.testing.assert_close(offsets, offsets[..., :1, :1].expand(shape), rtol=0, atol=1e-6)
    assert abs(offsets[..., 0, 0].std().item() - 0.5) < 0.03
