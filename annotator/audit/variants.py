"""The further variants of scores that papers use, each under its own name, for any system of an audit.

None is a headline. Those that carry @m are taken to the shares of m votes: they move with m, and their best value is
not that of the true distribution. What each is, `ABOUT` says. Intervals of the calibration errors are jackknife-t at
any number of speakers: a resample adds noise to absolute values, so that a bootstrap of a small error lies above it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from html import escape

import numpy as np

from ...data.bootstrap import Interval
from ...data.calibration_errors import distribution_ece_of, distribution_ece_totals, ece_of, ece_totals
from ...data.divergences import bhattacharyya, hellinger, jsd_nats, total_variation
from ...data.metrics import item_r2_rows, r2_of, r2_rows
from ...data.proper_scores import brier, squared_agreement, unbiased_ambiguity
from ...data.scoring import ScoreRow, score_row
from ...data.seeds import rng_from
from .by_speaker import Speakers, interval_of, jackknife_of, speakers_of
from .html_table import cell, table
from .scorer import Scorer, panel_ambiguity

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


def section(
    scorer: Scorer,
    systems: Mapping[str, np.ndarray],
    *,
    people: Mapping[str, np.ndarray] | None = None,
    alpha: np.ndarray | None = None,
) -> Variants:
    """The variants of every system, a distribution [R * U, K] by name.

    `people` holds the votes [U, K] of systems that are frequencies of few votes: their ambiguity is then counted in
    pairs of votes. With `alpha` [R * U, K] (`baselines.prior` of the draws) the sampling-noise floor is added.
    """
    tables = [VariantTable(name, variants(scorer, q, people=(people or {}).get(name))) for name, q in systems.items()]
    if alpha is not None:
        tables.append(VariantTable("perfect prediction", floor(scorer, alpha)))
    return Variants(scorer.reference.m, list(BINS), tables)


def variants(
    scorer: Scorer, q: np.ndarray, *, people: np.ndarray | None = None, scored: np.ndarray | None = None
) -> list[ScoreRow]:
    """Every variant of q [R * U, K] against the scored votes (or `scored` [R * U, K]), with intervals by speaker.

    Each is a function of the draws' rows together (R² takes its label means over them). A row that a variant leaves
    undefined (a uniform q has no correlation across labels) is skipped and counted there.
    """
    votes, m, speakers = scorer.scored if scored is None else scored, scorer.reference.m, speakers_of(scorer)
    found = {f"{name}@{m}": scorer.mean(rows) for name, rows in _divergences(q, votes)}
    found |= {f"item_r2@{m}": scorer.mean(item_r2_rows(q, votes)), "brier": scorer.mean(brier(q, votes))}
    found[f"r2_by_class@{m}"] = _of_rows(scorer, speakers, r2_rows(q, votes), r2_of)
    for name, interval in _calibration(scorer, speakers, q, votes):
        found[name] = interval
    own = None if people is None else scorer.repeat(people)
    found |= _ambiguity(scorer, speakers, q, votes, own)
    order = list(ABOUT)
    return [score_row(name, found[name]) for name in sorted(found, key=lambda name: order.index(name.split("@")[0]))]


def floor(scorer: Scorer, alpha: np.ndarray) -> list[ScoreRow]:
    """The variants of the true distribution itself: the floor (or ceiling) that m votes set.

    In each draw, p of an utterance is drawn from the posterior Dirichlet(alpha + votes that are not scored) and m
    votes from p.
    """
    other = scorer.each(lambda draw: draw.other)
    rng = rng_from("variants' floor", scorer.reference.seed)
    by_id = np.argsort(np.asarray(scorer.ids, dtype=str), kind="stable")
    # gamma draws with tiny shapes underflow to 0, all of a row at once in the worst case
    drawn = np.maximum(rng.standard_gamma((alpha + other)[by_id]), 1e-300)
    drawn /= drawn.sum(axis=1, keepdims=True)
    p, votes = np.empty_like(drawn), np.empty_like(drawn)
    p[by_id], votes[by_id] = drawn, rng.multinomial(scorer.reference.m, drawn)
    return variants(scorer, p, scored=votes)


def _divergences(q: np.ndarray, votes: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Each divergence by name, one at a time; those that are one another in other units are computed once."""
    nats = jsd_nats(q, votes)
    yield from (("jsd_bits", nats / np.log(2.0)), ("jsd_nats", nats), ("jsd_root", np.sqrt(nats)))
    yield "bhattacharyya", bhattacharyya(q, votes)
    half = total_variation(q, votes)
    yield from (("total_variation", half), ("manhattan", 2 * half))
    yield "hellinger", hellinger(q, votes)


