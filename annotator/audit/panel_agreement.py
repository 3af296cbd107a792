"""Agreement among people, among synthetic listeners, and between the two.

People's votes are all human votes of the audited utterances. Of synthetic listeners each rater gives one vote an
utterance: listeners that differ in temperature alone are one rater, and what one rater answers to the same question
again is no second opinion. From exact answers that vote is drawn from the rater's distribution (the mean over its
temperatures), seeded by utterance and rater; from texts it is the rater's first readable one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ...data.arrow import pc
from ...data.corpus import Corpus
from ...data.scores.agreement import (
    ac1_of,
    alpha_of,
    alpha_rows,
    cross_rows,
    fleiss_of,
    kappa_x_of,
    normalised_of,
    normalised_rows,
    share_rows,
)
from ...data.scores.intervals import Interval
from ...data.seeds import uniforms
from ...data.tables import distribution_array
from ...data.votes import count_votes
from ..run.run import Run
from .scorer import Reference, Scorer, interval_of, speakers_of

COEFFICIENTS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "krippendorff_alpha": ("Krippendorff's alpha", alpha_rows, alpha_of),
    "gwet_ac1": ("Gwet's AC1", share_rows, ac1_of),
    "fleiss_kappa": ("Fleiss' kappa", share_rows, fleiss_of),
}


@dataclass(frozen=True, slots=True)
class PoolAgreement:
    """Agreement within a pool: intervals by the names of `COEFFICIENTS`; `utterances` have two or more votes."""

    of: str
    votes_an_utterance: float
    utterances: int
    coefficients: dict[str, Interval]
    reason: str | None


@dataclass(frozen=True, slots=True)
class PanelAgreement:
    """Agreement of people, of a panel, and between them: `kappa_x` and, by both pools' alphas, `normalised_kappa_x`.

    `votes_from` says what the panel's votes are; `reason` why there is nothing between the two.
    """

    panel: str
    votes_from: str
    humans: PoolAgreement
    synthetic: PoolAgreement
    utterances: int
    kappa_x: Interval
    normalised_kappa_x: Interval
    reason: str | None = None


def section(scorer: Scorer, source: Run | Corpus, name: str) -> PanelAgreement:
    """The agreement of a panel (a run, or another human panel's corpus) with the people of the scorer's reference."""
    ref = scorer.reference
    human = ref.scored + ref.other
    panel, votes_from = one_vote_a_rater(source, ref)
    # one draw is enough: agreement takes all human votes, so nothing depends on which are scored
    one = Scorer(scorer.draws[:1], level=scorer.level)
    people, own = _pool("humans", human, one), _pool(name, panel, one)
    common = int(((human.sum(axis=1) > 0) & (panel.sum(axis=1) > 0)).sum())
    between = _interval(cross_rows(human, panel), kappa_x_of, one, common)
    normalised = _interval(normalised_rows(human, panel), normalised_of, one, common)
    reason = None
    if not common:
        reason = "no audited utterance has votes of both"
    elif math.isnan(normalised.value):
        reason = own.reason or people.reason or "an alpha is not above 0, so nothing can be divided by it"
    return PanelAgreement(name, votes_from, people, own, common, between, normalised, reason)


def _pool(of: str, counts: np.ndarray, scorer: Scorer) -> PoolAgreement:
    n = counts.sum(axis=1)
    pairs = int((n > 1).sum())
    found = {
        name: _interval(rows(counts), statistic, scorer, pairs) for name, (_, rows, statistic) in COEFFICIENTS.items()
    }
    reason = None
    if not pairs:
        reason = f"no utterance has two votes of different raters ({of}), so nobody could disagree"
    elif math.isnan(found["krippendorff_alpha"].value):
        reason = f"all votes are one label ({of}), so nobody could disagree"
    return PoolAgreement(of, float(n[n > 0].mean()) if (n > 0).any() else 0.0, pairs, found, reason)


def _interval(
    rows: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], scorer: Scorer, utterances: int
) -> Interval:
    return interval_of(speakers_of(scorer).sums(rows), statistic, scorer, rows=utterances)


def one_vote_a_rater(source: Run | Corpus, reference: Reference) -> tuple[np.ndarray, str]:
    """A panel's votes [U, K] in the order of the reference's utterances and labels, one a rater; and what they are."""
    columns = [source.labels.index(label) for label in reference.labels]
    if isinstance(source, Corpus):
        counts = count_votes(source.votes, reference.ids, source.labels)[:, columns]
        whole = np.asarray(np.isclose(counts, np.rint(counts)).all(axis=1))
        apart = "" if whole.all() else f" ({(~whole).sum()} utterances with shares of votes left out)"
        return np.where(whole[:, None], np.rint(counts), 0.0), f"the panel's human votes{apart}"
    if source.scores.num_rows:
        return _drawn(source, reference.ids)[:, columns], "one vote a rater, drawn from its exact distribution"
    return _first_votes(source, reference.ids)[:, columns], "each rater's first readable answer"


def _drawn(run: Run, ids: Sequence[str]) -> np.ndarray:
    """One vote of each rater, drawn from the mean of its listeners' distributions."""
    rater_of = dict(zip(run.listeners["listener"].to_pylist(), run.listeners["rater"].to_pylist(), strict=True))
    row = pc.index_in(run.scores["utterance_id"], value_set=pa.array(list(ids), pa.string()))
    row = pc.fill_null(row, -1).to_numpy(zero_copy_only=False)
    listeners = run.scores["listener"].combine_chunks().dictionary_encode()
    codes, names = listeners.indices.to_numpy(zero_copy_only=False), listeners.dictionary.to_pylist()
    p, counts = distribution_array(run.scores["p"]), np.zeros((len(ids), len(run.labels)))
    raters = [rater_of.get(name) or name for name in names]
    for rater in sorted(set(raters)):
        of = np.isin(codes, [c for c, r in enumerate(raters) if r == rater]) & (row >= 0)
        total = np.zeros_like(counts)
        np.add.at(total, row[of], p[of])
        heard = np.flatnonzero(total.sum(axis=1) > 0)
        below = np.cumsum(total[heard], axis=1)
        u = uniforms([ids[int(i)] for i in heard], 1, "one vote a rater", rater) * below[:, -1:]
        counts[heard, np.minimum((u >= below).sum(axis=1), counts.shape[1] - 1)] += 1
    return counts


def _first_votes(run: Run, ids: Sequence[str]) -> np.ndarray:
    """Each rater's readable vote of the lowest draw, by the first of its listeners."""
    votes = run.votes.filter(pc.is_valid(run.votes["label"]))
    raters = pa.array(run.listeners["rater"].to_pylist(), pa.string())
    place = pc.index_in(votes["rater_id"], value_set=run.listeners["listener"].combine_chunks())
    rater = pc.coalesce(raters.take(place.combine_chunks()), votes["rater_id"].combine_chunks())
    votes = votes.append_column("rater", rater).sort_by(
        [("utterance_id", "ascending"), ("rater", "ascending"), ("draw", "ascending"), ("rater_id", "ascending")]
    )
    keys = [votes[name].combine_chunks().dictionary_encode().indices for name in ("utterance_id", "rater")]
    codes = np.column_stack([key.to_numpy(zero_copy_only=False) for key in keys])
    first = np.ones(len(codes), dtype=bool)
    first[1:] = (codes[1:] != codes[:-1]).any(axis=1)
    return count_votes(votes.filter(pa.array(first)), ids, run.labels, source="synthetic")
