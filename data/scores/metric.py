"""Every metric of serann, one record each: what it is, which values are better, what it can be, how it is computed.

A metric is a function of column totals, so that an interval over speakers costs a sum per speaker:

    totals(pairs)            [U], a mean over the rows that are not NaN, or [U, T]
    value(totals, classes)   [..., T] summed totals -> [...]

with `pairs` the predictions beside their human votes and `classes` the class set of the full reference. Audits,
evaluations, comparisons, training, gates, pages and help read `METRICS` and no list of their own: a new metric is one
record and one line there. Those without `totals` need more than distributions and votes (ratings, speakers, the votes
of a panel); `of` says what, and the code that has it computes them under the record's name.

A name may end in @m, the number of votes behind the reference (`jsd_bits@4`), and that of a family in what it is of
(`ccc_valence`); `metric_of` finds the record of either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from . import calibration, divergences, metrics, proper_scores
from .divergences import jsd_nats, manhattan
from .intervals import NO_LIMITS

# Where a metric is shown.
#
#     scores      in every table of an audit and of an evaluation, in a comparison, as a requirement of a gate
#     evaluation  in evaluations and comparisons beside those
#     variants    in an audit's table of other variants
#     epochs      of every epoch of a training, and so a choice of --best-by
#     parts       by gender and under noise
#     summary     where a table holds the main scores only
#     drawn       as a picture of a comparison; `parts drawn` as one of the thirds and of noise
#     balanced    among the class-balanced scores; `speakers` among those of single speakers
Place = Literal[
    "scores", "evaluation", "variants", "epochs", "parts", "summary", "drawn", "parts drawn", "balanced", "speakers"
]
ALL: frozenset[Place] = frozenset({"scores", "epochs", "parts", "summary", "drawn", "parts drawn"})
# Bins of the calibration errors of an evaluation, and of those of an audit.
BINS = 10
AUDIT_BINS = (10, 5)
# A speaker's own UAR is above each of these, with so many guesses an utterance.
THRESHOLDS = (0.5, 0.75)
GUESSES = (1, 2, 3)


@dataclass(frozen=True)
class Pairs:
    """Predictions q beside the human votes `counts` and `at_m`, exactly m of each row's votes: [U, K] each.

    What several metrics are made of is computed once.
    """

    q: np.ndarray
    counts: np.ndarray
    at_m: np.ndarray
    m: int

    @cached_property
    def jsd_nats(self) -> np.ndarray:
        """Jensen-Shannon divergence to the m votes, [U]."""
        return jsd_nats(self.q, self.at_m)

    @cached_property
    def manhattan(self) -> np.ndarray:
        """Manhattan distance to the shares of the m votes, [U]."""
        return manhattan(self.q, self.at_m)

    @cached_property
    def confusion(self) -> np.ndarray:
        """Each row's share in the confusion of pluralities, [U, K * K], the human label first."""
        return metrics.confusion_rows(self.q, self.counts).reshape(len(self.q), -1)


