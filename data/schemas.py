"""The tables' schemas: their columns, keys and choices, in code."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from .errors import LabelError
from .labels import LabelSet

SOURCES = ("human", "self", "synthetic")
RANKS = ("primary", "secondary")
PARTS = ("seen", "heldout")
DIMENSIONS = ("valence", "arousal", "dominance", "naturalness")


@dataclass(frozen=True, slots=True)
class TableSpec:
    """What a table must look like.

    `columns` are name and Arrow type in order; `required` may not hold a null; `key` is unique over the rows;
    `choices` restricts a column's values; `labelled` columns hold labels of the set; `distributions` are lists over
    the label set, of which `proper` ones must be non-negative and sum to one. With `open`, further columns are kept.
    `defaults` are the values of columns that are left out, where nearly every table says the same.
    """

    name: str
    columns: Mapping[str, pa.DataType]
    required: tuple[str, ...]
    key: tuple[str, ...]
    choices: Mapping[str, tuple[str, ...]]
    labelled: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ()
    proper: tuple[str, ...] = ()
    open: bool = False
    defaults: Mapping[str, str | int | float] = field(default_factory=dict)

    def schema(self, labels: LabelSet | None = None) -> pa.Schema:
        """Return the Arrow schema; distribution columns need the label set's length."""
        return pa.schema([(name, self._type(name, labels)) for name in self.columns])

    def _type(self, name: str, labels: LabelSet | None) -> pa.DataType:
        kind = self.columns[name]
        if name not in self.distributions:
            return kind
        if labels is None:
            raise LabelError(f"table {self.name} holds distributions, so it needs a label set")
        return pa.list_(kind, len(labels))


UTTERANCES = TableSpec(
    "utterances",
    {
        "utterance_id": pa.string(),
        "audio": pa.string(),
        "start": pa.float64(),
        "end": pa.float64(),
        "duration": pa.float64(),
        "speaker": pa.string(),
        "gender": pa.string(),
        "split": pa.string(),
        "dialogue": pa.string(),
        "script": pa.string(),
        "transcript": pa.string(),
        "language": pa.string(),
        "intended": pa.string(),
        "consensus": pa.string(),
        "content_hash": pa.string(),
    },
    required=("utterance_id",),
    key=("utterance_id",),
    choices={},
    open=True,
)
VOTES = TableSpec(
    "votes",
    {
        "utterance_id": pa.string(),
        "rater_id": pa.string(),
        "source": pa.string(),
        "draw": pa.int32(),
        "label": pa.string(),
        "reason": pa.string(),
        "text": pa.string(),
        "rank": pa.string(),
        "weight": pa.float64(),
        "part": pa.string(),
        "run": pa.string(),
    },
    required=("utterance_id", "source", "draw", "rank", "weight"),
    key=("utterance_id", "rater_id", "draw", "rank", "label"),
    choices={"source": SOURCES, "rank": RANKS, "part": PARTS},
    labelled=("label",),
    defaults={"source": "human", "draw": 0, "rank": "primary", "weight": 1.0},
)
RATINGS = TableSpec(
    "ratings",
    {
        "utterance_id": pa.string(),
        "rater_id": pa.string(),
        "source": pa.string(),
        "dimension": pa.string(),
        "value": pa.float64(),
        "part": pa.string(),
    },
    required=("utterance_id", "source", "dimension", "value"),
    key=("utterance_id", "rater_id", "source", "dimension"),
    choices={"source": SOURCES, "dimension": DIMENSIONS, "part": PARTS},
    defaults={"source": "human"},
)
SCORES = TableSpec(
    "scores",
    {
        "utterance_id": pa.string(),
        "listener": pa.string(),
        "p": pa.float32(),
        "logp": pa.float32(),
        "log_mass": pa.float32(),
    },
    required=("utterance_id", "listener", "p", "logp", "log_mass"),
    key=("utterance_id", "listener"),
    choices={},
    distributions=("p", "logp"),
    proper=("p",),
)
LISTENERS = TableSpec(
    "listeners",
    {
        "listener": pa.string(),
        "panel": pa.string(),
        "prompt": pa.string(),
        "form": pa.string(),
        "focus": pa.string(),
        "persona": pa.string(),
        "language": pa.string(),
        "temperature": pa.float64(),
        "order": pa.list_(pa.string()),
        "prompt_fingerprint": pa.string(),
        "rater": pa.string(),
    },
    required=("listener", "panel", "prompt", "form", "temperature", "order", "prompt_fingerprint", "rater"),
    key=("listener",),
    choices={},
)
ANSWERS = TableSpec(
    "answers",
    {
        "utterance_id": pa.string(),
        "listener": pa.string(),
        "draw": pa.int32(),
        "text": pa.string(),
        "label": pa.string(),
        "reason": pa.string(),
    },
    required=("utterance_id", "listener", "draw"),
    key=("utterance_id", "listener", "draw"),
    choices={},
    labelled=("label",),
)
FAILURES = TableSpec(
    "failures",
    {"utterance_id": pa.string(), "listener": pa.string(), "reason": pa.string(), "attempts": pa.int32()},
    required=("utterance_id", "reason", "attempts"),
    key=("utterance_id", "listener"),
    choices={},
)
DISTRIBUTIONS = TableSpec(
    "distributions",
    {"utterance_id": pa.string(), "p": pa.float64(), "effective_votes": pa.float64(), "source": pa.string()},
    required=("utterance_id", "p", "source"),
    key=("utterance_id",),
    choices={},
    distributions=("p",),
    proper=("p",),
)
PROBLEMS = TableSpec(
    "problems",
    {
        "file": pa.string(),
        "line": pa.int64(),
        "utterance_id": pa.string(),
        "rater_id": pa.string(),
        "reason": pa.string(),
        "content": pa.string(),
        "votes": pa.int64(),
    },
    required=("file", "reason", "votes"),
    key=(),
    choices={},
    defaults={"votes": 0},
)
