"""`serann fuse --next N`: which N train utterances' next human vote improves the fused distributions most.

A Dirichlet posterior of mean p_u and strength S_u (votes behind it) moves by (e_y - p_u) / (S_u + 1) at a vote for y.
So one more vote lowers the expected squared error, the trace of the posterior covariance, by exactly

    gain_u = sum_y p_uy |e_y - p_u|^2 / (S_u + 1)^2 = (1 - sum_k p_uk^2) / (S_u + 1)^2

p_u is the strategy's fused distribution, S_u = N_u + A: its seen votes and one strength for all, the mean over train of
what the strategy's effective votes add to them. (A mixture's own gain, class by class, was measured and is worse: from
two or three votes per utterance the strengths of its classes are hardly known, and the largest are errors.) Unlike
entropy it knows how many votes an utterance has. CREMA-D, 500 votes for 5,903 clips (3,240 at 5 and mixed), fall in
`sq_unbiased` of a chosen clip over that of any clip, mean of eight draws, entropy sampled in the same way:

    seen votes           2            3            5            2, 3 or 5 mixed
    no proxy             2.11 (2.14)  1.96 (1.99)  1.80 (1.70)  2.27 (2.10)     entropy in brackets
    audio-visual votes   1.89 (1.86)  2.02 (1.93)  1.79 (1.77)
    face votes           1.84 (1.79)  2.03 (1.98)  1.73 (1.74)

The list is a sample, not only a top: `even` (a tenth) of the votes go to utterances drawn evenly from the rest of the
train split, so that every train utterance has a known chance pi_u > 0 to be on it, and weight 1 / pi_u (Horvitz and
Thompson 1952). Shares of the corpus stay estimable after such a selection: `corpus_shares`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...data.corpus import Corpus, corpus_fingerprint
from ...data.errors import CorpusError, OptionError
from ...data.exports.label_studio import address, interface
from ...data.files import new_directory, refuse_existing, write_json
from ...data.seeds import uniforms
from ...data.sound_paths import absolute_audio
from ..proxies import Source
from .base import Blend
from .evidence import Evidence, gather, remarks
from .strategies import ask, blend_by, blends

EVEN = 0.1
SHOWN = ("speaker", "dialogue", "transcript", "language")
CSV_FILE, TASKS_FILE, INTERFACE_FILE, ABOUT_FILE = "next.csv", "tasks.json", "config.xml", "next.json"


class NextVotes(NamedTuple):
    """The chosen rows of the corpus [N], the largest gain first; and for every utterance [U] its distribution, its
    expected gain (NaN outside train) and its chance to be chosen (0 there); the strength A.
    """

    rows: np.ndarray
    p: np.ndarray
    gain: np.ndarray
    chance: np.ndarray
    strength: float


class Listed(NamedTuple):
    """What was written where: how many utterances, of how many, by which strategy, and what to know."""

    path: Path
    utterances: int
    candidates: int
    strategy: str
    warnings: tuple[str, ...]


def expected_gain(p: np.ndarray, strength: np.ndarray | float) -> np.ndarray:
    """(1 - sum_k p_k^2) / (S + 1)^2 for distributions [U, K] and strengths S [U].

    >>> expected_gain(np.array([[0.5, 0.5], [1.0, 0.0]]), 1.0).tolist()
    [0.125, 0.0]
    """
    return (1 - (p**2).sum(axis=1)) / (np.asarray(strength) + 1) ** 2


def choose_next(evidence: Evidence, blend: Blend, n: int, *, even: float = EVEN) -> NextVotes:
    """Choose `n` train utterances by the distributions and effective votes of a strategy.

    A train utterance that the strategy leaves undefined (no vote, no proxy) stands at the mean of the others, with no
    votes but A.

    Raises OptionError for n below 1, a share `even` that is not above 0 and at most 1, or a strategy without effective
    votes (synthetic); CorpusError where the train split has fewer than n utterances.
    """
    if n < 1:
        raise OptionError(f"--next is {n}; expected a number of votes, 1 or more (--next 500)")
    if not 0 < even <= 1:
        raise OptionError(f"even is {even:g}; expected a share of the votes, above 0 and at most 1")
    train = evidence.train
    known = train & ~np.isnan(blend.p).any(axis=1)
    votes = evidence.seen.sum(axis=1)
    added = (blend.effective_votes - votes)[known]
    added = added[~np.isnan(added)]
    if not len(added):
        raise OptionError(
            "what the next vote is worth follows from the votes behind a distribution, which this strategy does not "
            "know; use one that fuses human votes"
        )
    if n > train.sum():
        raise CorpusError(f"--next is {n}, and the train split has {int(train.sum())} utterances; ask for no more")
    strength = max(0.0, float(added.mean()))
    p = np.where(known[:, None], blend.p, np.nan)
    p[train & ~known] = blend.p[known].mean(axis=0)
    gain = np.full(len(train), np.nan)
    gain[train] = expected_gain(p[train], votes[train] + strength)
    rows = np.flatnonzero(train)
    ids = np.array(evidence.ids, dtype=object)[rows].tolist()
    taken, chances = draw_sample(gain[rows], n, ids, even=even, seed=evidence.seed)
    chance = np.zeros(len(train))
    chance[rows] = chances
    return NextVotes(rows[taken], p, gain, chance, strength)


def draw_sample(
    gain: np.ndarray, n: int, ids: list[str], *, even: float = EVEN, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Rows [n] chosen, the largest gain first, and every row's chance [U] to be chosen.

    The n - ceil(even n) rows of the largest gain (equals by a seeded order of ids) are certain; the others are drawn
    evenly from the rest, without replacement.
    """
    drawn = min(n, int(np.ceil(even * n)))
    keys = uniforms(ids, 2, "next votes", seed)
    order = np.lexsort((keys[:, 0], -gain))
    certain, rest = order[: n - drawn], order[n - drawn :]
    lucky = rest[np.argsort(keys[rest, 1], kind="stable")[:drawn]]
    chance = np.full(len(gain), drawn / max(1, len(rest)))
    chance[certain] = 1.0
    lucky = lucky[np.lexsort((keys[lucky, 0], -gain[lucky]))]
    return np.concatenate([certain, lucky]), chance


