"""What a corpus holds, in a dozen figures."""

from typing import Any

import numpy as np

from .corpus import Corpus
from .votes import count_votes


def summarise(corpus: Corpus) -> dict[str, Any]:
    """Return the corpus's figures: utterances, hours, speakers, raters, votes an utterance, label shares, splits.

    Shares are over primary human votes. Hours are None where a duration is missing; an utterance without votes counts
    in `without_votes` and in no share.
    """
    counts = count_votes(corpus.votes, corpus.ids, corpus.labels)
    totals = counts.sum(axis=1)
    durations = corpus.utterances["duration"].to_numpy(zero_copy_only=False)
    shares = counts.sum(axis=0) / max(counts.sum(), 1)
    cast = zip(corpus.votes["rater_id"].to_pylist(), corpus.votes["source"].to_pylist(), strict=True)
    raters = {rater for rater, source in cast if source == "human"}
    splits = corpus.column("split")
    return {
        "name": corpus.name,
        "simulated": corpus.info.simulated,
        "licence": corpus.info.licence,
        "utterances": len(corpus.ids),
        "hours": None if np.isnan(durations).any() else float(durations.sum() / 3600),
        "speakers": len(set(corpus.column("speaker")) - {None}),
        "raters": len(raters - {None}),
        "primary_human_votes": int(totals.sum()),
        "secondary_human_votes": int(count_votes(corpus.votes, corpus.ids, corpus.labels, rank="secondary").sum()),
        "ratings": corpus.ratings.num_rows if corpus.ratings is not None else 0,
        "rating_scale": "-".join(f"{end:g}" for end in corpus.info.scale) if corpus.info.scale else None,
        "votes_min": int(totals.min()),
        "votes_mean": float(totals.mean()),
        "votes_max": int(totals.max()),
        "without_votes": int((totals == 0).sum()),
        "division": corpus.info.division.model_dump() if corpus.info.division else None,
        "label_shares": dict(zip(corpus.labels, shares.tolist(), strict=True)),
        "splits": {str(s): int((splits == s).sum()) for s in sorted(set(splits), key=str)},
    }
