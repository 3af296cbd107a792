"""The further variants of scores that papers use, each under its own name, for any system of an audit.

None is a headline. Those that carry @m are taken to the shares of m votes: they move with m, and their best value is
not that of the true distribution. What each is, its record says (`data/scores/metric.py`). Intervals of the calibration
errors are jackknife-t at any number of speakers: a resample adds noise to absolute values, so that a bootstrap of a
small error lies above it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...data.scores.intervals import NO_LIMITS, Interval, jackknife_of
from ...data.scores.metric import AUDIT_BINS, Metric, Pairs, metrics_at
from ...data.scores.metrics import reference_classes
from ...data.scores.proper_scores import squared_agreement, unbiased_ambiguity
from ...data.scores.scoring import ScoreRow, rows_of, score_row, statistic_of
from ...data.seeds import rng_from
from ..proxies import Panel, panel_ambiguity
from .baselines import People, fitted_part, shuffled
from .scorer import GroupedSums, Scorer
from .section import Section


@dataclass(frozen=True, slots=True)
class VariantTable:
    """The variants of one system, one row a variant."""

    name: str
    scores: list[ScoreRow]


@dataclass(frozen=True, slots=True)
class Variants:
    """All systems' variants against the same m votes; `bins` are those of the calibration errors."""

    votes_scored: int
    bins: list[int]
    systems: list[VariantTable]


def of_panels(
    scorer: Scorer,
    panels: Sequence[Panel],
    *,
    constant: np.ndarray,
    people: People,
    points: Sequence[tuple[str, int, np.ndarray]],
) -> Variants:
    """The variants of panels, and of what they stand between: constant, shuffles, the human curve's end, the floor.

    `constant` is [R * U, K], `points` are the curve's (kind, n, predictions [R * U, K]).
    """
    systems = {panel.name: scorer.repeat(panel.q) for panel in panels} | {"constant": constant}
    votes = {panel.name: panel.votes for panel in panels if panel.votes is not None}
    between: dict[str, np.ndarray] = {}
    for panel in panels:
        name = f"{panel.name}, shuffled"
        between[name] = scorer.each(lambda draw, q=panel.q: shuffled(q, draw))
        if panel.votes is not None:
            votes[name] = scorer.each(lambda draw, cast=panel.votes: shuffled(cast, draw))
    most = max(n for _, n, _ in points)
    for kind, n, q in points:
        if n == most > 0:
            name = f"{n} human vote{'' if n == 1 else 's'}, {kind}"
            between[name] = q
            if kind == "raw":
                votes[name] = np.rint(n * q)
    return section(scorer, systems, between=between, votes=votes, people=people)


def section(
    scorer: Scorer,
    systems: Mapping[str, np.ndarray],
    *,
    between: Mapping[str, np.ndarray] | None = None,
    votes: Mapping[str, np.ndarray] | None = None,
    people: People | None = None,
) -> Variants:
    """The variants of every system, a distribution [R * U, K] by name, and of those `between` which they stand.

    `votes` holds the votes, [U, K] or [R * U, K], of systems that are frequencies of few votes: their ambiguity is
    then counted in pairs of votes. With `people` the sampling-noise floor is added. Of more than 100,000 utterances, a
    seeded part (`baselines.fitted_part`) serves for those between.
    """
    own = votes or {}
    tables = [VariantTable(name, variants(scorer, q, own=own.get(name))) for name, q in systems.items()]
    if between:
        part = fitted_part(scorer.reference)
        some = scorer if part.all() else Scorer([draw.part(part) for draw in scorer.draws], level=scorer.level)
        rows = scorer.repeat(part)
        for name, q in between.items():
            cast = own[name][rows] if name in own else None
            tables.append(VariantTable(name, variants(some, q[rows], own=cast)))
    if people is not None:
        tables.append(VariantTable("perfect prediction", variants(scorer, *posterior_draw(scorer, people))))
    return Variants(scorer.reference.m, list(AUDIT_BINS), tables)


def variants(
    scorer: Scorer, q: np.ndarray, scored: np.ndarray | None = None, *, own: np.ndarray | None = None
) -> list[ScoreRow]:
    """Every variant of q [R * U, K] against the scored votes (or `scored` [R * U, K]), with intervals by speaker.

    Each is a function of the draws' rows together (R² takes its label means over them). A row that a variant leaves
    undefined (a uniform q has no correlation across labels) is skipped and counted there.
    """
    votes = scorer.scored if scored is None else scored
    own = own if own is None or len(own) == len(q) else scorer.repeat(own)
    found = _ambiguity(scorer, q, votes, own)
    pairs = Pairs(q, votes, votes, scorer.reference.m)
    classes = reference_classes(votes)
    shown = metrics_at("variants")
    for metric in shown:
        key = metric.key(pairs.m)
        if not metric.resampled:
            found[key] = _by_jackknife(scorer, metric, pairs, classes)
        elif metric.totals is not None:
            # the squared error over votes is far from both its ends: its interval is the plain one
            limits = NO_LIMITS if metric.name == "brier" else metric.limits
            found[key] = _interval(scorer, metric, pairs, classes, limits)
    keys = [metric.key(pairs.m) for metric in shown]
    return [score_row(key, found[key]) for key in keys if key in found]


