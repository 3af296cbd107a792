"""Layers: each equals transformers' own hidden state, those above are not computed, mixtures are learnt."""

import pytest
import torch
from fixtures.present import present
from fixtures.small_encoders import encoder_config, make_sounds, whisper_config
from serann.data.errors import OptionError
from serann.trainer.dataset import pad
from serann.trainer.network.encoders import SpeechEncoder, WhisperEncoder, choose
from serann.trainer.network.loading import build_encoder

FAMILIES = [("wavlm", "group"), ("wavlm", "layer"), ("hubert", "layer"), ("wav2vec2", "group"), ("whisper", "layer")]


def make_encoder(family: str, norm: str, seed: int = 0) -> SpeechEncoder:
    config = whisper_config() if family == "whisper" else encoder_config(family, norm, num_hidden_layers=3)
    torch.manual_seed(seed)
    encoder = build_encoder(config.to_dict(), normalise=False).eval()
    for name, parameter in encoder.named_parameters():  # norms that do nothing would hide a missing one
        if "layer_norm" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return encoder


def recorded(encoder: SpeechEncoder, waveform: torch.Tensor) -> list[torch.Tensor]:
    """What transformers itself records of one utterance."""
    if encoder.config.model_type == "whisper":
        assert isinstance(encoder, WhisperEncoder)
        found = encoder.model(encoder._log_mel([waveform[0].numpy()]), output_hidden_states=True)
        frames = int(encoder.frame_counts(torch.tensor([waveform.shape[1]])))
        return [states[:, :frames] for states in (*found.hidden_states[:-1], found.last_hidden_state)]
    for norm in encoder._group_norms:
        norm.lengths = None
    found = encoder.model(waveform, output_hidden_states=True)
    return [*found.hidden_states[:-1], found.last_hidden_state]  # some families record the last one before its norm


@pytest.mark.parametrize(("family", "norm"), FAMILIES)
def test_hidden_and_every_chosen_layer_are_what_transformers_records(family, norm):
    sound = make_sounds()[1]
    with torch.no_grad():
        expected = recorded(make_encoder(family, norm), torch.from_numpy(sound)[None])
        hidden = make_encoder(family, norm).hidden(*pad([sound]))
        assert len(hidden) == len(expected) == 4
        for layer, states in enumerate(expected):
            torch.testing.assert_close(hidden[layer].states, states, atol=1e-5, rtol=0)
            chosen = choose(make_encoder(family, norm), str(layer))
            torch.testing.assert_close(chosen(*pad([sound])).states, states, atol=1e-5, rtol=0)
        last = choose(make_encoder(family, norm), "last")(*pad([sound])).states
        torch.testing.assert_close(last, expected[-1], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("family", "norm"), FAMILIES)
def test_a_batch_gives_what_each_utterance_gives_alone_in_every_layer(family, norm):
    encoder, sounds = make_encoder(family, norm), make_sounds()
    with torch.no_grad():
        together = encoder.hidden(*pad(sounds))
        for row, sound in enumerate(sounds):
            for batch, alone in zip(together, encoder.hidden(*pad([sound])), strict=True):
                frames = alone.states.shape[1]
                assert int(batch.mask[row].sum()) == frames
                torch.testing.assert_close(batch.states[row, :frames], alone.states[0], atol=1e-4, rtol=0)


def test_layers_above_the_chosen_one_are_not_computed():
    encoder = make_encoder("wavlm", "group")
    above, ran = encoder.transformer.layers[1], []
    above.register_forward_hook(lambda *_: ran.append(1))
    choose(encoder, "1")(*pad(make_sounds()))
    assert encoder.depth == 1
    assert not ran
    assert not any(name.startswith("model.encoder.layers.1") for name in encoder.state_dict())


def test_a_mixture_begins_as_the_mean_of_all_layers_and_learns():
    encoder = choose(make_encoder("wavlm", "layer"), "weighted")
    with torch.no_grad():
        layers = torch.stack([frames.states for frames in encoder.hidden(*pad(make_sounds()))])
    mixed = encoder(*pad(make_sounds())).states
    torch.testing.assert_close(mixed, layers.mean(0), atol=1e-5, rtol=0)
    mixed.square().sum().backward()
    weights = present(encoder.layer_weights)
    assert present(weights.grad).abs().min() > 0
    with torch.no_grad():
        weights[:] = torch.tensor([0.0, 20.0, 0.0, 0.0])
        torch.testing.assert_close(encoder(*pad(make_sounds())).states, layers[1], atol=1e-4, rtol=0)


def test_a_layer_that_is_not_there_is_refused():
    for layer in ("4", "auto", "-1"):
        with pytest.raises(OptionError, match=rf"layer is '{layer}', and this encoder's are 0 .* to 3 \(the last\)"):
            choose(make_encoder("wavlm", "group"), layer)
