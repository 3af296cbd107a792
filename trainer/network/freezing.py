"""Which of an encoder's parameters learn, when, and how fast.

frozen          none of them; a learnt mixture of layers (`encoders.py`) belongs to the heads and learns
unfreeze        "1:2,2:4,4:8,8:12": from epoch e on (counted from 1) the top n transformer layers; what lies below
                the first layer learns once all of them do, but for the convolutions that hear the waveform: they
                stay as they are, as is usual where a pretrained encoder is unfrozen (wav2vec 2.0, WavLM)
neither         all of them, convolutions included
layer_decay     rate(l) = rate * decay^(L - l), l = L for the top layer and what follows it, 0 for what lies below
                the first layer, -1 for the convolutions
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from ...data.errors import OptionError
from ..targets import at_epoch, stages
from .encoders import SpeechEncoder
from .heads import EmotionModel

if TYPE_CHECKING:
    from ..options import TrainOptions

Group = dict[str, Any]


def parameter_groups(network: EmotionModel, options: TrainOptions) -> list[Group]:
    """Groups for an optimiser: `params`, their own rate `lr` (`base` too, which schedules scale), and the `part` they
    are of, encoder or heads.

    A frozen encoder has none, and a layer decay of one makes one group of the whole encoder. OptionError for an
    `unfreeze` that no encoder of this depth can follow.
    """
    set_trainable(network, options, epoch=1)
    heads = learnt_from_scratch(network)
    groups = [] if options.frozen else _encoder_groups(network.encoder, options)
    groups.append({"params": heads, "lr": options.head_learning_rate, "part": "heads"})
    return [{**group, "base": group["lr"]} for group in groups]


def set_trainable(network: EmotionModel, options: TrainOptions, epoch: int) -> None:
    """Let those parameters have a gradient that learn in an epoch (from 1)."""
    encoder = network.encoder
    if options.frozen:
        top = None
    elif options.unfreeze:
        top = _unfrozen(encoder, options.unfreeze, epoch)
    else:
        return
    for parameter, level in levels(encoder):
        learns = top is not None and level > encoder.depth - top and level >= 0
        # All layers learn: so does what lies below the first.
        parameter.requires_grad_(learns or (level == 0 and top == encoder.depth))


def levels(encoder: SpeechEncoder) -> list[tuple[nn.Parameter, int]]:
    """The encoder's parameters in their order, each with the layer it belongs to: 1 to L, 0 below the first, -1 for the
    convolutions; a norm after the last layer is of level L. The mixture's weights are left out.
    """
    level_of: dict[int, int] = {}
    for number, layer in enumerate(encoder.transformer.layers, 1):
        level_of |= {id(parameter): number for parameter in layer.parameters()}
    for module in encoder.convolutions:
        level_of |= {id(parameter): -1 for parameter in module.parameters()}
    if encoder.normed_at_end:
        level_of |= {id(parameter): encoder.depth for parameter in encoder.transformer.layer_norm.parameters()}
    return [
        (parameter, level_of.get(id(parameter), 0))
        for parameter in encoder.parameters()
        if parameter is not encoder.layer_weights
    ]


def learnt_from_scratch(network: EmotionModel) -> list[nn.Parameter]:
    """The heads' parameters, and the mixture's weights where layers are mixed."""
    mixture = network.encoder.layer_weights
    return network.head_parameters() + ([] if mixture is None else [mixture])


def learnt_state(network: EmotionModel, options: TrainOptions) -> dict[str, Any]:
    """What an interrupted training keeps of the network's state: all but a frozen encoder, which is built anew."""
    state = network.state_dict()
    if not options.frozen:
        return state
    return {name: value for name, value in state.items() if not name.startswith("encoder.model.")}


def _encoder_groups(encoder: SpeechEncoder, options: TrainOptions) -> list[Group]:
    by_rate: dict[float, list[nn.Parameter]] = {}
    for parameter, level in levels(encoder):
        rate = options.learning_rate * options.layer_decay ** (encoder.depth - level)
        by_rate.setdefault(rate, []).append(parameter)
    return [{"params": by_rate[rate], "lr": rate, "part": "encoder"} for rate in sorted(by_rate, reverse=True)]


def _unfrozen(encoder: SpeechEncoder, unfreeze: str, epoch: int) -> int:
    """How many layers from the top learn in an epoch."""
    found = stages(unfreeze, name="unfreeze")
    wrong = [count for _, count in found if count != int(count) or not 0 <= count <= encoder.depth]
    if wrong:
        raise OptionError(
            f"unfreeze is {unfreeze!r}: it asks for the top {wrong[0]:g} layers of an encoder that computes "
            f"{encoder.depth}; expected whole numbers from 0 to {encoder.depth}"
        )
    return int(at_epoch(found, epoch))
