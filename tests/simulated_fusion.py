"""Simulated evidence for fusion, in memory: kinds of utterances, seen and held-out votes, a proxy."""

import numpy as np
from serann.annotator.fusion.evidence import Evidence, RunEvidence
from serann.data.labels import LabelSet
from serann.data.votes import frequencies

LABELS = LabelSet("four", ("neutral", "happy", "angry", "sad"))
KINDS = np.array([[20.0, 1, 1, 1], [1, 8, 8, 1], [1, 1, 1, 15], [4, 4, 0.5, 4]])


def simulated_evidence(
    *,
    rows: int = 900,
    votes: int = 3,
    speakers: int = 24,
    answers: int = 8,
    runs: int = 1,
    exact: bool = False,
    seed: int = 0,
) -> tuple[Evidence, np.ndarray]:
    """Evidence with well-informed runs (`answers` votes from the truth, or a p about it), and four held-out votes."""
    rng = np.random.default_rng(seed)
    truth = np.array([rng.dirichlet(KINDS[z]) for z in rng.integers(0, len(KINDS), rows)])
    seen, held, *drawn = (
        np.array([rng.multinomial(n, p) for p in truth], float) for n in (votes, 4, *[answers] * runs)
    )
    said = np.array([rng.dirichlet(12 * p + 0.2) for p in truth])
    speaker = np.arange(rows) % speakers
    panels = [RunEvidence(f"panel {i + 1}", frequencies(y), y, False) for i, y in enumerate(drawn)]
    evidence = Evidence(
        ids=tuple(f"u{i:05d}" for i in range(rows)),
        labels=LABELS,
        seen=seen,
        train=np.ones(rows, bool),
        speakers=np.array([f"s{s:02d}" for s in speaker], dtype=object),
        genders=np.array(["female" if s % 2 else "male" for s in speaker], dtype=object),
        runs=(RunEvidence("panel", said, np.zeros_like(said)),) if exact else tuple(panels),
        seed=seed,
    )
    return evidence, held


def with_proxy(evidence: Evidence, order: np.ndarray, where: np.ndarray | None = None) -> RunEvidence:
    """The first run with its rows taken in another order, everywhere or in a mask of rows."""
    run = evidence.runs[0]
    mask = np.ones((len(order), 1), bool) if where is None else where[:, None]
    return RunEvidence(
        run.name, np.where(mask, run.p[order], run.p), np.where(mask, run.drawn[order], run.drawn), run.exact
    )
