"""The 82 numbers by which DiME-Aug calls two utterances alike: 72 of the sound, 10 of the words.

Sound: mean and standard deviation over time of 13 MFCC, 12 chroma, 7 spectral contrasts, zero-crossing rate, roll-off,
centroid and RMS (librosa's defaults at 16 kHz; shorter sounds padded with silence to 0.5 s). Words: characters, words,
'!', '?', '.', ',', share of vowels, share of consonants, mean word length, share of upper-case letters. Source: Zhang
et al., ICASSP 2026 (arXiv 2601.14620), released code.
"""

from __future__ import annotations

import warnings
from types import ModuleType

import numpy as np

from ...data.errors import OptionError

SAMPLE_RATE = 16_000
SHORTEST = 8_000
AUDIO_FEATURES = 72
TEXT_FEATURES = 10
VOWELS = frozenset("aeiouAEIOU")


def load_librosa(what: str = "its audio features") -> ModuleType:
    """Import librosa, or say how to install it and that dime-aug needs it for `what`."""
    try:
        import librosa
    except ImportError as error:
        raise OptionError(
            f"dime-aug needs librosa for {what}, and it is not installed; run: pip install 'serann[augment]'"
        ) from error
    return librosa


def audio_features(samples: np.ndarray, librosa: ModuleType) -> np.ndarray:
    """The 72 statistics of a sound at 16 kHz: the 36 means, then the 36 standard deviations.

    One short-time Fourier transform serves chroma, contrast, roll-off and centroid, which librosa would otherwise
    compute four times over.
    """
    y = np.asarray(samples, dtype=np.float32)
    if len(y) < SHORTEST:
        y = np.pad(y, (0, SHORTEST - len(y)))
    with warnings.catch_warnings():
        # Sounds without a pitch (silence, whispers) have no tuning to estimate; librosa takes 0 and says so each time.
        warnings.filterwarnings("ignore", message="Trying to estimate tuning from empty frequency set")
        tracks = _tracks(y, librosa)
    return np.concatenate([t.mean(axis=1) for t in tracks] + [t.std(axis=1) for t in tracks]).astype(float)


def _tracks(y: np.ndarray, librosa: ModuleType) -> list[np.ndarray]:
    magnitude = np.abs(librosa.stft(y))
    power = magnitude**2
    mel = librosa.feature.melspectrogram(S=power, sr=SAMPLE_RATE)
    return [
        librosa.feature.mfcc(S=librosa.power_to_db(mel), sr=SAMPLE_RATE, n_mfcc=13),
        librosa.feature.chroma_stft(S=power, sr=SAMPLE_RATE),
        librosa.feature.spectral_contrast(S=magnitude, sr=SAMPLE_RATE),
        librosa.feature.zero_crossing_rate(y),
        librosa.feature.spectral_rolloff(S=magnitude, sr=SAMPLE_RATE),
        librosa.feature.spectral_centroid(S=magnitude, sr=SAMPLE_RATE),
        librosa.feature.rms(y=y),
    ]


def text_features(text: str | None) -> np.ndarray:
    """The 10 lexical counts; shares are of all characters. No transcript counts as an empty text.

    >>> text_features("Oh no!").round(3).tolist()
    [6.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.333, 0.333, 2.5, 0.167]
    """
    text = text or ""
    words = text.split()
    length = max(1, len(text))
    vowels = sum(c in VOWELS for c in text)
    letters = sum(c.isalpha() for c in text)
    return np.array(
        [
            len(text),
            len(words),
            *(text.count(mark) for mark in "!?.,"),
            vowels / length,
            (letters - vowels) / length,
            float(np.mean([len(word) for word in words])) if words else 0.0,
            sum(c.isupper() for c in text) / length,
        ],
        dtype=float,
    )


def standardise(features: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance a column [U, F]; a constant column becomes 0."""
    spread = features.std(axis=0)
    return (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
