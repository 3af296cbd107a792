"""What is in several splits of a corpus and should not be: speakers, dialogues, sounds, scripts."""

from typing import Any

import pyarrow as pa
import pyarrow.compute

from .corpus import Corpus

# pyarrow makes its compute functions at import, so type checkers do not know them.
pc: Any = pyarrow.compute


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
