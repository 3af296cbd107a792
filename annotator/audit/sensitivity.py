"""Sensitivity: how much what a listener was told, and how it was asked, decides its answer on the same utterance.

    I(label; factor | utterance), mean over utterances, in bits (`information`)

of focus, persona, label order, prompt form, question and language within a run, from the listeners' exact
distributions at temperature 1, and of mode, engine, model, precision and batch size between runs of the same panel.
Words in a persona that state a gender or an accent are cues, and factors of their own. The whole that listeners differ
by is I(label; listener | utterance); a factor's share is its part of that.

Temperature is no listener: it is a transform of one distribution that says nothing new of the utterance. What it
carries stands apart and counts for nothing.

Between runs, the panel's distribution is compared (all its listeners at their temperatures). Sampled texts are shares
of few votes, whose noise would pass for information; it is taken off (`information.without_sampling_noise`).

Identity cues: do a gender or an accent that the prompt states move the answers, though the sound stays the same?

For two levels of a cue (told of a woman, told of a man, told nothing), averaged over the other factors of the panel's
design (`information.weights_alone`), each label's shift is the mean over utterances of p_level - p_against at
temperature 1, tested against 0 with the speaker as the unit (delete-one-speaker jackknife, t; two-sided); all shifts
of a run are one family, corrected by Holm. A cue can also move answers this way for one utterance and that way for
another: `moved` is the mean total variation between the two levels, which has no test, since it cannot be below 0.

A level against nothing said is a sentence more in the prompt, whatever it says, and may move answers as such; two
stated levels against each other differ in the cue alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from ...data.corpus import Corpus
from ...data.errors import RunError, SerannError
from ...data.files import read_json
from ...data.scores.groups import group_codes
from ...data.scores.intervals import Interval, by_group, holm, jackknife_of
from ..run.run import Run, panel_distribution, synthetic_counts
from .information import (
    CUES,
    Factor,
    alone_and_given,
    answers,
    blocks,
    crossing_with,
    design,
    entropy,
    factors,
    weights_alone,
    without_sampling_noise,
)

# --------------------
# What differs between runs of one panel over one corpus, as factors.
#
# Mode, engine, model, precision, batch size; and, lest they pass for one of these, question, prompt form, wording and
# how much of a sound is heard.

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


@dataclass(frozen=True, slots=True)
class FactorInformation:
    """What a factor carries: `bits` by itself, `given_others`, and `share` of the whole (None between runs).

    `skipped` utterances lack an answer of some level; values are NaN for the `reason`.
    """

    factor: str
    levels: list[str]
    bits: Interval
    given_others: Interval
    share: Interval | None
    utterances: int
    skipped: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The sensitivity of one run's answers, and of several runs' where there are.

    `listeners` are the distinct questions; `total` is what they differ by, `together` what only combinations of factors
    carry (None where they are not fully crossed). `temperature` is a transform's, not counted. `reason` says why
    nothing can be told within the run, `between_reason` why nothing between the runs.
    """

    run: str
    listeners: int
    total: Interval | None
    factors: list[FactorInformation]
    together: Interval | None
    not_varied: list[str]
    temperature: Interval | None
    temperatures: list[float]
    runs: list[str]
    between: list[FactorInformation]
    reason: str | None = None
    between_reason: str | None = None


def section(runs: Sequence[Run], corpus: Corpus, *, level: float = 0.95, seed: int = 0) -> Sensitivity:
    """The sensitivity within the first run, and between all of them, over the corpus's utterances.

    Intervals are over speakers. No human vote is needed. Raises RunError for a run of another corpus.
    """
    for run in runs:
        made_from = run.info["identity"].get("corpus", corpus.name)
        if made_from != corpus.name:
            raise RunError(f"{run.path} is a run over the corpus '{made_from}', not over '{corpus.name}'")
    main, speakers = runs[0], corpus.column("speaker")

    def mean(x: np.ndarray) -> Interval:
        return by_group(x, speakers, level=level, seed=seed)

    def ratio(x: np.ndarray, whole: np.ndarray) -> Interval:
        columns = np.column_stack([x, whole])
        return by_group(columns, speakers, statistic=_ratio, level=level, seed=seed)

    names, between, reason = compared(runs, corpus)
    return replace(
        _within(main, corpus, mean, ratio),
        runs=names,
        between=[_row(f, bits, given, mean, None) for f, bits, given in between],
        between_reason=reason,
    )


