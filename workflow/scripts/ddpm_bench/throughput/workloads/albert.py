"""ALBERT of transformers for the throughput benchmark. Imported by who asks for it: it takes
seconds."""

import torch
from transformers import AlbertConfig, AlbertForMaskedLM

from ddpm_bench.config.benchmark import Albert


class MaskedLanguageModel(AlbertForMaskedLM):
    """Takes tokens, int64 [N, length]; gives logits [N, length, vocabulary]."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return super().forward(input_ids=tokens).logits


def build_albert(keys: Albert) -> MaskedLanguageModel:
    """With weights drawn from torch's global generator, in training mode.

    Without dropout, whose draws would differ between strategies, and without the pooler, which no
    loss over tokens reaches.
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
