"""ALBERT of transformers for the throughput benchmark.

transformers takes seconds to import, so this module is imported only where it is used.
"""

import torch
from transformers import AlbertConfig, AlbertForMaskedLM

from ddpm_bench.config.benchmark import Albert


class MaskedLanguageModel(AlbertForMaskedLM):
    """ALBERT that maps tokens, int64 [N, length], to logits [N, length, vocabulary]."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return super().forward(input_ids=tokens).logits


def build_albert(keys: Albert) -> MaskedLanguageModel:
    """Build the model in training mode, with weights drawn from torch's global generator.

    It has no dropout, whose draws would differ between strategies, and no pooler, which gets no
    gradient from a loss over tokens.
    """

    config = AlbertConfig(
        vocab_size=keys.vocabulary,
        embedding_size=keys.embedding_size,
        hidden_size=keys.hidden_size,
        intermediate_size=keys.intermediate_size,
        num_hidden_layers=keys.layers,
        num_attention_heads=keys.attention_heads,
        max_position_embeddings=keys.sequence_length,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return MaskedLanguageModel(config).train()
