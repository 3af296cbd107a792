"""Speech encoders of transformers (WavLM, HuBERT, wav2vec 2.0, Whisper) whose batches equal their single runs.

Which layer of an encoder is read: the last, a given one, a learnt mixture of all, or the one that `saliency` names.

last        the last layer's states, as transformers' `last_hidden_state`
N           layer N's, as transformers' `hidden_states[N]`: 1 is the first transformer layer, 0 what goes into it;
            layers above it are dropped, so they cost nothing and are not saved
weighted    sum_l softmax(w)_l h_l over all of them, w learnt with the heads (as in SUPERB, Yang et al. 2021)
auto        N, where N is chosen before the training (`saliency.choose_layer`)
"""

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...data.audio import SAMPLE_RATE
from ...data.errors import ModelError, OptionError

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
    (to rounding). Frames are the last layer's states, another's, or a weighted sum of all (`choose`).
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


# --------------------
# Layers.

LAYERS = ("last", "weighted", "auto")


def choose(encoder: SpeechEncoder, layer: str) -> SpeechEncoder:
    """Make the encoder read a layer, and return it. OptionError for a layer that it has not; `auto` has to be resolved
    to a number first.
    """
    if layer == "last":
        return encoder
    if layer == "weighted":
        encoder.layer_weights = nn.Parameter(torch.zeros(encoder.depth + 1))
        return encoder
    if not layer.isdigit() or int(layer) > encoder.depth:
        raise OptionError(
            f"layer is {layer!r}, and this encoder's are 0 (before the first) to {encoder.depth} (the last)"
        )
    return _cut(encoder, int(layer))


def _cut(encoder: SpeechEncoder, layer: int) -> SpeechEncoder:
    """Drop the layers above, and with them the norm that follows the last one: `hidden_states[N]` are not normed."""
    transformer: Any = encoder.transformer
    if layer < encoder.depth:
        transformer.layers = transformer.layers[:layer]
        if encoder.normed_at_end:
            transformer.layer_norm = nn.Identity()
    return encoder


# --------------------
# Whisper's encoder: a log-mel by its own feature extractor, in whole windows, as it was trained.

# Of every Whisper checkpoint: samples of the transform, and samples from one of its frames to the next.
TRANSFORM, HOP = 400, 160


class WhisperEncoder(SpeechEncoder):
    """Whisper's encoder behind the same call as the others.

    It knows no mask: every clip is heard in a window of 30 s (`window` samples), the silence behind it included, which
    the reference does too. So a batch equals single runs, and costs 30 s a clip. Frames behind a clip's end are masked
    from what comes after. A clip longer than a window is heard in consecutive windows, each by itself, and their frames
    follow each other.
    """

    def __init__(self, model: nn.Module):
        nn.Module.__init__(self)
        self.model = model
        self.normalise = False
        self.register_parameter("layer_weights", None)
        whisper: Any = model
        self.config.encoder_layerdrop = whisper.layerdrop = 0.0
        self.window = int(self.config.max_source_positions) * 2 * HOP
        self._extractor = make_extractor(self.config)

    @property
    def transformer(self) -> Any:
        return self.model

    @property
    def convolutions(self) -> list[nn.Module]:
        whisper: Any = self.model
        return [whisper.conv1, whisper.conv2]

    @property
    def normed_at_end(self) -> bool:
        return True

    @property
    def shortest(self) -> int:
        """One window of the transform."""
        return TRANSFORM

    def frame_counts(self, lengths: Tensor, *, layers: int | None = None) -> Tensor:
        """Frames of `lengths` samples: a window's mel frames that hold sound, ceil(n / 160), halved by the second
        convolution; the windows before the last are full.
        """
        rest = lengths % self.window
        mel = torch.div(rest + HOP - 1, HOP, rounding_mode="floor")
        full = torch.div(lengths, self.window, rounding_mode="floor") * int(self.config.max_source_positions)
        return full + torch.div(mel + 1, 2, rounding_mode="floor")

    def _last_layer(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        windows = -(-lengths // self.window)
        where, made = waveforms.device, []
        for row, count in enumerate(windows.tolist()):
            sound = waveforms[row, : int(lengths[row])].detach().float().cpu().numpy()
            made += [sound[i * self.window : (i + 1) * self.window] for i in range(count)]
        states = self.model(self._log_mel(made).to(where)).last_hidden_state
        counts = self.frame_counts(lengths).to(where)
        mask = torch.arange(int(counts.max()), device=where) < counts[:, None]
        self._windows = windows.tolist()
        return self._arrange(states, mask), mask

    def _arrange(self, states: Tensor, mask: Tensor) -> Tensor:
        """Put the windows [W, 1500, H] of each clip one behind the other, as long as the mask [B, T]."""
        rows = [part.flatten(0, 1)[: mask.shape[1]] for part in states.split(self._windows)]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True)

    def _log_mel(self, sounds: list[Any]) -> Tensor:
        """[W, mels, 3000], each sound's own: silence is clamped to eight powers of ten below its loudest point."""
        return self._extractor(
            sounds,
            sampling_rate=SAMPLE_RATE,
            padding="max_length",
            max_length=self.window,
            truncation=False,
            return_tensors="pt",
        )["input_features"]


def make_extractor(config: Any) -> Any:
    """The feature extractor of a Whisper configuration."""
    from transformers import WhisperFeatureExtractor

    seconds = int(config.max_source_positions) * 2 * HOP // SAMPLE_RATE
    return WhisperFeatureExtractor(feature_size=config.num_mel_bins, chunk_length=max(1, seconds))


def check_extractor(name: str, config: Any, found: Mapping[str, Any]) -> None:
    """ModelError where a checkpoint's preprocessor_config.json asks for another log-mel than every Whisper's."""
    own = make_extractor(config).to_dict()
    asked = {key: found[key] for key in ("feature_size", "hop_length", "n_fft", "sampling_rate") if key in found}
    other = [f"{key} {value} (expected {own[key]})" for key, value in asked.items() if value != own[key]]
    if other or found.get("do_normalize") or found.get("dither"):
        said = ", ".join(other) or "do_normalize or dither"
        raise ModelError(f"{name}: its feature extractor asks for {said}; that is no Whisper log-mel, so it is refused")


def fresh_whisper(config: Any) -> WhisperEncoder:
    """A Whisper encoder of a configuration, with random weights."""
    from transformers.models.whisper.modeling_whisper import WhisperEncoder as Model

    return WhisperEncoder(Model(config))
