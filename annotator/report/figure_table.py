"""An audit's figures, and each utterance's own scores, as two long tables for plots and further tests.

Figures: a row per figure, at the place that it has in the JSON.

    section   where it stands in the JSON, such as panels.strata.scores or details.failures.parts
    panel     the panel that it is of (null: of all of them, or of none)
    part      of what, such as "third=low" or "factor=gender; part=female" (empty: of the whole)
    metric    its name, such as sq_unbiased, gap or worth
    value     null where it is undefined (`method` or `reason` tells why) or infinite (`method` tells that)
    low, high, method     its interval, where it has one; null high: see open_above
    n, skipped, groups    utterances that it rests on and that it skips, and speakers
    at_least, open_above  of worth in human votes: the human curve ends before the value, or before its interval
    reason    why it is undefined

(section, panel, part, metric) is the key.

Utterances: a row per utterance and prediction, which is every panel and the constant. Scores are means over the draws
of the scored votes (a paired test of two panels is one of the differences between their rows):

    utterance_id, kind, panel   the key; kind: run | humans | constant, whose panel is "constant" too
    sq_unbiased, log_score  proper scores; log score in nats per vote, -inf where a label that got a vote got no mass
    jsd_bits@m, …           those whose value depends on the number of votes, at m of them
    accuracy                of the plurality, ties split
    ambiguity               the chance that two votes from the prediction disagree: 1 - sum q^2, or unbiased over pairs
                            of votes where it is made of votes (the constant's is that of the first draw)
    speaker, gender, split, duration    as in the corpus
    votes_scored            human votes that are scored in a draw; other_votes: those that are not
    human_ambiguity         1 - sum h(h-1) / (n(n-1)) of all n human votes, those that are scored too: to be drawn,
                            never to be cut by, for that selects on the outcome (`strata` of the figures do not)

Null where undefined.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ...data.corpus import Corpus
from ...data.scores.intervals import Interval
from ...data.scores.scoring import ScoreRow
from ..audit.result import AuditResult, Detail, Rows
from ..audit.section import Absent, FigureRow, Section
from ..audit.sections import SECTIONS

FIGURES = pa.schema(
    [
        pa.field("section", pa.string(), nullable=False),
        pa.field("panel", pa.string()),
        pa.field("part", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        *(pa.field(name, pa.float64()) for name in ("value", "low", "high")),
        pa.field("method", pa.string()),
        *(pa.field(name, pa.int64()) for name in ("n", "skipped", "groups")),
        *(pa.field(name, pa.bool_()) for name in ("at_least", "open_above")),
        pa.field("reason", pa.string()),
    ]
)
# Fields that say of what their neighbours are the figures, in the order in which they are said.
NAMES = ("run", "kind", "name", "of", "model", "scorer", "rater", "where", "third", "label", "factor", "part")
NAMES += ("other", "control", "n", "how", "score", "requirement")
# Fields that may hold a panel's name.
OF_PANEL = ("panel", "name", "run", "of")
# What holds no figure: words, settings, and utterances that were chosen by their outcome. (A number that is called
# level is that of the intervals, in the settings; an interval of that name is a figure.)
NO_FIGURES = {"corpus", "settings", "notes", "format", "about", "path", "examples", "surprises", "findings"}
NO_FIGURES |= {"temperatures", "bins", "exposure", "levels"}
# Lists of figures for 1, 2, … votes.
BY_VOTES = ("values", "shuffled")


class _Place(NamedTuple):
    """Where a figure stands: field names, panel, and what names its part."""

    section: tuple[str, ...] = ()
    panel: str | None = None
    part: tuple[str, ...] = ()

    def inside(self, field: str) -> _Place:
        return self._replace(section=(*self.section, field))

    def of(self, *names: str) -> _Place:
        return self._replace(part=(*self.part, *names))

    def row(self, metric: str, value: float | None, **further: Any) -> dict[str, Any]:
        where = {"section": ".".join(self.section), "panel": self.panel, "part": "; ".join(self.part)}
        return {**where, "metric": metric, "value": value, **further}


class _Walk:
    """Through a result's fields; `labels` name the confusions' rows, `panels` are known by name."""

    def __init__(self, result: AuditResult):
        self.labels = result.corpus["labels"]
        self.panels = {panel.name for panel in result.panels}

    def record(self, value: Any, place: _Place) -> Iterator[dict[str, Any]]:
        """The rows of a dataclass's fields, or of a dict's entries."""
        entries = value
        if isinstance(value, Detail):
            entries = value.entries()
        elif not isinstance(value, dict):
            entries = {f.name: getattr(value, f.name) for f in fields(value)}
        if not isinstance(value, dict):
            place = self._named(entries, place)
        if {"value", "low", "high", "method"} <= entries.keys():
            yield _of_worth(entries, place)
            return
        for name, held in entries.items():
            if name not in NO_FIGURES and held is not None and not (name == "level" and isinstance(held, float)):
                for row in self.field(name, held, place):
                    yield row if row.get("value") is not None else {"reason": entries.get("reason"), **row}

    def _named(self, entries: dict[str, Any], place: _Place) -> _Place:
        own = (entries.get(name) for name in OF_PANEL)
        panel = place.panel or next((x for x in own if isinstance(x, str) and x in self.panels), None)
        said = []
        for name in NAMES:
            held = entries.get(name)
            whole = name == "n" and "rater" not in entries and isinstance(held, int)
            if (whole or isinstance(held, str)) and held != panel and not (name == "kind" and "path" in entries):
                said.append(f"{name}={held}")
        return place._replace(panel=panel).of(*said)

    def field(self, name: str, held: Any, place: _Place) -> Iterator[dict[str, Any]]:
        """The rows of one field: a figure, figures in a list, or further records; those that a section gives itself."""
        section = SECTIONS.get(name) if place.section in ((), ("details",)) else None
        if section is not None and section.figures is not None and not isinstance(held, Absent):
            yield from (_given(row, place.inside(name)) for row in section.figures(held))
        elif isinstance(held, Interval):
            yield place.row(name, held.value, **_interval(held), n=held.rows)
        elif isinstance(held, bool | int | float | np.number):
            if not (name == "n" and f"n={held}" in place.part):
                yield place.row(name, float(held))
        elif name == "confusion" and isinstance(held, list):
            yield from self.confusion(held, place)
        elif isinstance(held, list | tuple):
            for i, item in enumerate(held):
                yield from self.item(i, item, name, place.inside(name))
        elif is_dataclass(held) or isinstance(held, dict):
            yield from self.record(held, place.inside(name))

    def confusion(self, shares: Sequence[Sequence[float | None]], place: _Place) -> Iterator[dict[str, Any]]:
        """The panel's mass on each label given human mass on one."""
        for human, row in zip(self.labels, shares, strict=True):
            for own, share in zip(self.labels, row, strict=True):
                yield place.of(f"human={human}").row(f"mass on {own}", share)

    def item(self, i: int, item: Any, name: str, place: _Place) -> Iterator[dict[str, Any]]:
        """The rows of one place of a list."""
        here = place.of(f"n={i + 1}" if name in BY_VOTES else f"place={i}")
        if isinstance(item, ScoreRow):
            yield place.row(item.metric, item.value, **_interval(item), n=item.utterances)
        elif isinstance(item, Interval):
            yield here.row(name, item.value, **_interval(item), n=item.rows)
        elif is_dataclass(item):
            yield from self.record(item, place)
        elif isinstance(item, tuple) and len(item) == 2:
            yield place.of(f"n={item[0]}").row(name, float(item[1]))
        elif isinstance(item, int | float | np.number):
            yield here.row(name, float(item))


