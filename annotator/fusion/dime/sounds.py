"""Small changes of a sound that leave its speaker and, we assume, what people hear in it: how `dime-aug` makes takes.

    pitch   within a semitone, and with it the formants by as much: resampled (soxr) by r = 2^(semitones / 12)
    tempo   .95 to 1.05: phase vocoder (librosa), whose rate tempo / r gives back the length that resampling took
    room    in half of the takes: an impulse, then Gaussian noise that decays by 60 dB in rt60 seconds (Polack 1988),
            with `direct_db` more energy in the impulse than in the tail
    noise   in half of the takes: pink, `snr_db` below the sound in mean power
    gain    within 6 dB; less where it would clip

One vocoder does pitch and tempo together. Measured on one core (speech at 16 kHz, two seconds a sound): 265 times real
time, the vocoder three quarters of it; 270 with sounds read and FLAC written, at four seconds a sound. Source:
perturbation by resampling and of tempo, Ko et al. (Interspeech 2015).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from types import ModuleType

import numpy as np

from ....data.audio import SAMPLE_RATE

SEMITONES = (-1.0, 1.0)
TEMPOS = (0.95, 1.05)
GAINS_DB = (-6.0, 6.0)
SNRS_DB = (15.0, 30.0)
RT60S = (0.1, 0.4)
DIRECTS_DB = (6.0, 15.0)
SHARE_OF_NOISE = 0.5
SHARE_OF_ROOM = 0.5
# 64 ms and a quarter of it: long enough for a low voice's harmonics, short enough for its consonants.
WINDOW, HOP = 1024, 256
# After the impulse the first reflections take this many seconds.
FIRST_REFLECTION = 0.0025
LOUDEST = 0.999


@dataclass(frozen=True, slots=True)
class Perturbation:
    """What is done to a sound; None where it is not done."""

    pitch_semitones: float
    tempo: float
    gain_db: float
    snr_db: float | None = None
    room_rt60: float | None = None
    room_direct_db: float | None = None

    def columns(self) -> dict[str, float | None]:
        """The parameters by name, as an utterance's row keeps them."""
        return asdict(self)


PARAMETERS = tuple(field.name for field in fields(Perturbation))


def draw_perturbation(rng: np.random.Generator) -> Perturbation:
    """Draw every parameter uniformly from its range; noise and room each in half of the takes."""
    noisy, roomy = rng.random() < SHARE_OF_NOISE, rng.random() < SHARE_OF_ROOM
    drawn = [float(rng.uniform(*span)) for span in (SEMITONES, TEMPOS, GAINS_DB, SNRS_DB, RT60S, DIRECTS_DB)]
    return Perturbation(
        *drawn[:3],
        snr_db=drawn[3] if noisy else None,
        room_rt60=drawn[4] if roomy else None,
        room_direct_db=drawn[5] if roomy else None,
    )


def perturb(samples: np.ndarray, how: Perturbation, rng: np.random.Generator, librosa: ModuleType) -> np.ndarray:
    """The sound [T] at 16 kHz as `how` says, about T / tempo samples; `rng` draws the room's tail and the noise."""
    sound = shift(np.asarray(samples, dtype=np.float32), how.pitch_semitones, how.tempo, librosa)
    if how.room_rt60 is not None and how.room_direct_db is not None:
        sound = in_room(sound, how.room_rt60, how.room_direct_db, rng)
    if how.snr_db is not None:
        sound = with_noise(sound, how.snr_db, rng)
    sound = sound * 10 ** (how.gain_db / 20)
    peak = float(np.abs(sound).max(initial=0.0))
    return (sound * (LOUDEST / peak) if peak > LOUDEST else sound).astype(np.float32)


def shift(sound: np.ndarray, semitones: float, tempo: float, librosa: ModuleType) -> np.ndarray:
    """Pitch times 2^(semitones / 12), length over `tempo`."""
    import soxr

    ratio = 2 ** (semitones / 12)
    if semitones:
        sound = soxr.resample(sound, SAMPLE_RATE, SAMPLE_RATE / ratio)
    if tempo == ratio:
        return sound
    return librosa.effects.time_stretch(sound, rate=tempo / ratio, n_fft=WINDOW, hop_length=HOP)


def room_response(rt60: float, direct_db: float, rng: np.random.Generator) -> np.ndarray:
    """An impulse of 1 and a decaying tail whose energy is `direct_db` below it."""
    start = round(FIRST_REFLECTION * SAMPLE_RATE)
    time = np.arange(round(rt60 * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / rt60)
    tail *= 10 ** (-direct_db / 20) / np.sqrt((tail**2).sum())
    return np.concatenate([[1.0], np.zeros(start - 1), tail])


def in_room(sound: np.ndarray, rt60: float, direct_db: float, rng: np.random.Generator) -> np.ndarray:
    """The sound through a room's response, at its own length and mean power."""
    from scipy.signal import oaconvolve

    response = room_response(rt60, direct_db, rng).astype(np.float32)
    wet = oaconvolve(sound, response)[: len(sound)]
    power = float((wet**2).mean())
    return wet * np.sqrt(float((sound**2).mean()) / power) if power > 0 else wet


def with_noise(sound: np.ndarray, snr_db: float, rng: np.random.Generator) -> np.ndarray:
    """The sound and pink noise whose mean power is `snr_db` below it; silence stays silent."""
    from scipy.fft import irfft, next_fast_len, rfft

    size = next_fast_len(len(sound), real=True)
    spectrum = rfft(rng.standard_normal(size, dtype=np.float32))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1), dtype=np.float32)
    noise = np.asarray(irfft(spectrum, size))[: len(sound)]
    level = np.sqrt(float((sound**2).mean()) / float((noise**2).mean())) * 10 ** (-snr_db / 20)
    return sound + level * noise
