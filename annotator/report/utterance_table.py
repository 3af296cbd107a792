"""Each audited utterance's own scores as one long table: a row an utterance and prediction.

The predictions are every panel and the constant. Scores are means over the draws of the scored votes (a paired test of
two panels is one of the differences between their rows):

    utterance_id, kind, panel   the key; kind: run | humans | constant, whose panel is "constant" too
    sq_unbiased, log_score  proper scores; the log score in nats a vote, -inf where a label that got a vote got no mass
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

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from ...data.corpus import Corpus
from ...data.scores.scoring import row_scores
from ..audit.result import AuditResult, Rows
from ..audit.scorer import Scorer, panel_ambiguity

CONSTANT = "constant"
COLUMNS = ("speaker", "gender", "split", "duration")


def utterance_table(result: AuditResult, corpus: Corpus) -> pa.Table:
    """The table of an audit's result over its corpus."""
    rows = result.rows
    assert rows is not None
    ref = rows.scorer.reference
    ids = pa.array(ref.ids, pa.string())
    own = _own(rows, corpus)
    parts = []
    for kind, panel, q, q_log, ambiguity in _predictions(rows):
        scores = {name: _defined(x) for name, x in _means(rows.scorer, q, q_log).items()}
        scores["ambiguity"] = _defined(ambiguity)
        key = {name: pa.array([word] * len(ids), pa.string()) for name, word in (("kind", kind), ("panel", panel))}
        parts.append(pa.table({"utterance_id": ids, **key, **scores, **own}))
    return pa.concat_tables(parts)


def _own(rows: Rows, corpus: Corpus) -> dict[str, pa.Array]:
    """What belongs to the utterance, whoever predicts it."""
    ref = rows.scorer.reference
    at = pa.array(ref.rows)
    return {
        **{name: corpus.utterances[name].combine_chunks().take(at) for name in COLUMNS},
        "votes_scored": pa.array(ref.scored.sum(axis=1).astype(np.int32)),
        "other_votes": pa.array(ref.other.sum(axis=1).astype(np.int32)),
        "human_ambiguity": _defined(rows.human_ambiguity),
    }


def _predictions(rows: Rows) -> Iterator[tuple[str, str, np.ndarray, np.ndarray | None, np.ndarray]]:
    """Kind, name, predictions [R * U, K], those of the log score where they are others, and ambiguity [U]."""
    repeat = rows.scorer.repeat
    yield CONSTANT, CONSTANT, rows.constant, None, panel_ambiguity(rows.constant[: len(rows.ids)])
    for panel in rows.panels:
        q_log = None if panel.q_log is None else repeat(panel.q_log)
        yield panel.kind, panel.name, repeat(panel.q), q_log, panel.ambiguity


def _means(scorer: Scorer, q: np.ndarray, q_log: np.ndarray | None) -> dict[str, np.ndarray]:
    """Each score's mean over the draws, [U]."""
    ref = scorer.reference
    scores = row_scores(q, scorer.scored, ref.m, scorer.ids, ref.seed)
    if q_log is not None:
        scores["log_score"] = row_scores(q_log, scorer.scored, ref.m, scorer.ids, ref.seed)["log_score"]
    return {name: x.reshape(len(scorer.draws), -1).mean(axis=0) for name, x in scores.items()}


def _defined(x: np.ndarray) -> pa.Array:
    return pa.array(x.astype(np.float64), from_pandas=True)
