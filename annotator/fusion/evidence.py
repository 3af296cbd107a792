"""What a fusion may look at: seen votes of train speakers, and the runs' distributions, and nothing else.

This file is the leak rule. Held-out votes never enter, development and test utterances enter without votes, and a
corpus whose votes were never divided is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ...data.corpus import Corpus, require_division
from ...data.errors import CorpusError, LabelError, OptionError, RunError
from ...data.folds import group_folds
from ...data.labels import LabelSet
from ...data.tables import distribution_array
from ...data.votes import count_votes
from ..runs import Run, panel_distribution, synthetic_counts
from .fitted import Proxies

# pyarrow makes its compute functions at import, so type checkers do not know them.
pc: Any = pyarrow.compute


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The arrays that every strategy reads, rows in the order of `ids`.

    `seen` [U, K]: seen human votes, zero outside the train split. `train` [U]: mask. `speakers` [U]: None where
    unknown. `runs`: name, `p` [U, K] (NaN where the run lacks the utterance) and `drawn` votes [U, K] of each run.
    `genders` [U]: the speaker groups in which harm is looked for; None where unknown. `ballots`: who cast the seen
    votes, for the strategies that model raters. `opinion` and `weight` are options of the opinion pool. `fitted`
    keeps models that several strategies fit to this evidence.
    """

    ids: tuple[str, ...]
    labels: LabelSet
    seen: np.ndarray
    train: np.ndarray
    speakers: np.ndarray
    runs: tuple[RunEvidence, ...] = ()
    seed: int = 0
    strength: float | None = None
    genders: np.ndarray | None = None
    ballots: Ballots | None = None
    opinion: str = "linear"
    weight: float | None = None
    fitted: dict[str, dict] = field(init=False, default_factory=dict, repr=False, compare=False)

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

    def proxies(self) -> Proxies:
        """The runs as evidence: exact distributions where there are any, else votes, and their mean distribution."""
        answers = tuple(run.p if run.exact else run.drawn for run in self.runs)
        return Proxies(answers, tuple(not run.exact for run in self.runs), self.proxy())

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


@dataclass(frozen=True, slots=True)
class RunEvidence:
    """One run lined up with the corpus: distributions and drawn votes, [U, K] each.

    `exact`: p are the listeners' probabilities; else they are only the shares of the votes. `ballots`: each
    listener's single answer, read when a strategy asks for it.
    """

    name: str
    p: np.ndarray
    drawn: np.ndarray
    exact: bool = True
    ballots: Callable[[], Ballots] | None = None


class Ballots(NamedTuple):
    """Votes with their rater: `row` [N] (place in the corpus), `rater` [N] (name, None: anonymous), `label` [N]."""

    row: np.ndarray
    rater: np.ndarray
    label: np.ndarray


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


def gather(
    corpus: Corpus,
    runs: Sequence[Run],
    *,
    seed: int = 0,
    strength: float | None = None,
    opinion: str = "linear",
    weight: float | None = None,
) -> Evidence:
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
        genders=corpus.column("gender"),
        ballots=human_ballots(corpus, train),
        opinion=opinion,
        weight=weight,
    )


def human_ballots(corpus: Corpus, train: np.ndarray) -> Ballots:
    """Who cast the seen votes of train utterances, in the rows of the votes table; abstentions are no ballots."""
    return read_ballots(corpus.votes, corpus.ids, corpus.labels, source="human", part="seen", keep=train)


def read_ballots(
    votes: pa.Table,
    ids: Sequence[str],
    labels: LabelSet,
    *,
    source: str,
    part: str | None = None,
    keep: np.ndarray | None = None,
) -> Ballots:
    """Primary votes of a table as ballots; `keep` [U] restricts to some utterances."""
    chosen = pc.and_(pc.equal(votes["source"], source), pc.equal(votes["rank"], "primary"))
    chosen = pc.and_(chosen, pc.is_valid(votes["label"]))
    if part is not None:
        chosen = pc.and_(chosen, pc.fill_null(pc.equal(votes["part"], part), False))
    table = votes.filter(chosen)
    row = pc.fill_null(pc.index_in(table["utterance_id"], value_set=pa.array(list(ids), pa.string())), -1)
    row = row.to_numpy(zero_copy_only=False).astype(int)
    label = pc.index_in(table["label"], value_set=pa.array(labels.labels)).to_numpy(zero_copy_only=False)
    known = row >= 0 if keep is None else (row >= 0) & keep[row]
    rater = np.array(table["rater_id"].to_pylist(), dtype=object)
    return Ballots(row[known], rater[known], label[known].astype(int))


def run_ballots(run: Run, corpus: Corpus) -> Ballots:
    """One answer a rater and utterance: the plurality of the mean p of its listeners (those of one rater differ in
    temperature alone), or of its votes where texts were sampled; a tie is no answer."""
    rater = dict(zip(run.listeners["listener"].to_pylist(), run.listeners["rater"].to_pylist(), strict=True))
    if run.info.get("identity", {}).get("mode") == "sample" or not run.scores.num_rows:
        cast = read_ballots(run.votes, corpus.ids, corpus.labels, source="synthetic")
        row, who, mass = cast.row, cast.rater, np.eye(len(corpus.labels))[cast.label]
    else:
        row = pc.index_in(run.scores["utterance_id"], value_set=pa.array(list(corpus.ids), pa.string()))
        row = pc.fill_null(row, -1).to_numpy(zero_copy_only=False).astype(int)
        who, mass = np.array(run.scores["listener"].to_pylist(), dtype=object), distribution_array(run.scores["p"])
        row, who, mass = row[row >= 0], who[row >= 0], mass[row >= 0]
    names, code = np.unique([str(rater.get(name, name)) for name in who], return_inverse=True)
    place, at = np.unique(row * len(names) + code.reshape(-1), return_inverse=True)
    total = np.zeros((len(place), len(corpus.labels)))
    np.add.at(total, at.reshape(-1), mass)
    best = total.max(axis=1, keepdims=True)
    clear = (total == best).sum(axis=1) == 1
    return Ballots(
        place[clear] // len(names), names[place[clear] % len(names)].astype(object), total[clear].argmax(axis=1)
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
    control = run.info.get("identity", {}).get("control")
    if control is not None:
        raise RunError(
            f"{run.path} was made with --control {control}: its model did not hear the utterances, so its votes are "
            "for 'serann audit' alone; fuse the run it belongs to"
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
    exact = run.info.get("identity", {}).get("mode", "exact") != "sample"
    return RunEvidence(run.name, p, drawn, exact, lambda: run_ballots(run, corpus))


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
