"""Heads: from an utterance's frames to a distribution over labels and to ratings."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .encoders import Frames, SpeechEncoder


class Output(NamedTuple):
    """Logits [B, K] and ratings [B, D] on the unit scale [-1, 1], None for a model without a dimensional
    head.
    """

    logits: Tensor
    ratings: Tensor | None


def masked_mean(frames: Frames) -> Tensor:
    """Mean [B, H] of each row's valid frames."""
    mask = frames.mask.unsqueeze(-1).to(frames.states.dtype)
    return (frames.states * mask).sum(1) / mask.sum(1).clamp(min=1)


class CategoricalHead(nn.Module):
    """Linear map of the pooled state to one logit a label."""

    def __init__(self, width: int, labels: int, *, dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, labels)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.linear(self.dropout(pooled))


class DimensionalHead(nn.Module):
    """Linear map of the pooled state to one rating a dimension; tanh keeps it on the scale [-1, 1]."""

    def __init__(self, width: int, dimensions: int, *, dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, dimensions)

    def forward(self, pooled: Tensor) -> Tensor:
        return torch.tanh(self.linear(self.dropout(pooled)))


class EmotionModel(nn.Module):
    """Encoder, masked mean pooling, a categorical head and, where there are dimensions, a dimensional head."""

    def __init__(self, encoder: SpeechEncoder, *, labels: int, dimensions: Sequence[str] = (), dropout: float = 0.2):
        super().__init__()
        self.encoder = encoder
        self.categorical = CategoricalHead(encoder.width, labels, dropout=dropout)
        self.dimensional = DimensionalHead(encoder.width, len(dimensions), dropout=dropout) if dimensions else None

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Output:
        """Listen to waveforms [B, N] of `lengths` [B] valid samples."""
        pooled = masked_mean(self.encoder(waveforms, lengths))
        return Output(self.categorical(pooled), self.dimensional(pooled) if self.dimensional is not None else None)

    def head_parameters(self) -> list[nn.Parameter]:
        """The parameters that are trained from scratch even when the encoder is pretrained."""
        heads = [self.categorical, *([self.dimensional] if self.dimensional is not None else [])]
        return [parameter for head in heads for parameter in head.parameters()]
