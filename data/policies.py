"""From votes to distributions: the vote policies of the field, each under its name and with its source.

A policy says how much each vote counts; a tie policy what plurality does with ties; a leave-out rule which utterances
get no distribution at all, and why. All of it is one step over arrays: utterances U, labels K.

    w(u, r, k)   weight of the rows of rater r (an anonymous vote is a rater of its own) for label k of utterance u
    P(u, k)      sum over primary votes of w, normalised over k
    S(u, k)      sum over raters of w_secondary(u, r, k) / sum_k w_secondary(u, r, k), normalised over k
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from .arrow import pc
from .corpus import Corpus
from .errors import OptionError, OutputError
from .labels import LabelSet
from .tables import DISTRIBUTIONS, about_table, distribution_column, write_table
from .votes import frequencies

# How a vote's reason begins whose label was mapped to none of the corpus's labels (`data.mapping`).
OUTSIDE = "outside the label set"
TIES = ("leave-out", "split")
# Below this difference two weights are a tie (thirds and fifths of a vote do not add up exactly).
EQUAL = 1e-9


@dataclass(frozen=True, slots=True)
class Votes:
    """Human votes as arrays: utterance, label and rater of each, its weight, and whether it is secondary.

    `outside` [U]: whether a rater's vote fell outside the label set.
    """

    utterances: int
    labels: int
    row: np.ndarray
    label: np.ndarray
    rater: np.ndarray
    weight: np.ndarray
    secondary: np.ndarray
    own_word: np.ndarray
    outside: np.ndarray

    def counts(self, keep: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
        """Weights of the votes in `keep` by utterance and label [U, K]."""
        weight = self.weight if weight is None else weight
        cell = self.row[keep] * self.labels + self.label[keep]
        shape = (self.utterances, self.labels)
        return np.bincount(cell, weights=weight[keep], minlength=shape[0] * shape[1]).reshape(shape)


class Distributions(NamedTuple):
    """`p` [U, K], NaN where left out; `votes` [U], the raters' mass behind it; `reasons` [U], why left out, or None."""

    p: np.ndarray
    votes: np.ndarray
    reasons: np.ndarray


@dataclass(frozen=True, slots=True)
class Policy:
    """A vote policy: its name, what it does in one sentence, where it comes from."""

    name: str
    about: str
    source: str
    weigh: Callable[[Votes, float, str], tuple[np.ndarray, np.ndarray]]


def distributions(
    votes: pa.Table,
    ids: Sequence[str],
    labels: LabelSet,
    *,
    policy: str = "primary",
    alpha: float = 0.9,
    ties: str = "leave-out",
    outside: str = "ignore",
    min_votes: int = 1,
    part: str | None = None,
) -> Distributions:
    """Distributions of the utterances `ids` from their human votes by a policy of `POLICIES`.

    `alpha` is the primary votes' share in `merged`. `ties` is what plurality does with ties: `leave-out`, or `split`
    the mass. `outside`: `ignore` votes outside the label set, or `leave-out` the utterances that have one (Zhang et al.
    2026, AER-LLM). Utterances with fewer than `min_votes` primary votes are left out. `part` restricts to seen or
    held-out votes. Raises `OptionError` for an unknown policy, tie policy or rule, or alpha outside (0, 1].
    """
    chosen = _policy(policy, alpha, ties, outside, min_votes)
    found = gather(votes, ids, labels, part=part)
    mass, undecided = chosen.weigh(found, alpha, ties)
    primary = found.counts(~found.secondary).sum(axis=1)
    reasons = np.full(len(ids), None, dtype=object)
    reasons[undecided] = "no plurality" if policy == "plurality" else "no majority"
    few = primary < min_votes - EQUAL
    reasons[few] = "too few votes"
    reasons[primary <= 0] = "no votes"
    if outside == "leave-out":
        reasons[found.outside] = "a vote outside the label set"
    p = frequencies(mass)
    p[reasons != None] = np.nan  # noqa: E711 (elementwise)
    return Distributions(p, np.where(np.isnan(p[:, 0]), 0.0, primary), reasons)


