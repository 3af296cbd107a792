"""A panel at work: which distinct questions its listeners ask, and who they are in the run's table."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from ..data.labels import LabelSet
from ..data.tables import LISTENERS, from_rows
from ..prompts.loader import (
    NO_TRANSCRIPT,
    Listener,
    Panel,
    Rendered,
    clean_transcript,
    fingerprint,
    label_order,
    render,
)


@dataclass(frozen=True)
class ListeningPanel:
    """A panel over a label set. Listeners that differ in temperature alone are one rater and ask one question."""

    panel: Panel
    labels: LabelSet

    def __post_init__(self) -> None:
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

    def questions(self, transcript: str | None) -> list[Rendered | None]:
        """What each of `raters` is asked about an utterance; None for one that has to abstain."""
        spoken = clean_transcript(transcript)
        return [
            None
            if self.panel.question.focuses[item.focus].needs_transcript and not spoken
            else render(self.panel.question, item, self.labels.labels, spoken)
            for item in self.raters
        ]

    def abstention(self, listener: Listener) -> str:
        """Why a listener without scores for a scored utterance abstained."""
        return NO_TRANSCRIPT if self.panel.question.focuses[listener.focus].needs_transcript else "not asked"

    def table(self) -> pa.Table:
        """The run's `listeners` table."""
        rows = [
            {
                "listener": item.listener,
                "panel": self.panel.name,
                "prompt": self.panel.question.name,
                "form": item.form,
                "focus": item.focus,
                "persona": item.persona or None,
                "language": item.language,
                "temperature": item.temperature,
                "order": list(label_order(item.order, self.labels.labels)),
                "prompt_fingerprint": fingerprint(self.panel.question, item),
                "rater": item.rater,
            }
            for item in self.listeners
        ]
        return from_rows(rows, LISTENERS)


def asks_anything(questions: Sequence[Rendered | None]) -> bool:
    """Whether the model has to be asked at all: a panel of words-only listeners may abstain as a whole."""
    return any(question is not None for question in questions)
