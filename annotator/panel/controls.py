"""Controls: the same utterances without what a listener needs, to learn what a panel's answers rest on.

| control | is heard | is read | what answers can rest on |
|---|---|---|---|
| transcript-only | zeros, as long as the sound | the transcript | the words alone |
| silence | zeros, as long as the sound | nothing | the question and the duration |
| noise | white noise, as long and as loud | nothing | the question, duration and loudness |
| other-voice | another speaker's utterance, of the same words if possible | the transcript | words, not this voice |

With `transcript-only` those listeners of the panel are asked that read the transcript: the others would know nothing,
and their prior would dilute what the words tell. With `silence` and `noise` nobody is given a transcript. A few-shot
panel's examples stay as they are: they are other utterances. Samples are replaced after decoding (`hearing.replaced`),
so that a sound that cannot be heard fails as it does without a control, and the runs hold the same utterances.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ...data.corpus import Corpus
from ...data.errors import OptionError
from ...prompts.loader import clean_transcript
from .panel import ListeningPanel

# What `--control` takes, in words.
CONTROLS = {
    "transcript-only": "silence, and the transcript for the listeners that read it",
    "silence": "silence as long as the sound, and no transcript",
    "noise": "white noise as long and as loud as the sound, and no transcript",
    "other-voice": "the same words in another speaker's utterance if there is one, else another speaker's",
}


class Voices(NamedTuple):
    """For each utterance the row of the one that is heard instead, [U] (-1: none can be), and how words matched.

    `matched` counts utterances by what was the same: script, transcript, nothing.
    """

    rows: np.ndarray
    matched: dict[str, int]


def check_control(control: str | None) -> None:
    """Refuse an unknown control with `OptionError`."""
    if control is not None and control not in CONTROLS:
        raise OptionError(f"unknown control '{control}'; expected one of {', '.join(CONTROLS)}")


def controlled(corpus: Corpus, panel: ListeningPanel, control: str | None) -> tuple[Corpus, ListeningPanel]:
    """The corpus and the panel as a control asks them; raises `OptionError` where it can show nothing."""
    if control in ("silence", "noise"):
        return _without_words(corpus), panel
    if control == "transcript-only":
        return corpus, _readers(corpus, panel)
    if control == "other-voice" and len({speaker for speaker in corpus.column("speaker") if speaker}) < 2:
        raise OptionError(
            f"control other-voice: corpus {corpus.name} names fewer than two speakers, so there is no other voice; "
            "name them in the utterances' column 'speaker'"
        )
    return corpus, panel


def _without_words(corpus: Corpus) -> Corpus:
    place = corpus.utterances.column_names.index("transcript")
    field = corpus.utterances.schema.field(place)
    nothing = pa.nulls(corpus.utterances.num_rows, field.type)
    return replace(corpus, utterances=corpus.utterances.set_column(place, field, nothing))


def _readers(corpus: Corpus, panel: ListeningPanel) -> ListeningPanel:
    if not any(clean_transcript(words) for words in corpus.utterances["transcript"].to_pylist()):
        raise OptionError(f"control transcript-only: no utterance of corpus {corpus.name} has a transcript")
    reading = {rater.rater for rater, reads in zip(panel.raters, panel.reads, strict=True) if reads}
    if not reading:
        raise OptionError(
            f"control transcript-only: no listener of panel {panel.panel.name} reads the transcript; choose a panel "
            "with a focus on words (serann panels NAME --render)"
        )
    listeners = tuple(item for item in panel.panel.listeners if item.rater in reading)
    return replace(panel, panel=replace(panel.panel, listeners=listeners))


def other_voices(corpus: Corpus) -> Voices:
    """Whose sound is heard in the place of each utterance's own: another speaker's, never the same speaker's.

    Of the same script where another speaker has it, else of the same transcript (case, spaces and punctuation apart),
    else any. Which of several is drawn by the ids alone: utterances of the same words stand on a circle by the hash of
    their ids, and the next one of another speaker after the hash of this one's is taken, so that an utterance more in
    the corpus changes few of the others. What people said about the candidates plays no part. An utterance whose
    speaker is not named, or for which there is no other speaker, hears none; one without a sound on disk is not heard.
    """
    speakers = corpus.column("speaker")
    local = [name is not None and ("://" not in name or name.startswith("file://")) for name in corpus.column("audio")]
    usable = np.array([bool(s) and there for s, there in zip(speakers, local, strict=True)], dtype=bool)
    said = [_plain(words) for words in corpus.column("transcript")]
    known = ("transcript", said), ("nothing", ["any"] * len(said))
    scripts = corpus.column("script").tolist() if "script" in corpus.utterances.column_names else [None] * len(said)
    codes = np.unique([str(s or "") for s in speakers], return_inverse=True)[1]
    named = np.array([bool(s) for s in speakers], dtype=bool)
    circle = np.array([[_place("voice", i), _place("ear", i)] for i in corpus.ids], dtype=np.uint64).reshape(-1, 2)
    rows, matched = np.full(len(said), -1), {}
    for how, words in (("script", scripts), *known):
        free = named & (rows < 0)
        rows = np.where(free, _dealt(words, codes, usable, circle), rows)
        matched[how] = int((free & (rows >= 0)).sum())
    return Voices(rows, matched)


def _dealt(words: Sequence[Hashable], codes: np.ndarray, usable: np.ndarray, circle: np.ndarray) -> np.ndarray:
    """For each row the next usable one on the circle with the same words and another speaker; -1 for none."""
    groups: dict[Hashable, list[int]] = {}
    for row, key in enumerate(words):
        if key:
            groups.setdefault(key, []).append(row)
    found = np.full(len(codes), -1)
    for members in groups.values():
        own = np.array(members)
        voices = own[usable[own]]
        voices = voices[np.argsort(circle[voices, 0], kind="stable")]
        if len(voices):
            found[own] = _next(voices, own, codes, circle)
    return found


def _next(voices: np.ndarray, own: np.ndarray, codes: np.ndarray, circle: np.ndarray) -> np.ndarray:
    size, of = len(voices), codes[voices]
    changes = np.flatnonzero(of != np.roll(of, 1))
    if not len(changes):  # one speaker alone: a voice for all others
        return np.where(codes[own] == of[0], -1, voices[0])
    at = np.searchsorted(circle[voices, 0], circle[own, 1]) % size
    after = changes[np.searchsorted(changes, at, side="right") % len(changes)]
    return voices[np.where(of[at] == codes[own], after, at)]


def _place(what: str, utterance: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{what}\x1f{utterance}".encode()).digest()[:8], "big")


def _plain(words: str | None) -> str:
    """A transcript's letters and digits, folded: what counts as the same words."""
    kept = "".join(c if c.isalnum() else " " for c in (words or "").casefold())
    return " ".join(kept.split())