def _ratio(totals: np.ndarray) -> np.ndarray:
    return totals[..., 0] / np.where(totals[..., 1] > 0, totals[..., 1], np.nan)


def _within(
    run: Run,
    corpus: Corpus,
    mean: Callable[[np.ndarray], Interval],
    ratio: Callable[[np.ndarray, np.ndarray], Interval],
) -> Sensitivity:
    raters, columns, temperatures = design(run)
    every, constant = factors(columns)
    listed = sorted({t for own in temperatures for t in own})
    name = run.path.name
    none = Sensitivity(name, len(raters), None, [], None, constant, None, listed, [name], [])
    if not run.scores.num_rows or run.info["identity"].get("mode") == "sample":
        return replace(none, reason="its answers are texts: single votes, and no distribution of a listener")
    others = [crossing_with(f, every) for f in every]
    values = _Values(len(corpus.ids), len(every))
    for rows, p, there in answers(run, corpus, raters):
        values.add(rows, p, there, every, others, temperatures)
    if not np.isfinite(values.total).any() and not np.isfinite(values.temperature).any():
        return replace(none, reason="no utterance has answers of two listeners")
    crossed = len(every) > 1 and all(len(o) == len(every) - 1 for o in others)
    crossed = crossed and math.prod(len(f.levels) for f in every) == len(raters)
    return replace(
        none,
        total=mean(values.total) if len(raters) > 1 else None,
        factors=[
            _row(f, values.alone[:, i], values.given[:, i], mean, ratio(values.alone[:, i], values.total))
            for i, f in enumerate(every)
        ],
        together=mean(values.total - values.alone.sum(axis=1)) if crossed else None,
        temperature=mean(values.temperature) if len(listed) > 1 else None,
    )


def _row(
    factor: Factor,
    alone: np.ndarray,
    given: np.ndarray,
    mean: Callable[[np.ndarray], Interval],
    share: Interval | None,
) -> FactorInformation:
    known, heard = np.isfinite(alone), np.isfinite(alone) | np.isfinite(given)
    reason = None if known.any() else "its levels never meet the same of the other factors, so it cannot be told apart"
    skipped = int(heard.sum() - known.sum())
    return FactorInformation(
        factor.name, factor.levels, mean(alone), mean(given), share, int(known.sum()), skipped, reason
    )


class _Values:
    """By utterance of the corpus: what all listeners differ by, each factor's information, the temperatures'."""

    def __init__(self, utterances: int, number: int):
        self.total, self.temperature = np.full(utterances, np.nan), np.full(utterances, np.nan)
        self.alone, self.given = np.full((utterances, number), np.nan), np.full((utterances, number), np.nan)

    def add(
        self,
        rows: np.ndarray,
        p: np.ndarray,
        there: np.ndarray,
        every: Sequence[Factor],
        others: Sequence[Sequence[Factor]],
        temperatures: Sequence[Sequence[float]],
    ) -> None:
        """Take in p [N, R, K] of the utterances `rows` [N]; `there` [N, R] says which cells have answered."""
        patterns, of = np.unique(there, axis=0, return_inverse=True)
        for n, pattern in enumerate(patterns):
            here = np.flatnonzero(of.reshape(-1) == n)
            own, where = p[here], rows[here]
            if pattern.sum() > 1:
                single = own[:, pattern]
                self.total[where] = np.maximum(entropy(single.mean(axis=1)) - entropy(single).mean(axis=1), 0.0)
            for i, factor in enumerate(every):
                found = alone_and_given(own, factor, others[i], pattern)
                self.alone[where, i], self.given[where, i] = found
            self.temperature[where] = _of_temperatures(own, pattern, temperatures)


def _of_temperatures(p: np.ndarray, there: np.ndarray, temperatures: Sequence[Sequence[float]]) -> np.ndarray:
    """Mean over the raters of several temperatures of I(label; temperature | utterance, rater), [N]."""
    found = []
    for rater in np.flatnonzero(there).tolist():
        if len(temperatures[rater]) > 1:
            raised = np.stack([p[:, rater] ** (1 / t) for t in temperatures[rater]], axis=1)
            raised /= raised.sum(axis=2, keepdims=True)
            found.append(entropy(raised.mean(axis=1)) - entropy(raised).mean(axis=1))
    return np.maximum(np.mean(found, axis=0), 0.0) if found else np.full(len(p), np.nan)