def _interval(
    scorer: Scorer, metric: Metric, pairs: Pairs, classes: np.ndarray, limits: tuple[float, float]
) -> Interval:
    rows, statistic = rows_of(metric, pairs), statistic_of(metric, classes)
    if statistic == "mean":
        return scorer.mean(rows, limits=limits)
    return scorer.columns(rows, statistic, limits=limits)


def _by_jackknife(scorer: Scorer, metric: Metric, pairs: Pairs, classes: np.ndarray) -> Interval:
    """A metric's sums by speaker, whose first is the number of rows, at any number of speakers."""
    statistic = statistic_of(metric, classes)
    assert metric.sums is not None
    assert statistic != "mean"
    totals, each = metric.sums(pairs.q, pairs.counts, scorer.codes, scorer.groups), len(scorer.draws)
    found, _ = jackknife_of(totals, statistic, scorer.level)
    rows = totals[:, 0].sum()
    return found._replace(rows=round(rows / each), skipped=round((len(pairs.q) - rows) / each))


def posterior_draw(scorer: Scorer, people: People) -> tuple[np.ndarray, np.ndarray]:
    """A true distribution of each row and m votes drawn from it, [R * U, K] each: the floor that sampling noise sets.

    Drawn from the human mixture's posterior given the votes that are not scored, the draws one after another.
    """
    rng = rng_from("variants' floor", scorer.reference.seed)
    by_id = np.argsort(np.asarray(scorer.reference.ids, dtype=str), kind="stable")
    p, votes = [], []
    for draw in scorer.draws:
        drawn = people.posterior(draw.other).take(by_id).draw(rng)
        p.append(np.empty_like(drawn))
        votes.append(np.empty_like(drawn))
        p[-1][by_id], votes[-1][by_id] = drawn, rng.multinomial(scorer.reference.m, drawn)
    return np.concatenate(p), np.concatenate(votes)


def pluralities(scorer: Scorer, q: np.ndarray, votes: np.ndarray) -> list[ScoreRow]:
    """The scores of the plurality label of q against `votes`, [R * U, K] each, over the class set of the scored
    votes."""
    pairs = Pairs(q, votes, votes, scorer.reference.m)
    sums = GroupedSums(pairs, scorer.codes, scorer.groups)
    asked = [metric for metric in metrics_at("scores") if metric.of == "label"]
    return [score_row(metric.key(pairs.m), scorer.of(metric, sums)) for metric in asked]


def _ambiguity(scorer: Scorer, q: np.ndarray, votes: np.ndarray, own: np.ndarray | None) -> dict[str, Interval]:
    """Bias and correlations of the chance that two disagree; `own` [R * U, K]: the votes of a panel made of votes."""
    human = unbiased_ambiguity(votes)
    panel = panel_ambiguity(q) if own is None else unbiased_ambiguity(own)
    # the spread of the panel's ambiguity, without its own votes' noise where it is made of votes
    square = (1 - panel) ** 2 if own is None else squared_agreement(own)
    found = {"ambiguity_bias": scorer.mean(panel - human)}
    moments = [np.ones(len(human)), 1 - human, 1 - panel, (1 - human) * (1 - panel)]
    seen = [*moments, (1 - human) ** 2, (1 - panel) ** 2]
    true = [*moments, squared_agreement(votes), square]
    for name, columns in ((f"ambiguity_correlation@{scorer.reference.m}", seen), ("ambiguity_correlation_true", true)):
        found[name] = scorer.columns(np.column_stack(columns), correlation_of)
    return found


def correlation_of(totals: np.ndarray) -> np.ndarray:
    """Correlation from sums [..., 6] of (1, x, y, xy, x², y²); NaN where either spread is 0 or (estimated) below it.

    With unbiased estimates in the place of x² and y² it is the correlation without sampling noise.
    """
    n, x, y, xy, xx, yy = np.moveaxis(np.asarray(totals, dtype=np.float64), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mx, my = x / n, y / n
        vx, vy = xx / n - mx**2, yy / n - my**2
        varied = (vx > 1e-12) & (vy > 1e-12)
        return np.where(varied, (xy / n - mx * my) / np.sqrt(np.where(varied, vx * vy, 1.0)), np.nan)


SECTION = Section(
    name="variants",
    title="Other variants",
    about="The variants of scores that papers use, of every system, against the same votes.",
    of="audit",
    measure=lambda subject: of_panels(
        subject.ground.scorer,
        subject.panels,
        constant=subject.ground.fit.constant,
        people=subject.ground.fit.people,
        points=subject.ground.points,
    ),
)
