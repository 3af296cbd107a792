"""A sound that was cut into windows: each is asked as if it were the utterance, and the answers are averaged."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..prompts.loader import Rendered
from .engines.base import Engine, Scores
from .engines.memory import out_of_memory, release_memory
from .sounds.hearing import Windows

# A batch may hold one utterance however long it is; no more than these seconds of its windows are asked at once.
AT_ONCE = 120.0


def score_windows(
    engine: Engine, sounds: Sequence[Any], questions: Sequence[Sequence[Rendered | None]]
) -> list[Scores]:
    """`engine.score` of sounds some of which are `Windows`: every window is asked all that its utterance is asked.

    Sounds that were not cut are asked as they are. One utterance alone is asked in groups of windows that hold
    `AT_ONCE` seconds at most, by single windows where memory does not suffice.
    """
    pieces = [sound.prepared if isinstance(sound, Windows) else (sound,) for sound in sounds]
    flat = [piece for own in pieces for piece in own]
    asked = [question for own, question in zip(pieces, questions, strict=True) for _ in own]
    if len(sounds) == 1 and isinstance(sounds[0], Windows):
        scored = iter(_in_groups(engine, sounds[0], asked[0]))
    else:
        scored = iter(engine.score(flat, asked))
    return [
        mean_scores([next(scored) for _ in own], sound.seconds) if isinstance(sound, Windows) else next(scored)
        for own, sound in zip(pieces, sounds, strict=True)
    ]


def mean_scores(scores: Sequence[Scores], seconds: Sequence[float]) -> Scores:
    """The mean of P(answer) over windows, weighted by their `seconds`.

    log P(answer) = log sum_w s_w P_w(answer) / sum_w s_w, of probabilities that are not normalised over the answers: a
    window on which the model would rather say something else counts for less, and the mass on all answers is the
    weighted mean of the windows'. NaN where a window's is.
    """
    logp = np.array([found.answer_logp for found in scores], dtype=np.float64)
    share = np.log(np.asarray(seconds) / np.sum(seconds))
    with np.errstate(invalid="ignore"):
        return Scores(np.logaddexp.reduce(logp + share[:, None, None], axis=0))


def _in_groups(engine: Engine, sound: Windows, questions: Sequence[Rendered | None]) -> Iterator[Scores]:
    size = max(1, int(AT_ONCE / max(sound.seconds)))
    for first in range(0, len(sound.prepared), size):
        group = sound.prepared[first : first + size]
        try:
            yield from engine.score(group, [questions] * len(group))
        except Exception as error:
            if not out_of_memory(error) or len(group) == 1:
                raise
            release_memory()
            for window in group:
                yield from engine.score([window], [questions])
