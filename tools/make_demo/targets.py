"""What the embedded checkpoint is taught to answer: for each focus of a listener, a distribution over the labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from serann.data.errors import OptionError

from .plan import CLASS_SHARES, LABELS, Utterance, lean_distribution
from .raters import Rater, expected_votes

# How far the words alone move a listener who is told to judge nothing but them, and how much of the voice such a
# listener still hears.
WORDS_ALONE = 1.5
VOICE_LEAKS = 0.5
# A listener for subtle cues calls that much of what others hear as neutral something else.
CUES_NEUTRAL = 0.75


def voice_and_words(raters: Sequence[Rater], utterance: Utterance) -> np.ndarray:
    """What the raters hear: the distribution of the vote of one picked at random."""
    return expected_votes(raters, utterance)


def voice(raters: Sequence[Rater], utterance: Utterance) -> np.ndarray:
    """The same raters, deaf to the words' lean."""
    return expected_votes([replace(rater, words=0.0) for rater in raters], utterance)


def words(raters: Sequence[Rater], utterance: Utterance) -> np.ndarray:
    """Half the classes' base rates moved by the words' lean, half what was heard: the voice cannot be unheard."""
    base_rates = np.array([CLASS_SHARES[label] for label in LABELS])
    read = lean_distribution(base_rates, utterance.sentence.lean, WORDS_ALONE)
    return VOICE_LEAKS * voice_and_words(raters, utterance) + (1 - VOICE_LEAKS) * read


def cues(raters: Sequence[Rater], utterance: Utterance) -> np.ndarray:
    """The voice alone, less often called neutral."""
    p = voice(raters, utterance)
    p[LABELS.index("neutral")] *= CUES_NEUTRAL
    return p / p.sum()


def contrast(raters: Sequence[Rater], utterance: Utterance) -> np.ndarray:
    """Voice and words, the words counting twice."""
    return expected_votes([replace(rater, words=2 * rater.words) for rater in raters], utterance)


FOCUSES: Mapping[str, Callable[[Sequence[Rater], Utterance], np.ndarray]] = {
    "voice-and-words": voice_and_words,
    "voice": voice,
    "words": words,
    "cues": cues,
    "contrast": contrast,
}


def focus_target(focus: str, raters: Sequence[Rater], utterance: Utterance) -> np.ndarray:
    """The distribution [K] a listener of this focus is taught; OptionError for a focus that has none yet."""
    if focus not in FOCUSES:
        raise OptionError(f"no target is defined for the focus {focus!r}; expected one of {', '.join(FOCUSES)}")
    return FOCUSES[focus](raters, utterance)
