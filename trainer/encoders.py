"""Speech encoders of transformers (WavLM, HuBERT, wav2vec 2.0) whose batches equal their single runs."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..data.errors import ModelError
from ..data.files import read_json

ENCODERS = {"wavlm": "microsoft/wavlm-base-plus"}
ARCHITECTURES = ("wavlm", "hubert", "wav2vec2")
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
    (to rounding).
    """

    def __init__(self, model: nn.Module, *, normalise: bool):
        super().__init__()
        self.model = model
        self.normalise = normalise
        for switch, value in _TRAINING_SWITCHES.items():
            setattr(self.config, switch, value)
        self._group_norms = mask_group_norms(model)
        # transformers asks for the gradient with respect to the waveform, for gradient checkpointing of its
        # convolutions. Nobody uses it, and it costs a sixth of a step of the small configuration.
        convolutions: Any = model.feature_extractor
        convolutions._requires_grad = False

    @property
    def config(self) -> Any:
        return self.model.config

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
        return Frames(states, frames)


def unit_variance(waveforms: Tensor, valid: Tensor) -> Tensor:
    """Return (x - mean) / sqrt(variance + 1e-7) over each row's valid samples, zero elsewhere (as
    Wav2Vec2FeatureExtractor).
    """
    count = valid.sum(1, keepdim=True).clamp(min=1)
    mean = (waveforms * valid).sum(1, keepdim=True) / count
    variance = ((waveforms - mean).square() * valid).sum(1, keepdim=True) / count
    return (waveforms - mean) * torch.rsqrt(variance + 1e-7) * valid


def small_config() -> Any:
    """A WavLM of 0.2 million parameters that learns from a few hundred short clips on a laptop, for the
    demonstration.

    Measured on simulated clips: a second layer, wider layers or a longer first kernel cost time and moved the
    test score by no more than another seed does. Group norm in the first layer hardly beat the constant
    (sq_unbiased .28 against .31, layer norm .18), and normalised waveforms lost as well (.21, else .17).
    """
    from transformers import WavLMConfig

    return WavLMConfig(
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=128,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        conv_dim=(128, 64, 64),
        conv_kernel=(640, 4, 3),
        conv_stride=(160, 2, 2),
        conv_bias=True,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        num_buckets=32,
        max_bucket_distance=100,
        hidden_dropout=0.1,
        activation_dropout=0.1,
        attention_dropout=0.1,
    )


def fresh_encoder(model: str) -> SpeechEncoder:
    """An encoder with random weights: of the small configuration for "wavlm", else of the configuration that
    `model` names.

    Draws from torch's global generator, as transformers' initialisation does: seed it around the call.
    """
    if model in ENCODERS:
        return build_encoder(small_config().to_dict(), normalise=False)
    config, normalise = _configuration(model)
    return build_encoder(config.to_dict(), normalise=normalise)


def build_encoder(config: Mapping[str, Any], *, normalise: bool) -> SpeechEncoder:
    """An encoder of a stored configuration; its weights are random until a state is loaded."""
    from transformers import AutoConfig, AutoModel

    fields = {name: value for name, value in config.items() if name != "model_type"}
    made = AutoConfig.for_model(config["model_type"], **fields)
    return SpeechEncoder(AutoModel.from_config(made), normalise=normalise)


def load_encoder(model: str) -> SpeechEncoder:
    """The pretrained encoder that `model` names: "wavlm", a checkpoint directory, or a name on the hub.

    Raises ModelError where it is absent, of another architecture, or holds other weights than its
    configuration says.
    """
    from safetensors import SafetensorError
    from transformers import AutoModel

    config, normalise = _configuration(model)
    try:
        loaded, report = AutoModel.from_pretrained(
            ENCODERS.get(model, model), config=config, output_loading_info=True, dtype=torch.float32
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ModelError(f"{model}: its weights cannot be loaded: {_first_sentence(error)}") from error
    missing = sorted(set(report["missing_keys"]) - {"masked_spec_embed"})
    if missing:
        raise ModelError(
            f"{model}: the checkpoint lacks {len(missing)} weights of its own configuration, {missing[0]} among them; "
            "it is incomplete or of another architecture"
        )
    return SpeechEncoder(loaded, normalise=normalise)


def _configuration(model: str) -> tuple[Any, bool]:
    """The configuration behind a name or directory, and whether its feature extractor normalises waveforms."""
    from transformers import AutoConfig

    name = ENCODERS.get(model, model)
    if not Path(name).is_dir():
        _ensure_cached(name)
    elif not (Path(name) / "config.json").is_file():
        raise ModelError(
            f"{name}: no config.json in this directory; expected a transformers checkpoint of {_families()}"
        )
    try:
        config = AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ModelError(f"{name}: its configuration cannot be read: {_first_sentence(error)}") from error
    if config.model_type not in ARCHITECTURES:
        raise ModelError(f"{name}: it is a {config.model_type} model; expected one of {_families()}")
    return config, _normalises(name, config)


def _normalises(name: str, config: Any) -> bool:
    """What preprocessor_config.json says; without one, what these families do: layer-norm configurations
    normalise.
    """
    from transformers.utils.hub import cached_file

    try:
        found = cached_file(name, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False)
    except OSError:
        found = None
    if found is None:
        return config.feat_extract_norm == "layer"
    return bool(read_json(found, what="feature extractor's configuration").get("do_normalize", True))


def _ensure_cached(name: str) -> None:
    """Raise ModelError unless `name` lies in the local cache or the hub answers for it (asked once: the hub's
    own client retries).
    """
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    missing = f"{name} was not found on disk, and"
    try:
        if isinstance(try_to_load_from_cache(name, "config.json"), str):
            return
        HfApi().model_info(name, timeout=10)
    except RepositoryNotFoundError as error:
        raise ModelError(f"{missing} the hub knows no such model (or it is private): check the name") from error
    except HFValidationError as error:
        raise ModelError(f"{missing} it is no name of a model on the hub either: check the path") from error
    except Exception as error:  # whatever the network stack raises, the user's answer is the same
        raise ModelError(f"{missing} the hub could not be reached: {_first_sentence(error)}") from error


def _families() -> str:
    return ", ".join(ARCHITECTURES)


def _first_sentence(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def pad(waveforms: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Stack waveforms to [B, N] with zeros behind the shorter ones; return them with their lengths [B]."""
    lengths = torch.tensor([len(w) for w in waveforms])
    padded = torch.zeros(len(waveforms), int(lengths.max()))
    for row, waveform in enumerate(waveforms):
        padded[row, : len(waveform)] = torch.from_numpy(np.asarray(waveform, dtype=np.float32))
    return padded, lengths
