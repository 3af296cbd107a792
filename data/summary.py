"""What a corpus holds, in figures: `serann corpus info`."""

from typing import Any

import numpy as np
import pyarrow as pa

from .arrow import pc
from .corpus import Corpus
from .scores.agreement import agreement
from .scores.divergences import entropy_bits, normalised_entropy
from .scores.reliability import rater_reliability, reliability_summary
from .sound_paths import sounds_by_kind
from .votes import count_votes


def summarise(corpus: Corpus) -> dict[str, Any]:
    """Return the corpus's figures: utterances, hours, speakers, raters, votes per utterance, label shares, splits.

    A rater's several labels share one vote (weights), so sums of votes may be no whole numbers. `without_label` are the
    primary human votes that name no label of the set: abstentions, and what a label map dropped.
    Shares and entropy are over primary human votes. `entropy_bits` is the mean over voted utterances of the entropy of
    their votes' frequencies, which few votes bias downwards; `entropy_over_ln_k` is the same mean with each entropy
    divided by ln K of the label set. Hours are None where a duration is missing (`without_duration` says how many);
    an utterance without votes counts in `without_votes` and in no share; without any votes the shares are None.
    `audio_root` is where names of sounds start, and `sounds` how many name theirs in which way; none is opened.
    `stated_labels` are the utterances by intended and by consensus label, which are no votes.
    """
    counts = count_votes(corpus.votes, corpus.ids, corpus.labels)
    totals = counts.sum(axis=1)
    durations = corpus.utterances["duration"].to_numpy(zero_copy_only=False)
    shares = (counts.sum(axis=0) / counts.sum()).tolist() if counts.sum() else [None] * len(corpus.labels)
    human = corpus.votes.filter(pc.equal(corpus.votes["source"], "human"))
    return {
        "name": corpus.name,
        "simulated": corpus.info.simulated,
        "licence": corpus.info.licence,
        "utterances": len(corpus.ids),
        "hours": None if np.isnan(durations).any() else float(durations.sum() / 3600),
        "without_duration": int(np.isnan(durations).sum()),
        "audio_root": f"{corpus.audio_root}{'' if corpus.places.missing is None else ' (not there)'}",
        "sounds": sounds_by_kind(corpus),
        "speakers": _distinct(corpus.utterances["speaker"]),
        "without_speaker": corpus.utterances["speaker"].null_count,
        "raters": _distinct(human["rater_id"]),
        "primary_human_votes": _votes(totals.sum()),
        "without_label": _votes(_without_label(human)),
        "secondary_human_votes": _votes(count_votes(corpus.votes, corpus.ids, corpus.labels, rank="secondary").sum()),
        "self_reports": _votes(count_votes(corpus.votes, corpus.ids, corpus.labels, source="self").sum()),
        "ratings": corpus.ratings.num_rows if corpus.ratings is not None else 0,
        "rating_scale": "-".join(f"{end:g}" for end in corpus.info.scale) if corpus.info.scale else None,
        "votes_min": _votes(totals.min()),
        "votes_mean": float(totals.mean()),
        "votes_max": _votes(totals.max()),
        "without_votes": int((totals == 0).sum()),
        "entropy_bits": _mean(entropy_bits(counts)),
        "entropy_over_ln_k": _mean(normalised_entropy(counts)),
        "plurality_ties": _ties(counts),
        "division": corpus.info.division.model_dump() if corpus.info.division else None,
        "label_shares": dict(zip(corpus.labels, shares, strict=True)),
        "stated_labels": _stated(corpus),
        "splits": _splits(corpus),
    }


def describe(corpus: Corpus, *, draws: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Return `summarise`, and `agreement` (rows of `agreement.agreement`), `reliability` (`reliability_summary`) and
    `votes_per_utterance` (how many utterances have how many primary human votes).
    """
    totals = np.rint(count_votes(corpus.votes, corpus.ids, corpus.labels).sum(axis=1)).astype(int)
    number, times = np.unique(totals, return_counts=True)
    return {
        **summarise(corpus),
        "votes_per_utterance": dict(zip(number.tolist(), times.tolist(), strict=True)),
        "agreement": agreement(corpus, draws=draws, seed=seed),
        "reliability": reliability_summary(rater_reliability(corpus)),
    }


def _votes(weight: float) -> int | float:
    """A sum of votes' weights; whole unless raters shared a vote between labels."""
    nearest = round(float(weight))
    return nearest if abs(weight - nearest) < 1e-9 * max(1, nearest) else round(float(weight), 9)


def _without_label(human: pa.Table) -> float:
    """The weight of primary human votes without a label."""
    chosen = human.filter(pc.and_(pc.equal(human["rank"], "primary"), pc.is_null(human["label"])))
    return float(pc.sum(chosen["weight"]).as_py() or 0.0)


def _distinct(column: pa.ChunkedArray) -> int:
    return int(pc.count_distinct(column, mode="only_valid").as_py())


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _ties(counts: np.ndarray) -> int:
    """Utterances with votes whose plurality is shared by several labels."""
    most = counts.max(axis=1, keepdims=True)
    return int(((counts == most).sum(axis=1) > 1)[most[:, 0] > 0].sum())


def _stated(corpus: Corpus) -> dict[str, dict[str, int]]:
    """Utterances by intended and by consensus label, in the label set's order; columns that state none left out."""
    order = {label: k for k, label in enumerate(corpus.labels)}
    found = {}
    for column in ("intended", "consensus"):
        rows = pc.value_counts(pc.drop_null(corpus.utterances[column])).to_pylist()
        if rows:
            rows.sort(key=lambda row: (order.get(row["values"], len(order)), row["values"]))
            found[column] = {row["values"]: row["counts"] for row in rows}
    return found


def _splits(corpus: Corpus) -> dict[str, int]:
    found = {str(row["values"]): row["counts"] for row in corpus.utterances["split"].value_counts().to_pylist()}
    return dict(sorted(found.items()))
