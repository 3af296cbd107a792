"""Train, development and test: a speaker-disjoint division of utterances, their labels and ambiguity spread evenly."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from .arrow import pc
from .corpus import Corpus, write_corpus
from .errors import CorpusError, OptionError
from .labels import LabelSet
from .scores.divergences import normalised_entropy
from .scores.groups import Groups, conversation_groups, speaker_groups
from .seeds import uniforms
from .sound_paths import elsewhere
from .votes import count_votes, frequencies

# --------------------
# Which utterances belong together: those of a speaker, else of a dialogue.


NAMES = ("train", "development", "test")
# Up to so many groups, exchanges of two are tried beside moves of one, from more starts.
FEW_GROUPS = 300
STARTS_OF_FEW, STARTS_OF_MANY = 20, 4
# More groups than this are moved in as many bundles, dealt at random: the search looks at every one in every step.
MOST_BUNDLES = 5000
MOST_STEPS = 300
# Dialogues join speakers only while no joined group has more of the utterances than this.
MOST_OF_ALL = 0.5
# How much the split's share of utterances counts against its shares of each label and of each third by entropy.
SIZE_WEIGHT = 3.0


class Split(NamedTuple):
    """Utterances with their column `split`, and how it was made and came out."""

    utterances: pa.Table
    report: dict[str, Any]


def split_corpus(corpus: Corpus, *, test: float = 0.2, development: float = 0.1, seed: int = 0) -> Split:
    """Divide a corpus's utterances as `split_tables` does, whatever split it has."""
    return split_tables(corpus.utterances, corpus.votes, corpus.labels, test=test, development=development, seed=seed)


def split_tables(
    utterances: pa.Table,
    votes: pa.Table,
    labels: LabelSet,
    *,
    test: float = 0.2,
    development: float = 0.1,
    seed: int = 0,
) -> Split:
    """Divide utterances into train, development and test so that no speaker is in two of them.

    Speakers stay whole, and so do speakers who talk to each other (a dialogue joins them, unless nearly all would be
    joined); utterances of an unknown speaker go with their dialogue, or singly (that they are none of the
    known speakers cannot be checked; the report's `unknown_speakers` counts them). The division makes small

        3 c(utterances) + mean over labels c(votes' share) + mean over thirds c(utterances of that third by entropy)

    with c(x) = sum over splits (x_split / x_all - asked)^2 / asked, labels and thirds weighted by how much of them
    there is. The means: from several seeded orders of speakers, cut at the asked shares, the best move of a speaker or
    (up to 300 speakers) exchange of two is made until nothing is gained, and the best end is taken; above 5,000 groups
    random bundles of them are moved. Where nobody voted, intended or consensus labels stand for votes. Groups' names,
    their utterances and the seed decide, not the order of rows.

    `test` and `development` are shares of the utterances; 0 leaves that split out. Raises OptionError for shares that
    leave no train split, CorpusError where there are fewer groups than splits.
    """
    asked = _asked(test, development)
    groups = _whole_groups(utterances, len(asked))
    if len(groups.names) < len(asked):
        raise CorpusError(
            f"the utterances are {len(groups.names)} groups that must stay whole (by {groups.unit}), and "
            f"{', '.join(asked)} need at least {len(asked)}; leave one out (a share of 0), or write your own column "
            "'split'"
        )
    features, weights, kind = _features(utterances, votes, labels, groups)
    assigned, distance = _search(features, weights, np.array(list(asked.values())), groups.names, seed)
    splits = pa.array(list(asked)).take(pa.array(assigned[groups.codes]))
    report = _report(splits, utterances, groups, assigned, asked)
    divided = utterances.set_column(utterances.column_names.index("split"), "split", splits)
    return Split(divided, {**report, "stratified_by": kind, "seed": seed, "distance": distance})


def _whole_groups(utterances: pa.Table, splits: int) -> Groups:
    """Speakers joined by their dialogues, unless that leaves too few groups or one with most utterances: then speakers
    alone, and `leaks` names the dialogues that are in several splits.
    """
    joined = conversation_groups(utterances)
    largest = np.bincount(joined.codes, minlength=1).max() / max(len(joined.codes), 1)
    return joined if len(joined.names) >= splits and largest <= MOST_OF_ALL else speaker_groups(utterances)


