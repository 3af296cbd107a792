"""What differs between runs of one panel over one corpus, as factors.

Mode, engine, model, precision, batch size; and, lest they pass for one of these, question, prompt form, wording and how
much of a sound is heard.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...data.corpus import Corpus
from ...data.errors import SerannError
from ...data.files import read_json
from ..run.run import Run, panel_distribution, synthetic_counts
from .information import Factor, blocks, crossing_with, factors, weights_alone, without_sampling_noise

MODES = {"exact": "exact", "sample": "sampled", "verbalized": "verbalised"}

# A factor, what it carries by itself [U], and given the others [U].
Compared = tuple[Factor, np.ndarray, np.ndarray]


def compared(runs: Sequence[Run], corpus: Corpus) -> tuple[list[str], list[Compared], str | None]:
    """The runs' names, what each factor between them carries by utterance, and why there is nothing to compare.

    Runs under a control are left out, and those that ask other listeners than the first does.
    """
    plain = [run for run in runs if "control" not in run.info["identity"]]
    if len(plain) < 2:
        return _names(plain), [], None if len(runs) < 2 else "fewer than two runs without a control"
    raters = [set(run.listeners["rater"].to_pylist()) for run in plain]
    plain = [run for run, own in zip(plain, raters, strict=True) if own == raters[0]]
    names = _names(plain)
    if len(plain) < 2:
        return names, [], "the runs ask different listeners"
    if any(set(run.labels) != set(corpus.labels) for run in plain):
        return names, [], "the runs have different labels"
    every, _ = factors(_columns(plain))
    if not every:
        return names, [], f"the runs differ in nothing that is compared ({', '.join(_columns(plain))})"
    columns = [[list(run.labels).index(label) for label in corpus.labels] for run in plain]
    pairs = list(zip(plain, columns, strict=True))
    p = np.stack([panel_distribution(run, corpus.ids)[:, of] for run, of in pairs], axis=1)
    votes = np.stack([_votes(run, corpus.ids) for run in plain], axis=1)
    heard = np.asarray(~np.isnan(p).any(axis=(1, 2)))
    return names, [_of(factor, crossing_with(factor, every), p, votes, heard) for factor in every], None


def _names(runs: Sequence[Run]) -> list[str]:
    return [run.path.name for run in runs]


def _of(factor: Factor, others: list[Factor], p: np.ndarray, votes: np.ndarray, heard: np.ndarray) -> Compared:
    alone, given = np.full(len(p), np.nan), np.full(len(p), np.nan)
    there = np.ones(len(factor.codes), dtype=bool)
    weights = weights_alone(factor, others, there)
    if weights is not None:
        alone[heard] = without_sampling_noise(p[heard], votes[heard], weights)
    met = [w for w in blocks(factor, others, there) if len(w) > 1]
    if met:
        given[heard] = np.mean([without_sampling_noise(p[heard], votes[heard], w) for w in met], axis=0)
    return factor, alone, given


def _votes(run: Run, ids: Sequence[str]) -> np.ndarray:
    """How many votes the run's distribution of each utterance is made of, [U]; infinite where it was read off."""
    if run.info["identity"].get("mode") != "sample":
        return np.full(len(ids), np.inf)
    return synthetic_counts(run, ids).sum(axis=1).astype(float)


def _columns(runs: Sequence[Run]) -> dict[str, list[str]]:
    identities = [run.info["identity"] for run in runs]
    return {
        "mode": [_mode(run) for run in runs],
        "engine": [str(identity.get("engine")) for identity in identities],
        "model": [f"{identity.get('model')} {identity.get('weights', '')}".strip() for identity in identities],
        "precision": [str(identity.get("dtype")) for identity in identities],
        "batch size": [_batch_size(run.path) for run in runs],
        "question": [str(identity.get("question")) for identity in identities],
        "prompt form": [_form(run) for run in runs],
        "wording": _wordings(runs),
        "sound heard": [f"{i.get('too_long', 'all')} {i.get('max_seconds', '')}".strip() for i in identities],
    }


def _form(run: Run) -> str:
    """How answers are to be given; the forms that a mode brings with it are the mode's own."""
    forms = set(run.listeners["form"].to_pylist())
    return ", ".join(sorted({"label" if form in ("reason", "shares") else str(form) for form in forms}))


def _wordings(runs: Sequence[Run]) -> list[str]:
    """The texts asked, numbered among the runs of the same mode, question and form, which else decide the texts."""
    known: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    found = []
    for run in runs:
        texts = tuple(sorted(str(text) for text in run.listeners["prompt_fingerprint"].to_pylist()))
        same = known.setdefault((_mode(run), str(run.info["identity"].get("question")), _form(run)), [])
        if texts not in same:
            same.append(texts)
        found.append(f"wording {same.index(texts) + 1}")
    return found


def _mode(run: Run) -> str:
    mode = run.info["identity"].get("mode", "exact")
    reasons = set(run.listeners["form"].to_pylist()) == {"reason"}
    return "reasoned" if mode == "sample" and reasons else MODES.get(mode, mode)


def _batch_size(path: Path) -> str:
    """The batch size of a run's sessions, or of several: it is no part of an identity, for it should change nothing."""
    try:
        sessions = read_json(path / "environment.json", what="environment record")["sessions"]
        sizes = dict.fromkeys(str(session["batch_size"]) for session in sessions if session["utterances"])
    except (SerannError, KeyError, TypeError):
        return "unknown"
    return " and ".join(sizes) or "unknown"
