"""What a panel asks about each utterance of a corpus, and which of it a run has not answered yet."""

import hashlib
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from ...prompts.loader import Rendered, clean_transcript
from ..listener import Draw
from ..panel.panel import WORDS, ListeningPanel, asks_anything, differ
from .asking import Ready
from .segments import Readers, Results
from .tables import dealt_votes

# An utterance that failed this often is listed and left alone.
MAX_ATTEMPTS = 3

Questions = list[Rendered | None]


class Open(NamedTuple):
    """What is to be asked of each utterance of a batch, as `listener.ask` takes it: None is not to be asked."""

    questions: list[Questions]
    draws: list[list[Draw]]
    rated: list[Questions]


def fingerprint_transcript(transcript: str | None) -> str:
    """What stands for a transcript as the questions hold it; "" where there are no words."""
    spoken = clean_transcript(transcript)
    return hashlib.sha256(spoken.encode()).hexdigest()[:16] if spoken else ""


class OpenQuestions:
    """Nothing is asked twice: exact answers are known by rater, texts by listener and draw, attributes by judge."""

    def __init__(self, ready: Ready):
        asking, transcripts = ready.asking, ready.corpus.utterances["transcript"].to_pylist()
        self.ids, self._asking = ready.corpus.ids, asking
        self._listening, self._attributes = ready.listening, ready.attributes
        self._transcripts = dict(zip(self.ids, transcripts, strict=True))
        self._render = lru_cache(maxsize=4096)(ready.listening.questions)
        if ready.attributes is not None:
            self._render_rated = lru_cache(maxsize=4096)(ready.attributes.questions)

    def of(self, utterance: str) -> Questions:
        """What each rater is asked about an utterance."""
        example = utterance if utterance in self._listening.example_ids else None
        return self._render(self._transcripts[utterance], example)

    def spoken(self, utterance: str) -> str:
        """`fingerprint_transcript` of an utterance."""
        return fingerprint_transcript(self._transcripts[utterance])

    @cached_property
    def readers(self) -> Readers:
        """Whose questions depend on the transcript."""
        panel = self._listening
        reads = panel.reads
        names = [item.listener for item, rater in zip(panel.listeners, panel.rater_of, strict=True) if reads[rater]]
        judges: list[str] = []
        if self._attributes is not None:
            rated = differ([self._attributes.questions(words) for words in WORDS])
            judges = [judge for (judge, _), reading in zip(self._attributes.keys, rated, strict=True) if reading]
        raters = tuple(item.rater for item, reading in zip(panel.raters, reads, strict=True) if reading)
        return Readers(raters, tuple(names), tuple(dict.fromkeys(judges)))

    def reworded(self, results: Results) -> list[str]:
        """Utterances whose transcript is not the one that was answered; `results` then hold the new one's fingerprint.

        An answer of an older serann, which recorded no transcript, is taken to be one to this transcript.
        """
        found = []
        for utterance in [utterance for utterance in results.sounds if utterance in self._transcripts]:
            sound, spoken = results.sounds[utterance], self.spoken(utterance)
            if sound.spoken not in (None, spoken):
                found.append(utterance)
            if sound.spoken != spoken:
                results.sounds[utterance] = sound._replace(spoken=spoken)
        return found

    def wanted(self) -> list[str]:
        """Utterances that the panel is to be asked about."""
        return [utterance for utterance in self.ids[: self._asking.limit] if asks_anything(self.of(utterance))]

    def silent(self, limit: int | None) -> list[str]:
        """Utterances of the first `limit` on which the whole panel abstains."""
        return [utterance for utterance in self.ids[:limit] if not asks_anything(self.of(utterance))]

    def missing(self, results: Results, *, retry: bool) -> list[str]:
        """Utterances with an unanswered question, and without a failure that stands."""
        wanted = self.wanted()
        found = []
        for utterance, is_open in zip(wanted, self._are_open(results, wanted), strict=True):
            failed = results.failed.get(utterance)
            stands = failed is not None and not (retry and failed.attempts < MAX_ATTEMPTS)
            if not stands and (is_open or failed is not None):
                found.append(utterance)
        return found

    def open(self, results: Results, ids: Sequence[str]) -> Open:
        """What of a batch is not answered yet."""
        rated = [self._unrated(results, utterance) for utterance in ids]
        if self._asking.mode != "exact":
            return Open([self.of(utterance) for utterance in ids], self._draws(results, ids), rated)
        known = ~np.isnan(results.scores(ids)[1])
        questions = [
            [None if there else question for question, there in zip(self.of(utterance), row, strict=True)]
            for utterance, row in zip(ids, known, strict=True)
        ]
        return Open(questions, [], rated)

    def _are_open(self, results: Results, ids: Sequence[str]) -> list[bool]:
        found = self.open(results, ids)
        asked = (
            [asks_anything(questions) for questions in found.questions] if self._asking.mode == "exact" else found.draws
        )
        return [bool(own) or asks_anything(rated) for own, rated in zip(asked, found.rated, strict=True)]

    def _unrated(self, results: Results, utterance: str) -> Questions:
        """The questions on attributes that no judge has answered; those that abstain are never open."""
        if self._attributes is None:
            return []
        known = results.judged.get(utterance, {})
        asked = self._render_rated(self._transcripts[utterance])
        return [None if key in known else own for key, own in zip(self._attributes.keys, asked, strict=True)]

    def _draws(self, results: Results, ids: Sequence[str]) -> list[list[Draw]]:
        """Answers in words that are dealt and not given yet."""
        names = [item.listener for item in self._listening.listeners]
        known = [{text[:2] for text in results.texts.get(utterance, ())} for utterance in ids]
        asked, votes, seed = [self.of(utterance) for utterance in ids], self._asking.votes, self._asking.seed
        dealt = dealt_draws(self._listening, ids, asked, votes=votes, seed=seed)
        return [
            [draw for draw in own if (names[draw.listener], draw.draw) not in given]
            for own, given in zip(dealt, known, strict=True)
        ]


def dealt_draws(
    panel: ListeningPanel, ids: Sequence[str], asked: Sequence[Questions], *, votes: int, seed: int
) -> list[list[Draw]]:
    """The answers in words that are dealt of each utterance, by whoever is `asked` about it."""
    dealt: list[list[Draw]] = [[] for _ in ids]
    for u, listener, draw in zip(*dealt_votes(ids, len(panel.listeners), votes=votes, seed=seed), strict=True):
        if asked[u][panel.rater_of[listener]] is not None:
            dealt[u].append(Draw(int(listener), int(draw)))
    return dealt
