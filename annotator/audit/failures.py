"""Where a panel fails: parts of the utterances that it is worse (or better) on than on the rest, and its surprises.

Each part's mean squared error (unbiased) less that of the rest of the same factor, with interval and two-sided p from
the delete-one-speaker jackknife (Satterthwaite's t over the speakers in the part, out of it, and in both). Parts are
cut by what is not scored: labels and ambiguity by the other human votes, never by the scored ones. A part may be hard
for anybody, so the same difference of the constant stands beside it. All parts of all factors are one family, corrected
by Holm; single speakers are another, tested utterance by utterance (Welch's t, the rest by speaker).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from scipy import stats

from ...data.arrow import pc
from ...data.corpus import Corpus
from ...data.scores.intervals import Interval, holm, jackknife_of
from ...data.scores.metrics import plurality
from ...data.scores.proper_scores import log_score, sq_unbiased
from ...data.scores.scoring import THIRDS
from ...data.votes import frequencies
from ..proxies import Panel
from .scorer import Reference, Scorer
from .section import Section

# --------------------
# Columns of a corpus as factors: which part of the utterances each belongs to, known without any scored vote.

FEWEST, MOST_VALUES = 2, 20
# names of single utterances or of when and what was said; the duration is cut in thirds, speakers are tested apart
NO_FACTORS = ("utterance_id", "audio", "start", "end", "duration", "content_hash", "transcript", "speaker")
OF_THE_VOTES = "it is made of the votes that are scored"


class Factor(NamedTuple):
    """The part of each row, int [R * U] (-1: in none), and the parts' names."""

    codes: np.ndarray
    parts: list[str]


def factors_of(scorer: Scorer, corpus: Corpus) -> tuple[dict[str, Factor], dict[str, str]]:
    """Thirds of the duration, every utterance column of 2 to 20 values, thirds of numbers with more; and why others are
    left out.

    Utterances without a value are in no part. Columns that readers make of votes are left out, for cutting by what the
    scored votes said selects on the outcome: names that begin with "consensus", and `level_` and a label.
    """
    found: dict[str, Factor] = {}
    left_out: dict[str, str] = {}
    duration = thirds_of(scorer.reference, corpus, "duration", unit=" s")
    if duration is None:
        left_out["duration"] = "fewer than three different durations are known"
    else:
        found["duration"] = _repeated(duration, scorer)
    for name in corpus.utterances.column_names:
        if name in NO_FACTORS:
            continue
        made = OF_THE_VOTES if _of_votes(name, corpus) else column_factor(scorer.reference, corpus, name)
        if isinstance(made, Factor):
            found[name] = _repeated(made, scorer)
        elif made:
            left_out[name] = made
    return found, left_out


def _repeated(factor: Factor, scorer: Scorer) -> Factor:
    return Factor(np.tile(factor.codes, len(scorer.draws)), factor.parts)


def _of_votes(name: str, corpus: Corpus) -> bool:
    return name.startswith("consensus") or name in {f"level_{label}" for label in corpus.labels}