def _of_rows(scorer: Scorer, speakers: Speakers, columns: np.ndarray, statistic) -> Interval:
    kept = np.asarray(~np.isnan(columns).any(axis=1))
    totals = speakers.sums(columns, kept)
    return interval_of(totals, statistic, scorer, rows=int(kept.sum()), skipped=int((~kept).sum()))


def _calibration(
    scorer: Scorer, speakers: Speakers, q: np.ndarray, votes: np.ndarray
) -> Iterator[tuple[str, Interval]]:
    groups = {"groups": speakers.codes, "size": speakers.size}
    made = [(f"ece_{bins}", partial(ece_totals, bins=bins), ece_of) for bins in BINS]
    made.append((f"distribution_ece_{BINS[0]}", partial(distribution_ece_totals, bins=BINS[0]), distribution_ece_of))
    for name, totals_of, statistic in made:
        totals, each = totals_of(q, votes, **groups), len(scorer.draws)
        found, _ = jackknife_of(totals, statistic, scorer.level)
        rows = totals[:, 0].sum()
        yield name, found._replace(rows=round(rows / each), skipped=round((len(q) - rows) / each))


def _ambiguity(
    scorer: Scorer, speakers: Speakers, q: np.ndarray, votes: np.ndarray, own: np.ndarray | None
) -> dict[str, Interval]:
    """Bias and correlations of the chance that two disagree; `own` [R * U, K] are a human panel's votes."""
    human = unbiased_ambiguity(votes)
    panel = panel_ambiguity(q) if own is None else unbiased_ambiguity(own)
    # the spread of the panel's ambiguity, without its own votes' noise where it is made of votes
    square = (1 - panel) ** 2 if own is None else squared_agreement(own)
    found = {"ambiguity_bias": scorer.mean(panel - human)}
    moments = [np.ones(len(human)), 1 - human, 1 - panel, (1 - human) * (1 - panel)]
    seen = [*moments, (1 - human) ** 2, (1 - panel) ** 2]
    true = [*moments, squared_agreement(votes), square]
    for name, columns in ((f"ambiguity_correlation@{scorer.reference.m}", seen), ("ambiguity_correlation_true", true)):
        found[name] = _of_rows(scorer, speakers, np.column_stack(columns), correlation_of)
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


def to_html(section: Variants) -> str:
    """The section as HTML: a line a variant, a column a system."""
    if not section.systems:
        return ""
    by_system = [{row.metric: row for row in system.scores} for system in section.systems]
    rows, said = [], []
    for metric in by_system[0]:
        name, _, m = metric.partition("@")
        title, better, what = ABOUT[name]
        rows.append((f"{title}{f' @{m}' if m else ''} {better}".rstrip(), [cell(s.get(metric)) for s in by_system], ""))
        said.append(f"<li>{escape(title)}: {escape(what)}.</li>")
    head = ["variant", *(escape(system.name) for system in section.systems)]
    caption = (
        f"The variants that papers use, against the same {section.votes_scored} votes an utterance. They are here for "
        "comparison with published figures and decide nothing: most are not proper, and what stands @m depends on m."
    )
    about = f'<p>With q the prediction and y the shares of the votes:</p><ul class="note">{"".join(said)}</ul>'
    return f"<h3>Other variants</h3>{table(caption, head, rows)}{about}"
