"""Encoders: a batch gives what each utterance gives alone, and real checkpoints load unchanged."""

import numpy as np
import pytest
import torch
from fixtures.small_encoders import encoder_config, make_encoder_checkpoint, make_sounds, whisper_config
from serann.data.errors import ModelError
from serann.trainer.dataset import pad
from serann.trainer.network.encoders import MaskedGroupNorm, SpeechEncoder, mask_group_norms, unit_variance
from serann.trainer.network.heads import EmotionModel, masked_mean
from serann.trainer.network.loading import build_encoder, fresh_encoder, load_encoder, small_config
from torch import nn

LENGTHS = (8000, 5200, 1600)


def waveforms():
    rng = np.random.default_rng(0)
    return [(0.1 * rng.standard_normal(n)).astype(np.float32) for n in LENGTHS]


def make_encoder(family: str, norm: str) -> SpeechEncoder:
    from transformers import AutoModel

    torch.manual_seed(0)
    model = AutoModel.from_config(encoder_config(family, norm))
    for module in model.modules():  # weights of one and biases of zero would hide a mix-up of channels
        if isinstance(module, nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return SpeechEncoder(model, normalise=norm == "layer").eval()


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("family", ["wavlm", "hubert", "wav2vec2"])
def test_a_batch_gives_what_each_utterance_gives_alone(family, norm):
    encoder = make_encoder(family, norm)
    with torch.no_grad():
        batch = encoder(*pad(waveforms()))
        for row, waveform in enumerate(waveforms()):
            alone = encoder(*pad([waveform]))
            frames = alone.states.shape[1]
            assert batch.mask[row].sum() == alone.mask.sum() == frames
            torch.testing.assert_close(batch.states[row, :frames], alone.states[0], atol=1e-4, rtol=0)
            torch.testing.assert_close(masked_mean(batch)[row], masked_mean(alone)[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_alone_it_gives_what_transformers_gives(norm):
    encoder = make_encoder("wavlm", norm)
    waveform = torch.from_numpy(waveforms()[1])[None]
    with torch.no_grad():
        ours = encoder(waveform, torch.tensor([waveform.shape[1]])).states
        for masked in encoder._group_norms:
            masked.lengths = None  # None: nn.GroupNorm's own forward
        heard = unit_variance(waveform, torch.ones_like(waveform, dtype=torch.bool)) if norm == "layer" else waveform
        theirs = encoder.model(heard).last_hidden_state
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
def test_without_the_mask_padding_changes_what_group_norm_gives():
    encoder = make_encoder("wavlm", "group")
    padded, lengths = pad(waveforms())
    mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long()
    with torch.no_grad():
        alone = encoder(*pad([waveforms()[2]])).states[0]
        for masked in encoder._group_norms:
            masked.lengths = None
        unmasked = encoder.model(padded, attention_mask=mask).last_hidden_state[2, : len(alone)]
    assert (unmasked - alone).abs().max() > 0.1


def test_the_masked_group_norm_equals_group_norm_of_the_valid_part():
    torch.manual_seed(0)
    theirs = nn.GroupNorm(2, 4)
    nn.init.uniform_(theirs.weight)
    nn.init.uniform_(theirs.bias)
    ours = MaskedGroupNorm(2, 4)
    ours.load_state_dict(theirs.state_dict())
    x, ours.lengths = torch.randn(2, 4, 7), torch.tensor([7, 3])
    torch.testing.assert_close(ours(x)[0], theirs(x)[0])
    torch.testing.assert_close(ours(x)[1, :, :3], theirs(x[1:, :, :3])[0])


def test_masking_keeps_every_name_and_weight():
    from transformers import AutoModel

    model = AutoModel.from_config(encoder_config())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert len(mask_group_norms(model)) == 1
    after = model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(("family", "norm"), [("wavlm", "group"), ("wavlm", "layer"), ("hubert", "group")])
def test_a_checkpoint_on_disk_loads_with_its_normalisation(tmp_path, family, norm):
    from transformers import AutoModel

    path = make_encoder_checkpoint(tmp_path / "checkpoint", family=family, norm=norm)
    encoder = load_encoder(str(path))
    assert encoder.normalise == (norm == "layer")
    assert encoder.config.layerdrop == 0
    assert encoder.config.apply_spec_augment is False
    stored = AutoModel.from_pretrained(path).state_dict()
    assert all(torch.equal(stored[name], tensor) for name, tensor in encoder.model.state_dict().items())


def test_without_a_feature_extractor_layer_norm_models_normalise(tmp_path):
    for norm in ("group", "layer"):
        path = make_encoder_checkpoint(tmp_path / norm, norm=norm)
        (path / "preprocessor_config.json").unlink()
        assert load_encoder(str(path)).normalise == (norm == "layer")


def test_normalisation_is_over_the_valid_samples():
    from transformers import Wav2Vec2FeatureExtractor

    padded, lengths = pad(waveforms())
    ours = unit_variance(padded + 0.3, torch.arange(padded.shape[1]) < lengths[:, None])
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    theirs = extractor([w + 0.3 for w in waveforms()], sampling_rate=16000, padding=True, return_tensors="np")
    np.testing.assert_allclose(ours.numpy(), theirs["input_values"], atol=1e-4)


def test_shortest_is_the_fewest_samples_that_give_a_frame():
    encoder = make_encoder("wavlm", "group")  # kernels 400 and 3, strides 160 and 2: (3 - 1) * 160 + 400
    assert encoder.shortest == 720
    assert encoder.frame_counts(torch.tensor([719, 720, 1040])).tolist() == [0, 1, 2]


def test_from_scratch_wavlm_is_the_small_configuration_and_a_path_gives_its_own(tmp_path):
    assert fresh_encoder("wavlm").width == small_config().hidden_size
    path = make_encoder_checkpoint(tmp_path / "checkpoint")
    (path / "model.safetensors").unlink()  # a configuration is all it takes
    assert fresh_encoder(str(path)).width == 16


def test_the_model_gives_one_answer_an_utterance_whatever_the_batch():
    torch.manual_seed(0)
    model = EmotionModel(make_encoder("wavlm", "group"), labels=6, dimensions=("valence", "arousal")).eval()
    with torch.no_grad():
        together = model(*pad(waveforms()))
        alone = [model(*pad([waveform])) for waveform in waveforms()]
    torch.testing.assert_close(together.logits, torch.cat([a.logits for a in alone]), atol=1e-4, rtol=0)
    torch.testing.assert_close(together.ratings, torch.cat([a.ratings for a in alone]), atol=1e-4, rtol=0)
    assert EmotionModel(make_encoder("wavlm", "group"), labels=6).eval()(*pad(waveforms())).ratings is None


def test_what_is_no_encoder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for start in (load_encoder, fresh_encoder):
        with pytest.raises(ModelError, match="was not found on disk, and the hub could not be reached") as caught:
            start("nobody/nothing")
        assert "give a checkpoint's folder with --model FOLDER (wavlm, hubert, wav2vec2, whisper" in str(caught.value)
    with pytest.raises(ModelError, match=r"was not found on disk, and it is no name of a model on the hub"):
        load_encoder(str(tmp_path / "a" / "b" / "absent"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"no config.json in this directory"):
        load_encoder(str(tmp_path / "empty"))
    text = tmp_path / "text"
    text.mkdir()
    (text / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="it is a bert model; expected one of wavlm, hubert, wav2vec2"):
        load_encoder(str(text))
    (text / "config.json").write_text('{"model_type": "nothing-known"}')
    with pytest.raises(ModelError, match=r"cannot be read: .*; expected a transformers checkpoint of wavlm, hubert"):
        load_encoder(str(text))
    broken = make_encoder_checkpoint(tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match="weights cannot be loaded"):
        load_encoder(str(broken))


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    path = make_encoder_checkpoint(tmp_path / "checkpoint") / "model.safetensors"
    tensors = load_file(path)
    del tensors["encoder.layers.0.attention.q_proj.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(
        ModelError, match=r"lacks 1 weights of its own configuration, encoder.layers.0.attention.q_proj"
    ):
        load_encoder(str(path.parent))


def whisper_checkpoint(path, **changes):
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    torch.manual_seed(0)
    WhisperForConditionalGeneration(whisper_config(**changes)).save_pretrained(path)
    WhisperFeatureExtractor(feature_size=16, chunk_length=2).save_pretrained(path)
    return path


def test_a_whisper_checkpoint_loads_and_hears_as_transformers_does(tmp_path):
    from transformers import AutoFeatureExtractor, WhisperForConditionalGeneration

    path = whisper_checkpoint(tmp_path / "whisper")
    encoder = load_encoder(str(path)).eval()
    theirs = WhisperForConditionalGeneration.from_pretrained(path).model.encoder.eval()
    assert all(torch.equal(theirs.state_dict()[n], t) for n, t in encoder.model.state_dict().items())
    sounds = make_sounds((20000, 5200, 401))
    mel = AutoFeatureExtractor.from_pretrained(path)(sounds, sampling_rate=16000, return_tensors="pt").input_features
    with torch.no_grad():
        expected, frames = theirs(mel).last_hidden_state, encoder(*pad(sounds))
    assert frames.mask.sum(1).tolist() == [63, 17, 2]  # ceil(n / 160) mel frames, halved upwards
    for row, count in enumerate((63, 17, 2)):
        torch.testing.assert_close(frames.states[row, :count], expected[row, :count], atol=1e-5, rtol=0)


def test_a_sound_longer_than_whispers_window_is_heard_in_windows():
    torch.manual_seed(0)
    encoder = build_encoder(whisper_config().to_dict(), normalise=False).eval()
    (sound,) = make_sounds((32000 + 5200,))
    with torch.no_grad():
        whole = encoder(*pad([sound, sound[:1600]]))
        parts = [encoder(*pad([part])).states[0] for part in (sound[:32000], sound[32000:])]
    assert whole.mask.sum(1).tolist() == [117, 5]
    torch.testing.assert_close(whole.states[0], torch.cat(parts), atol=1e-5, rtol=0)
    assert encoder.hidden(*pad([sound]))[0].states.shape == (1, 117, 16)


def test_a_whisper_of_another_log_mel_or_without_weights_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    path = whisper_checkpoint(tmp_path / "whisper")
    weights = path / "model.safetensors"
    tensors = load_file(weights)
    del tensors["model.encoder.layers.0.fc1.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights of its own configuration, encoder.layers.0.fc1"):
        load_encoder(str(path))
    (path / "preprocessor_config.json").write_text('{"feature_size": 80, "hop_length": 160}')
    with pytest.raises(ModelError, match=r"asks for feature_size 80 \(expected 16\); that is no Whisper log-mel"):
        load_encoder(str(path))
