"""A panel at work: which distinct questions its listeners ask, and who they are in the run's table."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from ...data.errors import OptionError
from ...data.files import fingerprint as hash_of
from ...data.labels import LabelSet
from ...data.tables import LISTENERS, from_rows
from ...prompts.loader import (
    NO_TRANSCRIPT,
    Listener,
    Panel,
    Rendered,
    Shown,
    clean_transcript,
    fingerprint,
    label_order,
    render,
)

IS_EXAMPLE = "the utterance is one of the panel's examples"
# Whoever is asked the same about all of these does not read the transcript.
WORDS = (None, "a transcript", "another transcript")


@dataclass(frozen=True)
class ListeningPanel:
    """A panel over a label set. Listeners that differ in temperature alone are one rater and ask one question.

    `examples` are heard before every utterance but those they were taken from, `example_ids`, on which the panel
    abstains; `few_shot.listening_panel` finds both.
    """

    panel: Panel
    labels: LabelSet
    examples: tuple[Shown, ...] = ()
    example_ids: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.examples and (self.panel.examples or self.panel.examples_per_label):
            raise OptionError(f"panel {self.panel.name} has examples, which have to be loaded from a corpus")
        # A panel that cannot be asked (more labels than letters, say) is refused before anything is loaded or written.
        self.questions("a transcript")

    @cached_property
    def listeners(self) -> tuple[Listener, ...]:
        """The listeners, sorted by id: the order of the run's tables."""
        return tuple(sorted(self.panel.listeners, key=lambda item: item.listener))

    @cached_property
    def raters(self) -> tuple[Listener, ...]:
        """One listener for each distinct question, in the panel's order."""
        first = {item.rater: item for item in reversed(self.panel.listeners)}
        return tuple(first[rater] for rater in dict.fromkeys(item.rater for item in self.panel.listeners))

    @cached_property
    def rater_of(self) -> np.ndarray:
        """[L] the place in `raters` of each of `listeners`."""
        place = {item.rater: i for i, item in enumerate(self.raters)}
        return np.array([place[item.rater] for item in self.listeners])

    @cached_property
    def temperatures(self) -> np.ndarray:
        """[L] temperatures of `listeners`."""
        return np.array([item.temperature for item in self.listeners])

    @cached_property
    def reads(self) -> list[bool]:
        """Whether the question of each of `raters` depends on the transcript."""
        return differ([self.questions(words) for words in WORDS])

    def questions(self, transcript: str | None, utterance: str | None = None) -> list[Rendered | None]:
        """What each of `raters` is asked about an utterance (by id); None for one that has to abstain."""
        if utterance in self.example_ids:
            return [None] * len(self.raters)
        spoken = clean_transcript(transcript)
        return [
            None
            if self.panel.focus_of(item).needs_transcript and not spoken
            else replace(render(self.panel.question_of(item), item, self.labels.labels, spoken), examples=self.examples)
            for item in self.raters
        ]

    def abstention(self, listener: Listener, utterance: str | None = None) -> str:
        """Why a listener without scores for an utterance abstained."""
        if utterance in self.example_ids:
            return IS_EXAMPLE
        return NO_TRANSCRIPT if self.panel.focus_of(listener).needs_transcript else "not asked"

    def fingerprint(self, listener: Listener) -> str:
        """`sha256:…` of everything that a listener is asked, the examples included (a rater's name ends in theirs)."""
        asked = fingerprint(self.panel.question_of(listener), listener)
        return hash_of([asked, listener.rater.rpartition("/")[2]]) if self.examples else asked

    def table(self) -> pa.Table:
        """The run's `listeners` table."""
        rows = [
            {
                "listener": item.listener,
                "panel": self.panel.name,
                "prompt": self.panel.question_of(item).name,
                "form": item.form,
                "focus": item.focus,
                "persona": item.persona or None,
                "language": item.language,
                "temperature": item.temperature,
                "order": list(label_order(item.order, self.labels.labels)),
                "prompt_fingerprint": self.fingerprint(item),
                "rater": item.rater,
            }
            for item in self.listeners
        ]
        return from_rows(rows, LISTENERS)


def differ(asked: Sequence[Sequence[Rendered | None]]) -> list[bool]:
    """Whether each question is another one in some of several renderings."""
    texts = [[None if question is None else question.text for question in own] for own in asked]
    return [len(set(own)) > 1 for own in zip(*texts, strict=True)]


def asks_anything(questions: Sequence[Rendered | None]) -> bool:
    """Whether the model has to be asked at all: a panel of words-only listeners may abstain as a whole."""
    return any(question is not None for question in questions)
