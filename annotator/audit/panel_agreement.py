"""How much people and listeners agree: among people, among listeners, between the two, and in their errors.

People's votes are all human votes of the audited utterances. Of synthetic listeners each rater gives one vote an
utterance: listeners that differ in temperature alone are one rater, and what one rater answers to the same question
again is no second opinion. From exact answers that vote is drawn from the rater's distribution (the mean over its
temperatures), seeded by utterance and rater; from texts it is the rater's first readable one.

How many independent listeners a panel amounts to: listeners that err alike are worth fewer than their number.

    e_lu  = p_lu - p_u                       error of listener l about people's distribution, summed over labels below
    rho   = mean over pairs l != l' of E[e_lu . e_l'u] / mean over l of E[e_lu . e_lu]
    n_eff = n / (1 + (n - 1) rho)            (Kish 1965)

The products are unbiased for people's own distribution whatever the number of their votes (as `sq_unbiased` is, which
each listener's is). They are about zero error, not the mean error: what all listeners get wrong alike no number of them
mends. So n_eff is the mean squared error of one listener over that of the panel's mean, and 1 when all say the same.
Listeners that differ in temperature alone are one: temperature is a transform and no listener.
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
from ...data.scores.divergences import as_distribution
from ...data.scores.intervals import Interval, by_group
from ...data.scores.proper_scores import agreement_of_pairs
from ...data.seeds import uniforms
from ...data.tables import distribution_array
from ...data.votes import count_votes, frequencies
from ..run.run import Run
from .baselines import fitted_part
from .scorer import Reference, Scorer
from .section import Finding, Section

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
    between = one.columns(cross_rows(human, panel), kappa_x_of)._replace(rows=common)
    normalised = one.columns(normalised_rows(human, panel), normalised_of)._replace(rows=common)
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
        name: scorer.columns(rows(counts), statistic)._replace(rows=pairs)
        for name, (_, rows, statistic) in COEFFICIENTS.items()
    }
    reason = None
    if not pairs:
        reason = f"no utterance has two votes of different raters ({of}), so nobody could disagree"
    elif math.isnan(found["krippendorff_alpha"].value):
        reason = f"all votes are one label ({of}), so nobody could disagree"
    return PoolAgreement(of, float(n[n > 0].mean()) if (n > 0).any() else 0.0, pairs, found, reason)


def one_vote_a_rater(source: Run | Corpus, reference: Reference) -> tuple[np.ndarray, str]:
    """A panel's votes [U, K] in the order of the reference's utterances and labels, one a rater; and what they are."""
    columns = [source.labels.index(label) for label in reference.labels]
    if isinstance(source, Corpus):
        counts = count_votes(source.votes, reference.ids, source.labels)[:, columns]
        whole = np.asarray(np.isclose(counts, np.rint(counts)).all(axis=1))
        apart = "" if whole.all() else f" ({(~whole).sum()} utterances with shares of votes left out)"
        return np.where(whole[:, None], np.rint(counts), 0.0), f"the panel's human votes{apart}"
    if source.scores.num_rows:
        return _drawn(source, reference.ids)[:, columns], "one vote per rater, drawn from its exact distribution"
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


# --------------------
# How many independent listeners a panel amounts to.

# Rows of scores that are in memory as numbers at a time.
BLOCK = 2_000_000


@dataclass(frozen=True, slots=True)
class Independence:
    """`listeners` that answered an utterance, in the mean; their errors' correlation; the independent ones."""

    listeners: float
    correlation: Interval
    independent_listeners: Interval


def independent_listeners(run: Run, reference: Reference, *, level: float = 0.95) -> Independence | None:
    """Kish's effective number of a run's listeners; None where there are fewer than two, or no exact scores.

    Of more than 100,000 utterances, a seeded part (`baselines.fitted_part`) serves; the intervals say how many.

    All human votes of the reference's utterances serve (nothing is fitted). An utterance that fewer than two
    listeners answered is left out. Where the panel's squared error is 0 or less, it is undefined (NaN).
    """
    names = run.listeners.column("listener").to_pylist()
    raters = run.listeners.column("rater").to_pylist()
    rater_of = {name: rater or name for name, rater in zip(names, raters, strict=True)}
    kinds = sorted(set(rater_of.values()))
    if len(kinds) < 2 or not run.scores.num_rows:
        return None
    place = np.array([kinds.index(rater_of[name]) for name in names])
    number, single, joint = _products(run, reference, names, place, len(kinds))
    heard = number >= 2
    if not heard.any():
        return None
    pairs = (joint - single) / np.maximum(number * (number - 1), 1)
    columns = np.column_stack([single / np.maximum(number, 1), pairs, number])[heard]
    rows = np.column_stack([columns, np.ones(len(columns))])
    groups = np.asarray(reference.groups, dtype=object)[heard]
    statistics = [
        by_group(rows, groups, statistic=f, level=level, seed=reference.seed) for f in (_correlation, _effective)
    ]
    return Independence(float(number[heard].mean()), *statistics)