Totals = Callable[[Pairs], np.ndarray]
Value = Callable[[np.ndarray, np.ndarray], np.ndarray]
GroupSums = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric; the module says what `totals` and `value` are.

    `title` heads a table, `about` defines it in words ({votes} stands for the votes of an @m name, {part} for what a
    family's name is of), `formula` is its short notation and `source` where it was published. `low` and `high` bound
    its values and so its intervals; a metric with bounds has its jackknife on the scale that has none. `votes` is m
    where the value depends on the number of votes, and its name then ends in @m. `sums(q, counts, codes, groups)` gives
    the totals by group [G, T] faster than `totals` does. `truth` is the value of the true distribution where it is
    known by construction, and `resampled` is False where a resample of speakers only adds to the value (a bootstrap
    would lie above it).
    """

    name: str
    title: str
    better: Literal["higher", "lower", "none"]
    about: str
    formula: str
    source: str
    low: float = -np.inf
    high: float = np.inf
    unit: str = ""
    of: Literal["distribution", "label", "rating", "speaker", "panel"] = "distribution"
    votes: Literal["all", "m"] = "all"
    family: bool = False
    totals: Totals | None = None
    value: Value | None = None
    sums: GroupSums | None = None
    truth: float | None = None
    resampled: bool = True
    at: frozenset[Place] = ALL

    def key(self, m: int) -> str:
        """The name in tables against m votes: `jsd_bits@4`, `accuracy`."""
        return f"{self.name}@{m}" if self.votes == "m" else self.name

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest value, as `by_group` wants them."""
        return self.low, self.high

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is; 0 where neither."""
        return {"higher": 1, "lower": -1, "none": 0}[self.better]

    @property
    def arrow(self) -> str:
        """Which way is better, for the head of a column."""
        return {"higher": "↑", "lower": "↓", "none": ""}[self.better]


# --------------------
# The records. Totals of rows are lambdas on purpose: the functions that they call say what is computed.


def _uar(totals: np.ndarray, classes: np.ndarray) -> np.ndarray:
    return metrics.uar_of(_confusions(totals, classes), classes)


def _macro_f1(totals: np.ndarray, classes: np.ndarray) -> np.ndarray:
    return metrics.macro_f1_of(_confusions(totals, classes), classes)


def _confusions(totals: np.ndarray, classes: np.ndarray) -> np.ndarray:
    return totals.reshape(*totals.shape[:-1], len(classes), len(classes))


def _confusion(pairs: Pairs) -> np.ndarray:
    return pairs.confusion


def _calibration(name: str, title: str, bins: int, about: str, formula: str, at: Place) -> Metric:
    """A calibration error in bins of equal width: of the top label (`ece…`) or of every label."""
    top = not name.startswith("distribution")
    of, totals = calibration.ece_of, calibration.ece_totals
    if not top:
        of, totals = calibration.distribution_ece_of, calibration.distribution_ece_totals
    return Metric(
        name=name,
        title=title,
        better="lower",
        low=0.0,
        high=1.0,
        about=about,
        formula=formula,
        source="Guo et al. 2017 with the human plurality as truth" if top else "serann's own",
        sums=lambda q, counts, codes, size: totals(q, counts, bins=bins, groups=codes, size=size),
        value=lambda totals, _: of(totals),
        resampled=False,
        at=frozenset({at}),
    )


def _n_best(n: int) -> Metric:
    return Metric(
        name=f"accuracy_{n}best",
        title=f"accuracy, {n} best",
        better="higher",
        low=0.0,
        high=1.0,
        of="label",
        about=f"share of utterances whose human plurality is among the {n} likeliest labels",
        formula=f"chance that the plurality of the votes is among the {n} largest q",
        source="top-n accuracy; ties share",
        totals=lambda x: metrics.n_best_rows(x.q, x.counts, n),
        at=frozenset({"evaluation"}),
    )


def pauar_name(threshold: float, guesses: int) -> str:
    """`pauar_50`, `pauar_75_2best`, …"""
    return f"pauar_{100 * threshold:.0f}" + ("" if guesses == 1 else f"_{guesses}best")


def _pauar(threshold: float, guesses: int) -> Metric:
    name = pauar_name(threshold, guesses)
    hit = "" if guesses == 1 else f", hit where the human plurality is among the {guesses} likeliest"
    return Metric(
        name=name,
        title=name.replace("pauar_", "paUAR ").replace("_", ", "),
        better="higher",
        low=0.0,
        high=1.0,
        of="speaker",
        about=f"share of speakers whose own UAR{hit} is above .{100 * threshold:.0f}",
        formula=f"mean over speakers of [own UAR > {threshold:g}]",
        source="performance-aware UAR by speaker",
        at=frozenset({"speakers"}),
    )


ECE = "top label's probability against agreement of the most-voted labels"
ECE_ABOUT = "expected calibration error of the likeliest label, {} bins of equal width: |said − agreed|, weighted"
LABELS_ECE = "serann's own: ½ Σ over labels and bins of share of utterances × |mean probability − mean share of votes|"
LABELS_ECE_ABOUT = "the same of every label's probability against the shares of votes, {} bins a label, half their sum"

RECORDS: Sequence[Metric] = (
    Metric(
        name="sq_unbiased",
        title="squared error",
        better="lower",
        # may be estimated below 0, and is none then; the interval is the plain one
        low=0.0,
        about="Σ (q − p)² over labels, p the distribution behind the votes; freed of the votes' sampling noise, so "
        "that 0 is perfect whatever their number",
        formula="Σq² − 2 Σq h/m + Σh(h − 1)/(m(m − 1))",
        source="unbiased form of the Brier score's divergence (Brier 1950)",
        totals=lambda x: proper_scores.sq_unbiased(x.q, x.counts),
        truth=0.0,
    ),
    Metric(
        name="log_score",
        title="log score",
        better="higher",
        unit="nats per vote",
        about="mean natural logarithm (nats per vote) of the probability given to each vote",
        formula="Σ h ln q / m",
        source="Good 1952",
        totals=lambda x: proper_scores.log_score(x.q, x.counts),
        at=ALL - {"parts drawn"},
    ),
    Metric(
        name="jsd_bits",
        title="JSD, bits",
        better="lower",
        low=0.0,
        high=1.0,
        votes="m",
        about="Jensen-Shannon divergence of q and the shares of {votes}, logarithm of base 2, 0 to 1",
        formula="Jensen-Shannon divergence, base 2, no root, no smoothing",
        source="Lin 1991",
        totals=lambda x: x.jsd_nats / np.log(2.0),
        at=frozenset({"scores", "variants", "summary"}),
    ),
    Metric(
        name="jsd_nats",
        title="JSD, nats",
        better="lower",
        low=0.0,
        high=float(np.log(2.0)),
        votes="m",
        about="Jensen-Shannon divergence of q and the shares of {votes}, natural logarithm, 0 to .693",
        formula="the same, base e: at most .693",
        source="Lin 1991",
        totals=lambda x: x.jsd_nats,
        at=frozenset({"variants"}),
    ),
    Metric(
        name="jsd_root",
        title="JSD, root of nats",
        better="lower",
        low=0.0,
        high=float(np.sqrt(np.log(2.0))),
        votes="m",
        about="Jensen-Shannon distance of q and the shares of {votes}: the root of the divergence in nats",
        formula="the Jensen-Shannon distance, what scipy's jensenshannon gives",
        source="Endres and Schindelin 2003",
        totals=lambda x: np.sqrt(x.jsd_nats),
        at=frozenset({"variants"}),
    ),
    Metric(
        name="bhattacharyya",
        title="Bhattacharyya",
        better="higher",
        low=0.0,
        high=1.0,
        votes="m",
        about="Bhattacharyya coefficient, Σ √(p q) with p the shares of {votes}, 0 to 1; 1 is equal",
        formula="Σ√(q y)",
        source="Bhattacharyya 1943",
        totals=lambda x: divergences.bhattacharyya(x.q, x.at_m),
        at=frozenset({"scores", "variants"}),
    ),
    Metric(
        name="total_variation",
        title="total variation",
        better="lower",
        low=0.0,
        high=1.0,
        votes="m",
        about="half of Σ |p − q|, p the shares of {votes}, 0 to 1",
        formula="½ Σ|q − y|",
        source="half the Manhattan distance",
        totals=lambda x: 0.5 * x.manhattan,
        at=frozenset({"scores", "variants"}),
    ),
    Metric(
        name="hellinger",
        title="Hellinger",
        better="lower",
        low=0.0,
        high=1.0,
        votes="m",
        about="Hellinger distance of q and the shares p of {votes}, √(½ Σ (√p − √q)²), 0 to 1",
        formula="√(½ Σ(√q − √y)²)",
        source="Hellinger 1909",
        totals=lambda x: divergences.hellinger(x.q, x.at_m),
        at=frozenset({"variants"}),
    ),
    Metric(
        name="manhattan",
        title="Manhattan",
        better="lower",
        low=0.0,
        high=2.0,
        votes="m",
        about="Σ |p − q|, p the shares of {votes}, 0 to 2",
        formula="Σ|q − y|",
        source="twice the total variation",
        totals=lambda x: x.manhattan,
        at=frozenset({"variants"}),
    ),
    Metric(
        name="r2_by_class",
        title="R² by label",
        better="higher",
        high=1.0,
        votes="m",
        about="share of the variance of a label's share of {votes} that q explains, mean over labels; may be below 0",
        formula="1 − Σ(y − q)²/Σ(y − ȳ)² over utterances, mean over labels; may be below 0",
        source="scikit-learn's r2_score with uniform_average",
        totals=lambda x: metrics.r2_rows(x.q, x.at_m),
        value=lambda totals, _: metrics.r2_of(totals),
        at=frozenset({"variants"}),
    ),
    Metric(
        name="item_r2",
        title="R² across labels",
        better="higher",
        low=0.0,
        high=1.0,
        votes="m",
        about="squared correlation of q and the shares of {votes} across the labels of one utterance",
        formula="squared Pearson correlation within an utterance; blind to scale and sign",
        source="AER-LLM's R2",
        totals=lambda x: metrics.item_r2_rows(x.q, x.at_m),
        at=frozenset({"variants"}),
    ),
    Metric(
        name="accuracy",
        title="accuracy",
        better="higher",
        low=0.0,
        high=1.0,
        of="label",
        about="share of utterances whose likeliest label is the human plurality; a tie shares",
        formula="overlap of the two pluralities",
        source="ties share the credit",
        totals=lambda x: metrics.accuracy_rows(x.q, x.counts),
        at=frozenset({"scores", "epochs", "parts", "summary"}),
    ),
    Metric(
        name="uar",
        title="UAR",
        better="higher",
        low=0.0,
        high=1.0,
        of="label",
        about="unweighted average recall: the mean over labels of the share of each that is hit",
        formula="mean over the class set of hit / support",
        source="Schuller et al. 2009, over the class set of the full reference",
        totals=_confusion,
        value=_uar,
        sums=metrics.group_confusion,
    ),
    Metric(
        name="macro_f1",
        title="macro-F1",
        better="higher",
        low=0.0,
        high=1.0,
        of="label",
        about="mean over labels that are somebody's plurality of 2 hit / (support + answered); a label never hit is 0",
        formula="mean over the class set of 2 hit / (support + answered)",
        source="mean of the classes' F1 (Opitz and Burst 2019)",
        totals=_confusion,
        value=_macro_f1,
        sums=metrics.group_confusion,
        at=ALL - {"parts drawn"},
    ),
    Metric(
        name="kl_nats",
        title="KL, nats",
        better="lower",
        low=0.0,
        votes="m",
        about="Kullback-Leibler divergence KL(p || q), p the shares of {votes}, natural logarithm; 0 is equal",
        formula="Σ y ln(y / q)",
        source="Kullback and Leibler 1951",
        totals=lambda x: divergences.kl_nats(x.at_m, x.q),
        at=frozenset({"evaluation"}),
    ),
    Metric(
        name="brier",
        title="Brier",
        better="lower",
        low=0.0,
        high=2.0,
        about="mean over votes of Σ (q − [the vote is this label])², 0 to 2, not divided by the number of labels",
        formula="mean over votes of Σ(q − vote)², from 0 to 2; proper, but not 0 for the truth",
        source="Brier 1950",
        totals=lambda x: proper_scores.brier(x.q, x.counts),
        at=frozenset({"evaluation", "variants"}),
    ),
    _n_best(2),
    _n_best(3),
    _calibration("ece", "ECE", BINS, ECE_ABOUT.format(BINS), ECE, "evaluation"),
    _calibration(
        "distribution_ece",
        "distributional calibration error",
        BINS,
        LABELS_ECE_ABOUT.format(BINS),
        LABELS_ECE,
        "evaluation",
    ),
    _calibration("ece_10", "ECE, 10 bins", AUDIT_BINS[0], ECE_ABOUT.format(AUDIT_BINS[0]), ECE, "variants"),
    _calibration(
        "ece_5", "ECE, 5 bins", AUDIT_BINS[1], ECE_ABOUT.format(AUDIT_BINS[1]), "the same with 5 bins", "variants"
    ),
    _calibration(
        "distribution_ece_10",
        "distributional calibration error, 10 bins",
        AUDIT_BINS[0],
        LABELS_ECE_ABOUT.format(AUDIT_BINS[0]),
        LABELS_ECE,
        "variants",
    ),
    Metric(
        name="ambiguity_correlation",
        title="ambiguity, correlation",
        better="higher",
        votes="m",
        of="panel",
        about="correlation of the panel's chance that two disagree with that of {votes}",
        formula="Pearson, to the chance that two of m votes disagree",
        source="Pearson 1895",
        at=frozenset({"variants"}),
    ),
    Metric(
        name="ambiguity_correlation_true",
        title="ambiguity, correlation without the votes' noise",
        better="higher",
        of="panel",
        about="correlation of the panel's chance that two disagree with that behind the votes",
        formula="the same to the ambiguity behind the votes; comparable between numbers of votes, and may exceed 1",
        source="Spearman 1904, correction for attenuation",
        at=frozenset({"variants"}),
    ),
    Metric(
        name="ambiguity_bias",
        title="ambiguity, bias",
        better="none",
        of="panel",
        about="the panel's chance that two disagree less people's",
        formula="panel less people, in chance that two disagree; unbiased at any m",
        source="serann's own",
        at=frozenset({"variants"}),
    ),
    Metric(
        name="ccc",
        title="CCC",
        better="higher",
        of="rating",
        family=True,
        about="concordance of answered {part} with the mean human rating, 2 cov / (var + var + (difference of the "
        "means)²), moments over n; 1 is perfect",
        formula="2 s_xy / (s_x² + s_y² + (x̄ − ȳ)²)",
        source="Lin 1989",
        at=frozenset({"evaluation", "epochs", "parts", "summary", "parts drawn"}),
    ),
    *(_pauar(threshold, guesses) for guesses in GUESSES for threshold in THRESHOLDS),
    Metric(
        name="log_score_balanced",
        title="log score, class-balanced",
        better="higher",
        about="log score with votes weighted so that all labels somebody chose count alike (nats)",
        formula="mean over labels of Σ f ln q / Σ f, f the utterances' shares of votes for the label",
        source="label shift (Saerens et al. 2002)",
        at=frozenset({"balanced"}),
    ),
    Metric(
        name="quadratic_balanced",
        title="quadratic score, class-balanced",
        better="lower",
        about="mean of Σ (q − [the vote is this label])² with votes weighted so that all labels count alike, 0 to 2",
        formula="mean over labels of Σ f |e − q|² / Σ f, f the utterances' shares of votes for the label",
        source="label shift (Saerens et al. 2002)",
        at=frozenset({"balanced"}),
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in RECORDS}


# --------------------
# Reading the registry.


def metrics_at(place: Place) -> list[Metric]:
    """The metrics shown at a place, in their order."""
    return [metric for metric in METRICS.values() if place in metric.at]


def metric_of(name: str) -> Metric:
    """The record of a name in a table, which may end in @m or name a family's part; KeyError where there is none.

    >>> metric_of("jsd_bits@4").better, metric_of("ccc_valence").name
    ('lower', 'ccc')
    """
    plain = name.partition("@")[0]
    if plain in METRICS:
        return METRICS[plain]
    family = METRICS[plain.partition("_")[0]]
    if not family.family:
        raise KeyError(name)
    return family


def limits_of(name: str) -> tuple[float, float]:
    """Lowest and highest value of the metric of a name in a table; a name that is no metric has none."""
    try:
        return metric_of(name).limits
    except KeyError:
        return NO_LIMITS


def definition(name: str) -> str:
    """What the metric of a name in a table is, in words; h are an utterance's human votes, q the answer.

    >>> definition("total_variation@4")
    'half of Σ |p − q|, p the shares of 4 drawn votes, 0 to 1'
    """
    metric, (plain, _, m) = metric_of(name), name.partition("@")
    part = plain.removeprefix(metric.name).removeprefix("_")
    return metric.about.format(votes=f"{m} drawn votes" if m else "the votes", part=part)


def value_of(metric: Metric, pairs: Pairs, classes: np.ndarray) -> float:
    """The metric's value over all rows that define it; NaN where none does."""
    totals = _rows(metric, pairs)
    if np.isnan(totals).all():
        return float("nan")
    if metric.value is None:
        return float(np.nanmean(totals))
    return float(metric.value(np.nansum(totals, axis=0), classes))


def _rows(metric: Metric, pairs: Pairs) -> np.ndarray:
    if metric.totals is not None:
        return metric.totals(pairs)
    if metric.sums is None:
        raise ValueError(f"{metric.name} is not made of distributions and votes alone")
    places = np.arange(len(pairs.q))
    return metric.sums(pairs.q, pairs.counts, places, len(places))


def best_of(values: Mapping[str, float], name: str) -> float:
    """The metric's value with the sign that makes the best one the largest; minus infinity where it is undefined."""
    value = metric_of(name).sign * values[name]
    return -np.inf if np.isnan(value) else value