def _asked(test: float, development: float) -> dict[str, float]:
    train = 1.0 - test - development
    if min(test, development) < 0 or not train > 1e-9:
        raise OptionError(
            f"the shares of test ({test:g}) and development ({development:g}) must be 0 or more and leave some for "
            "train; expected, for instance, 0.2 and 0.1"
        )
    return {name: share for name, share in zip(NAMES, (train, development, test), strict=True) if share > 0}


def _features(
    utterances: pa.Table, votes: pa.Table, labels: LabelSet, groups: Groups
) -> tuple[np.ndarray, np.ndarray, str]:
    """Sums of the features by group, each over its total [G, F]; their weights [F]; and what they were made of."""
    # in the order of ids, so that no rounding depends on the order of rows
    order = pc.sort_indices(utterances["utterance_id"]).to_numpy(zero_copy_only=False)
    ids, codes = utterances["utterance_id"].take(pa.array(order)), groups.codes[order]
    p = frequencies(count_votes(votes, ids.to_pylist(), labels))
    kind = "votes"
    if np.isnan(p).all():
        p, kind = _stated_labels(utterances.take(pa.array(order)))
    voted = ~np.isnan(p).any(axis=1)
    entropy = normalised_entropy(p[voted]) if p.shape[1] > 1 else np.zeros(int(voted.sum()))
    thirds = np.zeros((len(p), 3))
    edges = np.quantile(entropy, [1 / 3, 2 / 3]) if len(entropy) else []
    thirds[np.flatnonzero(voted), np.searchsorted(edges, entropy)] = 1
    columns = np.column_stack([np.ones(len(p)), np.nan_to_num(p), thirds])
    sums = np.column_stack([np.bincount(codes, weights=c, minlength=len(groups.names)) for c in columns.T])
    total = sums.sum(axis=0)
    weights = np.concatenate([[SIZE_WEIGHT], *(_shares(part) for part in np.split(total[1:], [p.shape[1]]))])
    return sums / np.where(total > 0, total, 1), weights, kind


def _shares(totals: np.ndarray) -> np.ndarray:
    return totals / max(totals.sum(), 1)


def _stated_labels(utterances: pa.Table) -> tuple[np.ndarray, str]:
    """Intended, else consensus labels as distributions, NaN rows where there is none."""
    for column in ("intended", "consensus"):
        encoded = utterances[column].combine_chunks().dictionary_encode()
        if len(encoded.dictionary):
            codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
            # by name, so that the order of rows decides nothing
            names = np.argsort(np.argsort(np.array(encoded.dictionary.to_pylist())))
            p = np.full((len(codes), len(names)), np.nan)
            p[codes >= 0] = np.eye(len(names))[names[codes[codes >= 0]]]
            return p, f"{column} labels"
    return np.full((utterances.num_rows, 1), np.nan), "the number of utterances alone"


def _search(
    features: np.ndarray, weights: np.ndarray, shares: np.ndarray, names: list[str], seed: int
) -> tuple[np.ndarray, float]:
    """The best assignment of groups to splits from several seeded orders, int [G], and its distance."""
    starts = STARTS_OF_FEW if len(names) <= FEW_GROUPS else STARTS_OF_MANY
    drawn = uniforms(names, starts, "split", seed)
    if len(names) > MOST_BUNDLES:
        bundle = np.empty(len(names), dtype=np.int64)
        bundle[np.argsort(drawn[:, 0], kind="stable")] = np.arange(len(names)) * MOST_BUNDLES // len(names)
        bundled = np.column_stack([np.bincount(bundle, weights=c, minlength=MOST_BUNDLES) for c in features.T])
        assigned, distance = _search(bundled, weights, shares, [f"bundle {k}" for k in range(MOST_BUNDLES)], seed)
        return assigned[bundle], distance
    orders = np.argsort(drawn.T, kind="stable")
    ends = [_improve(_start(features[:, 0], order, shares), features, weights, shares) for order in orders]
    return min(ends, key=lambda end: round(end[1], 12))


