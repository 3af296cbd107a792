"""Noise at a stated signal-to-noise ratio, the same for an utterance in every run: only its level differs between SNRs.

    y = x + g n,   g = sqrt(P_x / P_n) 10^(-SNR / 20),   P the mean square over the whole utterance, pauses included

    white          standard normal samples
    speech-shaped  the same, filtered to the mean power spectrum of the corpus's own speech
    babble         `VOICES` other utterances of other speakers of the corpus, each at the same power, looped

All draws depend on (seed, utterance id, kind). The papers state "5 dB" and no recipe (Mitra et al. 2025), so this is
serann's own, and figures under it are compared with each other alone.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.signal import fftconvolve

from ...data.audio import SAMPLE_RATE, utterance_audio
from ...data.corpus import Corpus
from ...data.errors import AudioError, OptionError, SerannError, list_problems
from ...data.seeds import rng_from, uniforms
from ..checkpoint import Trained
from ..predict import Prediction, Progress, predict_corpus
from .held_out import HeldOut, aligned
from .measures import by_name, difference, measures, scored

KINDS = ("white", "speech-shaped", "babble")
LEAST_SNR, MOST_SNR = -30.0, 60.0
VOICES = 6
# Utterances whose spectra are averaged, and whose voices babble is mixed of.
POOL = 64
# Samples of a frame of the spectrum (32 ms), and of the filter made of it.
FRAME = 512
# Seconds of an utterance that are taken into the pool.
POOL_SECONDS = 10.0


def asked_noise(snr: str | None, kinds: str | None) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Levels and kinds of noise from two texts, where they are given; OptionError for kinds that have no level."""
    if snr is None and kinds is not None:
        raise OptionError("--noise names what is heard at the levels of --snr, and none is given: add --snr 5,20")
    return () if snr is None else parse_snrs(snr), KINDS if kinds is None else parse_kinds(kinds)


def parse_snrs(words: str) -> tuple[float, ...]:
    """Levels in dB from a text such as `5,10,20`, sorted and each once; OptionError naming what is none."""
    parts = [part.strip() for part in words.split(",")]
    found, problems = [], []
    for part in parts:
        try:
            value = float(part)
        except ValueError:
            problems.append(f"{part!r} is no number")
            continue
        if not LEAST_SNR <= value <= MOST_SNR:  # NaN too
            problems.append(f"{part} lies outside {LEAST_SNR:g} to {MOST_SNR:g} dB")
        found.append(value)
    if problems:
        raise OptionError(
            list_problems(f"--snr is {words!r}; expected levels in dB between commas, such as 5,10,20", problems)
        )
    return tuple(sorted(set(found)))


def parse_kinds(words: str) -> tuple[str, ...]:
    """Kinds of noise from a text such as `white,babble`; OptionError naming those that there are."""
    kinds = tuple(dict.fromkeys(part.strip() for part in words.split(",")))
    unknown = [repr(kind) for kind in kinds if kind not in KINDS]
    if unknown:
        raise OptionError(f"--noise names {', '.join(unknown)}; expected some of {', '.join(KINDS)}, between commas")
    return kinds


