"""A Whisper-style front end: a clip's own log-mel frames, by the checkpoint's feature extractor.

Imports nothing heavy: a process that decodes imports what the extractor needs, and no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

# Frames kept beyond the clip, at least: with none the last valid frame is off by 1e-3, with four it is exact.
MARGIN_FRAMES = 4


class LogMel(NamedTuple):
    """One clip as the model takes it: `mel` [mels, frames] float32, of which `valid` frames hold sound.

    The rest is margin: at least four frames of the silence after the clip, unless the clip fills the window.
    """

    mel: np.ndarray
    valid: int
    samples: int


@dataclass(frozen=True, slots=True, eq=False)
class LogMelFrontEnd:
    """From mono samples to `LogMel`, by a feature extractor of transformers, for a model that takes `window` frames."""

    extractor: Any
    window: int

    def __call__(self, wave: np.ndarray) -> LogMel:
        """The frames equal those of the full window (the reference pads every clip to it), whatever the batch."""
        extractor = self.extractor
        # The transform reflects half a window at the end: what it reflects must be the silence after the clip.
        margin = max(MARGIN_FRAMES, 1 + -(-extractor.n_fft // (2 * extractor.hop_length)))
        frames = -(-len(wave) // extractor.hop_length) + margin
        frames = min(self.window, frames + frames % 2)
        made = extractor(
            [wave],
            sampling_rate=extractor.sampling_rate,
            padding="max_length",
            max_length=frames * extractor.hop_length,
            return_attention_mask=True,
            return_tensors="np",
        )
        mel = np.ascontiguousarray(made["input_features"][0], dtype=np.float32)
        return LogMel(mel, int(made["attention_mask"].sum()), len(wave))


def stacked(clips: Sequence[LogMel]) -> tuple[np.ndarray, np.ndarray]:
    """Clips as one batch: [B, mels, frames] of the longest, and the mask [B, frames] of what holds sound.

    A shorter clip goes on with its own last frame, the silence after it: Whisper's extractor clamps silence to eight
    powers of ten below the clip's loudest point, so silence has another value in every clip.
    """
    frames = max(clip.mel.shape[1] for clip in clips)
    mel = np.empty((len(clips), len(clips[0].mel), frames), dtype=np.float32)
    for row, clip in zip(mel, clips, strict=True):
        own = clip.mel.shape[1]
        row[:, :own], row[:, own:] = clip.mel, clip.mel[:, -1:]
    mask = np.arange(frames) < np.array([clip.valid for clip in clips])[:, None]
    return mel, mask.astype(np.int64)


def encoder_frames(valid: int) -> int:
    """Frames that the audio tower's convolution of stride 2 leaves of `valid` mel frames."""
    return (valid - 1) // 2 + 1


def audio_tokens(valid: int) -> int:
    """Audio tokens that Qwen2-Audio makes of `valid` mel frames: its encoder's frames, pooled by two.

    Source: transformers, `Qwen2AudioEncoder._get_feat_extract_output_lengths`.
    """
    return (encoder_frames(valid) - 2) // 2 + 1
