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

from ...data.corpus import Corpus, corpus_fingerprint
from ...data.errors import LabelError, RunError
from ...data.labels import LabelSet
from ...data.seeds import rng_from
from ...data.votes import count_votes, frequencies
from ..fusion.evidence import Ballots, RunEvidence, line_up, read_ballots
from ..runs import Run


def lined_up(source: Run | Corpus, corpus: Corpus, name: str) -> RunEvidence:
    """A run, or another human panel's corpus, over the corpus's utterances; NaN (no votes) where it says nothing.

    Raises LabelError for other labels, RunError for a run of another corpus, one without common utterances, and for
    the corpus's own votes.
    """
    if isinstance(source, Run):
        return replace(line_up(source, corpus), name=name)
    if corpus_fingerprint(source) == corpus_fingerprint(corpus):
        raise RunError(
            f"{source.path} holds the very votes of {corpus.path}: a corpus cannot be its own proxy; give a run, or a "
            "corpus with other people's votes on the same utterances"
        )
    columns = label_columns(source.labels, corpus.labels, name)
    counts = count_votes(source.votes, corpus.ids, source.labels)[:, columns]
    if not counts.any():
        raise RunError(f"{name} shares no utterance with {corpus.path}: was it made from another corpus?")
    return RunEvidence(name, frequencies(counts), counts, False, lambda: _panel_ballots(source, corpus))


def label_columns(theirs: LabelSet, ours: LabelSet, name: str) -> list[int]:
    """Where each of our labels stands in theirs; LabelError unless both have the same labels."""
    if set(theirs) != set(ours):
        raise LabelError(
            f"{name} has the labels {', '.join(theirs)}, the corpus {', '.join(ours)}; a proxy needs the corpus's "
            "labels: import both with the same label set"
        )
    return [theirs.index(label) for label in ours]


def _panel_ballots(source: Corpus, corpus: Corpus) -> Ballots:
    return read_ballots(source.votes, corpus.ids, corpus.labels, source="human")


def of_rows(proxy: RunEvidence, rows: np.ndarray) -> RunEvidence:
    """The proxy of some utterances (places [R] in the corpus)."""
    place = np.full(len(proxy.p), -1)
    place[rows] = np.arange(len(rows))

    def ballots() -> Ballots:
        assert proxy.ballots is not None
        cast = proxy.ballots()
        there = place[cast.row] >= 0
        return Ballots(place[cast.row[there]], cast.rater[there], cast.label[there])

    return RunEvidence(proxy.name, proxy.p[rows], proxy.drawn[rows], proxy.exact, ballots)


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
