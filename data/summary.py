"""What a corpus holds, in figures: `serann corpus info`."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from .agreement import agreement
from .corpus import Corpus
from .divergences import entropy_bits, normalised_entropy
from .reliability import rater_reliability, reliability_summary
from .votes import count_votes

# pyarrow makes its compute functions at import, so type checkers do not know them.
pc: Any = pyarrow.compute


def summarise(corpus: Corpus) -> dict[str, Any]:
    """Return the corpus's figures: utterances, hours, speakers, raters, votes an utterance, label shares, splits.

    Shares and entropy are over primary human votes. `entropy_bits` is the mean over voted utterances of the entropy of
    their votes' frequencies, which few votes bias downwards; `entropy_over_ln_k` is the same mean with each entropy
    divided by ln K of the label set. Hours are None where a duration is missing (`without_duration` says how many);
    an utterance without votes counts in `without_votes` and in no share.
    """
    counts = count_votes(corpus.votes, corpus.ids, corpus.labels)
    totals = counts.sum(axis=1)
    durations = corpus.utterances["duration"].to_numpy(zero_copy_only=False)
    shares = counts.sum(axis=0) / max(counts.sum(), 1)
    human = corpus.votes.filter(pc.equal(corpus.votes["source"], "human"))
    return {
        "name": corpus.name,
        "simulated": corpus.info.simulated,
        "licence": corpus.info.licence,
        "utterances": len(corpus.ids),
        "hours": None if np.isnan(durations).any() else float(durations.sum() / 3600),
        "without_duration": int(np.isnan(durations).sum()),
        "speakers": _distinct(corpus.utterances["speaker"]),
        "without_speaker": corpus.utterances["speaker"].null_count,
        "raters": _distinct(human["rater_id"]),
        "primary_human_votes": int(totals.sum()),
        "secondary_human_votes": int(count_votes(corpus.votes, corpus.ids, corpus.labels, rank="secondary").sum()),
        "self_reports": int(count_votes(corpus.votes, corpus.ids, corpus.labels, source="self").sum()),
        "ratings": corpus.ratings.num_rows if corpus.ratings is not None else 0,
        "rating_scale": "-".join(f"{end:g}" for end in corpus.info.scale) if corpus.info.scale else None,
        "votes_min": int(totals.min()),
        "votes_mean": float(totals.mean()),
        "votes_max": int(totals.max()),
        "without_votes": int((totals == 0).sum()),
        "entropy_bits": _mean(entropy_bits(counts)),
        "entropy_over_ln_k": _mean(normalised_entropy(counts)),
        "plurality_ties": _ties(counts),
        "division": corpus.info.division.model_dump() if corpus.info.division else None,
        "label_shares": dict(zip(corpus.labels, shares.tolist(), strict=True)),
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


def _distinct(column: pa.ChunkedArray) -> int:
    return int(pc.count_distinct(column, mode="only_valid").as_py())


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _ties(counts: np.ndarray) -> int:
    """Utterances with votes whose plurality is shared by several labels."""
    most = counts.max(axis=1, keepdims=True)
    return int(((counts == most).sum(axis=1) > 1)[most[:, 0] > 0].sum())


def _splits(corpus: Corpus) -> dict[str, int]:
    found = {str(row["values"]): row["counts"] for row in corpus.utterances["split"].value_counts().to_pylist()}
    return dict(sorted(found.items()))
