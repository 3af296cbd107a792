"""What stands beside human votes: a run of synthetic listeners, or another human panel brought as a corpus.

Both are opened here and lined up with a corpus: for an audit, which measures them against held-out human votes, and for
a fusion, which uses them beside seen ones. Another panel must be other people's votes, by one leak rule for both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from ..data.arrow import pc
from ..data.corpus import Corpus, corpus_fingerprint, open_corpus
from ..data.errors import CorpusError, LabelError, RunError, by_reason
from ..data.fused import is_fused
from ..data.scores.divergences import as_distribution
from ..data.scores.groups import cross_fitted
from ..data.scores.proper_scores import unbiased_ambiguity
from ..data.seeds import rng_from
from ..data.vote_models.dirichlet_multinomial import fit_dirichlet_multinomial, posterior_mean
from ..data.votes import count_votes, frequencies
from .ballots import Ballots, read_ballots, run_ballots
from .run.place import is_run
from .run.run import Run, open_run, panel_distribution, synthetic_counts

Source = Run | Corpus
# What a panel is for: "audit" is `serann audit`; "fuse" is `serann fuse`, its --next, and `serann benchmark fusion`.
Use = Literal["audit", "fuse"]

# --------------------
# Opening.

# Why a fused corpus is no panel.
NO_FUSED: dict[Use, str] = {
    "audit": "so they cannot be audited against those humans; audit the runs it was made from, or train on it and use "
    "'serann evaluate'",
    "fuse": "and fusing them again would count them twice; give the runs it was made from",
}
# What else serann writes that is no panel: its file, what it is, and what to do with it.
NO_PANELS = {
    "prediction.json": ("the predictions of a trained model", "'serann evaluate' scores those"),
    "model.json": ("a trained model", "'serann evaluate' scores those"),
    "export.json": ("an export", "give the run or the corpus it was made of"),
}


def open_panel(path: str | Path, use: Use) -> Source:
    """Open a run, or a corpus of another human panel; RunError where the path is neither.

    A fused corpus is refused: its distributions hold human votes of the corpus it would be lined up with.
    """
    path = Path(path)
    if is_fused(path):
        raise RunError(f"{path} is a fused corpus: human votes are in its distributions already, {NO_FUSED[use]}")
    if is_run(path):
        return open_run(path)
    if (path / "corpus.json").exists():
        return open_corpus(path)
    for mark, (what, instead) in NO_PANELS.items():
        if use == "audit" and (path / mark).exists():
            raise RunError(f"{path} is {what}, not a run or a corpus; {instead}")
    return open_run(path)


def as_panels(given: Source | str | PathLike[str] | Sequence[Source | str | PathLike[str]], use: Use) -> list[Source]:
    """Panels as they are, or those at paths, opened (`open_panel`); one alone is a list of one."""
    one = isinstance(given, Run | Corpus | str | PathLike)
    return [
        panel if isinstance(panel, Run | Corpus) else open_panel(Path(panel), use)
        for panel in ([given] if one else given)  # type: ignore[union-attr]
    ]


def folder_names(sources: Sequence[Source]) -> list[str]:
    """Directory names, or whole paths where two directories have the same name."""
    short = [Path(source.path).resolve().name for source in sources]
    return [str(source.path) if short.count(name) > 1 else name for name, source in zip(short, sources, strict=True)]


# --------------------
# Lining up.


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel lined up with U utterances and K labels of a corpus.

    `q` [U, K] are its distributions, NaN rows where it says nothing; `drawn` [U, K] its votes, drawn from a model or
    cast by people, zeros where there are none. `exact`: q are probabilities, read off or stated; else they are the
    shares of the votes, and `q_log`, where given, stands in for them in the log score (their zeros would make it
    infinite). `ballots` reads each listener's single answer when it is asked for. `failures` counts the utterances that
    failed altogether, by reason; `label_mass` is the mean share of the model's probability that fell on any label at
    all (None: no probability was read off); `about` names the panel's origin.
    """

    name: str
    q: np.ndarray
    drawn: np.ndarray
    exact: bool = True
    ballots: Callable[[], Ballots] | None = None
    kind: Literal["run", "humans"] = "run"
    path: str = ""
    q_log: np.ndarray | None = None
    label_mass: float | None = None
    failures: dict[str, int] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def covers(self) -> np.ndarray:
        """Mask [U] of the utterances the panel has a distribution for."""
        return np.asarray(~np.isnan(self.q).any(axis=1))

    @property
    def votes(self) -> np.ndarray | None:
        """The votes [U, K] that q is the shares of, people's or sampled texts'; None where q was read off or stated."""
        return None if self.exact else self.drawn

    @property
    def ambiguity(self) -> np.ndarray:
        """Chance that two votes of the panel disagree, [U]: of q, or unbiased over pairs where q is made of votes."""
        return panel_ambiguity(self.q) if self.votes is None else unbiased_ambiguity(self.votes)

    def part(self, keep: np.ndarray, folds: np.ndarray) -> Panel:
        """The panel on the utterances of a mask [U], whose folds are `folds`; what is smoothed is fitted in them."""
        kept = replace(self, q=self.q[keep], drawn=self.drawn[keep])
        return kept if self.exact else replace(kept, q_log=smoothed(kept.drawn, folds))


