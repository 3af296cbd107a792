"""What can be heard to be wrong with a sound: unreadable, of the wrong length, silent, clipped, or heard before."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .audio import load_audio
from .errors import AudioError

# Sounds that are read or wait for it, a worker: memory is bounded by them, not by the corpus.
AHEAD = 4
# A task of so many sounds costs its handing over once.
TOGETHER = 16


@dataclass(frozen=True, slots=True)
class Limits:
    """What is wrong with a sound, in figures.

    Lengths are seconds; longer than `max_seconds` is refused by annotate unless it is told otherwise. Silent: the peak,
    or the root mean square, without the mean, is below -60 or -70 dB of full scale. Clipped: more than `clipped_share`
    of a channel's samples are in runs of three or more at `full_scale` or beyond (where a peak is scaled to 1, one or
    two samples are there).
    """

    min_seconds: float = 0.1
    max_seconds: float = 30.0
    silent_peak: float = 10.0 ** (-60 / 20)
    silent_rms: float = 10.0 ** (-70 / 20)
    full_scale: float = 0.999
    clipped_share: float = 0.001


class Excerpt(NamedTuple):
    """A sound file and the seconds of it that are an utterance."""

    path: Path
    start: float | None = None
    end: float | None = None


class SoundReport(NamedTuple):
    """What is wrong with a sound (`kind` and `sentence`, None for nothing), and the digest of its samples if read."""

    kind: str | None
    sentence: str | None
    digest: bytes | None = None


def inspect_sound(excerpt: Excerpt, limits: Limits) -> SoundReport:
    """Read an excerpt at its own rate and say what is wrong with it.

    Kinds: missing, broken, too short, too long (with `load_audio`'s sentence), silent, clipped. Equal digests are equal
    samples, in whatever format: mono, float32, at the same rate.
    """
    rate, channels, seconds = _header(excerpt)
    try:
        samples = load_audio(
            excerpt.path,
            start=excerpt.start,
            end=excerpt.end,
            sample_rate=rate,
            min_seconds=limits.min_seconds,
            max_seconds=limits.max_seconds,
        )
    except AudioError as error:
        return SoundReport(_kind(excerpt, seconds, limits), str(error))
    digest = hashlib.blake2b(samples.tobytes(), digest_size=16, key=str(rate).encode()).digest()
    moving = samples - samples.mean()
    peak, rms = float(np.abs(moving).max()), float(np.sqrt(np.mean(np.square(moving, dtype=np.float64))))
    if peak < limits.silent_peak or rms < limits.silent_rms:
        return SoundReport("silent", f"{excerpt.path} is silent: peak {_decibels(peak)}, mean {_decibels(rms)}", digest)
    share = _clipped_share(excerpt, samples, rate, channels, limits.full_scale)
    if share > limits.clipped_share:
        return SoundReport("clipped", f"{excerpt.path} is clipped: {share:.2%} of its samples are full scale", digest)
    return SoundReport(None, None, digest)


def _header(excerpt: Excerpt) -> tuple[int, int, float]:
    """Rate, channels and the excerpt's seconds; whatever is wrong with the file is found when it is read."""
    import soundfile

    try:
        info = soundfile.info(str(excerpt.path))
    except (soundfile.SoundFileError, OSError):
        return 16000, 1, float("nan")
    whole = info.frames / info.samplerate
    return info.samplerate, info.channels, (whole if excerpt.end is None else excerpt.end) - (excerpt.start or 0.0)


def _kind(excerpt: Excerpt, seconds: float, limits: Limits) -> str:
    if not excerpt.path.exists():
        return "missing audio"
    if 0 <= seconds < limits.min_seconds:
        return "too short"
    return "too long" if seconds > limits.max_seconds else "broken audio"


def _clipped_share(excerpt: Excerpt, mono: np.ndarray, rate: int, channels: int, full_scale: float) -> float:
    """The largest share over the channels; averaging two channels hides that one is clipped."""
    samples = mono[:, None]
    if channels > 1:
        import soundfile

        first = round((excerpt.start or 0.0) * rate)
        samples, _ = soundfile.read(excerpt.path, frames=len(mono), start=first, dtype="float32", always_2d=True)
    full = np.abs(samples) >= full_scale
    middle = full[:-2] & full[1:-1] & full[2:]
    run = np.zeros(full.shape, dtype=bool)
    for shift in range(3):
        run[shift : shift + len(middle)] |= middle
    return float(run.mean(axis=0).max())


def _decibels(amplitude: float) -> str:
    return f"{20 * np.log10(amplitude):.0f} dB" if amplitude > 0 else "nothing"


def inspect_sounds(
    excerpts: Sequence[Excerpt],
    limits: Limits,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[SoundReport]:
    """Inspect many excerpts with `workers` threads (as many as cores), in order; `progress(done, total)` is called.

    Threads do it: decoding, hashing and sums release the interpreter. What is in flight is bounded.
    """
    workers = workers or os.cpu_count() or 1
    found: list[SoundReport] = []
    with ThreadPoolExecutor(workers) as pool:

        def tasks() -> Iterator[Future[list[SoundReport]]]:
            for k in range(0, len(excerpts), TOGETHER):
                yield pool.submit(_inspect_some, excerpts[k : k + TOGETHER], limits)

        todo = tasks()
        waiting = deque(islice(todo, workers * AHEAD))
        while waiting:
            found += waiting.popleft().result()
            waiting.extend(islice(todo, 1))
            if progress is not None:
                progress(len(found), len(excerpts))
    return found


def _inspect_some(excerpts: Sequence[Excerpt], limits: Limits) -> list[SoundReport]:
    return [inspect_sound(excerpt, limits) for excerpt in excerpts]