def _given(row: FigureRow, place: _Place) -> dict[str, Any]:
    """A row that a section gives."""
    here = place.of(row.part) if row.part else place
    if isinstance(row.value, Interval):
        n = row.value.rows if row.n is None else row.n
        return here.row(row.metric, row.value.value, **_interval(row.value), n=n, reason=row.reason)
    return here.row(row.metric, float(row.value), n=row.n, reason=row.reason)


def _interval(row: Interval | ScoreRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("low", "high", "method", "skipped", "groups")}


def _of_worth(entries: dict[str, Any], place: _Place) -> dict[str, Any]:
    further = {name: entries.get(name) for name in ("low", "high", "method", "groups", "at_least", "open_above")}
    return place.row("worth", entries["value"], **further, n=entries.get("utterances"), reason=entries.get("reason"))


def figure_table(result: AuditResult) -> pa.Table:
    """Every figure of the result as a row of the schema `FIGURES`."""
    rows = list(_Walk(result).record(result.entries(), _Place()))
    columns = {name: [row.get(name) for row in rows] for name in FIGURES.names}
    for name in ("value", "low", "high"):
        columns[name] = [x if x is not None and math.isfinite(x) else None for x in columns[name]]
    return pa.table(columns, schema=FIGURES)


def section_rows(result: AuditResult, section: Section, value: Any, panel: str | None = None) -> list[dict[str, Any]]:
    """The rows of one section's value, by the names of the schema's fields; `panel` is the panel that it is of."""
    place = _Place(("details",) if panel is not None else (), panel)
    return list(_Walk(result).field(section.name, value, place))


# --- utterances

COLUMNS = ("speaker", "gender", "split", "duration")


def utterance_table(result: AuditResult, corpus: Corpus) -> pa.Table:
    """The table of an audit's result over its corpus."""
    rows = result.rows
    assert rows is not None
    ids = pa.array(rows.ids, pa.string())
    own = _own(rows, corpus)
    parts = []
    for one in rows.predictions:
        scores = {name: _defined(x) for name, x in (*one.scores.items(), ("ambiguity", one.ambiguity))}
        names = {"kind": one.kind, "panel": one.panel}
        key = {name: pa.array([word] * len(ids), pa.string()) for name, word in names.items()}
        parts.append(pa.table({"utterance_id": ids, **key, **scores, **own}))
    return pa.concat_tables(parts)


def _own(rows: Rows, corpus: Corpus) -> dict[str, pa.Array]:
    """What belongs to the utterance, whoever predicts it."""
    at = pa.array(rows.places)
    return {
        **{name: corpus.utterances[name].combine_chunks().take(at) for name in COLUMNS},
        "votes_scored": pa.array(rows.votes_scored.astype(np.int32)),
        "other_votes": pa.array(rows.other_votes.astype(np.int32)),
        "human_ambiguity": _defined(rows.human_ambiguity),
    }


def _defined(x: np.ndarray) -> pa.Array:
    return pa.array(x.astype(np.float64), from_pandas=True)
