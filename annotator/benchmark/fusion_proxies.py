"""The proxies of the fusion benchmark: what is given, and the same proxy spoilt in ways that must do no harm.

shuffled          every utterance gets another's answers: right on average, deaf
mode-collapsed    every answer becomes its likeliest label, without doubt
class-collapsed   the proxy's second commonest label is always called its commonest
one gender only   good for one gender, shuffled for everybody else
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ...data.seeds import rng_from
from ..fusion.ballots import Ballots
from ..fusion.proxy import RunEvidence


def of_rows(proxy: RunEvidence, rows: np.ndarray) -> RunEvidence:
    """The proxy of some utterances (places [R] in the corpus)."""
    place = np.full(len(proxy.p), -1)
    place[rows] = np.arange(len(rows))

    def ballots() -> Ballots:
        assert proxy.ballots is not None
        cast = proxy.ballots()
        there = place[cast.row] >= 0
        return Ballots(place[cast.row[there]], cast.rater[there], cast.label[there])

    return replace(proxy, p=proxy.p[rows], drawn=proxy.drawn[rows], ballots=ballots)


def stressed(proxy: RunEvidence, genders: np.ndarray, seed: int) -> dict[str, RunEvidence]:
    """The spoilt proxies by name; the one for one gender only where two or more genders are known."""
    order = rng_from("shuffled proxy", seed).permutation(len(proxy.p))
    found = {
        "shuffled": _moved(proxy, lambda rows: rows[order]),
        "mode-collapsed": _moved(proxy, _to_mode),
        "class-collapsed": _moved(proxy, lambda rows: _merged(rows, proxy.p)),
    }
    known = sorted({str(g) for g in genders if g is not None})
    if len(known) > 1:
        good = np.array([g is not None and str(g) == known[0] for g in genders])
        found[f"{known[0]} only"] = _moved(proxy, lambda rows: np.where(good[:, None], rows, rows[order]))
    return {
        f"{proxy.name}, {name}": replace(changed, name=f"{proxy.name}, {name}", ballots=None)
        for name, changed in found.items()
    }


def _moved(proxy: RunEvidence, change: Callable[[np.ndarray], np.ndarray]) -> RunEvidence:
    return replace(proxy, p=change(proxy.p), drawn=change(proxy.drawn))


def _to_mode(rows: np.ndarray) -> np.ndarray:
    """All mass on the likeliest label (the first of equals); NaN rows stay."""
    total = rows.sum(axis=1, keepdims=True)
    return np.where(np.isnan(total), np.nan, np.eye(rows.shape[1])[np.nan_to_num(rows).argmax(axis=1)] * total)


def _merged(rows: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The second commonest label's mass given to the commonest, common as the proxy's mean distribution has it."""
    second, first = np.argsort(np.nanmean(p, axis=0), kind="stable")[-2:]
    changed = rows.copy()
    changed[:, first] += changed[:, second]
    changed[:, second] = 0.0
    return changed
