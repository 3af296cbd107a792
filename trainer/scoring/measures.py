"""Every score of `evaluate` and `compare`, as sums by speaker and a function of their totals.

So a resample of speakers, a difference between two systems on the same utterances, or one between two parts of the
speakers costs a sum over speakers, however many utterances there are. Reference: human votes and ratings alone.

Which there are, and what each is, `data/scores/metric.py` says: those shown among the scores, those of evaluations
beside them, and the concordance of each dimension with the mean human rating.

The prior that a model was taught, and its distributions moved to another one.

Class balancing (new utterances of rare labels, class weights in the loss) teaches other label shares than people's
votes have, and then the distributions are off by just that. With weights w in the loss the answer to a sound is
proportional to w_c p_c, so a model is taught `shares` of its targets times w, normalised. `prior_corrected` undoes
it.

The answers q alone imply shares of what was heard, without a vote (`estimated_prior`, Saerens et al. 2002). That
inverts the confusion that the model itself expects,

    C_ij = sum_u q_ui q_uj / sum_u q_ui        what is answered, on average, where it is i by the model's own answers

whose rows are all alike where a model does not tell labels apart. An error e in the mean answer becomes one of up to
e / s in the shares, s the least singular value of C; so below `LEAST_SINGULAR` there is a reason in place of shares.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...data.scores.class_balance import class_balanced, estimated_prior, expected_shares, prior_corrected
from ...data.scores.intervals import NO_LIMITS, Interval, OfTotals, by_group, by_sums, group_sums, jackknife_of
from ...data.scores.metric import METRICS, Metric, Pairs, Place, limits_of, metric_of, metrics_at
from ...data.scores.metrics import accuracy_rows, ccc_of, ccc_rows, f1_by_class, group_confusion, reference_classes
from ...data.scores.scoring import ScoreRow, columns_of, pairs_at, score_row, score_table, statistic_of
from ..checkpoint import CONSTANT, ModelInfo
from ..network.losses import class_weights
from .held_out import HeldOut

LEVEL = 0.95
CCC = METRICS["ccc"]


@dataclass(frozen=True, slots=True)
class Measure:
    """One score of one system: sums [G, S] over the utterances scored of each speaker, and its value, `of` their totals
    [..., S].

    `there` [G] marks the speakers of whom an utterance was scored.
    """

    name: str
    sums: np.ndarray
    of: OfTotals
    there: np.ndarray
    utterances: int
    skipped: int


def measures(q: np.ndarray, rated: np.ndarray | None, ref: HeldOut) -> list[Measure]:
    """All scores of distributions q [U, K] and, where given, of ratings [U, D]; NaN rows are utterances not heard."""
    pairs, classes = pairs_at(q, ref.counts, ref.m, ref.ids, ref.seed), reference_classes(ref.counts)
    asked = [*metrics_at("scores"), *metrics_at("evaluation")]
    found = [
        _of_columns(name, x, _mean if isinstance(statistic, str) else statistic, ref)
        for name, x, statistic in columns_of(asked, pairs, classes)
    ]
    summed = [_of_sums(metric, pairs, classes, ref) for metric in asked if metric.totals is None and metric.sums]
    return found + summed + _concordances(rated, ref)


def _mean(totals: np.ndarray) -> np.ndarray:
    return totals[..., 0] / totals[..., 1]


def _of_columns(name: str, x: np.ndarray, of: OfTotals, ref: HeldOut) -> Measure:
    """`x` is [U], for a mean, or [U, S]; rows with NaN are skipped."""
    columns = np.column_stack([x, np.ones(len(x))]) if x.ndim == 1 else x
    kept = ~np.isnan(columns.sum(axis=1))
    sums = group_sums(columns[kept], ref.codes[kept], ref.groups)
    return Measure(name, sums, of, *_support(kept, ref))


def _support(kept: np.ndarray, ref: HeldOut) -> tuple[np.ndarray, int, int]:
    there = np.bincount(ref.codes[kept], minlength=ref.groups) > 0
    return there, int(kept.sum()), int((~kept).sum())


def _of_sums(metric: Metric, pairs: Pairs, classes: np.ndarray, ref: HeldOut) -> Measure:
    """A metric that gives its sums by speaker itself, of the utterances that have a plurality on both sides."""
    statistic = statistic_of(metric, classes)
    assert metric.sums is not None
    assert statistic != "mean"
    kept = ~np.isnan(accuracy_rows(pairs.q, pairs.counts))
    sums = metric.sums(pairs.q, pairs.counts, ref.codes, ref.groups)
    return Measure(metric.key(pairs.m), sums, statistic, *_support(kept, ref))


def _concordances(rated: np.ndarray | None, ref: HeldOut) -> list[Measure]:
    """CCC of each dimension that people rated and the system answers."""
    found = []
    for d, dimension in enumerate(ref.dimensions):
        columns = np.full((len(ref.ids), 6), np.nan) if rated is None else ccc_rows(rated[:, d], ref.ratings[:, d])
        if not np.isnan(columns).all():
            found.append(_of_columns(f"{CCC.name}_{dimension}", columns, ccc_of, ref))
    return found


def scored(measure: Measure, ref: HeldOut) -> ScoreRow:
    """A measure's value, with its interval over speakers."""
    found = _interval(measure.name, measure.sums[measure.there], measure.of, measure.there, ref, paired=False)
    return _row(measure, found)


