"""Does the model answer soundly? Batch against single, canaries against earlier sessions, and degenerate answers.

Batched audio models have gone wrong in silence (padding that leaks), back ends have drifted between versions, and a
wrong chat format leaves a model that says anything but a label. Each shows in the numbers, so a long run looks first.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...data.audio import SAMPLE_RATE
from ...data.errors import RunError
from ...data.scores.temperature import normalise
from ...data.seeds import uniforms
from ...prompts.loader import Rendered
from ..engines.base import Engine, Reason, Scorer, Scores
from ..listener import Answered
from ..panel.panel import ListeningPanel

# From this many utterances on, the self-check is on by default.
FROM_UTTERANCES = 1000
# Total variation that rounding may cause; in half precision a batch's shape changes the last bits of every sum.
TOLERANCE = {"float32": 2e-3, "float64": 2e-3}
LOW_PRECISION = 0.1
SAMPLE = 4
# Answers are looked at in windows of this many utterances.
WINDOW = 100
# A model that fails this often in a row is of no use, even to those who want no self-check.
MOST_FAILURES = 1000
# Below this share of the probability on labels, what is renormalised is noise.
LEAST_MASS = 1e-3
# An answer that hardly changes with the sound: mean total variation to its own mean.
LEAST_SPREAD = 1e-3
MOST_UNREADABLE = 0.95
ADVICE = "look at the prompt (serann panels NAME --render) and the model's chat format; --no-selfcheck goes on anyway"


def tolerance(engine: Engine) -> float:
    """How far two computations of the same answer may lie apart, in total variation."""
    return TOLERANCE.get(str(engine.identity.get("dtype")), LOW_PRECISION)


def total_variation(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Half the L1 distance over the last axis; NaN where either is NaN."""
    return 0.5 * np.abs(np.exp(p) - np.exp(q)).sum(axis=-1)


def check_batching(
    engine: Engine, sounds: Sequence[Any], questions: Sequence[Sequence[Rendered | None]], ids: Sequence[str]
) -> float:
    """Score a few prepared utterances together and one by one; the largest total variation of an answer.

    0 for an engine that does not score. `RunError` if it is more than rounding: then a batch's company changes what the
    model hears.
    """
    if not isinstance(engine, Scorer):
        return 0.0
    together = [_log_shares(found) for found in engine.score(sounds, questions)]
    alone = [_log_shares(engine.score([one], [asked])[0]) for one, asked in zip(sounds, questions, strict=True)]
    apart = [float(np.nan_to_num(total_variation(a, b)).max()) for a, b in zip(together, alone, strict=True)]
    worst = int(np.argmax(apart))
    if apart[worst] > tolerance(engine):
        raise RunError(
            f"self-check: in a batch of {len(sounds)} the model answers otherwise than alone (utterance {ids[worst]}: "
            f"total variation {apart[worst]:.3f}, expected at most {tolerance(engine):g}); padding leaks into the "
            "answers: use --batch-size 1, or other versions of the libraries"
        )
    return apart[worst]


def _log_shares(found: Scores | Reason) -> np.ndarray:
    """log P1 [Q, K]; one NaN, which differs from nothing, where there is no answer."""
    return np.full((1, 1), np.nan) if isinstance(found, Reason) else normalise(found.answer_logp)[0]


