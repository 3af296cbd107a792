"""Speech encoders of transformers (WavLM, HuBERT, wav2vec 2.0) whose batches equal their single runs."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

# LayerDrop takes layers away at random and SpecAugment masks frames (and raises below ten of them): both draw
# from global generators.
_TRAINING_SWITCHES = {"layerdrop": 0.0, "apply_spec_augment": False}


class Frames(NamedTuple):
    """Hidden states [B, T, H] and the mask [B, T] of the frames that lie wholly inside their utterance."""

    states: Tensor
    mask: Tensor


class MaskedGroupNorm(nn.GroupNorm):
    """Group norm over the valid frames of each row: (x - mean_valid) / sqrt(var_valid + eps) * weight + bias.

    With one utterance a row and no padding it is `nn.GroupNorm`; with padding, `nn.GroupNorm` lets the padded
    frames into the mean and the variance, so the output of an utterance depends on what it is batched with.
    Parameters keep their names, so checkpoints load unchanged. `lengths` [B] counts each row's valid frames;
    None means all of them.
    """

    lengths: Tensor | None = None

    def forward(self, input: Tensor) -> Tensor:
        """Normalise [B, C, T]; frames behind a row's length are normalised with that row's moments."""
        if self.lengths is None:
            return super().forward(input)
        rows, channels, frames = input.shape
        groups = input.float().reshape(rows, self.num_groups, channels // self.num_groups, frames)
        valid = (torch.arange(frames, device=input.device) < self.lengths[:, None])[:, None, None, :].float()
        count = (self.lengths.clamp(min=1) * groups.shape[2]).float().view(rows, 1, 1, 1)
        mean = (groups * valid).sum((2, 3), keepdim=True) / count
        variance = ((groups - mean).square() * valid).sum((2, 3), keepdim=True) / count
        normal = ((groups - mean) * torch.rsqrt(variance + self.eps)).reshape(input.shape).to(input.dtype)
        if self.weight is None:
            return normal
        return normal * self.weight[:, None] + self.bias[:, None]


def mask_group_norms(model: nn.Module) -> list[MaskedGroupNorm]:
    """Replace every `nn.GroupNorm` inside `model` by a MaskedGroupNorm with the same parameters; return the
    replacements.
    """
    replaced = []
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.GroupNorm:
                masked = MaskedGroupNorm(child.num_groups, child.num_channels, child.eps, child.affine)
                masked.weight, masked.bias = child.weight, child.bias
                setattr(parent, name, masked)
                replaced.append(masked)
    return replaced


class SpeechEncoder(nn.Module):
    """A transformers speech encoder under one call: waveforms and their lengths in, frames and their mask
    out.

    `normalise` scales each waveform to zero mean and unit variance over its valid samples first, as the
    checkpoint's feature extractor asks. The output of an utterance does not depend on what it is batched with
    (to rounding). Frames are the last layer's states, another's, or a weighted sum of all (`layers.choose`).
    """

    layer_weights: nn.Parameter | None

    def __init__(self, model: nn.Module, *, normalise: bool):
        super().__init__()
        self.model = model
        self.normalise = normalise
        self.register_parameter("layer_weights", None)
        for switch, value in _TRAINING_SWITCHES.items():
            setattr(self.config, switch, value)
        self._group_norms = mask_group_norms(model)
        self._quieten()

    def _quieten(self) -> None:
        # transformers asks for the gradient with respect to the waveform, for gradient checkpointing of its
        # convolutions. Nobody uses it, and it costs a sixth of a step of the small configuration.
        convolutions: Any = self.model.feature_extractor
        convolutions._requires_grad = False

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def transformer(self) -> Any:
        """The part with the `layers`, and with the `layer_norm` before or after them."""
        return self.model.encoder

    @property
    def convolutions(self) -> list[nn.Module]:
        """The feature encoder, which hears the waveform."""
        return [self.model.feature_extractor]  # pyright: ignore[reportReturnType]

    @property
    def normed_at_end(self) -> bool:
        """Whether `transformer.layer_norm` follows the last layer; elsewhere it precedes the first."""
        return bool(self.config.do_stable_layer_norm)

    @property
    def depth(self) -> int:
        """Number of transformer layers that are computed."""
        return len(self.transformer.layers)

    @property
    def width(self) -> int:
        """Length of a hidden state."""
        return int(self.config.hidden_size)

    @property
    def shortest(self) -> int:
        """Fewest samples that give one frame."""
        samples = 1
        for kernel, stride in zip(reversed(self.config.conv_kernel), reversed(self.config.conv_stride), strict=True):
            samples = (samples - 1) * stride + kernel
        return samples

    def frame_counts(self, lengths: Tensor, *, layers: int | None = None) -> Tensor:
        """Frames that the first `layers` convolutions (all by default) give for `lengths` samples each."""
        kernels, strides = self.config.conv_kernel[:layers], self.config.conv_stride[:layers]
        for kernel, stride in zip(kernels, strides, strict=True):
            lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
        return lengths.clamp(min=0)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Frames:
        """Encode waveforms [B, N] of `lengths` [B] valid samples (at least `shortest` each)."""
        return self.combine(*self.read(waveforms, lengths))

    def hidden(self, waveforms: Tensor, lengths: Tensor) -> list[Frames]:
        """Frames of every computed layer: first the embeddings before the first layer, last what `last` gives."""
        states, mask = self._all_layers(waveforms, lengths)
        return [Frames(layer, mask) for layer in states]

    def read(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What `combine` makes frames of: states [S, B, T, H] of the layers that are read, one or all, and the mask."""
        if self.layer_weights is None:
            states, mask = self._last_layer(waveforms, lengths)
            return states[None], mask
        states, mask = self._all_layers(waveforms, lengths)
        return torch.stack(states), mask

    def combine(self, states: Tensor, mask: Tensor) -> Frames:
        """Frames of the states [S, B, T, H] of the layers that are read: sum_s softmax(w)_s h_s, or the one."""
        if self.layer_weights is None:
            return Frames(states[0], mask)
        shares = torch.softmax(self.layer_weights.float(), dim=0).to(states.dtype)
        return Frames(torch.tensordot(shares, states, dims=1), mask)

    def _all_layers(self, waveforms: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        inputs: list[Tensor] = []
        hooks = [
            layer.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
            for layer in self.transformer.layers
        ]
        try:
            last, mask = self._last_layer(waveforms, lengths)
        finally:
            for hook in hooks:
                hook.remove()
        return [self._arrange(states, mask) for states in inputs] + [last], mask

    def _arrange(self, states: Tensor, mask: Tensor) -> Tensor:
        """A layer's states as `_last_layer` gives them."""
        return states

    def _last_layer(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        valid = torch.arange(waveforms.shape[1], device=waveforms.device) < lengths[:, None]
        if self.normalise:
            waveforms = unit_variance(waveforms, valid)
        # Only the feature encoder's first layer is group-normalised in these families.
        for norm in self._group_norms:
            norm.lengths = self.frame_counts(lengths, layers=1)
        with warnings.catch_warnings():  # torch's word to transformers about WavLM's masks, no user's business
            warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask")
            states = self.model(waveforms, attention_mask=valid.long()).last_hidden_state
        frames = torch.arange(states.shape[1], device=states.device) < self.frame_counts(lengths)[:, None]
        return states, frames


def unit_variance(waveforms: Tensor, valid: Tensor) -> Tensor:
    """Return (x - mean) / sqrt(variance + 1e-7) over each row's valid samples, zero elsewhere (as
    Wav2Vec2FeatureExtractor).
    """
    count = valid.sum(1, keepdim=True).clamp(min=1)
    mean = (waveforms * valid).sum(1, keepdim=True) / count
    variance = ((waveforms - mean).square() * valid).sum(1, keepdim=True) / count
    return (waveforms - mean) * torch.rsqrt(variance + 1e-7) * valid


def pad(waveforms: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Stack waveforms to [B, N] with zeros behind the shorter ones; return them with their lengths [B]."""
    lengths = torch.tensor([len(w) for w in waveforms])
    padded = torch.zeros(len(waveforms), int(lengths.max()))
    for row, waveform in enumerate(waveforms):
        padded[row, : len(waveform)] = torch.from_numpy(np.asarray(waveform, dtype=np.float32))
    return padded, lengths


def pad_states(states: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Stack layers' states [S, T, H] to [S, B, T, H] float32 with zeros behind the shorter ones; return them with their
    frame counts [B].
    """
    lengths = torch.tensor([found.shape[1] for found in states])
    layers, _, width = states[0].shape
    padded = torch.zeros(layers, len(states), int(lengths.max()), width)
    for row, found in enumerate(states):
        padded[:, row, : found.shape[1]] = torch.from_numpy(found)
    return padded, lengths
