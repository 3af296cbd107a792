"""The sounds of `dime-aug`: small changes that leave the speaker and, we assume, what people hear; and their files.

    pitch   within a semitone, and with it the formants by as much: resampled (soxr) by r = 2^(semitones / 12)
    tempo   .95 to 1.05: phase vocoder (librosa), whose rate tempo / r gives back the length that resampling took
    room    in half of the takes: an impulse, then Gaussian noise that decays by 60 dB in rt60 seconds (Polack 1988),
            with `direct_db` more energy in the impulse than in the tail
    noise   in half of the takes: pink, `snr_db` below the sound in mean power
    gain    within 6 dB; less where it would clip

One vocoder does pitch and tempo together. Measured on one core (speech at 16 kHz, two seconds per sound): 265 times
real time, the vocoder three quarters of it; 270 with sounds read and FLAC written, at four seconds per sound. Source:
perturbation by resampling and of tempo, Ko et al. (Interspeech 2015).

A corpus keeps augmented utterances as rows with split=train, parents, how they were made, and seed; their sounds lie
under audio/.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa

from ....data.audio import SAMPLE_RATE, utterance_audio
from ....data.corpus import Corpus
from ....data.files import hash_file
from ....data.sound_paths import OWN, elsewhere
from .plan import PARAMETERS, NewUtterance, Perturbation, load_librosa, mix_sounds

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


# --------------------
# The files and rows.

PEDIGREE = {"parents": pa.list_(pa.string()), "alpha": pa.float64(), "seed": pa.int64()}
# Parents' sounds kept at hand: takes of one parent follow each other.
KEPT_SOUNDS = 8


def write_sounds(
    corpus: Corpus,
    items: Sequence[NewUtterance],
    directory: Path,
    *,
    max_seconds: float = 30.0,
    report: Callable[[], None] | None = None,
) -> list[dict[str, Any]]:
    """Make and write every new utterance's sound as 16-bit FLAC under `directory`/audio; return their rows. Parents
    last at most `max_seconds`."""
    if items:
        (directory / "audio").mkdir(exist_ok=True)
    columns = {name: corpus.column(name) for name in ("speaker", "gender", "language", "transcript")}
    sound_of = lru_cache(KEPT_SOUNDS)(lambda i: utterance_audio(corpus, i, max_seconds=max_seconds))
    rows = []
    for item in items:
        sound = new_sound(item, sound_of)
        audio = f"{OWN}audio/{item.utterance_id}.flac"
        # Written by Python: on a full disk libsndfile's own writer ends in an error that does not say so.
        (directory / audio).write_bytes(flac(sound))
        rows.append(
            _row(corpus, item, columns)
            | {
                "audio": audio,
                "duration": len(sound) / SAMPLE_RATE,
                "content_hash": hash_file(directory / audio),
            }
        )
        if report is not None:
            report()
    return rows


def new_sound(item: NewUtterance, sound_of: Callable[[int], np.ndarray]) -> np.ndarray:
    """Both parents mixed in time; or, with a perturbation, the parent (or two turns of one speaker), perturbed."""
    if item.perturbation is None:
        return mix_sounds(sound_of(item.first), sound_of(item.second), item.alpha)
    parts = [sound_of(item.first)]
    if item.second != item.first:
        parts.append(sound_of(item.second))
    rng = np.random.default_rng([item.seed, 1])
    return perturb(np.concatenate(parts), item.perturbation, rng, load_librosa("its perturbations"))


def flac(sound: np.ndarray) -> bytes:
    """The sound [T] at 16 kHz as a 16-bit FLAC file."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, sound, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _row(corpus: Corpus, item: NewUtterance, columns: dict[str, np.ndarray]) -> dict[str, Any]:
    """The speaker is the first parent's; gender and language stay only where both parents agree."""
    first, second = item.first, item.second
    shared = {
        name: columns[name][first] if columns[name][first] == columns[name][second] else None
        for name in ("gender", "language")
    }
    single = item.perturbation is not None and first == second
    return shared | {
        "utterance_id": item.utterance_id,
        "speaker": columns["speaker"][first],
        "split": "train",
        "transcript": _transcript(item, columns["transcript"]),
        "parents": [corpus.ids[first]] if single else [corpus.ids[first], corpus.ids[second]],
        "alpha": None if single else item.alpha,
        "seed": item.seed,
        **(item.perturbation.columns() if item.perturbation is not None else {}),
    }


def _transcript(item: NewUtterance, transcripts: np.ndarray) -> str | None:
    """Mixed: the parent's that alpha chooses. Joined: both, one after the other, where both are known."""
    first, second = transcripts[item.first], transcripts[item.second]
    if item.perturbation is None:
        return first if item.alpha < 0.5 else second
    if item.first == item.second:
        return first
    return None if first is None or second is None else f"{first} {second}"


def with_new_rows(corpus: Corpus, rows: Sequence[dict[str, Any]]) -> tuple[pa.Table, str | None]:
    """The corpus's utterances as read from elsewhere and the new rows below them, and the audio root of the former."""
    utterances, audio_root = elsewhere(corpus)
    made = {name: pa.float64() for name in PARAMETERS if any(name in row for row in rows)}
    for name, kind in {**PEDIGREE, **made}.items():
        if name in utterances.column_names:
            utterances = utterances.drop_columns([name])
        utterances = utterances.append_column(name, pa.nulls(utterances.num_rows, kind))
    schema = utterances.schema.remove_metadata()
    new = pa.Table.from_pylist(list(rows), schema=schema)
    return pa.concat_tables([utterances.replace_schema_metadata(None), new]), audio_root