def canary_waves() -> list[np.ndarray]:
    """Three sounds that never change: a tone, noise, and a tone that fades, of different lengths."""
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    noise = 0.4 * uniforms(["noise"], 2 * SAMPLE_RATE, "canary")[0] - 0.2
    tone = 0.3 * np.sin(2 * np.pi * 220 * time)
    return [wave.astype(np.float32) for wave in (tone, noise, (tone * (1 - time))[: SAMPLE_RATE // 2])]


def canary_answers(engine: Engine, panel: ListeningPanel) -> dict[str, list[list[float]]]:
    """Each rater's log P1 on the canaries: what a later session compares itself with. None of an engine that does not
    score, or gives no answer.
    """
    if not isinstance(engine, Scorer):
        return {}
    asked = panel.questions("I told you so.")
    sounds = [engine.frontend(wave) for wave in canary_waves()]
    answers = engine.score(sounds, [asked] * len(sounds))
    scores = [normalise(found.answer_logp)[0] for found in answers if not isinstance(found, Reason)]
    if len(scores) < len(answers):
        return {}
    return {
        item.rater: [[round(float(value), 7) for value in found[i]] for found in scores]
        for i, item in enumerate(panel.raters)
        if all(np.isfinite(found[i]).all() for found in scores)
    }


def check_canaries(engine: Engine, found: dict[str, Any], former: dict[str, Any], versions: Sequence[Any]) -> None:
    """`RunError` if the canaries are answered otherwise than in an earlier session of the run."""
    for rater in found.keys() & former.keys():
        apart = float(total_variation(np.array(found[rater]), np.array(former[rater])).max())
        if apart > tolerance(engine):
            raise RunError(
                f"self-check: the model answers the canary sounds otherwise than when this run began (rater {rater}: "
                f"total variation {apart:.3f}); the back end has changed (versions so far: {list(versions)}): go on "
                "with the versions of the first session, or begin another run"
            )


class Endurance:
    """Stops a run whose model does nothing but fail: after `most` utterances in a row, whether it is checked or not.

    Not being able to hold an utterance in memory is such a failure. A sound that cannot be heard, or that the engine
    cannot take, is none, and what failed in an earlier session may fail again: neither counts.
    """

    def __init__(self, most: int = WINDOW) -> None:
        self._most, self._failed = most, 0

    def __call__(self, answered: Sequence[Answered], again: Sequence[bool]) -> None:
        """Take in a batch's answers, and of which utterances it is not the first; `RunError` if it is enough."""
        reason = ""
        for answer, known in zip(answered, again, strict=True):
            if answer.failure is None:
                self._failed = 0
            elif not known and answer.failure.kind != "sound":
                self._failed, reason = self._failed + 1, answer.failure.text
        if reason and self._failed >= self._most:
            raise RunError(
                f"the model failed on {self._failed} utterances in a row, so nothing more is asked; the last time: "
                f"{reason}"
            )


class Monitor:
    """Looks at every window of answers and stops the run when they are degenerate.

    Answers that are the same whatever is heard are, unless they `may_agree`.
    """

    def __init__(self, *, may_agree: bool = False) -> None:
        self._seen, self._may_agree = 0, may_agree
        self._mass: list[float] = []
        self._p: list[np.ndarray] = []
        self._readable: list[bool] = []
        self._text = ""

    def __call__(self, answered: Sequence[Answered]) -> None:
        """Take in a batch's answers; `RunError` if the window they complete is degenerate."""
        for answer in answered:
            if answer.failure is None:
                self._take(answer)
        if len(self._mass) >= WINDOW:
            self._check_scores()
            self._mass, self._p = [], []
        if len(self._readable) >= WINDOW:
            self._check_texts()
            self._readable = []

    def _take(self, answer: Answered) -> None:
        self._seen += 1
        if answer.logp is not None and answer.log_mass is not None and np.isfinite(answer.log_mass).any():
            self._mass.append(float(np.exp(answer.log_mass[np.isfinite(answer.log_mass)]).mean()))
            self._p.append(np.nanmean(np.exp(answer.logp), axis=0))
        for given in answer.answers:
            if given.text is not None:
                self._readable.append(given.label is not None or given.p is not None)
                self._text = self._text if self._readable[-1] else given.text

    def _check_scores(self) -> None:
        mass, p = float(np.median(self._mass)), np.array(self._p)
        if mass < LEAST_MASS:
            self._stop(
                f"only {mass:.2g} of the model's probability falls on a label (median of {len(self._mass)} "
                "utterances), so it would say something else, or nothing but special tokens"
            )
        spread = float(0.5 * np.abs(p - p.mean(axis=0)).sum(axis=1).mean())
        if spread < LEAST_SPREAD and not self._may_agree:
            self._stop(
                f"the answer is the same whatever is heard (label number {int(p.mean(axis=0).argmax()) + 1} with "
                f"p = {p.mean(axis=0).max():.3f} for {len(p)} utterances, which differ by {spread:.2g} on average)"
            )

    def _check_texts(self) -> None:
        unreadable = 1 - float(np.mean(self._readable))
        if unreadable > MOST_UNREADABLE:
            said = f"the last one is {self._text[:80]!r}" if self._text.strip() else "they are empty or special tokens"
            self._stop(f"{unreadable:.0%} of the answers name no label; {said}")

    def _stop(self, what: str) -> None:
        raise RunError(f"self-check, after {self._seen} utterances: {what}; {ADVICE}")
