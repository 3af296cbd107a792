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

import numpy as np
from scipy import stats

from ...data.corpus import Corpus
from ...data.scores.intervals import Interval, jackknife_of
from ...data.scores.metrics import plurality
from ...data.scores.proper_scores import sq_unbiased
from ...data.scores.scoring import THIRDS
from .factors import Factor, factors_of, names_of
from .panels import Panel
from .scorer import Scorer, Speakers, holm, speakers_of
from .speaker_contrasts import against_the_rest
from .surprises import Surprise, surprises

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
    answer: str = ""


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
    speakers = speakers_of(scorer)
    errors = [sq_unbiased(q, scorer.scored) for q in (scorer.repeat(panel.q), constant)]
    cut, left_out = factors_of(scorer, corpus)
    cut = {"label": _labels(scorer), "ambiguity": Factor(thirds, list(THIRDS)), **cut}
    if not (cut["label"].codes >= 0).any():
        left_out["label"] = "no utterance has votes beside the scored ones with a single most frequent label"
    if not (thirds >= 0).any():
        left_out["ambiguity"] = "too few votes beside the scored ones to cut thirds"
    rows = [row for name, factor in cut.items() for row in _parts(name, factor, errors, scorer, speakers)]
    parts = _corrected(rows)
    every = _corrected(_speakers(scorer, errors, corpus))
    told = [row for row in every if row.p_adjusted < 1 - scorer.level]
    result = Failures(
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
    from ..report.audit_words import failures_in_words

    return replace(result, answer=failures_in_words(result))


def _labels(scorer: Scorer) -> Factor:
    """The single most frequent label of the votes that are not scored, -1 where tied or without votes."""
    share = np.nan_to_num(plurality(scorer.each(lambda draw: draw.other)))
    return Factor(np.where((share == 1).any(axis=1), share.argmax(axis=1), -1), list(scorer.reference.labels))


def _parts(
    name: str, factor: Factor, errors: list[np.ndarray], scorer: Scorer, speakers: Speakers
) -> Iterator[PartRow]:
    """Every part with utterances in and outside it; of two parts, which are each other's rest, the worse one."""
    known = factor.codes >= 0
    there = [code for code in range(len(factor.parts)) if (factor.codes == code).any()]
    rows = [_part(name, factor, code, known, errors, scorer, speakers) for code in there] if len(there) > 1 else []
    yield from sorted(rows, key=lambda row: -row.difference.value)[:1] if len(rows) == 2 else rows


def _part(
    name: str,
    factor: Factor,
    code: int,
    known: np.ndarray,
    errors: list[np.ndarray],
    scorer: Scorer,
    speakers: Speakers,
) -> PartRow:
    inside = factor.codes == code
    error, constant = (_in_and_out(x, inside, known, speakers) for x in errors)
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


def _in_and_out(x: np.ndarray, inside: np.ndarray, known: np.ndarray, speakers: Speakers) -> np.ndarray:
    """Sums by speaker [G, 4]: errors and rows in the part, then in the rest of what is known."""
    defined = known & ~np.isnan(x)
    sums = []
    for rows in (inside & defined, ~inside & defined):
        codes = speakers.codes[rows]
        sums += [np.bincount(codes, weights=w, minlength=speakers.size) for w in (x[rows], None)]
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
    _, first, codes = np.unique(speakers_of(scorer).codes[kept], return_index=True, return_inverse=True)
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