def corpus_shares(p: np.ndarray, rows: np.ndarray, votes: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Shares of the labels [K] among human votes on the whole train split, from the votes that a selection brought.

    (sum_u p_u + sum over chosen u of (v_u - p_u) / pi_u) / U: the difference estimator, unbiased over the draw whatever
    p [U, K] is, and the closer p the less it varies (Särndal, Swensson and Wretman 1992, ch. 6). `rows` [N]: chosen;
    `votes` [N, K]: each one's new vote (or mean of its new votes); `chance` [U].
    """
    moved = ((votes - p[rows]) / chance[rows][:, None]).sum(axis=0)
    return (p.sum(axis=0) + moved) / len(p)


def list_next(
    corpus: Corpus,
    runs: Sequence[Source],
    n: int,
    *,
    strategy: str,
    out: str | Path,
    seed: int = 0,
    overwrite: bool = False,
    **options: Any,
) -> Listed:
    """Fuse by `strategy` (and its `options`, as `fuse`), choose `n` utterances, and write the folder `out`.

    Raises what `fuse` and `choose_next` raise; OutputError for an existing `out` without `overwrite`.
    """
    if strategy not in blends():
        raise OptionError(f"--next needs a strategy that fuses: one of {', '.join(blends())}; found '{strategy}'")
    ask(strategy, options)
    inputs = [corpus.path, *(run.path for run in runs)]
    refuse_existing(Path(out), what="list of next votes", overwrite=overwrite, inputs=inputs)
    evidence = gather(corpus, runs, seed=seed)
    blend = blend_by(strategy, evidence, **options)
    found = choose_next(evidence, blend, n)
    warnings = (*remarks(evidence), *blend.warnings, *_silent(corpus, found))
    done = Listed(Path(out), n, int(evidence.train.sum()), strategy, warnings)
    about = {
        "corpus": {"name": corpus.name, "fingerprint": corpus_fingerprint(corpus)},
        "runs": [run.name for run in evidence.runs],
        **{name: value for name, value in done._asdict().items() if name != "path"},
        "even": EVEN,
        "strength": found.strength,
        "seed": seed,
        "gain": "(1 - sum_k p_k^2) / (seen votes + strength + 1)^2",
        "sum_of_p": dict(zip(corpus.labels, found.p[evidence.train].sum(axis=0).tolist(), strict=True)),
        "shares": "(sum_of_p, which is over train, + sum over the list of (vote - p) * weight) / candidates",
    }
    write_next(out, corpus, evidence, found, about=about, overwrite=overwrite)
    return done


def _silent(corpus: Corpus, found: NextVotes) -> tuple[str, ...]:
    silent = corpus.utterances["audio"].take(found.rows).null_count
    return (f"listed utterances that name no sound, so that Label Studio has none to play: {silent}",) if silent else ()


def write_next(
    out: str | Path,
    corpus: Corpus,
    evidence: Evidence,
    found: NextVotes,
    *,
    about: dict[str, Any],
    overwrite: bool = False,
) -> None:
    """Write the list as `next.csv` and as Label Studio tasks with their interface, and `next.json` about it."""
    with new_directory(out, what="list of next votes", overwrite=overwrite) as partial:
        table = _rows(corpus, evidence, found)
        with (partial / CSV_FILE).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(table[0]))
            writer.writeheader()
            writer.writerows(table)
        tasks = ",\n".join(json.dumps(task, ensure_ascii=False) for task in _tasks(corpus, found, table))
        (partial / TASKS_FILE).write_text(f"[\n{tasks}\n]\n", encoding="utf-8")
        (partial / INTERFACE_FILE).write_text(interface(corpus), encoding="utf-8")
        write_json(partial / ABOUT_FILE, about)


def _rows(corpus: Corpus, evidence: Evidence, found: NextVotes) -> list[dict[str, Any]]:
    votes = evidence.seen.sum(axis=1)
    return [
        {
            "utterance_id": corpus.ids[i],
            "seen_votes": f"{votes[i]:g}",
            "expected_gain": f"{found.gain[i]:.6g}",
            "chance": f"{found.chance[i]:.6g}",
            "weight": f"{1 / found.chance[i]:.6g}",
            **{f"p_{label}": f"{x:.4f}" for label, x in zip(corpus.labels, found.p[i], strict=True)},
        }
        for i in found.rows
    ]


def _tasks(corpus: Corpus, found: NextVotes, table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tasks without predictions or intended labels: a vote that has seen a guess is no independent vote."""
    rows = absolute_audio(corpus).take(found.rows).to_pylist()
    tasks = []
    for row, line in zip(rows, table, strict=True):
        data = {"utterance_id": row["utterance_id"], "audio": address(row["audio"], None)}
        data |= {name: row[name] for name in ("start", "end", *SHOWN) if row.get(name) is not None}
        tasks.append({"data": {**data, "weight": float(line["weight"])}, "predictions": []})
    return tasks