def _policy(name: str, alpha: float, ties: str, outside: str, min_votes: int) -> Policy:
    if name not in POLICIES:
        raise OptionError(f"unknown vote policy {name!r}; expected one of {', '.join(POLICIES)}")
    if not 0 < alpha <= 1:
        raise OptionError(f"alpha is {alpha:g}; expected more than 0 and at most 1 (the primary votes' share)")
    if ties not in TIES:
        raise OptionError(f"unknown tie policy {ties!r}; expected one of {', '.join(TIES)}")
    if outside not in ("ignore", "leave-out"):
        raise OptionError(f"unknown rule {outside!r} for votes outside the label set; expected ignore or leave-out")
    if min_votes < 1:
        raise OptionError(f"at least {min_votes} votes; expected 1 or more")
    return POLICIES[name]


def gather(votes: pa.Table, ids: Sequence[str], labels: LabelSet, *, part: str | None = None) -> Votes:
    """The human votes on the utterances `ids` as arrays; abstentions hold nothing, votes outside the labels are noted.

    `own_word` tells a vote whose word is the label itself from one that was folded into it (annoyed, as angry).
    """
    keep = pc.equal(votes["source"], "human")
    if part is not None:
        keep = pc.and_(keep, pc.fill_null(pc.equal(votes["part"], part), False))
    votes = votes.filter(keep)
    row = _index(votes["utterance_id"], pa.array(list(ids), pa.string()))
    label = _index(votes["label"], pa.array(labels.labels))
    known = (row >= 0) & (label >= 0)
    rank = pc.equal(votes["rank"], "secondary").to_numpy(zero_copy_only=False)
    away = pc.fill_null(pc.starts_with(votes["reason"], OUTSIDE), False).to_numpy(zero_copy_only=False)
    outside = np.zeros(len(ids), dtype=bool)
    outside[row[away & (row >= 0) & ~rank]] = True
    return Votes(
        utterances=len(ids),
        labels=len(labels),
        row=row[known],
        label=label[known],
        rater=_raters(votes)[known],
        weight=votes["weight"].to_numpy(zero_copy_only=False)[known].astype(np.float64),
        secondary=rank[known],
        own_word=pc.is_null(votes["text"]).to_numpy(zero_copy_only=False)[known],
        outside=outside,
    )


def _index(column: pa.ChunkedArray, values: pa.Array) -> np.ndarray:
    """Place of each value among `values`, -1 for none."""
    return pc.fill_null(pc.index_in(column, value_set=values), -1).to_numpy(zero_copy_only=False).astype(np.int64)


def _raters(votes: pa.Table) -> np.ndarray:
    """A number for each rater; anonymous votes each have one of their own."""
    codes = pc.fill_null(votes["rater_id"].combine_chunks().dictionary_encode().indices, -1)
    codes = codes.to_numpy(zero_copy_only=False).astype(np.int64)
    nobody = codes < 0
    codes[nobody] = codes.max(initial=-1) + 1 + np.arange(int(nobody.sum()))
    return codes


def _ballots(votes: Votes, *columns: np.ndarray) -> tuple[np.ndarray, int]:
    """A number for each combination of utterance, rater and further columns, and how many there are."""
    key = votes.row * (int(votes.rater.max(initial=0)) + 1) + votes.rater
    for column in columns:
        key = key * (int(column.max(initial=0)) + 1) + column
    distinct, code = np.unique(key, return_inverse=True)
    return code, len(distinct)


def _decided(votes: Votes) -> np.ndarray:
    return np.zeros(votes.utterances, dtype=bool)


def _primary(votes: Votes, alpha: float, ties: str) -> tuple[np.ndarray, np.ndarray]:
    return votes.counts(~votes.secondary), _decided(votes)


def _merged(votes: Votes, alpha: float, ties: str) -> tuple[np.ndarray, np.ndarray]:
    ballot, many = _ballots(votes, votes.label)
    named_first = np.zeros(many, dtype=bool)
    named_first[ballot[~votes.secondary]] = True
    repeats = named_first[ballot] & votes.own_word
    keep = votes.secondary & ~repeats
    rater, many = _ballots(votes)
    total = np.bincount(rater[keep], weights=votes.weight[keep], minlength=many)
    share = np.divide(votes.weight, total[rater], out=np.zeros(len(rater)), where=total[rater] > 0)
    first, second = frequencies(votes.counts(~votes.secondary)), frequencies(votes.counts(keep, share))
    return np.where(np.isnan(second), first, alpha * first + (1 - alpha) * second), _decided(votes)


