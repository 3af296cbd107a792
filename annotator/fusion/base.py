"""What a fusion strategy is: one record that says all there is to say of it, and what it gives back.

A strategy lies in a file of its own and is one entry of `STRATEGIES`. Commands, errors, pages, the benchmark and `auto`
read that record: its options become flags, its name a choice, its sources the words of the report.

    fitted = strategy.fit(evidence, options, models)       learns from the seen votes of train speakers
    blend = fitted.blend(evidence)                         a distribution an utterance, and what to add
    fitted.figures()                                       what was estimated, with intervals
    fitted.state()                                         JSON: the fit of all train speakers, read by strategy.read
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict

from ...data.errors import CorpusError, OptionError
from ...data.scores.intervals import Interval
from .evidence import Evidence

if TYPE_CHECKING:
    from .cross_fit import CrossFit
    from .dime.plan import Plan
    from .models import Fit

Progress = Callable[[int, int], None]
# What a strategy cannot do without. `pairs`: an utterance with two seen votes, for single votes do not tell how much
# utterances differ. A crowd model needs no ballots by name: nameless votes are one worker's.
Need = Literal["votes", "pairs", "runs", "sounds"]

# --------------------
# What comes out.


class Blend(NamedTuple):
    """What a strategy returns: `p` [U, K] and `effective_votes` [U] (NaN where undefined), `source` [U] (one of the
    strategy's `sources`: what the row was made of, None where undefined), the formula, the parameters for
    `fusion.json`, what the user should know, and the utterances to add (None: it adds none). `after`: the strategy
    whose distributions these are, if it is another one; its parameters are then those named `blend`."""

    p: np.ndarray
    effective_votes: np.ndarray
    source: np.ndarray
    formula: str
    parameters: dict[str, Any]
    warnings: tuple[str, ...] = ()
    new: Plan | None = None
    after: str | None = None

    @property
    def parameters_of_p(self) -> dict[str, Any]:
        """The parameters of the strategy that gave the distributions."""
        return self.parameters if self.after is None else self.parameters["blend"]


def source_column(*named: tuple[str, np.ndarray]) -> np.ndarray:
    """What each row was made of [U]: the last name whose mask holds it, None where none does."""
    column = np.full(len(named[0][1]), None, dtype=object)
    for name, mask in named:
        column[mask] = name
    return column


class Estimate(NamedTuple):
    """A parameter: what it is of (a model, a run, a label), its value and interval, its value in each fold's fit, and
    the reason where there is no interval."""

    of: str
    name: str
    value: float
    low: float
    high: float
    of_folds: list[float]
    reason: str = ""


class Kind(NamedTuple):
    """The classes of a mixture whose votes say one label most: their weight (the share of utterances), the mass
    they give the label, and how many votes they count for."""

    label: str
    weight: Interval
    mass: Interval
    votes: Interval


class Strengths(NamedTuple):
    """What was estimated: parameters, the kinds of each mixture by its name, how intervals were made, and what to say
    where there is nothing to estimate."""

    estimates: list[Estimate]
    kinds: dict[str, list[Kind]]
    method: str
    reason: str = ""


# --------------------
# What a strategy is.


class NoOptions(BaseModel):
    """The options of a strategy that has none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Fitted(Protocol):
    """A strategy fitted to some corpus's seen votes."""

    def blend(self, evidence: Evidence) -> Blend:
        """Distributions: of the evidence that it was fitted to, each by the fit without its speaker; of another
        corpus's, by the fit of all train speakers."""
        ...

    def figures(self) -> Strengths:
        """What was estimated; nothing of a fit that was read from its state."""
        ...

    def state(self) -> dict[str, Any]:
        """What `Strategy.read` makes the fit of all train speakers of again: plain JSON."""
        ...


class Models:
    """What the strategies of one fusion share: the others by name, the fits, by (model, options, fold), and whom
    progress is told."""

    def __init__(self, strategies: Mapping[str, Strategy], *, progress: Progress | None = None):
        self.strategies = strategies
        self.progress = progress
        self._kept: dict[tuple[str, ...], Any] = {}
        self._lock = threading.Lock()

    def get(self, key: tuple[str, ...], fit: Callable[[], Any]) -> Any:
        """The fit of that key, made where there is none yet; safe from several threads."""
        if key not in self._kept:
            found = fit()
            with self._lock:
                self._kept.setdefault(key, found)
        return self._kept[key]

    def has(self, key: tuple[str, ...]) -> bool:
        """Whether the fit is there."""
        return key in self._kept


class Candidates(NamedTuple):
    """The models that a strategy offers to `auto`: by name for so many runs, and the one of them that stands for the
    strategy, chosen on the speakers outside a fold (-1: on all)."""

    fits: Callable[[int], Mapping[str, Fit]]
    best: Callable[[CrossFit, int], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """All that is said of a strategy anywhere.

    `about`: one clause for help and lists. `sources`: what its rows can be made of, by the name that
    `distributions.parquet` gives, in words. `needs`: what is refused where it is lacking. `smooths`: effective votes
    hold a prior's votes; else they are votes that were cast. `fits`: how parameters met the votes that they are used
    for. `reads_runs`: whether runs change anything. `compared`: the forms that the benchmark compares, by name, with
    their options. `slow`: the benchmark tries it once. `missing`: what is not installed, in a sentence, or nothing.
    `goes_on_from`: its option that names the strategy whose distributions it takes further, and whose options it takes
    too. `candidates`: its models, for `auto`.
    """

    name: str
    about: str
    formula: str
    fit: Callable[[Evidence, Any, Models], Fitted]
    read: Callable[[Mapping[str, Any], Models], Fitted]
    sources: Mapping[str, str]
    smooths: bool
    Options: type[BaseModel] = NoOptions
    needs: frozenset[Need] = frozenset()
    fits: Literal["cross-fitted", "once", "nothing"] = "cross-fitted"
    reads_runs: bool = True
    compared: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    slow: bool = False
    missing: Callable[[], str] = str
    goes_on_from: str | None = None
    candidates: Candidates | None = None

    def refuse(self, evidence: Evidence) -> None:
        """Raise for evidence that lacks what the strategy needs, and for votes outside train."""
        if "runs" in self.needs:
            require_runs(evidence, self.name)
        if "votes" in self.needs:
            require_votes(evidence, self.name)
        if "pairs" in self.needs:
            require_pairs(evidence)
        if "sounds" in self.needs and evidence.sounds is None:
            raise OptionError(f"strategy '{self.name}' reads sounds, and this evidence comes without its corpus")


@dataclass(frozen=True, slots=True)
class Rule:
    """A strategy that learns nothing which could be used again: its blend follows from the evidence. `why` there is
    nothing to estimate."""

    of: Callable[[Evidence], Blend]
    why: str

    def blend(self, evidence: Evidence) -> Blend:
        return self.of(evidence)

    def figures(self) -> Strengths:
        return Strengths([], {}, "", self.why)

    def state(self) -> dict[str, Any]:
        return {}


# --------------------
# What is refused, and what several strategies say.


def unused_runs(evidence: Evidence) -> list[str]:
    """What a strategy says that looks at no run."""
    return [f"runs that were given and not used: {len(evidence.runs)}"] if evidence.runs else []


def averaged(evidence: Evidence) -> tuple[str, ...]:
    """What a strategy says that reads several runs as their mean."""
    if len(evidence.runs) < 2:
        return ()
    return (f"runs whose distributions are averaged with equal weight: {len(evidence.runs)}",)


def without_votes(evidence: Evidence) -> list[str]:
    """What a strategy says that leaves train utterances without a seen vote undefined."""
    bare = int((evidence.train & ~evidence.voted).sum())
    return [f"train utterances without a seen human vote, and so without a distribution: {bare}"] if bare else []


def require_votes(evidence: Evidence, strategy: str) -> None:
    """Raise CorpusError where no train utterance has a seen human vote, or an utterance outside train has one."""
    leaked = int((evidence.seen[~evidence.train].sum(axis=1) > 0).sum())
    if leaked:
        raise CorpusError(
            f"{leaked} utterances outside the train split come with seen votes; every human vote there is reference, "
            "and fusion would leak it: divide the corpus with serann corpus holdout"
        )
    if not evidence.voted.any():
        raise CorpusError(
            f"strategy '{strategy}' needs seen human votes, and no train utterance has one; divide the corpus with "
            "more seen votes (serann corpus holdout --seen 2), or use --strategy synthetic"
        )


def require_runs(evidence: Evidence, strategy: str) -> None:
    """Raise OptionError where no run was given."""
    if not evidence.runs:
        raise OptionError(
            f"strategy '{strategy}' needs one or more runs, and none was given; name them after the corpus, as in "
            f"'serann fuse CORPUS RUN --strategy {strategy} -o FUSED'"
        )


def require_pairs(evidence: Evidence) -> None:
    """Raise OptionError where no utterance has two seen votes."""
    if evidence.seen.sum(axis=1).max(initial=0) <= 1:
        raise OptionError(
            "strength not identifiable from single votes: every utterance has at most one seen human vote, and single "
            "votes do not tell how much utterances differ; keep two or more seen votes (serann corpus holdout --seen "
            "2), or state the strength yourself (--strategy empirical-bayes --strength 2)"
        )