def difference(measure: Measure, other: Measure, ref: HeldOut) -> ScoreRow:
    """`measure` less `other`, paired: both are of the same utterances, so what a speaker adds to both cancels.

    Utterances are those of `measure`; the caller sees to it that `other` has the same.
    """
    width = measure.sums.shape[1]
    sums = np.column_stack([measure.sums, other.sums])

    def gap(totals: np.ndarray) -> np.ndarray:
        return measure.of(totals[..., :width]) - other.of(totals[..., width:])

    there = measure.there | other.there
    return _row(measure, _interval(measure.name, sums[there], gap, there, ref, paired=True))


def _interval(name: str, sums: np.ndarray, of: OfTotals, there: np.ndarray, ref: HeldOut, *, paired: bool) -> Interval:
    # absolute values near 0: resampling only makes them larger
    if not metric_of(name).resampled and len(sums):
        found = jackknife_of(sums, of, LEVEL)[0]
        lowest, highest = limits_of(name)
        # what lies beyond the limits is no value that could be covered
        return found if paired else found._replace(low=max(found.low, lowest), high=min(found.high, highest))
    # names in the order of the codes, so that the resamples are those of `score_table`
    groups = [f"{code:09d}" for code in np.flatnonzero(there)]
    limits = NO_LIMITS if paired else limits_of(name)
    return by_group(sums, groups, statistic=of, level=LEVEL, limits=limits, seed=ref.seed)


def _row(measure: Measure, found: Interval) -> ScoreRow:
    row = score_row(measure.name, found)
    return row._replace(utterances=measure.utterances, skipped=measure.skipped)


def by_name(found: Iterable[Measure], at: Place | None = None) -> dict[str, Measure]:
    """Measures under their names, all or those of the metrics shown at a place."""
    return {x.name: x for x in found if at is None or at in metric_of(x.name).at}


# --------------------
# Class by class: support, recall, precision and F1 of each label, a label that is never answered shown as the zero
# that it is.


def by_class(q: np.ndarray, ref: HeldOut) -> dict[str, Any]:
    """A row per label: how many utterances' plurality it is (a tie shares), how many were answered with it, recall,
    precision and F1 with its interval over speakers; and the summed confusion, human label first.

    F1 = 2 hit / (support + answered), 0 where never hit. Recall is undefined (NaN) without support, precision without
    answers. A label of no support is in no mean (`uar`, `macro_f1`), but takes part here.
    """
    size = len(ref.labels)
    sums = group_confusion(q, ref.counts, ref.codes, ref.groups)
    total = sums.sum(axis=0).reshape(size, size)
    rows = [
        {
            "label": label,
            "support": float(total[c].sum()),
            "answered": float(total[:, c].sum()),
            "recall": _share(total[c, c], total[c].sum()),
            "precision": _share(total[c, c], total[:, c].sum()),
            "f1": _f1_interval(sums, c, size, ref)._asdict(),
        }
        for c, label in enumerate(ref.labels)
    ]
    return {"labels": rows, "confusion": total.tolist()}


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else float("nan")


