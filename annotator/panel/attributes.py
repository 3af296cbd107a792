"""Synthetic attribute ratings: valence, arousal and dominance by exact scores of a scale's points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pyarrow as pa

from ...data.errors import OptionError, PromptError
from ...data.files import fingerprint
from ...data.scores.temperature import at_temperature, normalise
from ...data.tables import RATINGS, TableSpec, from_rows
from ...prompts.files import AttributeQuestion
from ...prompts.loader import Listener, Rendered, clean_transcript, list_attributes, load_attributes
from .panel import ListeningPanel

if TYPE_CHECKING:
    from ..engines.base import Scores

DIMENSIONS = ("valence", "arousal", "dominance")
# The scale of MSP-Podcast, for a corpus that states none.
USUAL_SCALE = (1.0, 7.0)
MOST_POINTS = 21
RATING_SCORES = TableSpec(
    "rating_scores",
    {
        "utterance_id": pa.string(),
        "listener": pa.string(),
        "dimension": pa.string(),
        "points": pa.list_(pa.float64()),
        "p": pa.list_(pa.float32()),
        "log_mass": pa.float32(),
    },
    required=("utterance_id", "listener", "dimension", "points", "p"),
    key=("utterance_id", "listener", "dimension"),
    choices={"dimension": (*DIMENSIONS, "naturalness")},
)


class Judged(NamedTuple):
    """One judge's answer on an attribute: log P1 of the scale's points (`attributes` says who is a judge).

    `log_mass` is the log-probability of any point at all; None in what an older serann has written.
    """

    judge: str
    dimension: str
    logp: tuple[float, ...]
    log_mass: float | None = None


class Rating(NamedTuple):
    """One listener's rating: the expected value, and p over the scale's points at the listener's temperature.

    `log_mass` is the log-probability of any point at all, at T = 1 as in `scores`; None where it was not recorded.
    """

    listener: str
    dimension: str
    value: float
    p: tuple[float, ...]
    log_mass: float | None = None


@dataclass(frozen=True)
class Attributes:
    """What a panel is asked beside the emotion: each dimension on a scale of whole numbers.

    A judge is a distinct way of asking: listeners that differ in temperature, label order or form alone are one, for a
    scale has one order. Its answer makes all its listeners' ratings. `questions` are by language.
    """

    panel: ListeningPanel
    asked: Mapping[str, AttributeQuestion]
    points: tuple[int, ...]
    dimensions: tuple[str, ...]

    @cached_property
    def judges(self) -> tuple[Listener, ...]:
        """One listener for each distinct way of asking, in the panel's order."""
        first = {_way(item): item for item in reversed(self.panel.panel.listeners)}
        return tuple(first[way] for way in dict.fromkeys(map(_way, self.panel.panel.listeners)))

    @cached_property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """(judge, dimension) of each of `questions`."""
        return tuple((_way(judge), dimension) for judge in self.judges for dimension in self.dimensions)

    @property
    def scale(self) -> tuple[float, float]:
        return float(self.points[0]), float(self.points[-1])

    @property
    def identity(self) -> dict[str, Any]:
        """What a run's identity has to hold of the ratings: a change of any of it gives other numbers."""
        asked = [[item.text for item in self.questions("a transcript") if item is not None], list(self.points)]
        return {
            "attributes": list(self.dimensions),
            "scale": list(self.scale),
            "attribute_questions": fingerprint(asked),
        }

    def questions(self, transcript: str | None) -> list[Rendered | None]:
        """Every judge's questions, its dimensions in order: judges x dimensions; None for one that has to abstain."""
        spoken = clean_transcript(transcript)
        return [self._render(judge, dimension, spoken) for judge in self.judges for dimension in self.dimensions]

    def texts(self, listener: Listener) -> list[str]:
        """What a listener is asked about an utterance that has a transcript."""
        rendered = [self._render(listener, dimension, "a transcript") for dimension in self.dimensions]
        return [question.text for question in rendered if question is not None]

    def judged(self, scores: Scores, asked: Sequence[Rendered | None]) -> tuple[Judged, ...] | None:
        """The judges' answers from the scores of what was `asked` of `questions`; None if one is no number."""
        logp, log_mass = normalise(scores.answer_logp)
        sound = ~np.isnan(logp).any(axis=1) & np.isfinite(log_mass)
        expected = np.array([question is not None for question in asked], dtype=bool)
        if not (sound | ~expected).all():
            return None
        return tuple(
            Judged(*self.keys[i], tuple(logp[i].tolist()), float(log_mass[i])) for i in np.flatnonzero(expected)
        )

    def ratings(self, judged: Iterable[Judged]) -> tuple[Rating, ...]:
        """The listeners' ratings from their judges' answers.

        p_T(point) is proportional to P1(point)^(1/T) as for labels; the value is its mean. Abstaining listeners have
        no rating.
        """
        known = {(item.judge, item.dimension): item for item in judged}
        found = []
        for listener in self.panel.listeners:
            for dimension in self.dimensions:
                item = known.get((_way(listener), dimension))
                if item is not None:
                    p = at_temperature(np.array(item.logp), listener.temperature)
                    value = float(p @ self.points)
                    found.append(Rating(listener.listener, dimension, value, tuple(p.tolist()), item.log_mass))
        return tuple(found)

    def _render(self, judge: Listener, dimension: str, spoken: str) -> Rendered | None:
        question, focus = self.panel.panel.question_of(judge), self.panel.panel.focus_of(judge)
        if focus.needs_transcript and not spoken:
            return None
        asked = self.asked[judge.language]
        answers = tuple(str(point) for point in self.points)
        text = asked.template.format(
            persona=f"{judge.persona} " if judge.persona else "",
            focus=focus.text.format(transcript=spoken),
            question=asked.dimensions[cast(Any, dimension)].format(low=answers[0], high=answers[-1]),
            points=", ".join(answers),
        )
        return Rendered(question.system, text, answers, answers, focus.needs_transcript)