def thirds_of(reference: Reference, corpus: Corpus, name: str, *, unit: str = "") -> Factor | None:
    """Thirds of the audited utterances by a column of numbers, equal numbers together; codes [U].

    None where fewer than three different numbers are known.
    """
    values = _column(reference, corpus, name).cast(pa.float64()).to_numpy(zero_copy_only=False)
    known = np.isfinite(values)
    ordered = np.sort(values[known])
    if len(np.unique(ordered)) < 3:
        return None
    low, high = (float(ordered[-(-len(ordered) * third // 3) - 1]) for third in (1, 2))
    codes = np.where(known, (values > low).astype(int) + (values > high), -1)
    shown = [f"{end:.2f}{unit}" if unit else f"{end:g}" for end in (low, high)]
    return Factor(codes, [f"up to {shown[0]}", f"up to {shown[1]}", f"above {shown[1]}"])


def column_factor(reference: Reference, corpus: Corpus, name: str) -> Factor | str:
    """A column's values as parts, codes [U] in the order of their names; thirds of more numbers than that.

    A reason where they make none.
    """
    column = _column(reference, corpus, name)
    if pa.types.is_nested(column.type):
        return "its values are lists"
    encoded = column.dictionary_encode()
    values = encoded.dictionary.to_pylist()
    if not values:
        return ""
    if len(values) > MOST_VALUES and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return thirds_of(reference, corpus, name) or "it has fewer than three numbers"
    if not FEWEST <= len(values) <= MOST_VALUES:
        return (
            f"it has {len(values)} value{'s' if len(values) > 1 else ''}; parts are made of {FEWEST} to {MOST_VALUES}"
        )
    order = sorted(range(len(values)), key=lambda i: (str(type(values[i])), values[i]))
    rank = np.empty(len(order), dtype=int)
    rank[order] = np.arange(len(order))
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return Factor(np.where(codes >= 0, rank[codes], -1), [str(values[i]) for i in order])


def names_of(corpus: Corpus, reference: Reference, column: str, rows: np.ndarray) -> list[str | None]:
    """A column's values at some rows of the reference."""
    return _column(reference, corpus, column).take(pa.array(rows)).to_pylist()


def _column(reference: Reference, corpus: Corpus, name: str) -> Any:
    return corpus.utterances[name].combine_chunks().take(pa.array(reference.rows))


# --------------------
# Each speaker against all others, tested utterance by utterance.


class Contrasts(NamedTuple):
    """Arrays [G]: the speaker's mean less that of all other utterances, its error, df, two-sided p; NaN undefined."""

    difference: np.ndarray
    error: np.ndarray
    df: np.ndarray
    p: np.ndarray


def against_the_rest(x: np.ndarray, codes: np.ndarray, size: int) -> Contrasts:
    """Welch's t of each speaker's utterances x [U] against the rest, whose mean has its error by speaker.

    error^2 = s_g^2 / n_g + (G - 1) / (G - 2) sum_h n_h^2 (mean_h - rest)^2 / (N - n_g)^2 over the other G - 1 speakers
    h; df by Satterthwaite from n_g - 1 and G - 2. NaN for a speaker of one utterance, and with fewer than three
    speakers. Every speaker of `codes` has an utterance.
    """
    n, total = (np.bincount(codes, weights=w, minlength=size) for w in (None, x))
    mean = total / n
    within = np.bincount(codes, weights=(x - mean[codes]) ** 2, minlength=size)
    with np.errstate(invalid="ignore", divide="ignore"):
        rest_n = n.sum() - n
        rest = (total.sum() - total) / rest_n
        own = np.where(n > 1, within / (n - 1) / n, np.nan)
        # sum over h of n_h^2 (mean_h - rest_g)^2, multiplied out; the speaker's own term is taken off
        spread = (total**2).sum() - 2 * rest * (n * total).sum() + rest**2 * (n**2).sum() - n**2 * (mean - rest) ** 2
        others = np.where(size > 2, np.maximum(spread, 0) / rest_n**2 * (size - 1) / max(size - 2, 1), np.nan)
        square = own + others
        df = square**2 / (own**2 / (n - 1) + others**2 / max(size - 2, 1))
        p = 2 * stats.t.sf(np.abs(mean - rest) / np.sqrt(square), df)
    return Contrasts(mean - rest, np.sqrt(square), df, p)


# --------------------
# The utterances of largest surprise: whose human votes a panel's calibrated prediction held for unlikely.

MOST_SURPRISES = 20


@dataclass(frozen=True, slots=True)
class Surprise:
    """An utterance whose human votes the calibrated panel held for unlikely: `log_score` is nats per vote."""

    utterance_id: str
    speaker: str | None
    transcript: str | None
    votes: int
    log_score: float
    human: list[float]
    calibrated: list[float]
    panel: list[float]


def surprises(reference: Reference, panel: Panel, calibrated: np.ndarray, corpus: Corpus) -> list[Surprise]:
    """The 20 utterances whose human votes (all of them) the calibrated prediction [U, K] gave the least log score."""
    votes = reference.scored + reference.other
    score = log_score(calibrated, votes)
    order = np.lexsort((np.asarray(reference.ids, dtype=str), score))
    order = [int(u) for u in order if not np.isnan(score[u])][:MOST_SURPRISES]
    at = np.array(order, dtype=int)
    said, by = (names_of(corpus, reference, column, at) for column in ("transcript", "speaker"))
    return [
        Surprise(
            utterance_id=reference.ids[u],
            speaker=speaker,
            transcript=transcript,
            votes=int(votes[u].sum()),
            log_score=float(score[u]),
            human=[float(x) for x in frequencies(votes[u : u + 1])[0]],
            calibrated=[float(x) for x in calibrated[u]],
            panel=[float(x) for x in panel.q[u]],
        )
        for u, speaker, transcript in zip(order, by, said, strict=True)
    ]


MOST_SPEAKERS = 20
CORRECTION = "Holm"


@dataclass(frozen=True, slots=True)
class PartRow:
    """One part of a factor against the factor's other utterances: `difference` is `error` less that of the rest.

    `constant` is the same difference of the constant's errors; `p_adjusted` is corrected over the family. Positive:
    worse here.
    """

    factor: str
    part: str
    utterances: int
    speakers: int
    error: float
    difference: Interval
    constant: float
    p: float
    p_adjusted: float


@dataclass(frozen=True, slots=True)
class Failures:
    """Where one panel fails. `speakers` are the 20 of smallest p; `worse` and `better` count all those told apart.

    `left_out` says of a factor why it makes no parts.
    """

    panel: str
    labels: list[str]
    score: str
    level: float
    correction: str
    parts: list[PartRow]
    speakers: list[PartRow]
    speakers_tested: int
    speakers_worse: int
    speakers_better: int
    surprises: list[Surprise]
    left_out: dict[str, str]


def section(
    scorer: Scorer,
    panel: Panel,
    corpus: Corpus,
    *,
    constant: np.ndarray,
    thirds: np.ndarray,
    calibrated: np.ndarray | None = None,
) -> Failures:
    """Where a panel lined up with the scorer's reference fails.

    `constant` [R * U, K] and `thirds` [R * U] are the audit's; `calibrated` [U, K] is the panel's cross-fitted
    prediction without any human vote of the utterance (`calibration.calibrations`): without it no surprises are listed.
    """
    errors = [sq_unbiased(q, scorer.scored) for q in (scorer.repeat(panel.q), constant)]
    cut, left_out = factors_of(scorer, corpus)
    cut = {"label": _labels(scorer), "ambiguity": Factor(thirds, list(THIRDS)), **cut}
    if not (cut["label"].codes >= 0).any():
        left_out["label"] = "no utterance has votes beside the scored ones with a single most frequent label"
    if not (thirds >= 0).any():
        left_out["ambiguity"] = "too few votes beside the scored ones to cut thirds"
    rows = [row for name, factor in cut.items() for row in _parts(name, factor, errors, scorer)]
    parts = _corrected(rows)
    every = _corrected(_speakers(scorer, errors, corpus))
    told = [row for row in every if row.p_adjusted < 1 - scorer.level]
    return Failures(
        panel=panel.name,
        labels=list(scorer.reference.labels),
        score="sq_unbiased",
        level=scorer.level,
        correction=CORRECTION,
        parts=parts,
        speakers=sorted(every, key=lambda row: (math.isnan(row.p), row.p, row.part))[:MOST_SPEAKERS],
        speakers_tested=sum(not math.isnan(row.p) for row in every),
        speakers_worse=sum(row.difference.value > 0 for row in told),
        speakers_better=sum(row.difference.value < 0 for row in told),
        surprises=[] if calibrated is None else surprises(scorer.reference, panel, calibrated, corpus),
        left_out=left_out,
    )


def _labels(scorer: Scorer) -> Factor:
    """The single most frequent label of the votes that are not scored, -1 where tied or without votes."""
    share = np.nan_to_num(plurality(scorer.each(lambda draw: draw.other)))
    return Factor(np.where((share == 1).any(axis=1), share.argmax(axis=1), -1), list(scorer.reference.labels))


def _parts(name: str, factor: Factor, errors: list[np.ndarray], scorer: Scorer) -> Iterator[PartRow]:
    """Every part with utterances in and outside it; of two parts, which are each other's rest, the worse one."""
    known = factor.codes >= 0
    there = [code for code in range(len(factor.parts)) if (factor.codes == code).any()]
    rows = [_part(name, factor, code, known, errors, scorer) for code in there] if len(there) > 1 else []
    yield from sorted(rows, key=lambda row: -row.difference.value)[:1] if len(rows) == 2 else rows


def _part(
    name: str,
    factor: Factor,
    code: int,
    known: np.ndarray,
    errors: list[np.ndarray],
    scorer: Scorer,
) -> PartRow:
    inside = factor.codes == code
    error, constant = (_in_and_out(x, inside, known, scorer) for x in errors)
    rows = round(inside.sum() / len(scorer.draws))
    strata = (error[:, 1] > 0) + 2 * (error[:, 3] > 0)
    found, p = jackknife_of(error, _difference, scorer.level, strata=strata)
    return PartRow(
        factor=name,
        part=factor.parts[code],
        utterances=rows,
        speakers=int((error[:, 1] > 0).sum()),
        error=float(error[:, 0].sum() / error[:, 1].sum()),
        difference=found._replace(rows=rows),
        constant=float(_difference(constant.sum(axis=0))),
        p=p,
        p_adjusted=math.nan,
    )


def _in_and_out(x: np.ndarray, inside: np.ndarray, known: np.ndarray, scorer: Scorer) -> np.ndarray:
    """Sums by speaker [G, 4]: errors and rows in the part, then in the rest of what is known."""
    defined = known & ~np.isnan(x)
    sums = []
    for rows in (inside & defined, ~inside & defined):
        codes = scorer.codes[rows]
        sums += [np.bincount(codes, weights=w, minlength=scorer.groups) for w in (x[rows], None)]
    return np.column_stack(sums)


def _difference(totals: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return totals[..., 0] / totals[..., 1] - totals[..., 2] / totals[..., 3]


def _corrected(rows: list[PartRow]) -> list[PartRow]:
    adjusted = holm(np.array([row.p for row in rows]))
    return [replace(row, p_adjusted=float(p)) for row, p in zip(rows, adjusted, strict=True)]


def _speakers(scorer: Scorer, errors: list[np.ndarray], corpus: Corpus) -> list[PartRow]:
    """Each speaker against all others, by errors averaged over the draws; the unit is the utterance."""
    size, each = len(scorer.reference.ids), len(scorer.draws)
    panel, plain = (x.reshape(each, size).mean(axis=0) for x in errors)
    kept = np.flatnonzero(~(np.isnan(panel) | np.isnan(plain)))
    _, first, codes = np.unique(scorer.codes[kept], return_index=True, return_inverse=True)
    names = names_of(corpus, scorer.reference, "speaker", kept[first])
    n = np.bincount(codes)
    own, constant = (against_the_rest(x[kept], codes, len(n)) for x in (panel, plain))
    half = stats.t.ppf(0.5 + scorer.level / 2, own.df) * own.error
    mean = np.bincount(codes, weights=panel[kept]) / n
    rows = []
    for g, name in enumerate(names):
        value = float(own.difference[g])
        method = "none: one utterance, or fewer than three speakers" if np.isnan(own.p[g]) else "Welch t, by utterance"
        bounds = (value - float(half[g]), value + float(half[g]))
        rows.append(
            PartRow(
                factor="speaker",
                part=name or "unknown",
                utterances=int(n[g]),
                speakers=1,
                error=float(mean[g]),
                difference=Interval(value, *bounds, method, len(n), int(n[g])),
                constant=float(constant.difference[g]),
                p=float(own.p[g]),
                p_adjusted=math.nan,
            )
        )
    return rows


SECTION = Section(
    name="failures",
    title="Where it fails",
    about="Each part of the utterances against the rest: squared error, less the rest's, by the delete-one-speaker "
    "jackknife, corrected by Holm.",
    measure=lambda subject: section(
        subject.ground.scorer,
        subject.panel,
        subject.ground.corpus,
        constant=subject.ground.fit.constant,
        thirds=subject.ground.fit.thirds,
        calibrated=subject.calibrated,
    ),
)