def _start(sizes: np.ndarray, order: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Cut the groups in this order at the asked shares, at least one group a split, int [G]."""
    filled = np.cumsum(sizes[order]) / sizes.sum()
    cuts = np.searchsorted(filled, np.cumsum(shares)[:-1] - 1e-9) + 1
    for k in range(len(cuts)):
        cuts[k] = min(max(cuts[k], cuts[k - 1] + 1 if k else 1), len(order) - len(cuts) + k)
    assigned = np.empty(len(order), dtype=np.int64)
    assigned[order] = np.searchsorted(cuts, np.arange(len(order)), side="right")
    return assigned


def _distance(totals: np.ndarray, weights: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The weighted squared distance of splits' totals [..., S, F] from the asked shares [S], [..., S]."""
    return ((totals - shares[:, None]) ** 2 * weights).sum(axis=-1) / shares


def _improve(
    assigned: np.ndarray, features: np.ndarray, weights: np.ndarray, shares: np.ndarray
) -> tuple[np.ndarray, float]:
    """Move or exchange groups, the best first, until nothing is gained; the assignment and its distance."""
    assigned = assigned.copy()
    for _ in range(MOST_STEPS):
        totals = np.array([features[assigned == s].sum(axis=0) for s in range(len(shares))])
        now = _distance(totals, weights, shares)
        group, split, gain = _best_move(assigned, features, weights, shares, totals, now)
        if len(assigned) <= FEW_GROUPS:
            one, other, exchange = _best_exchange(assigned, features, weights, shares, totals, now)
            if exchange > max(gain, 1e-12):
                assigned[[one, other]] = assigned[[other, one]]
                continue
        if gain <= 1e-12:
            break
        assigned[group] = split
    totals = np.array([features[assigned == s].sum(axis=0) for s in range(len(shares))])
    return assigned, float(_distance(totals, weights, shares).sum())


def _best_move(assigned, features, weights, shares, totals, now) -> tuple[int, int, float]:
    """The move of a group to another split that gains most; a split's last group stays."""
    size = len(shares)
    left = ((totals[assigned] - features - shares[assigned, None]) ** 2 * weights).sum(axis=1) / shares[assigned]
    joined = _distance(totals[None] + features[:, None, :], weights, shares)
    gain = (now[assigned] - left)[:, None] + now[None] - joined
    gain[np.arange(len(assigned)), assigned] = -np.inf
    gain[np.bincount(assigned, minlength=size)[assigned] < 2] = -np.inf
    group, split = np.unravel_index(int(gain.argmax()), gain.shape)
    return int(group), int(split), float(gain[group, split])


def _best_exchange(assigned, features, weights, shares, totals, now) -> tuple[int, int, float]:
    """The exchange of two groups of different splits that gains most."""
    best = (0, 0, -np.inf)
    for one in range(len(assigned)):
        others = np.arange(one + 1, len(assigned))
        others = others[assigned[others] != assigned[one]]
        if not len(others):
            continue
        a, b, change = assigned[one], assigned[others], features[others] - features[one]
        here = ((totals[a] + change - shares[a]) ** 2 * weights).sum(axis=1) / shares[a]
        there = ((totals[b] - change - shares[b, None]) ** 2 * weights).sum(axis=1) / shares[b]
        gain = now[a] + now[b] - here - there
        k = int(gain.argmax())
        if gain[k] > best[2]:
            best = (one, int(others[k]), float(gain[k]))
    return best


def _report(
    splits: pa.Array, utterances: pa.Table, groups: Groups, assigned: np.ndarray, asked: dict[str, float]
) -> dict[str, Any]:
    counts = {row["values"]: row["counts"] for row in splits.value_counts().to_pylist()}
    return {
        "method": "speaker-disjoint, stratified, best of seeded assignments",
        "unit": groups.unit,
        "unknown_speakers": utterances["speaker"].null_count,
        "splits": {
            name: {
                "asked": share,
                "share": counts[name] / len(splits),
                "utterances": counts[name],
                "groups": int((assigned == k).sum()),
            }
            for k, (name, share) in enumerate(asked.items())
        },
    }


def write_split(corpus: Corpus, split: Split, out: str | Path, *, overwrite: bool = False) -> Corpus:
    """Write the corpus with these splits to `out`; its sounds are read where they lie, its votes are undivided again.

    A division into seen and held-out votes holds for the train split that it was made for. Raises OutputError for an
    existing output without `overwrite`.
    """
    votes = corpus.votes
    place = votes.column_names.index("part")
    undivided = votes.set_column(place, "part", pa.nulls(votes.num_rows, pa.string()))
    ratings = corpus.ratings
    if ratings is not None:
        place = ratings.column_names.index("part")
        ratings = ratings.set_column(place, "part", pa.nulls(ratings.num_rows, pa.string()))
    utterances, audio_root = elsewhere(corpus)
    place = utterances.column_names.index("split")
    return write_corpus(
        out,
        name=corpus.name,
        labels=corpus.labels,
        utterances=utterances.set_column(place, "split", split.utterances["split"]),
        votes=undivided,
        ratings=ratings,
        licence=corpus.info.licence,
        provenance={**corpus.info.provenance, "split": split.report},
        simulated=corpus.info.simulated,
        scale=corpus.info.scale,
        audio_root=audio_root,
        overwrite=overwrite,
        inputs=[corpus.path],
    )


# --------------------
# What is in several splits of a corpus and should not be: speakers, dialogues, sounds, scripts.


def leaks(corpus: Corpus, *, most: int | None = 5) -> list[dict[str, Any]]:
    """Return what is in several of a corpus's splits: speakers, dialogues, sounds and repeated scripts.

    One row a leaking value: `kind` (speaker, dialogue, sound, script), `value`, `splits` (utterances in each; splits
    whose names begin with test are one), and `ids`, the first `most` utterances of each. Scripts are compared without
    regard to case and blanks, sounds by content hash and window. Utterances without a split, and unknown values, leak
    nothing.
    """
    table = corpus.utterances
    split = pc.if_else(pc.starts_with(pc.fill_null(table["split"], ""), "test"), "test", table["split"])
    values = {
        "speaker": table["speaker"],
        "dialogue": table["dialogue"],
        "sound": sound_keys(table),
        "script": pc.utf8_lower(pc.utf8_trim_whitespace(pc.replace_substring_regex(table["script"], r"\s+", " "))),
    }
    return [row for kind, column in values.items() for row in _leaking(kind, column, split, table, most)]


def sound_keys(utterances: pa.Table) -> pa.ChunkedArray:
    """Return what an utterance sounds like by its content hash and its window, null where there is no hash."""
    window = [pc.fill_null(pc.cast(utterances[name], pa.string()), "") for name in ("start", "end")]
    key = pc.binary_join_element_wise(utterances["content_hash"], *window, " ")
    return pc.utf8_trim_whitespace(key)


def _leaking(
    kind: str, values: pa.ChunkedArray, splits: pa.ChunkedArray, utterances: pa.Table, most: int | None
) -> list[dict[str, Any]]:
    table = pa.table({"value": values, "split": splits, "id": utterances["utterance_id"]})
    table = table.filter(pc.and_(pc.is_valid(table["value"]), pc.is_valid(table["split"])))
    found = table.group_by("value").aggregate([("split", "count_distinct")])
    found = found.filter(pc.greater(found["split_count_distinct"], 1))["value"].combine_chunks()
    among = table.filter(pc.is_in(table["value"], value_set=found)).sort_by(
        [("value", "ascending"), ("split", "ascending"), ("id", "ascending")]
    )
    by_value: dict[str, dict[str, list[str]]] = {}
    for row in among.to_pylist():
        by_value.setdefault(row["value"], {}).setdefault(row["split"], []).append(row["id"])
    return [
        {
            "kind": kind,
            "value": value,
            "splits": {split: len(ids) for split, ids in of.items()},
            "ids": {split: ids[:most] for split, ids in of.items()},
        }
        for value, of in by_value.items()
    ]