def attributes_for(
    panel: ListeningPanel, *, scale: tuple[float, float] | None = None, dimensions: Sequence[str] = DIMENSIONS
) -> Attributes:
    """The questions on `dimensions` for a panel, in its listeners' languages, on the corpus's scale (None: 1 to 7).

    Raises `OptionError` for a scale without whole ends or of more than 21 points, or an unknown dimension;
    `PromptError` if there are no attribute questions in a listener's language.
    """
    low, high = scale or USUAL_SCALE
    if low != int(low) or high != int(high) or not 1 <= high - low < MOST_POINTS:
        raise OptionError(
            f"a scale from {low:g} to {high:g}; attributes are asked on a scale of 2 to {MOST_POINTS} whole numbers"
        )
    asked = {item.language: item for item in map(load_attributes, list_attributes())}
    lacking = sorted({item.language for item in panel.panel.listeners} - set(asked))
    if lacking:
        raise PromptError(f"no attribute questions in language {', '.join(lacking)}; there are {', '.join(asked)}")
    known = list(asked["en"].dimensions)
    unknown = [dimension for dimension in dimensions if dimension not in known]
    if unknown or not dimensions:
        what = f"unknown dimension '{unknown[0]}'" if unknown else "no dimension"
        raise OptionError(f"{what}; expected some of {', '.join(known)}")
    points = tuple(range(int(low), int(high) + 1))
    return Attributes(panel, asked, points, tuple(dict.fromkeys(dimensions)))


def rating_table(rated: Iterable[tuple[str, Iterable[Rating]]]) -> pa.Table:
    """The `ratings` table of (utterance id, its ratings): the expected values, source synthetic, sorted by key."""
    rows = [
        {
            "utterance_id": utterance,
            "rater_id": item.listener,
            "source": "synthetic",
            "dimension": item.dimension,
            "value": item.value,
        }
        for utterance, ratings in rated
        for item in ratings
    ]
    rows.sort(key=lambda row: (row["utterance_id"], row["rater_id"], row["dimension"]))
    return from_rows(rows, RATINGS)


def rating_score_table(rated: Iterable[tuple[str, Iterable[Rating]]], points: Sequence[float]) -> pa.Table:
    """The same ratings with p over the scale's points and the mass on all of them, sorted by key."""
    rows = [
        {
            "utterance_id": utterance,
            "listener": item.listener,
            "dimension": item.dimension,
            "points": list(points),
            "p": list(item.p),
            "log_mass": item.log_mass,
        }
        for utterance, ratings in rated
        for item in ratings
    ]
    rows.sort(key=lambda row: (row["utterance_id"], row["listener"], row["dimension"]))
    return from_rows(rows, RATING_SCORES)


def _way(listener: Listener) -> str:
    """The name of a way of asking: a question has one language."""
    return f"{listener.question}/{listener.focus}/{listener.persona}"
