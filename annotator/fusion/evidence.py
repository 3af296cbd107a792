"""What a fusion may look at: seen votes of train speakers, and the runs' distributions, and nothing else.

This file is the leak rule. Held-out votes never enter, development and test utterances enter without votes, and a
corpus whose votes were never divided is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...data.corpus import Corpus, require_division
from ...data.errors import CorpusError, LabelError, OptionError, RunError
from ...data.folds import group_folds
from ...data.labels import LabelSet
from ...data.votes import count_votes
from ..runs import Run, panel_distribution, synthetic_counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The arrays that every strategy reads, rows in the order of `ids`.

    `seen` [U, K]: seen human votes, zero outside the train split. `train` [U]: mask. `speakers` [U]: None where
    unknown. `runs`: name, `p` [U, K] (NaN where the run lacks the utterance) and `drawn` votes [U, K] of each run.
    """

    ids: tuple[str, ...]
    labels: LabelSet
    seen: np.ndarray
    train: np.ndarray
    speakers: np.ndarray
    runs: tuple[RunEvidence, ...] = ()
    seed: int = 0
    strength: float | None = None

    @property
    def voted(self) -> np.ndarray:
        """Mask [U] of the utterances with a seen human vote."""
        return self.seen.sum(axis=1) > 0

    def proxy(self) -> np.ndarray:
        """The unweighted mean [U, K] of the runs that cover an utterance; NaN where none does."""
        total = np.zeros(self.seen.shape)
        cover = np.zeros(len(self.ids))
        for run in self.runs:
            present = ~np.isnan(run.p).any(axis=1)
            total[present] += run.p[present]
            cover += present
        return np.divide(total, cover[:, None], out=np.full(total.shape, np.nan), where=cover[:, None] > 0)

    def folds(self, *, folds: int = 5) -> np.ndarray:
        """Fold of each utterance [U]: train utterances by speaker, -1 outside train.

        An utterance whose speaker is unknown stands for itself. Raises CorpusError where train has one speaker.
        """
        groups = [s if s is not None else f"\x1f{i}" for s, i in zip(self.speakers, self.ids, strict=True)]
        chosen = np.flatnonzero(self.train)
        if len({groups[i] for i in chosen}) < 2:
            raise CorpusError(
                "parameters are cross-fitted by speaker, which needs two or more speakers in the train split; this "
                "corpus has one: fill the column 'speaker', or use --strategy human, synthetic or pool"
            )
        fold = np.full(len(self.ids), -1)
        fold[chosen] = group_folds([groups[i] for i in chosen], folds=folds, seed=self.seed)
        return fold


@dataclass(frozen=True, slots=True)
class RunEvidence:
    """One run lined up with the corpus: exact distributions and drawn votes, [U, K] each."""

    name: str
    p: np.ndarray
    drawn: np.ndarray


class Blend(NamedTuple):
    """What a strategy returns: `p` [U, K] and `effective_votes` [U] (NaN where undefined), `source` [U] (what the row
    was made of, None where undefined), the formula, the parameters, and what the user should know."""

    p: np.ndarray
    effective_votes: np.ndarray
    source: np.ndarray
    formula: str
    parameters: dict[str, Any]
    warnings: tuple[str, ...] = ()


def source_column(*named: tuple[str, np.ndarray]) -> np.ndarray:
    """What each row was made of [U]: the last name whose mask holds it, None where none does."""
    column = np.full(len(named[0][1]), None, dtype=object)
    for name, mask in named:
        column[mask] = name
    return column


