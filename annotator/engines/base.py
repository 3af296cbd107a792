"""What an engine is: something that tells how likely each answer of each listener is, for a batch of sounds.

A sound reaches an engine in two steps. Its `frontend` makes model input of samples; it is called in a process or thread
that decodes, ahead of the model, so it has to be picklable and should hold no more than it needs (a feature extractor,
not the model). What it returns is the engine's own affair (log-mel frames, encoded bytes, the samples as they are), as
long as it is picklable and does not depend on other sounds; `score` and `generate` are given batches of it.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

from ...data.errors import OptionError
from ...prompts.loader import Rendered, Shown
from ..sounds.hearing import FrontEnd


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """Which engine, with which model, where. `model` is a short name, a folder, or a hub id."""

    engine: str
    model: str
    revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"


class Scores(NamedTuple):
    """One utterance's answers: log P(answer) [Q, K], one row per question, not normalised over its answers.

    K is that of the question with the most answers; the rows of others are NaN behind theirs. A row is all NaN where
    the question was None (an abstaining listener). No other NaN is in a sound answer.
    """

    answer_logp: np.ndarray


class Reason(NamedTuple):
    """Why an engine gives no answer, in its place.

    `again`: another session may have one, so the utterance is a failure, to be tried once more. Else it is as final as
    an answer: the listener whose text was refused abstains. `kind` says whose fault it is: a sound that an engine
    cannot take is no sign of a broken model (`selfcheck.Endurance`).
    """

    text: str
    kind: Literal["sound", "prompt", "model", "server", "budget"]
    again: bool


NOT_A_NUMBER = Reason(
    "the model gave log-probabilities that are no numbers (NaN); try --dtype float32", "model", again=True
)


def examples_of(questions: Iterable[Rendered | None]) -> tuple[Shown, ...]:
    """The examples that are heard before an utterance: those of its first question, which all of them share."""
    return next((question.examples for question in questions if question is not None), ())


def shown_texts(question: Rendered) -> tuple[tuple[str, str], ...]:
    """What is asked about each example of a question, and its answer."""
    return tuple((shown.text, shown.answer) for shown in question.examples)


class Engine(Protocol):
    """What every engine has. Engines know nothing of panels, votes, files or resuming.

    What one can do is declared as a protocol of its own, and found by `isinstance`: `Scorer`, `Halving` and
    `TokenCounter` here, `generation.Generator`, `memory.Measured`.
    """

    @property
    def identity(self) -> Mapping[str, str]:
        """What decides the numbers: model, its weights' fingerprint or revision, dtype."""
        ...

    @property
    def sample_rate(self) -> int:
        """Hertz of the samples that the front end expects."""
        ...

    @property
    def max_seconds(self) -> float:
        """The longest sound the model hears."""
        ...

    @property
    def device(self) -> str:
        """Where it runs, in words for the record."""
        ...

    @property
    def frontend(self) -> FrontEnd:
        """From mono float32 samples [T] to a sound as `score` takes it; picklable, and called in other processes.

        Whatever it raises is that utterance's failure.
        """
        ...

    def close(self) -> None:
        """Give back whatever is held."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """What an engine has to have for mode `exact`, and for ratings in any mode."""

    def score(self, sounds: Sequence[Any], questions: Sequence[Sequence[Rendered | None]]) -> Sequence[Scores | Reason]:
        """Score a batch: the b-th sound, as `frontend` made it, is asked the b-th list of questions, one at least.

        A question is None where a listener abstains; not all of one sound's are. Where memory does not suffice, an
        error says so (`memory.out_of_memory`), unless the engine halves the batch itself (`Halving`).
        """
        ...


@runtime_checkable
class Halving(Protocol):
    """An engine whose `score` halves a batch that does not fit into memory, for whoever asks it.

    A run halves batches itself and records it, so that a resumed run asks the same halves: it calls `score_at_once`.
    """

    def score_at_once(
        self, sounds: Sequence[Any], questions: Sequence[Sequence[Rendered | None]]
    ) -> Sequence[Scores | Reason]:
        """`Scorer.score` of a batch as it is; the error is raised where memory does not suffice."""
        ...


@runtime_checkable
class TokenCounter(Protocol):
    """An engine that can say how many tokens a question costs, which a plan then tells."""

    def count_tokens(self, seconds: float, questions: Sequence[Rendered]) -> int:
        """Tokens that the model is fed to hear so many seconds and answer all `questions`."""
        ...


# Name to the module here and its class; imported when chosen, since each needs libraries the others do not.
ENGINES: dict[str, tuple[str, str]] = {
    "transformers": (".transformers", "TransformersEngine"),
    "scripted": (".scripted", "ScriptedEngine"),
}
FOR_TESTS = {"scripted"}


def make_engine(spec: EngineSpec) -> Engine:
    """Start the engine that `spec` names; `OptionError` if there is none of that name, `ModelError` from loading."""
    if spec.engine not in ENGINES:
        known = ", ".join(name for name in ENGINES if name not in FOR_TESTS)
        raise OptionError(f"unknown engine '{spec.engine}'; expected one of {known}")
    module, name = ENGINES[spec.engine]
    factory: Callable[[EngineSpec], Engine] = getattr(importlib.import_module(module, __package__), name)
    return factory(spec)