def _f1_interval(sums: np.ndarray, c: int, size: int, ref: HeldOut) -> Interval:
    def f1(totals: np.ndarray) -> np.ndarray:
        return f1_by_class(totals.reshape(*totals.shape[:-1], size, size))[..., c]

    found = by_sums(sums, f1, seed=ref.seed)
    if found.value == 0:
        # no resample of speakers who are never hit is: the interval would be a point
        return found._replace(low=np.nan, high=np.nan, method="none: never hit")
    return found._replace(low=max(found.low, 0.0), high=min(found.high, 1.0))


# --------------------
# The gap between female and male voices, with an interval over speakers.

GENDERS = ("female", "male")


def gender_gap(found: Sequence[Measure], q: np.ndarray, ref: HeldOut) -> dict[str, Any]:
    """Each score of female voices, of male ones, and the first less the second.

    The gap's interval is a jackknife over speakers with Satterthwaite's degrees of freedom over the two (of 30 women
    and 3 men the 3 decide). UAR and macro-F1 are over the classes that both have: a class that one lacks would count as
    0 there. Speakers whose utterances name both genders, or neither, are left out and counted. `reason` says why there
    is no gap.
    """
    gender = genders_of_speakers(ref)
    sizes = {name: int((gender == name).sum()) for name in GENDERS}
    left_out = {"speakers": sizes, "left_out": int(ref.groups - sum(sizes.values()))}
    missing = [name for name, size in sizes.items() if size < 2]
    if missing:
        why = f"fewer than two {' and '.join(missing)} speakers (column 'gender' of the utterances: female, male)"
        return {**left_out, "reason": why, "classes": [], "gaps": []}
    both = np.isin(gender, GENDERS)
    strata = (gender[both] == GENDERS[1]).astype(int)
    shared, of_classes = _shared_classes(q, ref, gender)
    gaps = []
    for measure in by_name(found, "parts").values():
        of = of_classes.get(measure.name, measure.of) if shared else measure.of
        gaps.append({"metric": measure.name, **_gap(measure, of, both, strata, ref)})
    names = [label for c, label in enumerate(ref.labels) if c in shared]
    return {**left_out, "reason": None, "classes": names, "gaps": gaps}


def genders_of_speakers(ref: HeldOut) -> np.ndarray:
    """What the utterances of each of the G speakers say, [G]; None where they say nothing or several things."""
    found: list[set[str]] = [set() for _ in range(ref.groups)]
    for code, speaker, gender in zip(ref.codes, ref.speakers, ref.genders, strict=True):
        if gender is not None and speaker is not None:
            found[code].add(str(gender).strip().casefold())
    return np.array([next(iter(said)) if len(said) == 1 else None for said in found], dtype=object)


def _shared_classes(q: np.ndarray, ref: HeldOut, gender: np.ndarray) -> tuple[list[int], dict[str, Any]]:
    """The labels with support among both, and the functions of totals of the metrics of labels over them."""
    size = len(ref.labels)
    sums = group_confusion(q, ref.counts, ref.codes, ref.groups)
    support = [sums[gender == name].sum(axis=0).reshape(size, size).sum(axis=1) > 0 for name in GENDERS]
    shared = support[0] & support[1]
    of = {metric.name: statistic_of(metric, shared) for metric in metrics_at("parts") if metric.of == "label"}
    return np.flatnonzero(shared).tolist(), {name: value for name, value in of.items() if value != "mean"}


def _gap(measure: Measure, of: Any, both: np.ndarray, strata: np.ndarray, ref: HeldOut) -> dict[str, Any]:
    sums = measure.sums[both]
    sides = []
    for side, name in enumerate(GENDERS):
        part = sums[strata == side]
        interval = by_sums(part, of, limits=limits_of(measure.name), seed=ref.seed)
        sides.append((name, interval._asdict()))
    width = sums.shape[1]
    apart = np.column_stack([np.where(strata[:, None] == side, sums, 0.0) for side in (0, 1)])
    gap, p = jackknife_of(apart, lambda totals: of(totals[..., :width]) - of(totals[..., width:]), LEVEL, strata=strata)
    return {**dict(sides), "gap": gap._asdict(), "p": p}