def mix(sound: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """`sound` [T] with `noise` [T] at `snr` dB; AudioError where either is silent: no level can be stated then."""
    speech, other = (float(np.mean(np.square(x, dtype=np.float64))) for x in (sound, noise))
    if speech == 0 or other == 0:
        raise AudioError(f"its {'sound' if speech == 0 else 'noise'} is silent, so no signal-to-noise ratio can be set")
    gain = math.sqrt(speech / other) * 10 ** (-snr / 20)
    return (sound + gain * noise).astype(np.float32)


class Noises:
    """Makes noise for a corpus's utterances; its speech, `POOL` of the utterances at `rows` drawn by id, is read when
    first needed.
    """

    def __init__(self, corpus: Corpus, rows: np.ndarray, *, seed: int):
        self.corpus, self.rows, self.seed = corpus, np.asarray(rows), seed
        self._pool: list[tuple[int, np.ndarray]] | None = None
        self._filter: np.ndarray | None = None

    def noisy(self, kind: str, snr: float):
        """What turns (row, waveform) into the utterance with noise of a kind at `snr` dB."""
        return lambda row, sound: mix(sound, self.noise(kind, row, len(sound)), snr)

    def noise(self, kind: str, row: int, length: int) -> np.ndarray:
        """`length` samples of noise for the utterance at `row` of the corpus."""
        rng = rng_from("noise", self.seed, kind, self.corpus.ids[row])
        if kind == "babble":
            return self._babble(row, length, rng)
        if kind == "white":
            return rng.standard_normal(length)
        white = rng.standard_normal(length + FRAME)
        return fftconvolve(white, self._shape(), mode="same")[FRAME // 2 : FRAME // 2 + length]

    def _babble(self, row: int, length: int, rng: np.random.Generator) -> np.ndarray:
        speakers = self.corpus.column("speaker")
        own = speakers[row]
        others = [sound for at, sound in self._speech() if at != row and (own is None or speakers[at] != own)]
        if not others:
            raise AudioError("nobody else speaks in this split, so there is no babble to mix")
        chosen = rng.choice(len(others), min(VOICES, len(others)), replace=False)
        return np.sum([_looped(others[i], int(rng.integers(len(others[i]))), length) for i in chosen], axis=0)

    def _shape(self) -> np.ndarray:
        """Impulse response [FRAME] whose power spectrum is that of the pooled speech (linear phase)."""
        if self._filter is None:
            spectra = [_spectrum(sound) for _, sound in self._speech()]
            response = np.fft.irfft(np.sqrt(np.mean(spectra, axis=0)))
            self._filter = np.roll(response, FRAME // 2) * np.hanning(FRAME)
        return self._filter

    def _speech(self) -> Sequence[tuple[int, np.ndarray]]:
        """Rows and sounds of the pool, each at power 1; silent and unreadable ones are left out."""
        if self._pool is None:
            ids = [self.corpus.ids[row] for row in self.rows]
            order = self.rows[np.argsort(uniforms(ids, 1, "noise pool", self.seed)[:, 0], kind="stable")]
            self._pool = []
            for row in order:
                sound = _read(self.corpus, int(row))
                if sound is not None:
                    self._pool.append((int(row), sound))
                if len(self._pool) == POOL:
                    break
            if not self._pool:
                raise AudioError("no utterance of this split can be heard, so there is no speech to make noise of")
        return self._pool


def _read(corpus: Corpus, row: int) -> np.ndarray | None:
    try:
        sound = utterance_audio(corpus, row, max_seconds=math.inf)[: int(POOL_SECONDS * SAMPLE_RATE)]
    except SerannError:
        return None
    power = float(np.mean(np.square(sound, dtype=np.float64)))
    return sound / math.sqrt(power) if power > 0 and len(sound) >= FRAME else None


def _spectrum(sound: np.ndarray) -> np.ndarray:
    """Mean power spectrum [FRAME / 2 + 1] of a sound at power 1 (Hann frames, half overlapping)."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, FRAME)[:: FRAME // 2]
    return (np.abs(np.fft.rfft(frames * np.hanning(FRAME), axis=1)) ** 2).mean(axis=0)


def _looped(sound: np.ndarray, start: int, length: int) -> np.ndarray:
    """`length` samples of a sound that begins at `start` and again whenever it ends."""
    return sound[(start + np.arange(length)) % len(sound)]


# --------------------
# Robustness: the same scores on the same votes, with noise at stated levels in what is heard.


def under_noise(
    trained: Trained,
    clean: Prediction,
    ref: HeldOut,
    snrs: Sequence[float],
    kinds: Sequence[str],
    *,
    device: str = "auto",
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """A row for each kind, level and score: its value, and `change`, it less the clean one, both over the utterances
    that were heard with and without this noise.
    """
    noises = Noises(ref.corpus, ref.rows, seed=ref.seed)
    found = []
    for kind in kinds:
        for snr in snrs:
            heard = predict_corpus(
                trained,
                ref.corpus,
                rows=ref.rows,
                change=noises.noisy(kind, snr),
                device=device,
                progress=progress,
            )
            found += _rows(kind, snr, aligned(heard, ref), aligned(clean, ref), ref)
    return found


def _rows(
    kind: str,
    snr: float,
    heard: tuple[np.ndarray, np.ndarray],
    clean: tuple[np.ndarray, np.ndarray],
    ref: HeldOut,
) -> list[dict[str, Any]]:
    lost = np.isnan(heard[0]).any(axis=1, keepdims=True) | np.isnan(clean[0]).any(axis=1, keepdims=True)
    with_noise, without = (
        by_name(measures(np.where(lost, np.nan, q), np.where(lost, np.nan, rated), ref), "parts")
        for q, rated in (heard, clean)
    )
    return [
        {
            "noise": kind,
            "snr": snr,
            **scored(measure, ref)._asdict(),
            "change": difference(measure, without[name], ref)._asdict(),
        }
        for name, measure in with_noise.items()
    ]
