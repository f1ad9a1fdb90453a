"""The autoencoder: its codebooks, its training, and images given back."""

import numpy as np
import pytest
import torch
from small_trainer import (
    difference,
    metrics_of,
    random_images,
    small_stage,
    small_trainer,
    weights_after,
)
from training_runs import (
    Run,
    assert_same_outcome,
    go_on,
    kill_at_points,
    kill_at_random,
    points_of,
    write_dataset,
)

from ddpm_bench.config.networks import VqVae
from ddpm_bench.latents.reconstruction import collapse, described, perplexity, reconstruct
from ddpm_bench.models.autoencoder import build_autoencoder, reconstruction_losses
from ddpm_bench.training.saving import restore, tensors_of
from ddpm_bench.training.states import TrainingState

CPU = torch.device("cpu")
VQVAE = {
    "name": "vqvae", "channels": 8, "downsampling": 2, "layers_per_block": 1,
    "norm_num_groups": 4, "codebook_size": 16, "restart_every": 4,
}  # fmt: skip
RESIDUAL = {**VQVAE, "residual_quantizers": 3, "codebook_dim": 2}


def autoencoder(keys: dict = VQVAE, channels: int = 1):
    return build_autoencoder(VqVae(**keys), channels, seed=1)


def pictures(count: int = 6, channels: int = 1) -> torch.Tensor:
    return torch.rand(count, channels, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("keys", [VQVAE, RESIDUAL], ids=["one codebook", "three in low dimensions"])
def test_images_become_latents_and_codes_and_images_again(keys):
    model = autoencoder(keys, channels=3).eval()
    images = pictures(channels=3)
    latents = model.encode(images)
    reconstructed, codes, loss = model(images)
    assert latents.shape == (6, 4, 4, 4)
    assert codes.shape == (6, 4, 4, keys.get("residual_quantizers", 1))
    assert reconstructed.shape == images.shape and float(loss) == 0
    torch.testing.assert_close(model.decode(latents), reconstructed)


def test_one_codebook_gives_the_nearest_code():
    model = autoencoder().eval()
    latents = torch.randn(2, 4, 3, 3)
    found, codes, _ = model.codebooks(latents)
    table = model.codebooks.code_weights()[0][0]
    vectors = latents.permute(0, 2, 3, 1).reshape(-1, 4)
    nearest = torch.cdist(vectors, table).argmin(dim=1)
    assert torch.equal(codes.flatten(), nearest)
    torch.testing.assert_close(found.permute(0, 2, 3, 1).reshape(-1, 4), table[nearest])


@pytest.mark.parametrize("beta", [0.25, 2.0])
def test_codes_are_pulled_with_weight_one_and_latents_with_the_commitment(beta):
    """Van den Oord et al. 2017, eq. 3: |sg[z] - e|^2 + beta |z - sg[e]|^2, as means."""
    model = autoencoder({**VQVAE, "commitment": beta}).train()
    latents = torch.randn(2, 4, 3, 3, requires_grad=True)
    _, codes, loss = model.codebooks(latents)
    (table,) = model.codebooks.code_weights()
    of_latents, of_codes = torch.autograd.grad(loss, [latents, table])

    vectors = latents.detach().permute(0, 2, 3, 1).reshape(-1, 4)
    away = vectors - table.detach()[0][codes.flatten()]  # z - e
    size = away.numel()
    assert float(loss.detach()) == pytest.approx(float((1 + beta) * (away**2).mean()), rel=1e-5)
    torch.testing.assert_close(
        of_latents.permute(0, 2, 3, 1).reshape(-1, 4), beta * 2 * away / size
    )
    expected = torch.zeros_like(table[0]).index_add(0, codes.flatten(), -2 * away / size)
    torch.testing.assert_close(of_codes[0], expected)


def test_each_codebook_is_pulled_to_what_those_before_it_leave():
    model = autoencoder({**VQVAE, "residual_quantizers": 2}).train()
    latents = torch.randn(2, 4, 3, 3, requires_grad=True)
    _, codes, loss = model.codebooks(latents)
    tables = model.codebooks.code_weights()
    of_latents, *of_codes = torch.autograd.grad(loss, [latents, *tables])

    left = latents.detach().permute(0, 2, 3, 1).reshape(-1, 4)
    pull = torch.zeros_like(left)
    for table, chosen, gradient in zip(tables, codes.flatten(0, 2).T, of_codes, strict=True):
        left = left - table.detach()[0][chosen]
        pull += 0.25 * 2 * left / left.numel()
        expected = torch.zeros_like(table[0]).index_add(0, chosen, -2 * left / left.numel())
        torch.testing.assert_close(gradient[0], expected)
    torch.testing.assert_close(of_latents.permute(0, 2, 3, 1).reshape(-1, 4), pull)


@pytest.mark.parametrize("keys", [VQVAE, RESIDUAL], ids=["one codebook", "three in low dimensions"])
def test_the_validated_loss_of_images_is_the_trained_one(keys):
    model = autoencoder(keys).train()
    images = pictures()
    reconstructed, _, loss = model(images)
    trained = float((reconstruction_losses(reconstructed, images).mean() + loss).detach())
    assert float(loss.detach()) > 1e-4
    validated = model.eval().image_losses(images)
    assert validated.shape == (6,)
    assert float(validated.detach().mean()) == pytest.approx(trained, rel=1e-5)


def test_every_weight_learns_and_the_codebook_too():
    model = autoencoder(RESIDUAL).train()
    reconstructed, _, loss = model(pictures())
    (reconstruction_losses(reconstructed, pictures()).mean() + loss).backward()
    for name, value in model.named_parameters():
        assert value.grad is not None and bool(value.grad.abs().sum() > 0), name


def test_codes_begin_as_latents_and_unused_ones_begin_again(tmp_path):
    trainer = small_trainer(tmp_path, small_stage(VQVAE))
    (codes,) = trainer.objective.network.codebooks.code_weights()
    latents = trainer.objective.network.encode(trainer.batches.part(0, slice(8)))
    distances = torch.cdist(codes[0], latents.permute(0, 2, 3, 1).reshape(-1, 4))
    assert float(distances.detach().min(dim=1).values.max()) < 1e-3, (
        "each is one of the first latents"
    )
    average = trainer.averages.of[None]["codebooks.quantizer.layers.0._codebook.embed"]
    torch.testing.assert_close(average, codes.detach())
    with torch.no_grad():
        codes[0, 3:] = 1e3  # nothing is near
    weights_after(trainer, 4)
    assert float(codes.detach().abs().max()) < 100, "after restart_every steps"


def test_codes_are_left_alone_where_restarts_are_off(tmp_path):
    trainer = small_trainer(tmp_path, small_stage({**VQVAE, "restart_every": 0}))
    (codes,) = trainer.objective.network.codebooks.code_weights()
    with torch.no_grad():
        codes[0, 3:] = 1e3
    weights_after(trainer, 9)
    assert float(codes.detach()[0, 3:].min()) > 900


def learning(weights: dict) -> dict:
    """The weights that have a gradient.

    A key's bias adds the same to all scores of a query, which softmax takes away again. So its
    gradient is nothing but rounding, and Adam, which divides by a gradient's size, turns rounding
    into steps as long as the learning rate allows: they differ with the order of sums.
    """
    biases = {name for name in weights if name.endswith("to_k.bias")}
    assert len(biases) == 2, "of the encoder's attention and of the decoder's"
    return {name: value for name, value in weights.items() if name not in biases}


def test_micro_batches_give_the_weights_of_a_whole_batch(tmp_path):
    whole = weights_after(small_trainer(tmp_path / "whole", small_stage(VQVAE)), 6)
    parts = small_trainer(tmp_path / "parts", small_stage(VQVAE), micro_batch_size=2)
    assert difference(learning(weights_after(parts, 6)), learning(whole)) < 1e-5


def test_what_is_counted_survives_a_resume_between_restarts(tmp_path):
    """Six steps, of which the state holds two since the last restart, and two more."""
    undisturbed = small_trainer(tmp_path / "one", small_stage(VQVAE))
    weights_after(undisturbed, 6)
    counters = {"skipped": 0, "skipped_in_a_row": 0, "loss_scale": 1.0, "good_steps": 6.0}
    copied = {name: value.detach().clone() for name, value in tensors_of(undisturbed).items()}
    resumed = small_trainer(tmp_path / "two", small_stage(VQVAE))
    state = TrainingState(6, copied, "", [], counters)
    restore(state, resumed, metrics_of(resumed, tmp_path))
    assert difference(weights_after(resumed, 2), weights_after(undisturbed, 2)) == 0.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("autoencoders")
    write_dataset(path)
    return path


def test_a_killed_training_ends_as_if_undisturbed(folder):
    how = {"save_seconds": 1e-6}  # after each step
    undisturbed = Run(folder, "undisturbed", model=VQVAE, how=how)
    points = points_of(undisturbed, 60)
    run = Run(folder, "killed", model=VQVAE, how=how)
    of_state = [point for point in points if "/state/" in point and point.startswith("rename")]
    kill_at_points(run, 60, [*of_state, "rename checkpoints/step-#.safetensors"])
    kill_at_random(run, 60, kills=1, seed=0)
    go_on(run, undisturbed, 60, 80)
    assert_same_outcome(run, undisturbed, 80)


def test_two_processes_train_the_weights_of_one(folder):
    one = Run(folder, "one", model=VQVAE, train={"learning_rate": 1e-4})
    one.complete_here(0, 20)
    two = Run(folder, "two", model=VQVAE, train={"learning_rate": 1e-4}, how={"gpus": 2})
    two.complete(0, 20)
    ours, theirs = learning(two.weights(20)), learning(one.weights(20))
    squares = sum(float(((ours[name] - theirs[name]) ** 2).sum()) for name in theirs)
    assert squares / sum(float((value**2).sum()) for value in theirs.values()) < 1e-10


def test_reconstructions_tell_their_error_and_the_codes_they_take():
    model = autoencoder().eval()
    images = random_images(70)
    result = reconstruct(model, images, CPU, lambda count: None)
    assert result.images.shape == images.shape and result.images.dtype == np.uint8
    assert result.counts.sum() == 70 * 4 * 4
    told = described(20, result)
    pixels = images.astype(np.float64) / 127.5 - 1
    back = result.images.astype(np.float64) / 127.5 - 1
    assert told["mse"] == pytest.approx(((pixels - back) ** 2).mean(), rel=1e-2)
    assert told["psnr_db"] == pytest.approx(10 * np.log10(4 / told["mse"]))
    assert told["codebooks"][0]["codes"] == 16


def test_perplexity_is_the_number_of_codes_that_are_used_alike():
    assert perplexity(np.array([5, 5, 5, 5, 0, 0])) == pytest.approx(4)
    assert perplexity(np.array([9, 0, 0])) == pytest.approx(1)


def test_a_codebook_that_collapses_is_reported_with_advice():
    good, bad = np.full(100, 10), np.array([999, 1] + [0] * 98)
    assert collapse(np.stack([good])) == ""
    said = collapse(np.stack([good, bad]))
    assert said.startswith("codebook 2 uses as much as 1.0 of 100 codes") and "codebook_dim" in said
    few_places = np.array([1] * 9 + [0] * 991)  # nine latents cannot take a hundred codes
    assert collapse(few_places[None]) == ""
