"""The gap between female and male voices, with an interval over speakers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.scores.intervals import by_group, jackknife_of
from ..data.scores.metrics import group_confusion
from ..data.scores.scoring import confusion_statistics, limits_of
from .scoring.held_out import HeldOut
from .scoring.measures import LEVEL, Measure, by_name

GENDERS = ("female", "male")
COMPARED = ("sq_unbiased", "log_score", "accuracy", "uar", "macro_f1", "ccc_valence", "ccc_arousal", "ccc_dominance")


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
    for measure in by_name(found, COMPARED).values():
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
    """The labels with support among both, and UAR and macro-F1 over them."""
    size = len(ref.labels)
    sums = group_confusion(q, ref.counts, ref.codes, ref.groups)
    support = [sums[gender == name].sum(axis=0).reshape(size, size).sum(axis=1) > 0 for name in GENDERS]
    shared = support[0] & support[1]
    return np.flatnonzero(shared).tolist(), dict(confusion_statistics(shared))


def _gap(measure: Measure, of: Any, both: np.ndarray, strata: np.ndarray, ref: HeldOut) -> dict[str, Any]:
    sums = measure.sums[both]
    sides = []
    for side, name in enumerate(GENDERS):
        part = sums[strata == side]
        there = part.any(axis=1)
        interval = by_group(
            part[there], np.arange(int(there.sum())), statistic=of, limits=limits_of(measure.name), seed=ref.seed
        )
        sides.append((name, interval._asdict()))
    width = sums.shape[1]
    apart = np.column_stack([np.where(strata[:, None] == side, sums, 0.0) for side in (0, 1)])
    gap, p = jackknife_of(apart, lambda totals: of(totals[..., :width]) - of(totals[..., width:]), LEVEL, strata=strata)
    return {**dict(sides), "gap": gap._asdict(), "p": p}
