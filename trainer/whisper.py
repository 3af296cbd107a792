"""Whisper's encoder: a log-mel by its own feature extractor, in whole windows, as it was trained."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..data.audio import SAMPLE_RATE
from ..data.errors import ModelError
from .network.encoders import SpeechEncoder

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