def line_up(
    sources: Sequence[Source],
    corpus: Corpus,
    use: Use,
    *,
    ids: Sequence[str] | None = None,
    m: int | None = None,
    names: Sequence[str] | None = None,
) -> list[Panel]:
    """Bring each source into the order of the utterances `ids` (all of the corpus) and of the corpus's labels.

    An audit gives the `ids` that have `m` held-out votes. Without `names`, a run that is fused is called as in its own
    votes, and all else by its folder.

    Raises LabelError for other labels; RunError for a run of another corpus, a panel with the corpus's own votes, and a
    source that says nothing of these utterances; where the panels are fused, RunError also for a control run.
    """
    ids = corpus.ids if ids is None else ids
    panels = []
    for name, source in zip(names or _names(sources, use), sources, strict=True):
        columns = _columns(source, corpus, name, use)
        if isinstance(source, Run):
            panel = _run_panel(name, source, columns, corpus, ids, use)
        else:
            panel = _human_panel(name, source, columns, corpus, ids, use)
        said = panel.covers
        if use == "fuse":
            said = said | (panel.drawn.sum(axis=1) > 0)
        if not said.any():
            raise RunError(_nothing_audited(name, source, corpus, len(ids), m) if m else _nothing_fused(panel, corpus))
        panels.append(panel)
    return panels


def _names(sources: Sequence[Source], use: Use) -> list[str]:
    named = zip(sources, folder_names(sources), strict=True)
    return [source.name if use == "fuse" and isinstance(source, Run) else name for source, name in named]


def _columns(source: Source, corpus: Corpus, name: str, use: Use) -> list[int] | slice:
    """Where each of the corpus's labels stands in the source's; another order is fine, but for a run that is fused."""
    theirs, ours = source.labels, corpus.labels
    if use == "fuse" and isinstance(source, Run):
        if tuple(theirs) != tuple(ours):
            raise LabelError(
                f"{source.path}: its labels are {', '.join(theirs)}; the corpus's are {', '.join(ours)}; "
                "annotate the corpus with its own labels, in its own order"
            )
        return slice(None)
    if set(theirs) == set(ours):
        return [theirs.index(label) for label in ours]
    both = f"{name} has the labels {', '.join(theirs)}, the corpus {', '.join(ours)}"
    if use == "fuse":
        raise LabelError(f"{both}; a proxy needs the corpus's labels: import both with the same label set")
    lacking = [label for label in ours if label not in theirs]
    further = [label for label in theirs if label not in ours]
    raise LabelError(
        f"{both} (it lacks {', '.join(lacking) or 'none'}; it has besides {', '.join(further) or 'none'}); an audit "
        "needs the same labels: annotate this corpus, or import both with the same label set"
    )


