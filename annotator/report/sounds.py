"""Sounds of a report: embedded as they lie on disk where they are small, else re-encoded."""

from __future__ import annotations

import base64
import io

import numpy as np
import soundfile

from ...data.audio import SAMPLE_RATE, load_recording
from ...data.corpus import Corpus
from ...data.errors import SerannError
from .blocks import Sound

# what a browser plays, by suffix
MEDIA = {".ogg": "audio/ogg", ".oga": "audio/ogg", ".mp3": "audio/mpeg", ".wav": "audio/wav", ".flac": "audio/flac"}
LARGEST = 96_000
MOST_SECONDS = 12.0


def player(corpus: Corpus, row: int) -> Sound:
    """The utterance's sound to be played within the page, or the reason why there is none.

    A whole file of at most 96 kB goes in as it is; a longer one, or a part of a recording, as mono 16 kHz Ogg Vorbis of
    its first 12 seconds, however long it is. A sound that is absent or broken never breaks a report.
    """
    name = corpus.ids[row]
    try:
        media, sound = _as_it_is(corpus, row) or _encoded(corpus, row)
    except SerannError as error:
        return Sound(name, reason=str(error))
    return Sound(name, source=f"data:{media};base64,{base64.b64encode(sound).decode('ascii')}")


def without_sounds(corpus: Corpus) -> bool:
    """Whether no utterance of the corpus names a sound, which is said once and not at every utterance."""
    return corpus.utterances["audio"].null_count == corpus.utterances.num_rows


def _as_it_is(corpus: Corpus, row: int) -> tuple[str, bytes] | None:
    path = corpus.audio_path(row)
    part = any(corpus.utterances[name][row].as_py() is not None for name in ("start", "end"))
    media = MEDIA.get(path.suffix.casefold())
    if part or media is None or not path.is_file() or not 0 < path.stat().st_size <= LARGEST:
        return None
    _heard(corpus, row)  # a file that cannot be heard is told, not embedded
    return media, path.read_bytes()


def _heard(corpus: Corpus, row: int) -> np.ndarray:
    """The first seconds of the utterance [T], mono 16 kHz."""
    start, end = (corpus.utterances[name][row].as_py() for name in ("start", "end"))
    path = corpus.audio_path(row)
    return load_recording(path, start=start, end=end, max_seconds=MOST_SECONDS, too_long="truncate").windows[0]


def _encoded(corpus: Corpus, row: int) -> tuple[str, bytes]:
    samples = _heard(corpus, row)
    out = io.BytesIO()
    with soundfile.SoundFile(out, "w", SAMPLE_RATE, 1, format="OGG", subtype="VORBIS") as sound:
        # libsndfile's Vorbis encoder overflows its stack when it is given minutes of samples at once
        for block in np.array_split(samples, max(1, len(samples) // SAMPLE_RATE)):
            sound.write(block)
    return "audio/ogg", out.getvalue()
