"""An engine without a model: its answers are computed from the sound and the question, to test everything around it."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ...data.audio import SAMPLE_RATE
from ...data.errors import OptionError
from ...data.seeds import rng_from
from ...prompts.loader import Rendered
from ..sounds.hearing import FrontEnd, unchanged
from .base import NOT_A_NUMBER, EngineSpec, Reason, Scores
from .generation import Generated, Request

Script = Callable[[np.ndarray, Rendered], np.ndarray]


def loudness_and_text(wave: np.ndarray, question: Rendered) -> np.ndarray:
    """Log-probabilities [K] that depend on the sound's loudness and the question alone, of mass 0.9."""
    loudness = round(float(np.sqrt(np.mean(np.square(wave, dtype=np.float64)))), 4)
    drawn = rng_from("scripted", loudness, question.text).dirichlet(np.ones(len(question.answers)))
    return np.log(0.9 * drawn)


class ScriptedEngine:
    """Answers by `script`; remembers what it was asked (`asked`: texts, in order; `batches`: sizes)."""

    def __init__(self, spec: EngineSpec, *, script: Script = loudness_and_text, max_seconds: float = 30.0):
        if spec.model != "scripted":
            raise OptionError(
                f"the scripted engine has no model '{spec.model}'; expected --model scripted (it is for tests)"
            )
        self.identity: Mapping[str, str] = {"model": "scripted", "weights": "none", "dtype": "float64"}
        self.sample_rate, self.max_seconds, self.device = SAMPLE_RATE, max_seconds, "none"
        self.frontend: FrontEnd = unchanged
        self.asked: list[str] = []
        self.batches: list[int] = []
        self.closed = False
        self._script = script

    def score(self, sounds: Sequence[np.ndarray], questions: Sequence[Sequence[Rendered | None]]) -> list[Scores]:
        self.batches.append(len(sounds))
        return [Scores(self._rows(wave, asked)) for wave, asked in zip(sounds, questions, strict=True)]

    def generate(
        self, sounds: Sequence[np.ndarray], requests: Sequence[Sequence[Request]], *, max_new_tokens: int
    ) -> list[list[Generated | Reason]]:
        """One of the answers as it stands, drawn by the first chance at the temperature; nothing for the mass left."""
        self.batches.append(len(sounds))
        return [[self._text(wave, request) for request in asked] for wave, asked in zip(sounds, requests, strict=True)]

    def close(self) -> None:
        self.closed = True

    def _text(self, wave: np.ndarray, request: Request) -> Generated | Reason:
        self.asked.append(request.question.text)
        logp = self._script(wave, request.question)
        if np.isnan(logp).any():
            return NOT_A_NUMBER
        if request.temperature == 0:
            return Generated(request.question.answers[int(np.argmax(logp))], True)
        p = np.append(np.exp(logp), max(0.0, 1 - np.exp(logp).sum())) ** (1 / request.temperature)
        place = int(np.searchsorted(np.cumsum(p / p.sum()), request.chances[0], side="right"))
        return Generated([*request.question.answers, ""][min(place, len(p) - 1)], True)

    def _rows(self, wave: np.ndarray, questions: Sequence[Rendered | None]) -> np.ndarray:
        rows = np.full((len(questions), max(len(q.answers) for q in questions if q is not None)), np.nan)
        for i, question in enumerate(questions):
            if question is not None:
                self.asked.append(question.text)
                rows[i, : len(question.answers)] = self._script(wave, question)
        return rows
