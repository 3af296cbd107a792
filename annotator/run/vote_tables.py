"""The `votes` table of a block of utterances: drawn from exact scores, or as the answers in words say."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ...data.seeds import uniforms
from ..panel.panel import ListeningPanel
from .dealt_votes import dealt_votes, draw_label
from .score_tables import taken
from .segments import Results


def vote_table(
    ids: Sequence[str], p: np.ndarray, panel: ListeningPanel, *, votes: int, seed: int, run: str
) -> pa.Table:
    """`votes` synthetic votes an utterance, dealt round-robin over the listeners, each drawn from its listener's p.

    Each utterance deals in an order of its own, so that fewer votes than listeners favour none. Order and draws depend
    on (seed, utterance, listener, draw) alone: more votes, utterances or another machine leave the former votes as
    they were. A listener without scores casts abstentions, with the reason.
    """
    u, listener, draw = dealt_votes(ids, len(panel.listeners), votes=votes, seed=seed)
    most = int(draw.max(initial=-1)) + 1
    chance = np.stack(
        [uniforms(ids, most, "vote", seed, item.listener) for item in panel.listeners], axis=1
    )  # [U, L, draws]
    label = draw_label(p[u, listener], chance[u, listener, draw])
    reason = _reasons(ids, panel, u, listener, label < 0)
    return _vote_columns(ids, panel, u, listener, draw, label, reason, run)


def _reasons(
    ids: Sequence[str], panel: ListeningPanel, u: np.ndarray, listener: np.ndarray, silent: np.ndarray
) -> pa.Array:
    """Why each vote that is `silent` abstained; null for the others."""
    shown = np.array([utterance in panel.example_ids for utterance in ids], dtype=bool)
    example = next(iter(panel.example_ids), None)
    reasons = [*(panel.abstention(item) for item in panel.listeners), None]
    reasons += [panel.abstention(item, example) for item in panel.listeners]
    place = np.where(silent, listener, len(panel.listeners))
    return taken(reasons, place + np.where(silent & shown[u], len(panel.listeners) + 1, 0))


def _vote_columns(
    ids: Sequence[str],
    panel: ListeningPanel,
    u: np.ndarray,
    listener: np.ndarray,
    draw: np.ndarray,
    label: np.ndarray,
    reason: pa.Array,
    run: str,
) -> pa.Table:
    """Votes as a table; `label` is -1 for an abstention."""
    names = [*panel.labels.labels, None]
    return pa.table(
        {
            "utterance_id": taken(ids, u),
            "rater_id": taken([item.listener for item in panel.listeners], listener),
            "source": taken(["synthetic"], np.zeros(len(u), dtype=int)),
            "draw": pa.array(draw, pa.int32()),
            "label": taken(names, np.where(label < 0, len(names) - 1, label)),
            "reason": reason,
            "rank": taken(["primary"], np.zeros(len(u), dtype=int)),
            "weight": pa.array(np.ones(len(u)), pa.float64()),
            "run": taken([run], np.zeros(len(u), dtype=int)),
        }
    )


def answer_votes(
    ids: Sequence[str], results: Results, panel: ListeningPanel, *, votes: int, seed: int, run: str
) -> pa.Table:
    """The votes of answers in words: a label as it was read, a stated distribution's draw, or an abstention.

    A draw from a stated distribution has the quantile that an exact vote of the same listener and draw has.
    """
    u, listener, draw = dealt_votes(ids, len(panel.listeners), votes=votes, seed=seed)
    most = int(draw.max(initial=-1)) + 1
    chance = np.stack([uniforms(ids, most, "vote", seed, item.listener) for item in panel.listeners], axis=1)
    given = {(place, text[0], text[1]): text for place, name in enumerate(ids) for text in results.texts.get(name, ())}
    label, reasons = np.full(len(u), -1), np.full(len(u), None, dtype=object)
    index = {name: k for k, name in enumerate(panel.labels.labels)}
    for i, (a, b, c) in enumerate(zip(u, listener, draw, strict=True)):
        item = panel.listeners[b]
        found = given.get((int(a), item.listener, int(c)))
        if found is None:
            reasons[i] = panel.abstention(item, ids[int(a)])
        elif found[5] is not None:
            label[i] = draw_label(np.array([found[5]]), chance[a, b, c : c + 1])[0]
        elif found[3] is not None:
            label[i] = index[found[3]]
        else:
            reasons[i] = found[4] or "no answer"
    return _vote_columns(ids, panel, u, listener, draw, label, pa.array(reasons, pa.string()), run)