# --------------------
# Identity cues.

CORRECTION = "Holm"
# Probabilities are stored as float32; what differs by less is rounding.
ROUNDING = 1e-6
# What is said of a prompt that states no cue.
NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class LabelShift:
    """What a label's probability gains where the cue is `level` instead of `against`; p corrected over the run's."""

    label: str
    difference: Interval
    p: float
    p_adjusted: float


@dataclass(frozen=True, slots=True)
class CuePair:
    """Two levels of a cue: how far answers move at all (total variation), and each label's shift."""

    factor: str
    part: str
    moved: Interval
    shifts: list[LabelShift]


@dataclass(frozen=True, slots=True)
class Cues:
    """The cues of one run's panel; `pairs` is empty where it states none, or where none can be told apart."""

    run: str
    pairs: list[CuePair]
    tested: int
    correction: str


def cues_of(run: Run, corpus: Corpus, *, level: float = 0.95, seed: int = 0) -> Cues | None:
    """The cues that a run's panel varies; None where it varies none, or where its answers are texts."""
    raters, columns, _ = design(run)
    cues, _ = factors({name: columns[name] for name in CUES})
    if not cues or run.info["identity"].get("mode") == "sample":
        return None
    every, _ = factors(columns)
    values = {cue.name: np.full((len(corpus.ids), len(cue.levels), len(corpus.labels)), np.nan) for cue in cues}
    order = [list(run.labels).index(label) for label in corpus.labels]
    for rows, p, there in answers(run, corpus, raters):
        for cue in cues:
            values[cue.name][rows] = _levels(p[:, :, order], there, cue, crossing_with(cue, every))
    pairs = [pair for cue in cues for pair in _pairs(cue, values[cue.name], corpus, level, seed)]
    pairs = _corrected(pairs)
    tested = sum(not np.isnan(shift.p) for pair in pairs for shift in pair.shifts)
    return Cues(run.path.name, pairs, tested, CORRECTION)


def _levels(p: np.ndarray, there: np.ndarray, cue: Factor, others: list[Factor]) -> np.ndarray:
    """The answers at each level of a cue, the others averaged over, [N, L, K]; NaN where a level has no answer."""
    found = np.full((len(p), len(cue.levels), p.shape[2]), np.nan)
    patterns, of = np.unique(there, axis=0, return_inverse=True)
    for n, pattern in enumerate(patterns):
        weights = weights_alone(cue, others, pattern)
        if weights is not None:
            here = of.reshape(-1) == n
            found[here] = np.einsum("lr,nrk->nlk", weights, p[here])
    return found


def _pairs(cue: Factor, p: np.ndarray, corpus: Corpus, level: float, seed: int) -> Iterator[CuePair]:
    """Every two levels, the named one against the one that is told nothing where there is that."""
    kept = np.isfinite(p).all(axis=(1, 2))
    if not kept.any():
        return
    speakers = corpus.column("speaker")[kept]
    codes, size = group_codes(speakers)
    for a, b in combinations(range(len(cue.levels)), 2):
        one, other = (b, a) if cue.levels[a] == "none" else (a, b)
        shift = p[kept, one] - p[kept, other]
        shift = np.where(np.abs(shift) < ROUNDING, 0.0, shift)
        sums = np.column_stack([np.bincount(codes, weights=x, minlength=size) for x in (*shift.T, np.ones(len(shift)))])
        yield CuePair(
            factor=cue.name,
            part=f"{cue.levels[one]} instead of {NOTHING if cue.levels[other] == 'none' else cue.levels[other]}",
            moved=by_group(0.5 * np.abs(shift).sum(axis=1), speakers, level=level, seed=seed),
            shifts=[
                LabelShift(label, found._replace(rows=len(shift)), p_value, np.nan)
                for c, label in enumerate(corpus.labels)
                for found, p_value in [jackknife_of(sums[:, [c, -1]], _mean, level)]
            ],
        )


def _mean(totals: np.ndarray) -> np.ndarray:
    return totals[..., 0] / np.where(totals[..., 1] > 0, totals[..., 1], np.nan)


def _corrected(pairs: list[CuePair]) -> list[CuePair]:
    adjusted = iter(holm(np.array([shift.p for pair in pairs for shift in pair.shifts])).tolist())
    return [replace(pair, shifts=[replace(s, p_adjusted=next(adjusted)) for s in pair.shifts]) for pair in pairs]
