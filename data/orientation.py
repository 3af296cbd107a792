"""Is a scale of arousal the right way up? Angry speech is the more active one in every corpus that we know."""

from typing import Any

import pyarrow as pa
import pyarrow.compute

from .labels import LabelSet

# pyarrow makes its compute functions at import, so type checkers do not know them.
pc: Any = pyarrow.compute

# Fewer votes than this for either label tell nothing.
LEAST_VOTES = 10


def arousal_doubts(votes: pa.Table, ratings: pa.Table | None, labels: LabelSet) -> list[str]:
    """A sentence if votes for angry come with less arousal than votes for neutral, else none.

    A vote's arousal is that of the same rater, else the utterance's mean over raters. The ratings are never changed: a
    release's own description may be wrong about its orientation (EMO-SUPERB's is, for MSP-IMPROV), so a reader decides.
    """
    if ratings is None or not {"angry", "neutral"} <= set(labels):
        return []
    human = pc.and_(pc.equal(ratings["dimension"], "arousal"), pc.equal(ratings["source"], "human"))
    rated = ratings.filter(human).select(["utterance_id", "rater_id", "value"])
    cast = votes.filter(pc.and_(pc.equal(votes["source"], "human"), pc.equal(votes["rank"], "primary")))
    cast = cast.select(["utterance_id", "rater_id", "label"]).filter(
        pc.is_in(cast["label"], pa.array(["angry", "neutral"]))
    )
    own = rated.group_by(["utterance_id", "rater_id"]).aggregate([("value", "mean")])
    mean = rated.group_by("utterance_id").aggregate([("value", "mean")]).rename_columns({"value_mean": "of_all"})
    found = cast.join(own, ["utterance_id", "rater_id"]).join(mean, "utterance_id")
    found = found.append_column("arousal", pc.coalesce(found["value_mean"], found["of_all"]))
    by_label = found.group_by("label").aggregate([("arousal", "mean"), ("arousal", "count")]).to_pylist()
    means = {row["label"]: row["arousal_mean"] for row in by_label if row["arousal_count"] >= LEAST_VOTES}
    if len(means) < 2 or means["angry"] >= means["neutral"]:
        return []
    return [
        f"arousal may be upside down: mean {means['angry']:.2f} with votes for angry, {means['neutral']:.2f} with "
        "votes for neutral; the ratings were left as they are, check the release's scale"
    ]
