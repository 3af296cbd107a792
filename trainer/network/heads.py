"""Heads: from an utterance's frames to a distribution over labels and to ratings."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .encoders import Frames, SpeechEncoder

# Of Omidi and Hansen 2026, after Mitra et al. 2025: channels of the convolution, width of the two GRU layers and of the
# embedding, and the body's and the classifiers' dropout.
WIDTH = 256
BODY_DROPOUT = 0.3


class Output(NamedTuple):
    """Logits [B, K], ratings [B, D] on the unit scale [-1, 1] and their log-variance [B, D]; None for a model without a
    dimensional head, or one that gives no variance.
    """

    logits: Tensor
    ratings: Tensor | None
    log_variance: Tensor | None = None


def masked_mean(frames: Frames) -> Tensor:
    """Mean [B, H] of each row's valid frames."""
    mask = frames.mask.unsqueeze(-1).to(frames.states.dtype)
    return (frames.states * mask).sum(1) / mask.sum(1).clamp(min=1)


class MeanPooling(nn.Module):
    """`masked_mean` as a module, [B, H]."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, frames: Frames) -> Tensor:
        return masked_mean(frames)


class AttentivePooling(nn.Module):
    """sum_t w_t h_t [B, H], w = softmax over the valid frames of v tanh(W h_t), after Lin et al. (ICLR 2017)."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.score = nn.Sequential(nn.Linear(width, max(1, width // 4)), nn.Tanh(), nn.Linear(max(1, width // 4), 1))

    def forward(self, frames: Frames) -> Tensor:
        score = self.score(frames.states).squeeze(-1).float().masked_fill(~frames.mask, -torch.inf)
        weight = torch.softmax(score, dim=1).to(frames.states.dtype)
        return (weight.unsqueeze(-1) * frames.states * frames.mask.unsqueeze(-1)).sum(1)


class TCGRU(nn.Module):
    """Temporal convolution (k = 3), two GRU layers, an embedding; [B, 256] (Mitra et al. 2025).

    The GRU's state at the last valid frame, to which `skip` adds the masked mean of the convolution's output (Omidi and
    Hansen 2026), goes through a linear layer. An utterance's embedding does not depend on what it is batched with:
    frames behind its end are silenced before the convolution, and never reach the state that is read.
    """

    def __init__(self, width: int, *, skip: bool = False, dropout: float = BODY_DROPOUT):
        super().__init__()
        self.width, self.skip = WIDTH, skip
        self.convolution = nn.Conv1d(width, WIDTH, kernel_size=3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(WIDTH, WIDTH, num_layers=2, batch_first=True)
        self.embedding = nn.Linear(WIDTH, WIDTH)

    def forward(self, frames: Frames) -> Tensor:
        mask = frames.mask.unsqueeze(-1).to(frames.states.dtype)
        found = self.convolution((frames.states * mask).transpose(1, 2)).transpose(1, 2)
        found = self.dropout(torch.relu(found))
        states, _ = self.gru(found)
        last = (frames.mask.sum(1) - 1).clamp(min=0)
        state = states[torch.arange(len(last), device=last.device), last]
        if self.skip:
            state = state + masked_mean(Frames(found, frames.mask))
        return self.dropout(torch.relu(self.embedding(state)))


def make_body(head: str, width: int, *, pooling: str = "mean", skip: bool = False) -> nn.Module:
    """What makes one vector of an utterance's frames of length `width`; its own `width` is the vector's."""
    if head == "tc-gru":
        return TCGRU(width, skip=skip)
    return {"mean": MeanPooling, "attentive": AttentivePooling}[pooling](width)


class CategoricalHead(nn.Module):
    """Map of the pooled state to one logit a label: linear, or with one hidden layer (`hidden`) before."""

    def __init__(self, width: int, labels: int, *, dropout: float, hidden: int | None = None):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.hidden = _hidden(width, hidden)
        self.linear = nn.Linear(hidden or width, labels)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.linear(self.dropout(self.hidden(pooled)))


class DimensionalHead(nn.Module):
    """Map of the pooled state to one rating a dimension; tanh keeps it on the scale [-1, 1]. `variances` adds a
    log-variance each.
    """

    def __init__(
        self, width: int, dimensions: int, *, dropout: float, hidden: int | None = None, variances: bool = False
    ):
        super().__init__()
        self.dimensions = dimensions
        self.dropout = nn.Dropout(dropout)
        self.hidden = _hidden(width, hidden)
        self.linear = nn.Linear(hidden or width, dimensions * (2 if variances else 1))

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor | None]:
        found = self.linear(self.dropout(self.hidden(pooled)))
        means, rest = found[:, : self.dimensions], found[:, self.dimensions :]
        return torch.tanh(means), rest if rest.shape[1] else None


def _hidden(width: int, hidden: int | None) -> nn.Module:
    if hidden is None:
        return nn.Identity()
    return nn.Sequential(nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.GELU())


class EmotionModel(nn.Module):
    """Encoder, a body that makes one vector of its frames, a categorical head and, where there are dimensions, a
    dimensional head.
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        *,
        labels: int,
        dimensions: Sequence[str] = (),
        dropout: float = 0.2,
        head: str = "linear",
        pooling: str = "mean",
        skip: bool = False,
        variances: bool = False,
    ):
        super().__init__()
        self.encoder = encoder
        self.body = make_body(head, encoder.width, pooling=pooling, skip=skip)
        hidden = WIDTH if head == "tc-gru" else None
        width = int(self.body.width)  # pyright: ignore[reportArgumentType]
        self.categorical = CategoricalHead(width, labels, dropout=dropout, hidden=hidden)
        self.dimensional = None
        if dimensions:
            self.dimensional = DimensionalHead(
                width, len(dimensions), dropout=dropout, hidden=hidden, variances=variances
            )

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Output:
        """Listen to waveforms [B, N] of `lengths` [B] valid samples."""
        return self.from_frames(self.encoder(waveforms, lengths))

    def from_frames(self, frames: Frames) -> Output:
        """Answer from the encoder's frames, computed now or before."""
        pooled = self.body(frames)
        if self.dimensional is None:
            return Output(self.categorical(pooled), None)
        return Output(self.categorical(pooled), *self.dimensional(pooled))

    def head_parameters(self) -> list[nn.Parameter]:
        """The parameters that are trained from scratch even when the encoder is pretrained."""
        parts = [self.body, self.categorical, *([self.dimensional] if self.dimensional is not None else [])]
        return [parameter for part in parts for parameter in part.parameters()]