def _run_panel(name: str, run: Run, columns: list[int] | slice, corpus: Corpus, ids: Sequence[str], use: Use) -> Panel:
    """A run names the corpus it was made over; equal ids in another corpus are other sounds, so that is refused."""
    identity = run.info["identity"]
    control, made_from = identity.get("control"), identity.get("corpus", corpus.name)
    if use == "fuse" and control is not None:
        raise RunError(
            f"{run.path} was made with --control {control}: its model did not hear the utterances, so its votes are "
            "for 'serann audit' alone; fuse the run it belongs to"
        )
    if made_from != corpus.name:
        raise RunError(
            f"{run.path} is a run over the corpus '{made_from}', not over '{corpus.name}' ({corpus.path}); "
            "utterances of the same id may be other sounds there: give a run of this corpus"
        )
    q = panel_distribution(run, ids)[:, columns]
    if use == "fuse":
        q = q / q.sum(axis=1, keepdims=True)  # stored as float32, so a row's sum is off by a few 1e-8
    return Panel(
        name,
        q,
        synthetic_counts(run, ids)[:, columns],
        identity.get("mode", "exact") != "sample",
        lambda: run_ballots(run, corpus),
        path=str(run.path),
        label_mass=_label_mass(run, ids),
        failures=_failures(run, ids),
        about=_about_run(run),
    )


def _label_mass(run: Run, ids: Sequence[str]) -> float | None:
    """Mean over these utterances' answers of the probability that fell on any label.

    None where answers were texts: no probability was read off, so nothing could miss the labels.
    """
    if run.info["identity"].get("mode") != "exact":
        return None
    there = pc.is_in(run.scores["utterance_id"], value_set=pa.array(list(ids), pa.string()))
    mass = np.exp(run.scores["log_mass"].filter(there).to_numpy().astype(np.float64))
    return float(mass.mean()) if len(mass) else None


def _failures(run: Run, ids: Sequence[str]) -> dict[str, int]:
    """How many of these utterances failed altogether, by kind of reason."""
    wanted, rows = set(ids), run.failures.select(["utterance_id", "listener", "reason"]).to_pylist()
    failed = ((row["utterance_id"], row["reason"]) for row in rows if row["listener"] is None)
    found = by_reason(pair for pair in failed if pair[0] in wanted)
    return {item.reason: len(item.ids) for item in found}


def _about_run(run: Run) -> dict[str, Any]:
    """The run's identity in words: model, mode, prompts and their fingerprints."""
    identity = {key: value for key, value in run.info["identity"].items() if key != "labels"}
    return {"run": run.name, "listeners": run.listeners.num_rows, **identity}


def _human_panel(
    name: str, panel: Corpus, columns: list[int] | slice, corpus: Corpus, ids: Sequence[str], use: Use
) -> Panel:
    refuse_own_votes(panel, corpus, use)
    counts = count_votes(panel.votes, ids, panel.labels)[:, columns]
    voted = counts.sum(axis=1) > 0
    return Panel(
        name,
        frequencies(counts),
        counts,
        False,
        lambda: read_ballots(panel.votes, corpus.ids, corpus.labels, source="human"),
        "humans",
        str(panel.path),
        about={
            "panel of people": panel.name,
            "votes an utterance": round(float(counts[voted].sum(axis=1).mean()), 2) if voted.any() else 0,
            "simulated": panel.info.simulated,
        },
    )


