"""Which layer of an encoder is read: the last, a given one, a learnt mixture of all, or the one that `saliency` names.

last        the last layer's states, as transformers' `last_hidden_state`
N           layer N's, as transformers' `hidden_states[N]`: 1 is the first transformer layer, 0 what goes into it;
            layers above it are dropped, so they cost nothing and are not saved
weighted    sum_l softmax(w)_l h_l over all of them, w learnt with the heads (as in SUPERB, Yang et al. 2021)
auto        N, where N is chosen before the training (`saliency.choose_layer`)
"""

from typing import Any

import torch
from torch import nn

from ..data.errors import OptionError
from .network.encoders import SpeechEncoder

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
