"""Is it listening? What a run is worth in human votes when the voice, or all of the utterance, is taken from it.

`serann annotate --control` makes runs over the same utterances that heard silence, noise, the transcript alone or the
same words in another's voice. Each is worth some human votes, as the run itself is (`effective_votes`: calibrated, log
score), on the same utterances; the part of the run's worth that survives is

    share(control) = votes(control) / votes(run)

and the lexical share is that of the transcript alone. Silence keeps the duration, and noise the loudness as well: what
they are worth is told by these. The transcript alone is read over silence as long, so that its share holds what the
duration tells; beyond silence's it is the words'. What survives in another's voice was never in this voice, though the
other voice may have said it likewise.

The interval of a share is over speakers, from the replicates of run, control and curve together, each with its own fits
(`calibration.Refits`). It is undefined where the run itself is not told from worth nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...data.corpus import Corpus
from ...data.errors import OptionError, RunError
from ...data.scores.intervals import Interval
from ...data.scores.proper_scores import sq_unbiased
from ..proxies import Panel, line_up
from ..run.run import Run
from . import baselines
from .calibration import calibrations
from .effective_votes import HumanCurve, Placed, Worth, effective_votes, falling, meets
from .scorer import Scorer, build_reference

SCORE = "log_score"
# What may differ between a run and its control: what is answered does not depend on the seed, and the transcript alone
# is asked of those listeners that read it.
MAY_DIFFER = {"control", "seed", "panel_fingerprint", "attributes", "scale", "attribute_questions"}


@dataclass(frozen=True, slots=True)
class ControlRow:
    """One control: its worth, the gap it closes, and the share of the run's worth that survives.

    `at_most`: the run is worth more than the human curve tells, so that the share is less. NaN for the `reason`.
    """

    name: str
    control: str
    worth: Worth
    gap: Interval
    share: Interval
    at_most: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class Controls:
    """A run beside its controls, all on the same `utterances`."""

    run: str
    utterances: int
    worth: Worth
    gap: Interval
    rows: list[ControlRow]


def control_of(run: Run) -> str | None:
    """The control that a run was made under; None for a run that heard the utterances."""
    return run.info["identity"].get("control")


def check_controls(main: Run, controls: Sequence[Run]) -> None:
    """Refuse with OptionError what is no control of the run: all else but the control has to be the same."""
    if control_of(main) is not None:
        raise OptionError(f"{main.path} is a control itself ({control_of(main)}); give the run it belongs to first")
    ours = main.info["identity"]
    problems = []
    for run in controls:
        theirs = run.info["identity"]
        if control_of(run) is None:
            problems.append(f"{run.path} was made without --control")
            continue
        keys = [key for key in {**ours, **theirs} if key not in MAY_DIFFER and ours.get(key) != theirs.get(key)]
        problems += [f"{run.path} has {key} {theirs.get(key)!r}, the run {ours.get(key)!r}" for key in keys]
    if problems:
        raise OptionError(f"no controls of {main.path}: {'; '.join(problems)}; make them with the run's own options")


def audit_controls(
    corpus: Corpus,
    main: Run,
    controls: Sequence[Run],
    *,
    m: int | None = None,
    draws: int = 20,
    seed: int = 0,
    level: float = 0.95,
) -> Controls:
    """`section` of runs, on the utterances that all of them answered and that have m held-out human votes.

    Raises OptionError for a run that is no control of the first, and what `reference` and `panels` raise.
    """
    check_controls(main, controls)
    whole = build_reference(corpus, m=m, seed=seed)
    panels = line_up([main, *controls], corpus, "audit", ids=whole.ids, m=whole.m)
    common = np.all([panel.covers for panel in panels], axis=0)
    if not common.any():
        raise RunError("no utterance has an answer in the run and all its controls")
    reference = whole.part(common)
    parts = [panel.part(common, reference.folds) for panel in panels]
    scorer = Scorer([reference.redrawn(draw) for draw in range(draws)], level=level)
    people = baselines.fit_people(reference)
    drawn = [baselines.curve_predictions(draw, people) for draw in scorer.draws]
    points = [(same[0][0], same[0][1], np.concatenate([q for *_, q in same])) for same in zip(*drawn, strict=True)]
    curve = HumanCurve(scorer, people, points, corpus)
    return section(curve, parts[0], parts[1:], constant=scorer.each(baselines.constant))


def section(curve: HumanCurve, main: Panel, controls: Sequence[Panel], *, constant: np.ndarray) -> Controls:
    """What survives of the run under each control; panels on the curve's utterances, `constant` [R * U, K]."""
    scorer = curve.scorer
    sq_constant = sq_unbiased(constant, scorer.scored)

    def gap(panel: Panel) -> Interval:
        return scorer.gap(sq_unbiased(scorer.repeat(panel.q), scorer.scored), sq_constant)

    whole = curve.place(calibrations(main, scorer.reference))
    worth = effective_votes(curve, whole).overall(SCORE)
    rows = []
    for panel in controls:
        placed = curve.place(calibrations(panel, scorer.reference))
        own = effective_votes(curve, placed).overall(SCORE)
        share, reason = _share(curve, worth, own, whole, placed)
        rows.append(ControlRow(panel.name, panel.about["control"], own, gap(panel), share, worth.at_least, reason))
    return Controls(main.name, len(scorer.reference.ids), worth, gap(main), rows)


def _share(curve: HumanCurve, main: Worth, own: Worth, whole: Placed, placed: Placed) -> tuple[Interval, str | None]:
    """The control's worth over the run's; the interval's replicates are those of both, with the curve's."""
    reason = main.reason or own.reason
    if reason is None and not main.low > 0:
        reason = "the run itself is not told from worth nothing"
    if reason is None and own.at_least:
        reason = "the control is worth more than the human curve tells"
    if reason is not None:
        return Interval(np.nan, np.nan, np.nan, "none: undefined", main.groups), reason
    sums, rows, again = curve.overall(SCORE, placed, whole)
    means = sums.sum(axis=0) / rows.sum()
    pooled = falling(means[2:])

    def ratio(means: np.ndarray) -> np.ndarray:
        votes, of = (meets(means[:, i], means[:, 2:] @ pooled.T)[0] for i in (0, 1))
        return votes / np.where(of > 0, of, np.nan)

    value = ratio(means[None])
    assert again is not None  # the run is told from worth nothing, so it has an interval
    low, high = again.band(ratio(again.means)[:, None], value, curve.scorer.level)
    return Interval(float(value[0]), float(low[0]), float(high[0]), again.method, main.groups, own.utterances), None