def _nothing_audited(name: str, source: Source, corpus: Corpus, audited: int, m: int) -> str:
    theirs = list(source.ids)
    shared = len(set(theirs) & set(corpus.ids))
    if shared:
        return (
            f"{name} covers {shared} utterances of {corpus.path}, but none of the {audited} that have {m} held-out "
            "human votes; annotate more of the corpus, or lower --votes-scored"
        )
    first = f"'{theirs[0]}'" if theirs else "nothing"
    return (
        f"{name} shares no utterance with {corpus.path}: its first is {first}, the corpus's is '{corpus.ids[0]}'; "
        "was it made from another corpus? Give a run of this corpus"
    )


def _nothing_fused(panel: Panel, corpus: Corpus) -> str:
    if panel.kind == "humans":
        return f"{panel.name} shares no utterance with {corpus.path}: was it made from another corpus?"
    return (
        f"{panel.path}: holds none of the {len(corpus.ids)} utterances of {corpus.path}: it is a run of another "
        f"corpus; make one with 'serann annotate {corpus.path} --model … -o RUN'"
    )


# --------------------
# Distributions of a panel that are made of votes, and how ambiguous any are.


def panel_ambiguity(q: np.ndarray) -> np.ndarray:
    """1 - sum_c q_c^2 [U]: the chance that two votes drawn from q disagree, on the scale of `unbiased_ambiguity`."""
    return 1.0 - (as_distribution(q) ** 2).sum(axis=1)


def smoothed(counts: np.ndarray, folds: np.ndarray) -> np.ndarray | None:
    """A panel's own votes [U, K] as distributions without zeros: its Dirichlet-multinomial posterior mean.

    alpha is fitted to the panel's votes on the other folds' speakers: no human vote of the corpus enters. Rows without
    votes stay NaN. None where the panel has one vote per utterance: nothing tells how much to smooth then.
    """
    said = counts.sum(axis=1) > 0
    try:
        alpha = cross_fitted(folds, lambda o: fit_dirichlet_multinomial(counts[o]), width=counts.shape[1])
    except CorpusError:
        return None
    return np.where(said[:, None], posterior_mean(counts, alpha), np.nan)


# --------------------
# The leak rule, one for `serann audit`, `serann fuse`, its --next and `serann benchmark fusion`: no panel holds votes
# of the corpus. It would be measured against itself; fused, seen votes would count twice and held-out ones would leak.
#
# What tells is whether the votes are the same, not who cast them. The same raters who met another modality of the same
# utterance (CREMA-D's face and audio-visual panels), or other people whose ids are the same numbers, do not always say
# what the corpus says: they are taken. A copy does always: it is refused, whole or in part, with more votes beside it,
# under other names or none. A few of the corpus's votes among many by raters of the same names cannot be told apart.

# Votes are the corpus's own if so large a share of those that can be compared is the same.
SAME = 0.99
# Counts without names are compared only where other people's would agree as often with less than this chance.
CHANCE = 1e-3
# Draws of other people's votes for that chance, and utterances that it is computed for.
DRAWS, MOST_COMPARED = 64, 2_000
# What would come of such a panel.
LEAK: dict[Use, str] = {
    "audit": "so it would be measured against itself",
    "fuse": "and fusing them would leak held-out votes, or count seen ones twice",
}
OTHERS = "give a run, or a corpus with other people's votes on the same utterances"


def refuse_own_votes(panel: Corpus, corpus: Corpus, use: Use) -> None:
    """Raise RunError where a panel's votes are the corpus's, all of them or part: by rater, or by the utterances'
    counts. Both have the same labels."""
    if corpus_fingerprint(panel) == corpus_fingerprint(corpus):
        itself = "panel" if use == "audit" else "proxy"
        raise RunError(
            f"{panel.path} holds the very votes of {corpus.path}: a corpus cannot be its own {itself}; {OTHERS}"
        )
    _refuse_ballots(panel, corpus, use)
    _refuse_counts(panel, corpus, use)