def _correlation(totals: np.ndarray) -> np.ndarray:
    return totals[..., 1] / np.where(totals[..., 0] > 0, totals[..., 0], np.nan)


def _effective(totals: np.ndarray) -> np.ndarray:
    n = totals[..., 2] / totals[..., 3]
    shared = 1 + (n - 1) * _correlation(totals)
    return n / np.where(shared > 0, shared, np.nan)


def _products(
    run: Run, reference: Reference, names: list[str], place: np.ndarray, kinds: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each utterance: listeners n, sum_l e_l . e_l, and (sum_l e_l) . (sum_l e_l), [U] each."""
    votes = reference.scored + reference.other
    shares, pairs = frequencies(votes), agreement_of_pairs(votes)
    size = len(reference.ids)
    row = _indices(run.scores["utterance_id"], reference.ids)
    row = np.where(np.append(fitted_part(reference), False)[row], row, -1)
    rater = place[_indices(run.scores["listener"], names)]
    order = np.argsort(row, kind="stable")
    order = order[np.searchsorted(row[order], 0) :]
    columns = [list(run.labels).index(label) for label in reference.labels]
    number, single, joint = np.zeros(size), np.zeros(size), np.zeros(size)
    start = 0
    while start < len(order):
        stop = min(start + BLOCK, len(order))
        # an utterance is never cut in two
        stop = int(np.searchsorted(row[order], row[order[stop - 1]], side="right"))
        these = order[start:stop]
        here, of = np.unique(row[these], return_inverse=True)
        q, answered = _by_rater(run.scores["p"].take(pa.array(these)), of * kinds + rater[these], (len(here), kinds))
        q = q[:, :, columns]
        n, total = answered.sum(axis=1), q.sum(axis=1)
        number[here] = n
        single[here] = (q**2).sum(axis=(1, 2)) - 2 * (total * shares[here]).sum(axis=1) + n * pairs[here]
        joint[here] = (total**2).sum(axis=1) - 2 * n * (total * shares[here]).sum(axis=1) + n**2 * pairs[here]
        start = stop
    return number, single, joint


def _by_rater(column: pa.ChunkedArray, cell: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Each listener's mean distribution of each utterance, [U, L, K] (0 where it did not answer), and who did."""
    p = as_distribution(distribution_array(column))
    size = shape[0] * shape[1]
    times = np.bincount(cell, minlength=size)
    sums = np.stack([np.bincount(cell, weights=share, minlength=size) for share in p.T], axis=1)
    return (sums / np.maximum(times, 1)[:, None]).reshape(*shape, -1), (times > 0).reshape(shape)


def _indices(column: pa.ChunkedArray, values: list[str]) -> np.ndarray:
    """Where each text of a column stands among `values`; -1 where it does not."""
    found = pc.index_in(column, value_set=pa.array(values, pa.string()))
    return pc.fill_null(found, -1).to_numpy().astype(np.int64)


def _findings(found: PanelAgreement) -> list[Finding]:
    figures = {"cross_kappa": found.kappa_x, "normalised_cross_kappa": found.normalised_kappa_x}
    return [Finding("agreement", found.panel, figures)]


SECTION = Section(
    name="agreement",
    title="Agreement",
    about="Agreement within people and within the panel, and between the two (cross-kappa, Wong et al. 2021).",
    measure=lambda subject: section(subject.ground.scorer, subject.source, subject.panel.name),
    findings=_findings,
    required={
        "cross_kappa": "agreement of a vote of the panel with a human one, corrected for chance",
        "normalised_cross_kappa": "the same, normalised by both pools' Krippendorff's alphas",
    },
)
