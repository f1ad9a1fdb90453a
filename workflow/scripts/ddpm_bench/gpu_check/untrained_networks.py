"""Feature networks with random weights, for where the published files are not at hand.

Their scores mean nothing, but those of two devices, or two programs, can be compared.
"""

import io

import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

LOGIT_DEVIATION = 2.0


class UntrainedInception(FeatureExtractorInceptionV3):
    """The network as its layers are drawn: the weights that its constructor reads are ignored."""

    def __init__(self) -> None:
        nothing = io.BytesIO()
        torch.save({}, nothing)
        nothing.seek(0)
        super().__init__(
            "inception-v3-compat",
            ["2048", "logits_unbiased"],
            feature_extractor_weights_path=nothing,
        )

    def load_state_dict(self, state_dict, *arguments, **options):
        del state_dict, arguments, options


def calibrated_inception(pixels: Tensor, seed: int = 0) -> bytes:
    """Return a file of drawn weights in torch-fidelity's layout, calibrated on photographs.

    pixels: uint8 [N, 3, H, W], a few dozen. Freshly drawn weights give every image nearly the same
    features, and FID is 0 whatever the code does. So each normalisation layer takes the statistics
    of the photographs, and the logits are scaled until classes differ.
    """
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(seed)
        inception = UntrainedInception()
        for layer in inception.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = None  # the plain mean over all batches seen
                layer.reset_running_stats()
        _, logits = inception.to(memory_format=torch.channels_last).train()(pixels)
        inception.fc.weight.mul_(LOGIT_DEVIATION / logits.std(dim=0).mean())
    content = io.BytesIO()
    torch.save(
        {name: value.contiguous() for name, value in inception.state_dict().items()}, content
    )
    return content.getvalue()


def drawn_dinov2(name: str) -> bytes:
    """Return drawn weights of a DINOv2 network in Hugging Face's layout, safetensors."""
    import transformers
    from safetensors.torch import save

    from ddpm_bench.scoring.features.dinov2 import ARCHITECTURES, PATCH

    size = ARCHITECTURES[name]
    config = transformers.Dinov2Config(
        hidden_size=size.width,
        num_hidden_layers=size.depth,
        num_attention_heads=size.heads,
        use_swiglu_ffn=size.swiglu,
        image_size=37 * PATCH,  # on which the published ones were trained
        patch_size=PATCH,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = transformers.Dinov2Model(config)
        for parameter in network.parameters():  # biases too, which begin at zero
            parameter.data += 0.05 * torch.randn_like(parameter)
    return save({key: value.contiguous() for key, value in network.state_dict().items()})