def gather(corpus: Corpus, runs: Sequence[Run], *, seed: int = 0, strength: float | None = None) -> Evidence:
    """Collect the evidence of a divided corpus and its runs.

    Raises CorpusError for an undivided corpus, LabelError for a run over other labels, RunError for a run over another
    corpus or that holds none of this one's utterances, OptionError for a corpus that holds augmented utterances.
    """
    require_division(corpus)
    refuse_augmented(corpus)
    ids = tuple(corpus.ids)
    train = corpus.in_split("train")
    seen = count_votes(corpus.votes, ids, corpus.labels, source="human", part="seen")
    seen[~train] = 0.0
    return Evidence(
        ids=ids,
        labels=corpus.labels,
        seen=seen,
        train=train,
        speakers=corpus.column("speaker"),
        runs=tuple(line_up(run, corpus) for run in runs),
        seed=seed,
        strength=strength,
    )


def refuse_augmented(corpus: Corpus) -> None:
    """Raise OptionError for a corpus with augmented utterances: they have no votes and would breed."""
    if "parents" not in corpus.utterances.column_names:
        return
    bred = sum(parents is not None for parents in corpus.utterances["parents"].to_pylist())
    if bred:
        raise OptionError(
            f"{corpus.path} holds {bred} augmented utterances already; fuse the corpus that it was made from"
        )


def line_up(run: Run, corpus: Corpus) -> RunEvidence:
    """Line a run's distributions and votes up with the corpus's utterances.

    A run names the corpus it was made over; equal ids in another corpus are other sounds, so such a run is refused.
    """
    if tuple(run.labels) != tuple(corpus.labels):
        raise LabelError(
            f"{run.path}: its labels are {', '.join(run.labels)}; the corpus's are {', '.join(corpus.labels)}; "
            "annotate the corpus with its own labels, in its own order"
        )
    made_from = run.info.get("identity", {}).get("corpus", corpus.name)
    if made_from != corpus.name:
        raise RunError(
            f"{run.path} is a run over the corpus '{made_from}', not over '{corpus.name}' ({corpus.path}); "
            "utterances of the same id may be other sounds there: give a run of this corpus"
        )
    p = panel_distribution(run, corpus.ids)
    p /= p.sum(axis=1, keepdims=True)  # stored as float32, so a row's sum is off by a few 1e-8
    drawn = np.nan_to_num(synthetic_counts(run, corpus.ids))
    if not (~np.isnan(p).any(axis=1) | (drawn.sum(axis=1) > 0)).any():
        raise RunError(
            f"{run.path}: holds none of the {len(corpus.ids)} utterances of {corpus.path}: it is a run of another "
            f"corpus; make one with 'serann annotate {corpus.path} --model … -o RUN'"
        )
    return RunEvidence(run.name, p, drawn)


def remarks(evidence: Evidence) -> list[str]:
    """What the user should know about the evidence whatever the strategy."""
    found = []
    train_speakers = {s for s in evidence.speakers[evidence.train] if s is not None}
    shared = train_speakers & {s for s in evidence.speakers[~evidence.train] if s is not None}
    if shared:
        found.append(
            f"speakers in the train split and outside it too: {len(shared)} ({', '.join(sorted(shared)[:5])}"
            f"{', …' if len(shared) > 5 else ''}); scores on the other splits are not speaker-disjoint"
        )
    unknown = int(sum(s is None for s in evidence.speakers[evidence.train]))
    if unknown:
        found.append(f"train utterances that name no speaker, each taken for a speaker of its own: {unknown}")
    silent = [label for label, n in zip(evidence.labels, evidence.seen.sum(axis=0), strict=True) if n == 0]
    if silent and evidence.voted.any():
        found.append(f"no seen human vote names {', '.join(silent)}")
    for run in evidence.runs:
        missing = int(np.isnan(run.p).any(axis=1).sum())
        if missing:
            found.append(f"run {run.name} covers {len(evidence.ids) - missing} of {len(evidence.ids)} utterances")
    if len(evidence.runs) > 1:
        found.append(f"runs whose distributions are averaged with equal weight: {len(evidence.runs)}")
    return found


def require_votes(evidence: Evidence, strategy: str) -> None:
    """Raise CorpusError where no train utterance has a seen human vote."""
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