# --------------------
# The prior.

EQUAL, SEEN, NONE = "to equal shares", "to the seen votes' shares", "none"
# One point too many in the mean answer moves the implied shares by ten points or more.
LEAST_SINGULAR = 0.1


def taught_prior(info: ModelInfo) -> np.ndarray | None:
    """Label shares [K] that a model's answers carry; None of a model that does not tell what it was trained on."""
    if info.fused.shares is None:
        return None
    shares, examples = np.array(info.fused.shares), info.fused.examples or info.fused.utterances.get("train", 0)
    weighed = shares * class_weights(info.options.loss, shares * examples)
    return weighed / weighed.sum()


def balanced_scores(systems: dict[str, np.ndarray], info: ModelInfo, ref: HeldOut) -> dict[str, Any]:
    """Class-balanced scores of each system's distributions [U, K] as they are, and of the model's corrected from the
    label shares it was taught to equal ones (where it knows them; a constant so corrected is uniform).

    `prior` holds the shares taught, those of the test votes, and those that the model's answers alone imply;
    `implied_undetermined` says why the last are not there.
    """
    labels, taught = info.label_set, taught_prior(info)
    scored = {(name, NONE): q for name, q in systems.items()}
    if taught is not None:
        level = np.full(len(labels), 1 / len(labels))
        scored[info.name, EQUAL] = prior_corrected(systems[info.name], taught, level)
        scored[CONSTANT, EQUAL] = np.where(np.isnan(systems[CONSTANT]), np.nan, level)
    priors = {"taught": taught, "test": expected_shares(ref.counts)}
    undetermined = None
    if taught is not None:
        undetermined = why_undetermined(systems[info.name])
        priors["implied"] = estimated_prior(systems[info.name], taught) if undetermined is None else None
    return {
        "implied_undetermined": undetermined,
        "prior": {
            name: dict(zip(labels, shares.tolist(), strict=True))
            for name, shares in priors.items()
            if shares is not None
        },
        "scores": [
            {"system": system, "correction": correction, **row._asdict()}
            for (system, correction), q in scored.items()
            for row in class_balanced(q, ref.counts, groups=ref.speakers, seed=ref.seed)
        ],
    }


def own_confusion(q: np.ndarray) -> np.ndarray:
    """C [K', K'] of answers [U, K], over the K' labels that some answer has any mass on; NaN rows are left out."""
    q = q[~np.isnan(q).any(axis=1)]
    q = q[:, q.sum(axis=0) > 0]
    return q.T @ q / q.sum(axis=0)[:, None]


def why_undetermined(q: np.ndarray) -> str | None:
    """Why the answers [U, K] do not tell the label shares behind them, in words; None where they do."""
    least = float(np.linalg.svd(own_confusion(q), compute_uv=False).min(initial=1.0))
    if least >= LEAST_SINGULAR:
        return None
    times = f"about {1 / least:,.0f} times" if least > 1e-6 else "without bound"
    return (
        "the answers tell the labels apart too little: an error in the mean answer "
        f"would be magnified {times} (the least singular value of the answers' own confusion is {least:.2g}; "
        f"{LEAST_SINGULAR:g} or more is needed)"
    )


def corrected_scores(q: np.ndarray, info: ModelInfo, ref: HeldOut) -> list[dict[str, Any]]:
    """The score table of the model's distributions q [U, K] moved from the prior that it was taught to that of the seen
    votes (`marginal`), which needs no vote that is scored; empty where the former is unknown.
    """
    taught = taught_prior(info)
    if taught is None:
        return []
    moved = prior_corrected(q, taught, np.array(info.marginal))
    table = score_table(moved, ref.counts, labels=ref.labels, ids=ref.ids, groups=ref.speakers, m=ref.m, seed=ref.seed)
    return [{"system": info.name, "correction": SEEN, **row._asdict()} for row in table]
