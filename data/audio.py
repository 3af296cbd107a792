"""Sound from disk: one channel at the asked rate, or one sentence that says why not."""

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import AudioError, CorpusError

if TYPE_CHECKING:
    from .corpus import Corpus

SAMPLE_RATE = 16000
LFS_MARK = b"version https://git-lfs"
# A streamed wav whose length was never filled in carries one of these as its data size.
UNKNOWN_SIZES = (0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

# An ogg page is at most this long; this bit of its header marks the last page of a stream.
OGG_PAGE = 27 + 255 + 255 * 255
OGG_LAST = 4


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
    path = Path(path)
    _check_file(path)
    samples, rate = _decode(path, start, end, min_seconds, max_seconds)
    if not np.isfinite(samples).all():
        bad = int((~np.isfinite(samples)).sum())
        raise AudioError(
            f"{path}: {bad} of {samples.size} samples are not finite numbers (NaN or infinite); export it again"
        )
    mono = samples.mean(axis=1, dtype=np.float32)
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

    try:
        found = soundfile.info(str(path))
    except (soundfile.SoundFileError, OSError):
        return None
    return found.frames / found.samplerate if found.frames and found.samplerate else None


def _check_file(path: Path) -> None:
    """What can be said from the file's size and first bytes, in words that a decoder would not find."""
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise AudioError(f"{path} is a folder, expected a sound file")
        with path.open("rb") as file:
            head = file.read(64)
    except FileNotFoundError:
        raise AudioError(f"{path} is missing; expected a sound file") from None
    except OSError as error:
        raise AudioError(f"{path} cannot be read: {error.strerror}") from None
    if size == 0:
        raise AudioError(f"{path} is empty (zero bytes); expected a sound file")
    if head.startswith(LFS_MARK):
        raise AudioError(f"{path} is a Git-LFS pointer, not the sound itself; fetch it with: git lfs pull")
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        _check_wav_size(path, size)
    elif head[:4] == b"OggS":
        _check_ogg_end(path, size)


def _check_wav_size(path: Path, size: int) -> None:
    """Refuse a wav whose data chunk promises more bytes than the file has: decoders read the fragment in silence."""
    with path.open("rb") as file:
        file.seek(12)
        while len(head := file.read(8)) == 8:
            kind, length = struct.unpack("<4sI", head)
            if kind == b"data":
                there = size - file.tell()
                if length not in UNKNOWN_SIZES and there < length:
                    raise AudioError(
                        f"{path} is truncated: its header promises {length} bytes of sound and {there} are there; "
                        "copy or download it again"
                    )
                return
            file.seek(length + length % 2, 1)
    raise AudioError(f"{path} is truncated: the wav ends before its sound begins; copy or download it again")


def _check_ogg_end(path: Path, size: int) -> None:
    """Refuse an ogg whose last page is cut or does not end the stream: decoders stop there in silence."""
    with path.open("rb") as file:
        file.seek(max(0, size - OGG_PAGE))
        tail = file.read()
    page = tail[max(tail.rfind(b"OggS"), 0) :]
    segments = page[26] if len(page) > 26 else 0
    whole = 27 + segments + sum(page[27 : 27 + segments])
    if len(page) < 27 or len(page) < whole or not page[5] & OGG_LAST:
        raise AudioError(f"{path} is truncated: its last ogg page does not end the stream; copy or download it again")


def _decode(
    path: Path, start: float | None, end: float | None, min_seconds: float, max_seconds: float
) -> tuple[np.ndarray, int]:
    """Samples [T, channels] float32 of the asked segment and their rate; lengths are checked before reading."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            rate, total = file.samplerate, file.frames
            first, last = _segment(path, start, end, rate, total)
            _check_length(path, (last - first) / rate, min_seconds, max_seconds)
            file.seek(first)
            samples = file.read(last - first, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise AudioError(f"{path}: {_decoder_words(path, error)}") from None
    if len(samples) < last - first:
        raise AudioError(
            f"{path} is truncated: {(last - first) / rate:.2f} s were announced and {len(samples) / rate:.2f} s "
            "could be decoded; copy or download it again"
        )
    return samples, rate


def _segment(path: Path, start: float | None, end: float | None, rate: int, total: int) -> tuple[int, int]:
    first = round((start or 0.0) * rate)
    last = total if end is None else round(end * rate)
    # Segment tables are often rounded to the hundredth: a hundredth beyond the end is the end.
    if last > total and last - total <= rate / 100 + 1:
        last = total
    if not 0 <= first < last or last > total:
        if total == 0:
            return 0, 0
        stated = f"{start if start is not None else 0:g} to {end if end is not None else total / rate:g} s"
        raise AudioError(f"{path} lasts {total / rate:.2f} s and has no segment {stated}; correct start and end")
    return first, last


def _check_length(path: Path, seconds: float, min_seconds: float, max_seconds: float) -> None:
    if seconds < min_seconds:
        raise AudioError(f"{path} is too short: {seconds:.2f} s, expected at least {min_seconds:g} s")
    # A hundredth over is rounding in an encoder, and less than one audio token.
    if seconds > max_seconds + 0.01:
        raise AudioError(
            f"{path} is too long: {seconds:.1f} s, and the model hears at most {max_seconds:g} s; "
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
