"""The further variants of scores that papers use, each under its own name, for any system of an audit.

None is a headline. Those that carry @m are taken to the shares of m votes: they move with m, and their best value is
not that of the true distribution. What each is, `ABOUT` says. Intervals of the calibration errors are jackknife-t at
any number of speakers: a resample adds noise to absolute values, so that a bootstrap of a small error lies above it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ...data.scores.calibration import distribution_ece_of, distribution_ece_totals, ece_of, ece_totals
from ...data.scores.divergences import bhattacharyya, hellinger, jsd_nats, total_variation
from ...data.scores.intervals import Interval, jackknife_of
from ...data.scores.metrics import group_confusion, item_r2_rows, r2_of, r2_rows, reference_classes
from ...data.scores.proper_scores import brier, squared_agreement, unbiased_ambiguity
from ...data.scores.scoring import ScoreRow, confusion_statistics, limits_of, score_row
from ...data.seeds import rng_from
from ..proxies import Panel, panel_ambiguity
from .baselines import People, fitted_part, shuffled
from .scorer import Scorer

BINS = (10, 5)

# name of a figure without its @m: how it is called, which way is better, what it is
ABOUT = {
    "jsd_bits": ("JSD, bits", "↓", "Jensen-Shannon divergence, base 2, no root, no smoothing"),
    "jsd_nats": ("JSD, nats", "↓", "the same, base e: at most .693"),
    "jsd_root": ("JSD, root of nats", "↓", "the Jensen-Shannon distance, what scipy's jensenshannon gives"),
    "bhattacharyya": ("Bhattacharyya", "↑", "Σ√(q y)"),
    "total_variation": ("total variation", "↓", "½ Σ|q − y|"),
    "hellinger": ("Hellinger", "↓", "√(½ Σ(√q − √y)²)"),
    "manhattan": ("Manhattan", "↓", "Σ|q − y|"),
    "r2_by_class": ("R² by label", "↑", "1 − Σ(y − q)²/Σ(y − ȳ)² over utterances, mean over labels; may be below 0"),
    "item_r2": ("R² across labels", "↑", "squared Pearson correlation within an utterance; blind to scale and sign"),
    "brier": ("Brier", "↓", "mean over votes of Σ(q − vote)², from 0 to 2; proper, but not 0 for the truth"),
    "ece_10": ("ECE, 10 bins", "↓", "top label's probability against agreement of the most-voted labels"),
    "ece_5": ("ECE, 5 bins", "↓", "the same with 5 bins"),
    "distribution_ece_10": (
        "distributional calibration error, 10 bins",
        "↓",
        "serann's own: ½ Σ over labels and bins of share of utterances × |mean probability − mean share of votes|",
    ),
    "ambiguity_correlation": ("ambiguity, correlation", "↑", "Pearson, to the chance that two of m votes disagree"),
    "ambiguity_correlation_true": (
        "ambiguity, correlation without the votes' noise",
        "↑",
        "the same to the ambiguity behind the votes; comparable between numbers of votes, and may exceed 1",
    ),
    "ambiguity_bias": ("ambiguity, bias", "", "panel less people, in chance that two disagree; unbiased at any m"),
}


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
    return Variants(scorer.reference.m, list(BINS), tables)


def variants(
    scorer: Scorer, q: np.ndarray, scored: np.ndarray | None = None, *, own: np.ndarray | None = None
) -> list[ScoreRow]:
    """Every variant of q [R * U, K] against the scored votes (or `scored` [R * U, K]), with intervals by speaker.

    Each is a function of the draws' rows together (R² takes its label means over them). A row that a variant leaves
    undefined (a uniform q has no correlation across labels) is skipped and counted there.
    """
    votes, m = scorer.scored if scored is None else scored, scorer.reference.m
    found = {f"{name}@{m}": scorer.mean(rows, limits=limits_of(name)) for name, rows in _divergences(q, votes)}
    found[f"item_r2@{m}"] = scorer.mean(item_r2_rows(q, votes), limits=limits_of("item_r2"))
    found["brier"] = scorer.mean(brier(q, votes))
    found[f"r2_by_class@{m}"] = scorer.columns(r2_rows(q, votes), r2_of, limits=limits_of("r2_by_class"))
    for name, interval in _calibration(scorer, q, votes):
        found[name] = interval
    own = own if own is None or len(own) == len(q) else scorer.repeat(own)
    found |= _ambiguity(scorer, q, votes, own)
    order = list(ABOUT)
    return [score_row(name, found[name]) for name in sorted(found, key=lambda name: order.index(name.split("@")[0]))]


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
    """Accuracy, UAR and macro-F1 of q against `votes`, [R * U, K] each, over the class set of the scored votes."""
    totals = group_confusion(q, votes, scorer.codes, scorer.groups)
    labels = q.shape[1]

    def accuracy(t: np.ndarray) -> np.ndarray:
        return t[..., :: labels + 1].sum(axis=-1) / t.sum(axis=-1)

    statistics = [("accuracy", accuracy), *confusion_statistics(reference_classes(scorer.scored))]
    return [score_row(name, scorer.of_sums(totals, of, rows=len(q), limits=limits_of(name))) for name, of in statistics]


def _divergences(q: np.ndarray, votes: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Each divergence by name, one at a time; those that are one another in other units are computed once."""
    nats = jsd_nats(q, votes)
    yield from (("jsd_bits", nats / np.log(2.0)), ("jsd_nats", nats), ("jsd_root", np.sqrt(nats)))
    yield "bhattacharyya", bhattacharyya(q, votes)
    half = total_variation(q, votes)
    yield from (("total_variation", half), ("manhattan", 2 * half))
    yield "hellinger", hellinger(q, votes)


def _calibration(scorer: Scorer, q: np.ndarray, votes: np.ndarray) -> Iterator[tuple[str, Interval]]:
    groups = {"groups": scorer.codes, "size": scorer.groups}
    made = [(f"ece_{bins}", partial(ece_totals, bins=bins), ece_of) for bins in BINS]
    made.append((f"distribution_ece_{BINS[0]}", partial(distribution_ece_totals, bins=BINS[0]), distribution_ece_of))
    for name, totals_of, statistic in made:
        totals, each = totals_of(q, votes, **groups), len(scorer.draws)
        found, _ = jackknife_of(totals, statistic, scorer.level)
        rows = totals[:, 0].sum()
        yield name, found._replace(rows=round(rows / each), skipped=round((len(q) - rows) / each))


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
