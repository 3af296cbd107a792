"""Simulated corpora and runs with a known truth, for tests: good raters, careless ones and a spammer vote.

    corpus, truth = simulated_corpus(tmp_path / "corpus", seen=2)     # truth [U, K]: each utterance's own distribution
    run = simulated_run(tmp_path / "run", corpus, truth)              # listeners whose mean is about `truth`

`truth` can be distorted before it is given to a run: `shuffled(truth)`, `sharpened(truth, 2)`, `biased(truth)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import soundfile
from serann.data.corpus import Corpus, write_corpus
from serann.data.files import write_json
from serann.data.holdout import hold_out, write_division
from serann.data.labels import LABEL_SETS, LabelSet
from serann.data.seeds import rng_from
from serann.data.tables import (
    FAILURES,
    LISTENERS,
    RATINGS,
    SCORES,
    UTTERANCES,
    VOTES,
    distribution_column,
    from_rows,
    validate,
    write_table,
)

# how a rater turns an utterance's distribution into a vote: the share of votes that are blind guesses
RATERS = {f"good-{i}": 0.02 for i in range(8)} | {"careless-0": 0.5, "careless-1": 0.5, "spammer-0": 1.0}


def simulated_truth(utterances: int, speakers: int, labels: int, seed: int) -> np.ndarray:
    """Distributions [U, K] around an intended label (the first is the commonest), vaguer for some speakers."""
    rng = rng_from("truth", seed)
    frequency = 0.6 ** np.arange(labels)
    intended = rng.choice(labels, utterances, p=frequency / frequency.sum())
    clarity = np.exp(rng.normal(0.6, 0.3, speakers))[np.arange(utterances) % speakers]
    alpha = 0.25 + 2.0 * clarity[:, None] * np.eye(labels)[intended]
    return np.array([rng.dirichlet(a) for a in alpha])


def simulated_corpus(
    path: Path,
    *,
    utterances: int = 120,
    speakers: int = 12,
    votes: int = 8,
    seen: int | None = 2,
    seed: int = 0,
    labels: LabelSet = LABEL_SETS["demo6"],
    raters: dict[str, float] = RATERS,
    audio: bool = False,
    truth: np.ndarray | None = None,
    name: str = "simulated",
    prefix: str = "u",
) -> tuple[Corpus, np.ndarray]:
    """Write and open a corpus of simulated raters; `votes` of them hear each utterance. Undivided if `seen` is None.

    Speakers are dealt to train (60 %), development and test (20 % each). Good raters vote from the utterance's
    distribution, careless ones guess half the time, the spammer always says the first label.
    """
    truth = simulated_truth(utterances, speakers, len(labels), seed) if truth is None else truth
    rows, ballots, ratings = [], [], []
    for u in range(utterances):
        utterance, speaker = f"{prefix}{u:04d}", u % speakers
        split = "train" if speaker < 0.6 * speakers else "development" if speaker < 0.8 * speakers else "test"
        rows.append(
            {
                "utterance_id": utterance,
                "audio": f"audio/{utterance}.wav" if audio else None,
                "duration": 0.25,
                "speaker": f"sp{speaker:02d}",
                "gender": "female" if speaker % 2 else "male",
                "split": split,
                "transcript": "eleven o'clock",
            }
        )
        rng = rng_from("votes", seed, utterance)
        for rater in rng.choice(list(raters), votes, replace=False):
            ballots.append(_ballot(utterance, str(rater), truth[u], labels, raters[str(rater)], rng))
            value = float(np.clip(3 + 2 * truth[u, 1] - 2 * truth[u, 2:].sum() + rng.normal(0, 0.5), 1, 5))
            ratings.append(_rating(utterance, str(rater), value))
    corpus = write_corpus(
        path,
        name=name,
        labels=labels,
        utterances=from_rows(rows, UTTERANCES),
        votes=from_rows(ballots, VOTES, labels=labels),
        ratings=from_rows(ratings, RATINGS),
        licence="CC0-1.0",
        provenance={"made by": "tests/simulated.py", "seed": seed},
        simulated=True,
        scale=(1.0, 5.0),
        extra=(lambda directory: _write_tones(directory, [r["utterance_id"] for r in rows])) if audio else None,
    )
    if seen is not None:
        corpus = write_division(corpus, hold_out(corpus, seen=seen, seed=seed), None)
    return corpus, truth


def _ballot(
    name: str, rater: str, p: np.ndarray, labels: LabelSet, guessing: float, rng: np.random.Generator
) -> dict[str, object]:
    blind = rng.random() < guessing
    choice = 0 if rater.startswith("spammer") else rng.choice(len(p), p=None if blind else p)
    return {
        "utterance_id": name,
        "rater_id": rater,
        "source": "human",
        "draw": 0,
        "label": labels.labels[int(choice)],
        "rank": "primary",
        "weight": 1.0,
    }


def _rating(name: str, rater: str, value: float) -> dict[str, object]:
    return {
        "utterance_id": name,
        "rater_id": rater,
        "source": "human",
        "dimension": "valence",
        "value": round(value, 2),
    }


def _write_tones(directory: Path, names: Sequence[str]) -> None:
    (directory / "audio").mkdir()
    time = np.arange(4000) / 16000
    for i, name in enumerate(names):
        tone = 0.3 * np.sin(2 * np.pi * (150 + 7 * i) * time)
        soundfile.write(directory / "audio" / f"{name}.wav", tone, 16000, subtype="PCM_16")


def shuffled(truth: np.ndarray, seed: int = 0) -> np.ndarray:
    """The rows of other utterances: right on average, deaf to the utterance."""
    return truth[rng_from("shuffled", seed).permutation(len(truth))]


def sharpened(truth: np.ndarray, power: float) -> np.ndarray:
    """Surer of itself than the truth (power above 1), or less (below)."""
    raised = truth**power
    return raised / raised.sum(axis=1, keepdims=True)


def biased(truth: np.ndarray, *, share: float = 0.5) -> np.ndarray:
    """Hears `share` of every label's mass as the next label."""
    return (1 - share) * truth + share * np.roll(truth, 1, axis=1)


