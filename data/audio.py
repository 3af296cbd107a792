"""Sound from disk: one channel at the asked rate, or one sentence that says why not."""

import hashlib
import itertools
import math
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .errors import AudioError, CorpusError

if TYPE_CHECKING:
    from .corpus import Corpus

SAMPLE_RATE = 16000
LFS_MARK = b"version https://git-lfs"
# What may be done with a sound that is longer than it may be.
TOO_LONG = ("reject", "truncate", "windows")
# A hundredth of a second over is rounding in an encoder, and less than one audio token.
ROUNDING = 0.01
# A streamed wav whose length was never filled in carries one of these as its data size.
UNKNOWN_SIZES = (0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

# An ogg page is at most this long; this bit of its header marks the last page of a stream.
OGG_PAGE = 27 + 255 + 255 * 255
OGG_LAST = 4


class Recording(NamedTuple):
    """What is heard of a sound: its `windows` (mono float32 [T]; one, unless it was cut into several), the `seconds` of
    each, and of the `whole` sound.
    """

    windows: tuple[np.ndarray, ...]
    seconds: tuple[float, ...]
    whole: float


def load_audio(
    path: str | Path,
    *,
    start: float | None = None,
    end: float | None = None,
    sample_rate: int = SAMPLE_RATE,
    min_seconds: float = 0.1,
    max_seconds: float = 30.0,
) -> np.ndarray:
    """Read a sound file, or its seconds `start` to `end`, as mono float32 samples [T] at `sample_rate` hertz.

    Channels are averaged; other rates are resampled with soxr (high quality). wav, flac, mp3, ogg and whatever else
    libsndfile reads. Nothing is cut to fit: audio longer than `max_seconds` is refused.
    Raises `AudioError`, one sentence, for a file that is missing, empty, a Git-LFS pointer, truncated, not audio, or
    holds samples that are no numbers, and for audio that is too short or too long.
    """
    found = load_recording(
        path, start=start, end=end, sample_rate=sample_rate, min_seconds=min_seconds, max_seconds=max_seconds
    )
    return found.windows[0]


def load_recording(
    path: str | Path,
    *,
    start: float | None = None,
    end: float | None = None,
    sample_rate: int = SAMPLE_RATE,
    min_seconds: float = 0.1,
    max_seconds: float = 30.0,
    too_long: str = "reject",
    name: str | None = None,
) -> Recording:
    """Read a sound as `load_audio` does, and do with one of more than `max_seconds` what `too_long` says.

    `reject` refuses it; `truncate` keeps its first `max_seconds`; `windows` cuts its d seconds into ceil(d /
    `max_seconds`) windows, equal to a sample of the file. Each window is what `load_audio` gives for its start and end.
    Errors call the file `name` (default: its path). Raises `AudioError`.
    """
    path = Path(path)
    name = str(path) if name is None else name
    _check_file(path, name)
    samples, rate, whole = _decode(path, name, start, end, min_seconds, max_seconds, too_long)
    return _heard_of(samples, rate, whole, name, sample_rate, max_seconds, too_long)


def recording_of(
    wave: np.ndarray,
    rate: int,
    *,
    sample_rate: int = SAMPLE_RATE,
    min_seconds: float = 0.1,
    max_seconds: float = 30.0,
    too_long: str = "reject",
    name: str = "the wave",
) -> Recording:
    """What `load_recording` gives of a file that holds the samples [T] or [T, channels] at `rate` hertz.

    Whole numbers of n bits are divided by 2^(n - 1), as a file's are; other samples are taken as they stand, between -1
    and 1. Raises `AudioError` as `load_recording` does, and for what are no samples.
    """
    samples = np.asarray(wave)
    if samples.ndim not in (1, 2) or samples.dtype.kind not in "fi" or rate < 1:
        raise AudioError(
            f"{name}: an array {list(samples.shape)} of {samples.dtype} at {rate} Hz; expected samples [T], or [T, "
            "channels], of floats between -1 and 1 or of whole numbers"
        )
    samples = _floats(samples).reshape(len(samples), -1)
    whole = len(samples) / rate
    _check_length(name, whole, min_seconds, max_seconds if too_long == "reject" else math.inf)
    if too_long == "truncate" and whole > max_seconds + ROUNDING:
        samples = samples[: round(max_seconds * rate)]
    return _heard_of(samples, rate, whole, name, sample_rate, max_seconds, too_long)


def _floats(samples: np.ndarray) -> np.ndarray:
    scale = 2.0 ** (8 * samples.dtype.itemsize - 1) if samples.dtype.kind == "i" else 1.0
    return (samples / scale).astype(np.float32)


def hash_wave(wave: np.ndarray, rate: int) -> str:
    """`sha256:…` of samples, as floats of 32 bits, and their rate."""
    digest = hashlib.sha256(f"{rate} {np.shape(wave)}\x1f".encode())
    digest.update(np.ascontiguousarray(_floats(np.asarray(wave)), dtype="<f4").tobytes())
    return f"sha256:{digest.hexdigest()}"


def _heard_of(
    samples: np.ndarray, rate: int, whole: float, name: str, sample_rate: int, max_seconds: float, too_long: str
) -> Recording:
    if not np.isfinite(samples).all():
        bad = int((~np.isfinite(samples)).sum())
        raise AudioError(
            f"{name}: {bad} of {samples.size} samples are not finite numbers (NaN or infinite); export it again"
        )
    mono = samples.mean(axis=1, dtype=np.float32)
    count = window_count(len(mono) / rate, max_seconds) if too_long == "windows" else 1
    edges = [len(mono) * i // count for i in range(count + 1)]
    parts = [mono[first:last] for first, last in itertools.pairwise(edges)]
    windows = tuple(_at_rate(part, rate, sample_rate) for part in parts)
    return Recording(windows, tuple(len(part) / rate for part in parts), whole)


def window_count(seconds: float, max_seconds: float) -> int:
    """Into how many windows of at most `max_seconds` (but for rounding) a sound is cut."""
    return max(1, math.ceil((seconds - ROUNDING) / max_seconds))


def _at_rate(mono: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    if rate != sample_rate:
        import soxr

        mono = soxr.resample(mono, rate, sample_rate)
    return np.ascontiguousarray(mono, dtype=np.float32)


def utterance_audio(
    corpus: "Corpus", i: int, *, sample_rate: int = SAMPLE_RATE, max_seconds: float = 30.0
) -> np.ndarray:
    """The sound of the i-th utterance of a corpus, as `load_audio` gives it."""
    start, end = (corpus.utterances[name][i].as_py() for name in ("start", "end"))
    try:
        path = corpus.audio_path(i)
    except CorpusError as error:  # no audio named, or a remote address: this utterance's failure
        raise AudioError(str(error)) from None
    return load_audio(path, start=start, end=end, sample_rate=sample_rate, max_seconds=max_seconds)


def sound_seconds(path: str | Path) -> float | None:
    """Seconds of a sound file by its header; None for a file that has none to read."""
    import soundfile

    if not Path(path).is_file():
        return None
    try:
        found = soundfile.info(str(path))
    except (soundfile.SoundFileError, OSError):
        return None
    return found.frames / found.samplerate if found.frames and found.samplerate else None


def _check_file(path: Path, name: str) -> None:
    """What can be said from the file's size and first bytes, in words that a decoder would not find."""
    try:
        found = path.stat()
        size = found.st_size
        if path.is_dir():
            raise AudioError(f"{name} is a folder, expected a sound file")
        if not stat.S_ISREG(found.st_mode):  # to open a pipe would wait for ever
            raise AudioError(f"{name} is a pipe or a device, expected a sound file")
        with path.open("rb") as file:
            head = file.read(64)
    except FileNotFoundError:
        raise AudioError(f"{name} is missing; expected a sound file") from None
    except OSError as error:
        raise AudioError(f"{name} cannot be read: {error.strerror}") from None
    if size == 0:
        raise AudioError(f"{name} is empty (zero bytes); expected a sound file")
    if head.startswith(LFS_MARK):
        raise AudioError(f"{name} is a Git-LFS pointer, not the sound itself; fetch it with: git lfs pull")
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        _check_wav_size(path, name, size)
    elif head[:4] == b"OggS":
        _check_ogg_end(path, name, size)


def _check_wav_size(path: Path, name: str, size: int) -> None:
    """Refuse a wav whose data chunk promises more bytes than the file has: decoders read the fragment in silence."""
    with path.open("rb") as file:
        file.seek(12)
        while len(head := file.read(8)) == 8:
            kind, length = struct.unpack("<4sI", head)
            if kind == b"data":
                there = size - file.tell()
                if length not in UNKNOWN_SIZES and there < length:
                    raise AudioError(
                        f"{name} is truncated: its header promises {length} bytes of sound and {there} are there; "
                        "copy or download it again"
                    )
                return
            file.seek(length + length % 2, 1)
    raise AudioError(f"{name} is truncated: the wav ends before its sound begins; copy or download it again")


def _check_ogg_end(path: Path, name: str, size: int) -> None:
    """Refuse an ogg whose last page is cut or does not end the stream: decoders stop there in silence."""
    with path.open("rb") as file:
        file.seek(max(0, size - OGG_PAGE))
        tail = file.read()
    page = tail[max(tail.rfind(b"OggS"), 0) :]
    segments = page[26] if len(page) > 26 else 0
    whole = 27 + segments + sum(page[27 : 27 + segments])
    if len(page) < 27 or len(page) < whole or not page[5] & OGG_LAST:
        raise AudioError(f"{name} is truncated: its last ogg page does not end the stream; copy or download it again")


def _decode(
    path: Path,
    name: str,
    start: float | None,
    end: float | None,
    min_seconds: float,
    max_seconds: float,
    too_long: str,
) -> tuple[np.ndarray, int, float]:
    """Samples [T, channels] float32 of what is heard, their rate, and the seconds of the whole asked segment.

    Lengths are checked before reading.
    """
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            rate, total = file.samplerate, file.frames
            first, last = _segment(name, start, end, rate, total)
            whole = (last - first) / rate
            _check_length(name, whole, min_seconds, max_seconds if too_long == "reject" else math.inf)
            if too_long == "truncate" and whole > max_seconds + ROUNDING:
                last = first + round(max_seconds * rate)
            file.seek(first)
            samples = file.read(last - first, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise AudioError(f"{name}: {_decoder_words(path, error)}") from None
    if len(samples) < last - first:
        raise AudioError(
            f"{name} is truncated: {(last - first) / rate:.2f} s were announced and {len(samples) / rate:.2f} s "
            "could be decoded; copy or download it again"
        )
    return samples, rate, whole


def _segment(name: str, start: float | None, end: float | None, rate: int, total: int) -> tuple[int, int]:
    first = round((start or 0.0) * rate)
    last = total if end is None else round(end * rate)
    # Segment tables are often rounded to the hundredth: a hundredth beyond the end is the end.
    if last > total and last - total <= rate / 100 + 1:
        last = total
    if not 0 <= first < last or last > total:
        if total == 0:
            return 0, 0
        stated = f"{start if start is not None else 0:g} to {end if end is not None else total / rate:g} s"
        raise AudioError(f"{name} lasts {total / rate:.2f} s and has no segment {stated}; correct start and end")
    return first, last


def _check_length(name: str, seconds: float, min_seconds: float, max_seconds: float) -> None:
    if seconds < min_seconds:
        raise AudioError(f"{name} is too short: {seconds:.2f} s, expected at least {min_seconds:g} s")
    if seconds > max_seconds + ROUNDING:
        raise AudioError(
            f"{name} is too long: {seconds:.1f} s, and the model hears at most {max_seconds:g} s; "
            "cut it into utterances (start and end in the utterances table)"
        )


def _decoder_words(path: Path, error: Exception) -> str:
    """Tell a sound file that breaks off from a file that is none."""
    head = path.read_bytes()[:4]
    known = {b"fLaC": "flac", b"OggS": "ogg", b"RIFF": "wav", b"ID3\x03": "mp3", b"ID3\x04": "mp3", b"FORM": "aiff"}
    reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
    if "does not exist" in reason:  # libsndfile's word for an mp3 stream that ends at once; the file was opened above
        reason = "no sound was found in it"
    if head in known:
        return f"it begins like {known[head]} and cannot be decoded ({reason}); it may be truncated, copy it again"
    return f"not audio that can be decoded ({reason}); expected wav, flac, mp3 or ogg"
