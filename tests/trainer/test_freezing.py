"""Freezing: which parameters learn in which epoch, and at which rate."""

import pytest
import torch
from fixtures.present import present
from fixtures.small_encoders import encoder_config, whisper_config
from serann.data.errors import OptionError
from serann.trainer.network.encoders import choose
from serann.trainer.network.freezing import learnt_state, levels, parameter_groups, set_trainable
from serann.trainer.network.heads import EmotionModel
from serann.trainer.network.loading import build_encoder
from serann.trainer.options import DEFAULTS, check_options


def options(**given):
    return check_options({**DEFAULTS[False], "model": "x", "perturb": not given.get("frozen", False), **given})


def network(family: str = "wavlm", norm: str = "layer", layer: str = "last") -> EmotionModel:
    config = whisper_config() if family == "whisper" else encoder_config(family, norm, num_hidden_layers=3)
    return EmotionModel(choose(build_encoder(config.to_dict(), normalise=False), layer), labels=4)


def learning(model: EmotionModel) -> set[str]:
    """The parts of the encoder that have a gradient."""
    names = [name.removeprefix("encoder.model.") for name, p in model.named_parameters() if p.requires_grad]
    known = ("feature_extractor", "encoder.layers.0", "encoder.layers.1", "encoder.layers.2", "encoder.layer_norm")
    return {part for part in (*known, "feature_projection", "encoder.pos_conv") if any(part in n for n in names)}


def test_without_a_word_all_of_it_learns_at_one_rate():
    model = network()
    groups = parameter_groups(model, options())
    assert [(group["lr"], group["base"], group["part"]) for group in groups] == [
        (1e-5, 1e-5, "encoder"),
        (1e-4, 1e-4, "heads"),
    ]
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_progressive_unfreezing_goes_from_the_top_and_never_reaches_the_convolutions():
    model, chosen = network(), options(unfreeze="1:0,2:1,4:2,6:3")
    expected = {1: set(), 2: {"encoder.layers.2", "encoder.layer_norm"}, 3: {"encoder.layers.2", "encoder.layer_norm"}}
    expected[4] = expected[2] | {"encoder.layers.1"}
    expected[6] = expected[4] | {"encoder.layers.0", "feature_projection", "encoder.pos_conv"}
    for epoch, parts in expected.items():
        set_trainable(model, chosen, epoch)
        assert learning(model) == parts, epoch
    assert all(parameter.requires_grad for parameter in model.head_parameters())
    set_trainable(model, chosen, 2)  # resumed training goes by the epoch alone
    assert learning(model) == expected[2]


def test_a_norm_before_the_first_layer_lies_below_it():
    model = network(norm="group")
    set_trainable(model, options(unfreeze="1:2"), 1)
    assert learning(model) == {"encoder.layers.1", "encoder.layers.2"}


def test_what_is_not_unfrozen_stays_to_the_bit_and_the_rest_moves():
    model, chosen = network("whisper"), options(unfreeze="1:1", layer_decay=0.5, learning_rate=0.1)
    optimiser = torch.optim.AdamW(parameter_groups(model, chosen), weight_decay=0.1)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    model(torch.randn(2, 4000), torch.tensor([4000, 3000])).logits.square().sum().backward()
    optimiser.step()
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved
    assert all(name.startswith(("encoder.model.layers.2", "encoder.model.layer_norm", "categ")) for name in moved)


def test_rates_decay_with_the_distance_from_the_top():
    model = network()
    groups = parameter_groups(model, options(layer_decay=0.5, learning_rate=0.8))
    assert [(group["lr"], group["part"]) for group in groups] == [
        (0.8, "encoder"),  # layer 3 and the norm behind it
        (0.4, "encoder"),
        (0.2, "encoder"),
        (0.1, "encoder"),  # below the first
        (0.05, "encoder"),  # convolutions
        (1e-4, "heads"),
    ]
    of = {id(p): group["lr"] for group in groups for p in group["params"]}
    rates = {name: of[id(parameter)] for name, parameter in model.named_parameters()}
    assert rates["encoder.model.encoder.layers.2.attention.q_proj.weight"] == 0.8
    assert rates["encoder.model.encoder.layer_norm.weight"] == 0.8
    assert rates["encoder.model.feature_projection.projection.weight"] == 0.1
    assert rates["encoder.model.feature_extractor.conv_layers.0.conv.weight"] == 0.05
    assert len(rates) == sum(len(group["params"]) for group in groups)


def test_a_frozen_encoder_has_no_group_but_its_mixture_learns_with_the_heads():
    model, chosen = network(layer="weighted"), options(frozen=True, layer="weighted")
    (heads,) = parameter_groups(model, chosen)
    assert any(parameter is model.encoder.layer_weights for parameter in heads["params"])
    assert not any(parameter.requires_grad for parameter, _ in levels(model.encoder))
    assert present(model.encoder.layer_weights).requires_grad
    kept = learnt_state(model, chosen)
    assert "encoder.layer_weights" in kept
    assert not [name for name in kept if name.startswith("encoder.model.")]
    assert set(learnt_state(model, options())) == set(model.state_dict())


def test_more_layers_than_there_are_is_refused():
    for stages, wrong in (("1:2,3:4", "4"), ("1:1.5", "1.5")):
        with pytest.raises(OptionError, match=rf"asks for the top {wrong} layers of an encoder that computes 3"):
            parameter_groups(network(), options(unfreeze=stages))
    with pytest.raises(OptionError, match="its epochs must rise, and begin with 1"):
        parameter_groups(network(), options(unfreeze="2:1"))