def simulated_run(
    path: Path,
    corpus: Corpus,
    p: np.ndarray,
    *,
    listeners: int = 4,
    spread: float = 0.1,
    votes: int = 20,
    missing: Sequence[str] = (),
    seed: int = 0,
) -> Path:
    """Write a run whose listeners scatter around p [U, K] (in log space, by `spread`); `missing` utterances failed.

    The stored distributions are those of the listeners; votes are drawn from them, dealt round-robin.
    """
    path.mkdir(parents=True)
    names = [f"listener-{i}" for i in range(listeners)]
    write_json(path / "run.json", _run_info(path.name, corpus, votes, seed))
    rng = rng_from("run", seed)
    heard = [i for i, name in enumerate(corpus.ids) if name not in set(missing)]
    scattered = np.log(np.maximum(p[heard], 1e-6))[:, None, :] + rng.normal(
        0, spread, (len(heard), listeners, p.shape[1])
    )
    logp = scattered - np.log(np.exp(scattered).sum(axis=2, keepdims=True))
    _write_scores(path, corpus, [corpus.ids[i] for i in heard], names, logp)
    _write_listeners(path, corpus.labels, names)
    _write_votes(path, corpus, [corpus.ids[i] for i in heard], names, np.exp(logp), votes, seed)
    failures = [{"utterance_id": name, "reason": "audio: zero bytes", "attempts": 1} for name in missing]
    write_table(from_rows(failures, FAILURES), path / "failures.parquet", FAILURES)
    return path


def _run_info(name: str, corpus: Corpus, votes: int, seed: int) -> dict[str, object]:
    identity = {
        "corpus": corpus.name,
        "labels": list(corpus.labels),
        "engine": "simulated",
        "model": "simulated",
        "mode": "exact",
        "question": "simulated",
        "panel": "simulated",
        "panel_fingerprint": "sha256:0",
        "seed": seed,
    }
    return {
        "format": 1,
        "run": f"simulated/simulated/{name}",
        "identity": identity,
        "votes": votes,
        "labels": corpus.labels.to_json(),
    }


def _write_scores(path: Path, corpus: Corpus, ids: list[str], names: list[str], logp: np.ndarray) -> None:
    flat = logp.reshape(-1, logp.shape[2])
    table = pa.table(
        {
            "utterance_id": np.repeat(ids, len(names)),
            "listener": np.tile(names, len(ids)),
            "p": distribution_column(np.exp(flat), kind=pa.float32()),
            "logp": distribution_column(flat, kind=pa.float32()),
            "log_mass": np.full(len(flat), -0.01, dtype=np.float32),
        }
    )
    write_table(validate(table, SCORES, labels=corpus.labels), path / "scores.parquet", SCORES, labels=corpus.labels)


def _write_listeners(path: Path, labels: LabelSet, names: list[str]) -> None:
    rows = [
        {
            "listener": name,
            "panel": "simulated",
            "prompt": "simulated",
            "form": "label",
            "focus": "both",
            "temperature": 1.0,
            "order": list(labels),
            "prompt_fingerprint": "sha256:0",
            "rater": name,
        }
        for name in names
    ]
    write_table(from_rows(rows, LISTENERS), path / "listeners.parquet", LISTENERS)


def _write_votes(
    path: Path, corpus: Corpus, ids: list[str], names: list[str], p: np.ndarray, votes: int, seed: int
) -> None:
    rows = []
    for u, name in enumerate(ids):
        rng = rng_from("synthetic votes", seed, name)
        for v in range(votes):
            listener, draw = v % len(names), v // len(names)
            label = corpus.labels.labels[int(rng.choice(p.shape[2], p=p[u, listener]))]
            rows.append(
                {
                    "utterance_id": name,
                    "rater_id": names[listener],
                    "source": "synthetic",
                    "draw": draw,
                    "label": label,
                    "rank": "primary",
                    "weight": 1.0,
                    "run": f"simulated/simulated/{path.name}",
                }
            )
    write_table(from_rows(rows, VOTES, labels=corpus.labels), path / "votes.parquet", VOTES, labels=corpus.labels)


def simulated_reference(
    *, utterances: int, speakers: int, votes: int = 8, labels: LabelSet = LABEL_SETS["demo6"], m: int = 4, seed: int = 0
):
    """A `trainer.held_out.HeldOut` in memory, without a corpus on disk, and the truth [U, K] behind its votes."""
    from types import SimpleNamespace

    from serann.data.bootstrap import group_codes
    from serann.trainer.held_out import HeldOut

    truth = simulated_truth(utterances, speakers, len(labels), seed)
    rng = rng_from("reference", seed)
    names = np.array([f"sp{u % speakers:03d}" for u in range(utterances)], dtype=object)
    codes, groups = group_codes(names)
    ref = HeldOut(
        corpus=SimpleNamespace(labels=labels),  # pyright: ignore[reportArgumentType]
        split="test",
        rows=np.arange(utterances),
        ids=[f"u{u:04d}" for u in range(utterances)],
        counts=np.array([rng.multinomial(votes, p) for p in truth]).astype(float),
        speakers=names,
        genders=np.array(["female" if u % speakers % 2 else "male" for u in range(utterances)], dtype=object),
        dimensions=("valence",),
        ratings=(truth @ np.linspace(1, 5, len(labels)))[:, None],
        m=m,
        seed=seed,
        codes=codes,
        groups=groups,
    )
    return ref, truth
