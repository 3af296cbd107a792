"""Noise at a stated level: its level and spectrum, the same noise in every run, and a sentence where there is none."""

import numpy as np
import pytest
import soundfile
from fixtures.simulated import simulated_corpus
from serann.data.corpus import open_corpus
from serann.data.errors import AudioError, OptionError
from serann.data.seeds import rng_from
from serann.trainer.scoring.noise import KINDS, Noises, mix, parse_kinds, parse_snrs


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Low coloured noise in the place of speech: all its power is below 1 kHz."""
    path = tmp_path_factory.mktemp("noise") / "corpus"
    corpus, _ = simulated_corpus(path, utterances=24, speakers=8, audio=True)
    for row in range(24):
        rng = rng_from("coloured", row)
        spectrum = np.fft.rfft(rng.standard_normal(16000))
        spectrum[1000:] = 0
        soundfile.write(corpus.audio_path(row), 0.1 * np.fft.irfft(spectrum), 16000)
    return corpus


def snr_of(clean, noisy):
    return 10 * np.log10(np.mean(clean**2) / np.mean((noisy - clean) ** 2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("snr", [-5.0, 5.0, 20.0])
def test_the_level_is_the_one_asked_for(corpus, kind, snr):
    sound = np.sin(np.arange(12_000) / 9).astype(np.float32)
    noises = Noises(corpus, np.arange(24), seed=0)
    noisy = noises.noisy(kind, snr)(3, sound)
    assert noisy.dtype == np.float32
    assert noisy.shape == sound.shape
    assert snr_of(sound.astype(float), noisy.astype(float)) == pytest.approx(snr, abs=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_the_noise_is_the_utterances_own_whatever_else_is_asked(corpus, kind):
    first = Noises(corpus, np.arange(24), seed=0)
    again = Noises(open_corpus(corpus.path), np.arange(23, -1, -1), seed=0)
    again.noise(kind, 7, 4000)
    np.testing.assert_array_equal(first.noise(kind, 3, 8000), again.noise(kind, 3, 8000))
    assert not np.array_equal(first.noise(kind, 3, 8000), first.noise(kind, 4, 8000))
    assert not np.array_equal(first.noise(kind, 3, 8000), Noises(corpus, np.arange(24), seed=1).noise(kind, 3, 8000))
    # one noise at every level: only its gain differs
    sound = np.ones(8000, np.float32)
    loud, quiet = (first.noisy(kind, snr)(3, sound) - sound for snr in (0, 20))
    np.testing.assert_allclose(loud, 10 * quiet, atol=2e-5)


def test_speech_shaped_noise_has_the_spectrum_of_the_speech_and_white_noise_is_flat(corpus):
    noises = Noises(corpus, np.arange(24), seed=0)

    def below_1khz(noise):
        power = np.abs(np.fft.rfft(noise)) ** 2
        return power[: len(power) // 8].sum() / power.sum()

    assert below_1khz(noises.noise("speech-shaped", 0, 64_000)) > 0.97
    assert below_1khz(noises.noise("babble", 0, 64_000)) > 0.97
    assert below_1khz(noises.noise("white", 0, 64_000)) == pytest.approx(1 / 8, abs=0.01)


def test_babble_is_of_other_speakers(corpus):
    speakers = corpus.column("speaker")
    own = np.flatnonzero(speakers == speakers[0])
    with pytest.raises(AudioError, match="nobody else speaks in this split"):
        Noises(corpus, own, seed=0).noise("babble", int(own[0]), 1000)
    other = int(np.flatnonzero(speakers != speakers[0])[0])
    noise = Noises(corpus, np.array([*own, other]), seed=0).noise("babble", int(own[0]), 16_000)
    sound, _ = soundfile.read(corpus.audio_path(other))
    # the one other voice, begun elsewhere: at some shift the two are the same
    shifted = np.fft.irfft(np.fft.rfft(noise) * np.conj(np.fft.rfft(sound)))
    assert shifted.max() / (np.linalg.norm(sound) * np.linalg.norm(noise)) == pytest.approx(1, abs=1e-3)


def test_silence_has_no_level():
    with pytest.raises(AudioError, match="its sound is silent"):
        mix(np.zeros(100), np.ones(100), 5)
    with pytest.raises(AudioError, match="its noise is silent"):
        mix(np.ones(100), np.zeros(100), 5)


def test_levels_and_kinds_are_read_or_refused():
    assert parse_snrs("20, 5,5,-3.5") == (-3.5, 5.0, 20.0)
    assert parse_kinds("babble,white,babble") == ("babble", "white")
    for words, said in [
        ("loud", "'loud' is no number"),
        ("5,", "'' is no number"),
        ("nan", "nan lies outside -30 to 60 dB"),
        ("inf", "inf lies outside"),
        ("5,200", "200 lies outside"),
    ]:
        with pytest.raises(OptionError, match=f"--snr is .* expected levels in dB between commas.*{said}"):
            parse_snrs(words)
    with pytest.raises(OptionError, match="--noise names 'rain'; expected some of white, speech-shaped, babble"):
        parse_kinds("white,rain")
