"""Audio players for the report: sounds embedded as they lie on disk where they are small, else re-encoded."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
import soundfile

from ...data.audio import SAMPLE_RATE, utterance_audio
from ...data.corpus import Corpus
from ...data.errors import SerannError

# what a browser plays, by suffix
MEDIA = {".ogg": "audio/ogg", ".oga": "audio/ogg", ".mp3": "audio/mpeg", ".wav": "audio/wav", ".flac": "audio/flac"}
LARGEST = 96_000
MOST_SECONDS = 12.0


def player(corpus: Corpus, row: int) -> str:
    """An <audio> element with the utterance's sound inside, or the reason why there is none.

    A whole file of at most 96 kB goes in as it is; a longer one, or a part of a recording, as mono 16 kHz Ogg Vorbis of
    its first 12 seconds. A sound that is absent or broken never breaks a report.
    """
    name = corpus.ids[row]
    try:
        media, sound = _as_it_is(corpus, row) or _encoded(corpus, row)
    except SerannError as error:
        return f'<p class="silent">No sound: {escape(str(error))}</p>'
    data = base64.b64encode(sound).decode("ascii")
    return (
        f'<audio controls preload="none" aria-label="Utterance {escape(name)}" '
        f'src="data:{media};base64,{data}"></audio>'
    )


def _as_it_is(corpus: Corpus, row: int) -> tuple[str, bytes] | None:
    path = corpus.audio_path(row)
    part = any(corpus.utterances[name][row].as_py() is not None for name in ("start", "end"))
    media = MEDIA.get(path.suffix.casefold())
    if part or media is None or not path.is_file() or not 0 < path.stat().st_size <= LARGEST:
        return None
    utterance_audio(corpus, row)  # a file that cannot be heard is told, not embedded
    return media, path.read_bytes()


def _encoded(corpus: Corpus, row: int) -> tuple[str, bytes]:
    samples = utterance_audio(corpus, row)[: int(MOST_SECONDS * SAMPLE_RATE)]
    out = io.BytesIO()
    with soundfile.SoundFile(out, "w", SAMPLE_RATE, 1, format="OGG", subtype="VORBIS") as sound:
        # libsndfile's Vorbis encoder overflows its stack when it is given minutes of samples at once
        for block in np.array_split(samples, max(1, len(samples) // SAMPLE_RATE)):
            sound.write(block)
    return "audio/ogg", out.getvalue()
