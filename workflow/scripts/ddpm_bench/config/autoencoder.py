"""`autoencoders:`, networks that turn images into latents, in which experiments may train."""

from collections.abc import Iterator

from pydantic import Field

from ddpm_bench.config.block import Block, Images, Name, PositiveInt
from ddpm_bench.config.networks import VqVae
from ddpm_bench.config.sampling import ChosenCheckpoints
from ddpm_bench.config.score_sizes import too_few_samples
from ddpm_bench.config.scoring import Score
from ddpm_bench.config.training import Train, Validation

# Keys of `train:` without use here: options of the diffusion loss, and further averages.
DIFFUSION_KEYS = ("min_snr_gamma", "offset_noise", "ema_sigma_rels")
ENCODING_BATCH = 64  # images per forward pass of encoding and reconstructing
RECONSTRUCTIONS = "reconstructions"  # an autoencoder's one set of images to score


class Reconstructions(Block):
    """Held-out images that are encoded, quantised and decoded by each checkpoint."""

    images: Images = Field(
        1000,
        description="Number of images at most: the first held-out ones, or the first training "
        "images if the dataset holds none out.",
    )
    checkpoints: ChosenCheckpoints = Field("all", description="Same form as in `samples`.")


class Autoencoder(Block):
    """One autoencoder trained on one dataset; experiments that name it share its latents."""

    dataset: Name = Field(description="A name under `datasets`.")
    model: VqVae = Field(description="The network.")
    train: Train = Field(description="The optimisation.")
    validation: Validation = Field(
        default_factory=Validation, description="The loss on held-out images."
    )
    reconstructions: Reconstructions = Field(
        default_factory=Reconstructions, description="Reconstructions to make and score."
    )
    scores: dict[Name, Score] = Field(
        {}, description="Named ways to score the reconstructions; take `reference: eval`."
    )

    @property
    def samples(self) -> dict[str, Reconstructions]:
        """The one set of images that is scored, by name, as experiments have named sets."""
        return {RECONSTRUCTIONS: self.reconstructions}

    def problems(self) -> Iterator[str]:
        for key in DIFFUSION_KEYS:
            if getattr(self.train, key):
                yield f"train.{key} is an option of diffusion models; remove it"
        images = {RECONSTRUCTIONS: self.reconstructions.images}
        yield from too_few_samples(self.scores, images)


class EncodeStage(Block):
    """All that determines latents besides weights and images: `--what` of encode.py."""

    version: PositiveInt
    model: VqVae


class ReconstructStage(Block):
    """All that determines reconstructions besides weights and images.

    It is `--what` of reconstruct.py.
    """

    version: PositiveInt
    model: VqVae
    images: PositiveInt
