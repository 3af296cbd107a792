"""What a fusion may look at: seen votes of train speakers, and the runs' distributions, and nothing else.

This file is the leak rule. Held-out votes never enter, development and test utterances enter without votes, and a
corpus whose votes were never divided is refused. A strategy that reads sounds gets the corpus without any vote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ...data.corpus import Corpus, require_division
from ...data.errors import CorpusError, OptionError, few
from ...data.labels import LabelSet
from ...data.scores.groups import group_folds
from ...data.vote_models.dirichlet_mixture import spoke
from ...data.votes import count_votes
from ..ballots import Ballots, human_ballots
from ..proxies import Panel, Source, line_up


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The arrays that every strategy reads, rows in the order of `ids`.

    `seen` [U, K]: seen human votes, zero outside the train split. `train` [U]: mask. `speakers` [U]: None where
    unknown. `runs`: name, `p` [U, K] (NaN where the run lacks the utterance) and `drawn` votes [U, K] of each run.
    `genders` [U]: the speaker groups in which harm is looked for; None where unknown. `ballots`: who cast the seen
    votes, for the strategies that model raters. `sounds`: the corpus without a vote, for those that read its sounds.
    """

    ids: tuple[str, ...]
    labels: LabelSet
    seen: np.ndarray
    train: np.ndarray
    speakers: np.ndarray
    runs: tuple[Panel, ...] = ()
    seed: int = 0
    genders: np.ndarray | None = None
    ballots: Ballots | None = None
    sounds: Corpus | None = None

    @property
    def voted(self) -> np.ndarray:
        """Mask [U] of the utterances with a seen human vote."""
        return self.seen.sum(axis=1) > 0

    def proxy(self) -> np.ndarray:
        """The unweighted mean [U, K] of the runs that cover an utterance; NaN where none does."""
        total = np.zeros(self.seen.shape)
        cover = np.zeros(len(self.ids))
        for run in self.runs:
            present = run.covers
            total[present] += run.q[present]
            cover += present
        return np.divide(total, cover[:, None], out=np.full(total.shape, np.nan), where=cover[:, None] > 0)

    def shares(self) -> tuple[np.ndarray, ...]:
        """Each run's distributions [U, K]; NaN where it says nothing."""
        return tuple(run.q for run in self.runs)

    def proxies(self) -> Proxies:
        """The runs as evidence: exact distributions where there are any, else votes; and all as distributions."""
        answers = tuple(run.q if run.exact else run.drawn for run in self.runs)
        return Proxies(answers, tuple(not run.exact for run in self.runs), self.shares())

    def groups(self) -> np.ndarray:
        """Codes [U] of the speakers; an utterance whose speaker is unknown stands for itself."""
        names = [f"={s}" if s is not None else f"\x1f{i}" for s, i in zip(self.speakers, self.ids, strict=True)]
        return np.unique(names, return_inverse=True)[1].reshape(-1)

    def speaker_groups(self) -> np.ndarray:
        """The gender of each utterance's speaker [U]; None where unknown."""
        return np.full(len(self.ids), None, dtype=object) if self.genders is None else self.genders

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


def gather(corpus: Corpus, runs: Sequence[Source], *, seed: int = 0) -> Evidence:
    """Collect the evidence of a divided corpus and its proxies: runs, or other human panels brought as corpora.

    Raises CorpusError for an undivided corpus, LabelError for a run over other labels, RunError for a run over another
    corpus or that holds none of this one's utterances and for a panel with this corpus's votes, OptionError for a
    corpus that holds augmented utterances.
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
        runs=tuple(line_up(runs, corpus, "fuse")),
        seed=seed,
        genders=corpus.column("gender"),
        ballots=human_ballots(corpus, train),
        sounds=replace(corpus, votes=corpus.votes.slice(0, 0), ratings=None),
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


def remarks(evidence: Evidence) -> list[str]:
    """What the user should know about the evidence whatever the strategy."""
    found = []
    train_speakers = {s for s in evidence.speakers[evidence.train] if s is not None}
    shared = train_speakers & {s for s in evidence.speakers[~evidence.train] if s is not None}
    if shared:
        found.append(
            f"speakers in the train split and outside it too: {len(shared)} ({few(sorted(shared))}); "
            "scores on the other splits are not speaker-disjoint"
        )
    unknown = int(sum(s is None for s in evidence.speakers[evidence.train]))
    if unknown:
        found.append(f"train utterances that name no speaker, each taken for a speaker of its own: {unknown}")
    silent = [label for label, n in zip(evidence.labels, evidence.seen.sum(axis=0), strict=True) if n == 0]
    if silent and evidence.voted.any():
        found.append(f"no seen human vote names {', '.join(silent)}")
    for run in evidence.runs:
        covered = int(run.covers.sum())
        if covered < len(evidence.ids):
            found.append(f"{called(run)} covers {covered} of {len(evidence.ids)} utterances")
    return found


def called(proxy: Panel) -> str:
    """A proxy by its kind and name, as in 'run NAME' or 'panel NAME'."""
    return f"{'run' if proxy.kind == 'run' else 'panel'} {proxy.name}"


class Proxies(NamedTuple):
    """What the runs say of some utterances, one array [U, K] a run: `answers`, votes (`counts`) or probabilities, and
    the same as distributions, `shares`. NaN (or no votes) where a run says nothing."""

    answers: tuple[np.ndarray, ...]
    counts: tuple[bool, ...]
    shares: tuple[np.ndarray, ...]

    def rows(self, keep: np.ndarray) -> Proxies:
        """The same of some utterances."""
        return Proxies(
            tuple(array[keep] for array in self.answers), self.counts, tuple(array[keep] for array in self.shares)
        )

    def audible(self, voted: np.ndarray, fold: np.ndarray) -> tuple[np.ndarray, ...]:
        """For each run the utterances [U] of which its word can be used: outside their fold [U] it says something of
        one in `voted` [U], those that models may be fitted to. What it means could not be learnt elsewhere."""
        found = []
        for array in self.answers:
            folds_taught = np.unique(fold[voted & spoke(array)])
            found.append(np.isin(fold, folds_taught, invert=True) if len(folds_taught) == 1 else len(folds_taught) > 1)
        return tuple(np.broadcast_to(mask, fold.shape) for mask in found)

    def where(self, masks: tuple[np.ndarray, ...]) -> Proxies:
        """The same, silent where a run's mask [U] does not hold."""

        def kept(arrays: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
            pairs = zip(arrays, masks, strict=True)
            return tuple(array if mask.all() else np.where(mask[:, None], array, np.nan) for array, mask in pairs)

        return Proxies(kept(self.answers), self.counts, kept(self.shares))

    @property
    def covered(self) -> np.ndarray:
        """Mask [U] of the utterances that some run says something of."""
        return np.any([spoke(array) for array in self.answers], axis=0)