def _mentions(votes: Votes, alpha: float, ties: str) -> tuple[np.ndarray, np.ndarray]:
    ballot, _ = _ballots(votes, votes.label)
    _, first = np.unique(ballot, return_index=True)
    keep = np.zeros(len(votes.row), dtype=bool)
    keep[first] = True
    return votes.counts(keep, np.ones(len(keep))), _decided(votes)


def _all_inclusive(votes: Votes, alpha: float, ties: str) -> tuple[np.ndarray, np.ndarray]:
    return votes.counts(np.ones(len(votes.row), dtype=bool), np.ones(len(votes.row))), _decided(votes)


def _plurality(votes: Votes, alpha: float, ties: str) -> tuple[np.ndarray, np.ndarray]:
    counts = votes.counts(~votes.secondary)
    top = counts >= counts.max(axis=1, keepdims=True) - EQUAL
    tied = top.sum(axis=1) > 1
    return top.astype(np.float64), tied if ties == "leave-out" else _decided(votes)


def _majority(votes: Votes, alpha: float, ties: str) -> tuple[np.ndarray, np.ndarray]:
    counts = votes.counts(~votes.secondary)
    more = counts > counts.sum(axis=1, keepdims=True) / 2 + EQUAL
    return more.astype(np.float64), ~more.any(axis=1)


POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy(
            "primary",
            "relative frequency of the primary votes; a rater's several primary labels share one vote",
            "Zhang et al. 2026 (relative vote frequency, no smoothing)",
            _primary,
        ),
        Policy(
            "merged",
            "alpha P + (1 - alpha) S; each rater's secondary labels share mass one, the primary label again is left "
            "out of them; without any secondary label P alone",
            "Omidi and Hansen 2026 (alpha .9 and .8)",
            _merged,
        ),
        Policy(
            "mentions",
            "every label that a rater named, primary or secondary, counts once; divided by the number of mentions",
            "EMO-SUPERB's S-type soft labels",
            _mentions,
        ),
        Policy(
            "all-inclusive",
            "every primary and every secondary label counts one, repeated or not, and no utterance is left out",
            "after Chou et al. 2024, doi 10.1109/TAFFC.2024.3411290 (the weights are ours)",
            _all_inclusive,
        ),
        Policy("plurality", "one label: that of the most primary votes; see ties", "the field's usual", _plurality),
        Policy(
            "majority",
            "one label: that of more than half of the primary votes; without one the utterance is left out",
            "the field's usual",
            _majority,
        ),
    )
}


def write_distributions(
    corpus: Corpus, out: str | Path | None, *, policy: str = "primary", overwrite: bool = False, **rules: Any
) -> dict[str, Any]:
    """Write the corpus's distributions by a policy (rules: see `distributions`) as a table at `out`, if one is named.

    Returns a summary: utterances with a distribution, mean shares of the labels, and how many were left out, by reason.
    Raises `OutputError` for an existing `out` without `overwrite`, and always for one that is no such table.
    """
    found = distributions(corpus.votes, corpus.ids, corpus.labels, policy=policy, **rules)
    kept = np.flatnonzero(found.reasons == None)  # noqa: E711 (elementwise)
    if out is not None:
        if Path(out).exists() and not (overwrite and Path(out).is_file()):
            raise OutputError(f"{out} exists already; choose another output, or pass --overwrite to replace a file")
        if Path(out).exists() and "policy" not in about_table(out).get("provenance", {}):
            raise OutputError(f"{out} holds no distributions by a policy, so it is not replaced; choose another output")
        table = pa.table(
            {
                "utterance_id": pa.array([corpus.ids[i] for i in kept], pa.string()),
                "p": distribution_column(found.p[kept]),
                "effective_votes": pa.array(found.votes[kept]),
                "source": pa.repeat(pa.scalar(f"votes: {policy}"), len(kept)),
            }
        )
        made_by = {"corpus": corpus.name, "policy": policy, **rules, "about": POLICIES[policy].about}
        write_table(table, out, DISTRIBUTIONS, labels=corpus.labels, provenance=made_by)
    shares = found.p[kept].mean(axis=0) if len(kept) else np.full(len(corpus.labels), np.nan)
    left = [str(reason) for reason in found.reasons if reason is not None]
    return {
        "policy": policy,
        **rules,
        "utterances": len(kept),
        "shares": dict(zip(corpus.labels, shares.tolist(), strict=True)),
        "left_out": {reason: left.count(reason) for reason in sorted(set(left))},
    }