def _refuse_ballots(panel: Corpus, corpus: Corpus, use: Use) -> None:
    """Raise RunError where raters who voted on the same utterances in both gave the same label all but always."""
    keys = ["utterance_id", "rater_id"]
    theirs, ours = (_named(votes, [*keys, "label"]) for votes in (panel.votes, corpus.votes))
    met = theirs.select(keys).group_by(keys).aggregate([]).join(ours, keys, join_type="inner")
    pairs = met.select(keys).group_by(keys).aggregate([]).num_rows
    same = theirs.join(_named(corpus.votes, [*keys, "label", "part"]), [*keys, "label"], join_type="inner")
    found = same.select(keys).group_by(keys).aggregate([]).num_rows
    if not pairs or found < SAME * pairs:
        return
    first = same.sort_by([(key, "ascending") for key in keys]).slice(0, 1).to_pylist()[0]
    held = int(pc.sum(pc.fill_null(pc.equal(same["part"], "heldout"), False)).as_py() or 0)
    raise RunError(
        f"{panel.path} holds votes of {corpus.path}: {found} of {pairs} by the same raters on the same utterances have "
        f"the same label (first: rater '{first['rater_id']}' on '{first['utterance_id']}'), {held} of them held out "
        f"there, {LEAK[use]}; {OTHERS}, and if these are others of the same name, give them other rater ids"
    )


def _named(votes: pa.Table, columns: list[str]) -> pa.Table:
    """Distinct rows of the named human ballots, abstentions left out."""
    human = pc.and_(pc.equal(votes["source"], "human"), pc.equal(votes["rank"], "primary"))
    kept = pc.and_(human, pc.and_(pc.is_valid(votes["label"]), pc.is_valid(votes["rater_id"])))
    return votes.filter(kept).select(columns).group_by(columns).aggregate([])


def _refuse_counts(panel: Corpus, corpus: Corpus, use: Use) -> None:
    """Raise RunError where all but all utterances have no votes but the corpus's, or the corpus's and more, and other
    people's would hardly come out so."""
    theirs, ours = (count_votes(votes, corpus.ids, corpus.labels) for votes in (panel.votes, corpus.votes))
    common = (theirs.sum(axis=1) > 0) & (ours.sum(axis=1) > 0)
    theirs, ours = theirs[common], ours[common]
    nested = np.asarray((theirs <= ours).all(axis=1) | (ours <= theirs).all(axis=1))
    if not len(nested) or nested.mean() < SAME or log_chance_of_nesting(theirs, ours) > np.log(CHANCE):
        return
    raise RunError(
        f"{panel.path} holds votes of {corpus.path}: on {int(nested.sum())} of {len(nested)} utterances that both have "
        f"its votes are those of the corpus, or part of them, or those and more, {LEAK[use]}; {OTHERS}"
    )


def log_chance_of_nesting(theirs: np.ndarray, ours: np.ndarray) -> float:
    """Log of the chance that other people's votes would be part of the larger panel's on all utterances [U, K].

    Other people: as many draws as the smaller panel has votes, from (n + q) / (N + 1), n the larger one's counts and q
    the shares of all votes. One vote for the shares is little, so the chance is rather over- than understated.
    """
    rng = rng_from("votes of the corpus")
    if len(ours) > MOST_COMPARED:
        chosen = np.sort(rng.choice(len(ours), MOST_COMPARED, replace=False))
        theirs, ours = theirs[chosen], ours[chosen]
    theirs_more = theirs.sum(axis=1) > ours.sum(axis=1)
    more = np.where(theirs_more[:, None], theirs, ours)
    votes = np.rint(np.minimum(theirs.sum(axis=1), ours.sum(axis=1))).astype(int)
    shares = (theirs + ours).sum(axis=0) / (theirs + ours).sum()
    p = (more + shares) / (more.sum(axis=1, keepdims=True) + 1)
    drawn = rng.multinomial(votes, p, size=(DRAWS, len(votes)))
    chance = ((drawn <= more).all(axis=2).sum(axis=0) + 1) / (DRAWS + 1)
    return float(np.log(chance).sum())
