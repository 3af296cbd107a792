"""What is to be predicted: distributions, counts of votes and ratings of a corpus's utterances.

What a model is taught of each utterance, always computed from votes, never from a converted file.

    fused          the fused distribution (`serann fuse`)
    hard           the plurality of the seen primary votes, one label; a tie is broken by lot, by seed and utterance
    primary        frequencies of the seen primary votes
    merged         alpha P + (1 - alpha) S, S the secondary votes (Omidi and Hansen 2026; `data.policies`)
    smoothed       (n + a) / (N + A): frequencies drawn to the class marginal, a by maximum likelihood
    disaggregated  every seen primary vote an example of its own, one label each

Votes of the train split's seen raters alone. Utterances that are new (augmented) have no votes: only `fused` teaches
them. The posterior, whose entropy a curriculum goes by, is Dirichlet(n + a), and for `fused` where its effective
votes N are known Dirichlet(p N) of a strategy whose N holds a prior's votes, and Dirichlet(p N + a) of one whose N are
votes that were cast (`FusionInfo.smooths`): two equal ones would leave no doubt at all.

Curricula over ambiguity: which utterances teach the categorical loss, and how much, epoch by epoch.

An utterance's ambiguity is the entropy of what it should be answered, H / ln K (Omidi and Hansen 2026). Where votes
are few, the entropy of their frequencies is biased down and full of ties, so ours is its expectation under the votes'
posterior, Dirichlet(a) with A = sum a (`expected_entropy`; Wolpert and Wolf 1995); theirs is `ambiguity="target"`:

    E[H] = psi(A + 1) - sum_c a_c / A psi(a_c + 1)

    filter          the ceil(q B) least ambiguous of B are kept, q growing with the epochs
    reverse-filter  the most ambiguous
    random-filter   as many, drawn at random: the control, since fewer utterances alone change a training
    weight          clip((1 - H)^a, least, 1) over the batch's mean, a falling to 0
    reverse-weight  clip(H^a, least, 1) over the batch's mean

B is the mini-batch, as published, or the whole epoch (`over="epoch"`, ours): a batch of eight sorted by itself is
hardly a curriculum. Equal entropies are ordered at random, by seed, epoch and utterance. Only the categorical loss is
filtered or weighed; ratings teach throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import psi

from ..data.arrow import pc
from ..data.corpus import Corpus
from ..data.errors import CorpusError, OptionError
from ..data.fused import Fused
from ..data.policies import distributions
from ..data.scores.divergences import normalised_entropy
from ..data.seeds import uniforms
from ..data.vote_models.dirichlet_multinomial import fit_dirichlet_multinomial, posterior_mean
from ..data.votes import count_votes

if TYPE_CHECKING:
    from .options import TrainOptions

    pass


# --------------------
# The targets.

TARGETS = ("fused", "hard", "primary", "merged", "smoothed", "disaggregated")
# The prior's votes where single votes per utterance cannot tell how many: one a label.
PLAIN = 1.0


class VoteTargets(NamedTuple):
    """Rows of the corpus [N] (repeated for single votes) with what is taught: distributions `p`, seen `votes` and the
    `posterior`'s parameters, [N, K] each."""

    rows: np.ndarray
    p: np.ndarray
    votes: np.ndarray
    posterior: np.ndarray


def vote_targets(fused: Fused, kind: str, *, part: str | None, merged_alpha: float, seed: int) -> VoteTargets:
    """The targets of the train split; `part` of the votes (None: all, where a corpus is not divided).

    Raises CorpusError where nothing is left to learn from.
    """
    corpus = fused.corpus
    votes = count_votes(corpus.votes, corpus.ids, corpus.labels, part=part)
    prior = marginal_prior(votes[corpus.in_split("train")])
    posterior = votes + prior
    if kind == "fused":
        p = fused.distributions
        known = np.isfinite(fused.effective_votes)
        missing = 0.0 if fused.info.holds_a_prior else prior
        posterior[known] = p[known] * fused.effective_votes[known, None] + missing
    elif kind == "smoothed":
        p = np.where(votes.sum(axis=1, keepdims=True) > 0, posterior_mean(votes, prior), np.nan)
    else:
        policy = "merged" if kind == "merged" else "primary"
        found = distributions(
            corpus.votes, corpus.ids, corpus.labels, policy=policy, alpha=merged_alpha, part=part or None
        )
        p = hard(found.p, corpus.ids, seed=seed) if kind == "hard" else found.p
    rows = np.flatnonzero(corpus.in_split("train") & np.isfinite(p).all(axis=1))
    if not len(rows):
        what = "has a distribution" if kind == "fused" else f"has the seen votes that targets '{kind}' are made of"
        raise CorpusError(f"{corpus.path}: no utterance of the train split {what}, so there is nothing to learn")
    targets = VoteTargets(rows, p[rows], votes[rows], posterior[rows])
    return one_by_one(targets) if kind == "disaggregated" else targets


def marginal_prior(votes: np.ndarray) -> np.ndarray:
    """Dirichlet parameters [K] of the distributions: maximum likelihood; from single votes, one vote per label."""
    if votes.sum(axis=1).max(initial=0) > 1:
        return fit_dirichlet_multinomial(votes)
    return np.full(votes.shape[1], PLAIN)


def hard(p: np.ndarray, ids: list[str], *, seed: int) -> np.ndarray:
    """The largest share's label, one-hot [U, K]; one of those that tie, by lot. NaN rows stay."""
    lots = uniforms(ids, p.shape[1], "hard target", seed)
    tied = p >= p.max(axis=1, keepdims=True) - 1e-9
    winner = np.where(tied, lots, -1.0).argmax(axis=1)
    return np.where(np.isnan(p), np.nan, np.eye(p.shape[1])[winner])


def one_by_one(targets: VoteTargets) -> VoteTargets:
    """One example a vote, one-hot; shares of votes count as one vote each."""
    row, label = np.nonzero(targets.votes)
    times = np.maximum(1, np.rint(targets.votes[row, label])).astype(int)
    row, label = np.repeat(row, times), np.repeat(label, times)
    one = np.eye(targets.votes.shape[1])[label]
    return VoteTargets(targets.rows[row], one, one, targets.posterior[row])


# --------------------
# Curricula.

FILTERS = ("filter", "reverse-filter", "random-filter")
WEIGHTS = ("weight", "reverse-weight")
CURRICULA = ("none", *FILTERS, *WEIGHTS)
Stages = tuple[tuple[int, float], ...]


def expected_entropy(a: np.ndarray) -> np.ndarray:
    """E[H(p)] / ln K [N] for p ~ Dirichlet(a), a [N, K]: psi(A + 1) - sum_c a_c / A psi(a_c + 1), over ln K.

    >>> expected_entropy(np.array([[1.0, 1.0]])).round(4)  # (psi(3) - psi(2)) / ln 2 = .5 / ln 2
    array([0.7213])
    """
    a = np.asarray(a, dtype=np.float64)
    total = a.sum(axis=1, keepdims=True)
    return (psi(total[:, 0] + 1) - (a / total * psi(a + 1)).sum(axis=1)) / np.log(a.shape[1])


def stages(text: str, *, name: str) -> Stages:
    """Read "1:.5,4:.8" as ((1, .5), (4, .8)): from epoch e on, the value. OptionError unless epochs rise from 1 on and
    values are finite.
    """
    try:
        found = tuple((int(epoch), float(value)) for epoch, value in (part.split(":") for part in text.split(",")))
    except ValueError:
        raise OptionError(f"{name} is {text!r}; expected epochs and values, as in 1:.5,2:.6,4:.8") from None
    epochs = [epoch for epoch, _ in found]
    if epochs[0] != 1 or epochs != sorted(set(epochs)):
        raise OptionError(f"{name} is {text!r}; its epochs must rise, and begin with 1")
    if not all(math.isfinite(value) for _, value in found):
        raise OptionError(f"{name} is {text!r}; its values must be finite numbers")
    return found


def at_epoch(found: Stages, epoch: int) -> float:
    """The value at an epoch (from 1).

    >>> [at_epoch(((1, 0.5), (4, 0.8)), epoch) for epoch in (1, 3, 4, 9)]
    [0.5, 0.5, 0.8, 0.8]
    """
    return next(value for start, value in reversed(found) if start <= epoch)


def annealed(first: float, last: float, epoch: int, *, ramp: int) -> float:
    """The exponent at an epoch (from 1): linear from `first` in epoch 1 to `last` in epoch `ramp`, then constant.

    >>> [annealed(2.0, 0.0, epoch, ramp=5) for epoch in (1, 3, 5, 8)]
    [2.0, 1.0, 0.0, 0.0]
    """
    return first + (last - first) * min(1.0, (epoch - 1) / max(1, ramp - 1))


def in_order(ambiguity: np.ndarray, ids: Sequence[str], *, seed: int, epoch: int) -> np.ndarray:
    """Ranks [N] from the least ambiguous, 0, to the most; equals by a draw by seed, epoch and utterance."""
    ties = uniforms(list(ids), 1, "curriculum", seed, epoch)[:, 0]
    ranks = np.empty(len(ambiguity), dtype=int)
    ranks[np.lexsort((ties, np.round(ambiguity, 12)))] = np.arange(len(ambiguity))
    return ranks


def kept(curriculum: str, ranks: np.ndarray, share: float, *, chance: np.ndarray) -> np.ndarray:
    """Mask [B] of the ceil(share B) utterances, one at least, that a filter keeps, from their ranks and, for the
    control, from a draw `chance` in [0, 1) each.

    >>> kept("filter", np.array([7, 2, 4]), 0.5, chance=np.zeros(3))
    array([False,  True,  True])
    """
    key = {"filter": ranks, "reverse-filter": -ranks, "random-filter": chance}[curriculum]
    mask = np.zeros(len(ranks), dtype=bool)
    mask[np.argsort(key, kind="stable")[: max(1, int(np.ceil(share * len(ranks) - 1e-9)))]] = True
    return mask


def weights(curriculum: str, ambiguity: np.ndarray, exponent: float, *, least: float) -> np.ndarray:
    """clip((1 - H)^a, least, 1), or clip(H^a, least, 1) in reverse, divided by their mean; [B].

    Where all of them are 0 (`least` 0, and nothing ambiguous in reverse) they are one each, as of any other utterances
    of equal ambiguity.

    >>> weights("weight", np.array([0.0, 0.5]), 1.0, least=0.15)
    array([1.33333333, 0.66666667])
    """
    ease = ambiguity if curriculum == "reverse-weight" else 1 - ambiguity
    found = np.clip(np.clip(ease, 0, 1) ** exponent, least, 1)
    return found / found.mean() if found.any() else np.ones(len(found))


def ambiguity_of(options: TrainOptions, examples: Examples) -> np.ndarray:
    """What a curriculum goes by [N]: the expected entropy given the votes, or the target's own, over ln K."""
    return examples.ambiguity if options.ambiguity == "expected" else normalised_entropy(examples.targets)


def lesson(
    options: TrainOptions, ambiguity: np.ndarray, ids: Sequence[str], *, epoch: int
) -> Callable[[np.ndarray], np.ndarray]:
    """The weights [B] of a mini-batch's utterances, given their places among the N, in an epoch (from 1).

    Their mean is one over the batch, or, with `curriculum_over="epoch"`, over the epoch.
    """
    name, whole = options.curriculum, options.curriculum_over == "epoch"
    if name == "none":
        return lambda places: np.ones(len(places))
    if name in WEIGHTS:
        ramp = options.ramp or options.epochs
        exponent = annealed(options.exponent, options.last_exponent, epoch, ramp=ramp)
        of_all = weights(name, ambiguity, exponent, least=options.least_weight)
        if whole:
            return lambda places: of_all[places]
        return lambda places: weights(name, ambiguity[places], exponent, least=options.least_weight)
    share = at_epoch(stages(options.quantiles, name="quantiles"), epoch)
    ranks = in_order(ambiguity, ids, seed=options.seed, epoch=epoch)
    chance = uniforms(list(ids), 1, "random filter", options.seed, epoch)[:, 0]
    if whole:
        mask = kept(name, ranks, share, chance=chance)
        return lambda places: mask[places] / mask.mean()

    def of_batch(places: np.ndarray) -> np.ndarray:
        mask = kept(name, ranks[places], share, chance=chance[places])
        return mask / mask.mean()

    return of_batch


DIMENSIONS = ("valence", "arousal", "dominance")


@dataclass(frozen=True, slots=True)
class Examples:
    """Utterances of a corpus with what is to be predicted: N rows of it.

    `targets` [N, K] are distributions (training) or counts of human votes (validation); `votes` [N, K] are counts,
    seen ones in training; `ambiguity` [N] is the expected entropy of what votes and fusion know, over ln K; `ratings`
    [N, D] lie on the unit scale [-1, 1], NaN where nobody rated; `seconds` [N].
    """

    corpus: Corpus
    rows: np.ndarray
    targets: np.ndarray
    votes: np.ndarray
    ambiguity: np.ndarray
    ratings: np.ndarray
    seconds: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def ids(self, places: Sequence[int] | np.ndarray) -> list[str]:
        """The utterances' ids at some places of the N."""
        return [self.corpus.ids[self.rows[place]] for place in places]


def training_examples(
    fused: Fused, dimensions: Sequence[str], *, targets: str = "fused", merged_alpha: float = 0.9, seed: int = 0
) -> Examples:
    """The train split's utterances that have a target of a kind (`vote_targets`), augmented ones among them where it is
    `fused`; ratings by seen raters alone.
    """
    corpus = fused.corpus
    found = vote_targets(fused, targets, part=seen_part(corpus), merged_alpha=merged_alpha, seed=seed)
    return Examples(
        corpus=corpus,
        rows=found.rows,
        targets=found.p,
        votes=found.votes,
        ambiguity=expected_entropy(found.posterior),
        ratings=mean_ratings(corpus, dimensions, part=seen_part(corpus))[found.rows],
        seconds=_seconds(corpus, found.rows),
    )


def validation_examples(corpus: Corpus, dimensions: Sequence[str]) -> Examples:
    """The development split's utterances that people voted on; its targets are the counts of their votes.

    Raises CorpusError where there is none, or where a speaker is in the train split too: the best epoch would
    be chosen by ear of a voice that was trained on.
    """
    counts = count_votes(corpus.votes, corpus.ids, corpus.labels)
    rows = np.flatnonzero(corpus.in_split("development") & (counts.sum(axis=1) > 0))
    if not len(rows):
        raise CorpusError(
            f"{corpus.path}: no utterance of split 'development' has human votes; training needs some to choose its "
            "best epoch: give some speakers' utterances that split"
        )
    both = heard_speakers(corpus, "development", rows)
    if both:
        raise CorpusError(
            f"{corpus.path}: {len(both)} speakers are in the train and in the development split, {both[0]!r} among "
            "them; give each speaker one split"
        )
    return Examples(
        corpus=corpus,
        rows=rows,
        targets=counts[rows],
        votes=counts[rows],
        ambiguity=expected_entropy(counts[rows] + marginal_prior(counts[rows])),
        ratings=mean_ratings(corpus, dimensions)[rows],
        seconds=_seconds(corpus, rows),
    )


def heard_speakers(corpus: Corpus, split: str, rows: np.ndarray | None = None) -> list[str]:
    """Named speakers of a split (or of its utterances at `rows`) who speak in the train split too, sorted."""
    speakers = corpus.column("speaker")
    inside = speakers[corpus.in_split(split) if rows is None else rows]
    return sorted({s for s in inside if s is not None} & set(speakers[corpus.in_split("train")]))


def shared_speakers(corpus: Corpus) -> list[str]:
    """A warning for every split besides development, where it is an error, whose speakers are trained on too."""
    names = {str(s) for s in corpus.column("split") if s not in ("train", "development", None)}
    found = []
    for split in sorted({"test" if name.startswith("test") else name for name in names}):
        both = heard_speakers(corpus, split)
        if both:
            found.append(
                f"speakers of the split {split!r} who are trained on: {len(both)}, {both[0]!r} among them; scores on "
                "their utterances will be too good: give each speaker one split"
            )
    return found


def left_out(examples: Examples, targets: str) -> list[str]:
    """How many train utterances have no target of a kind, and so teach nothing; empty where all have one."""
    asked, taught = int(examples.corpus.in_split("train").sum()), len(np.unique(examples.rows))
    if taught == asked:
        return []
    what = "fused distribution" if targets == "fused" else f"seen vote, which targets {targets} are made of"
    return [f"{asked - taught} of {asked} train utterances have no {what}, and are left out"]


def untaught_labels(examples: Examples) -> list[str]:
    """A warning that names the labels no target has anything of; empty where there is none."""
    none = [name for name, mass in zip(examples.corpus.labels, examples.targets.sum(axis=0), strict=True) if mass <= 0]
    if not none:
        return []
    return [
        f"no training utterance has any of the label {', '.join(none)}: a model can hardly answer it; import with a "
        "label set that the votes fill, or fuse by a strategy that smooths (human-mixture)"
    ]


def rated_dimensions(corpus: Corpus) -> list[str]:
    """Which of valence, arousal and dominance the seen raters rated in the train split, in this order.

    Raises CorpusError for ratings on a scale that corpus.json does not name.
    """
    if corpus.ratings is not None and corpus.info.scale is None:
        raise CorpusError(
            f"{corpus.path}: it has ratings, but corpus.json names no scale; write the scale's ends there, "
            'as "scale": [1, 7]'
        )
    means = mean_ratings(corpus, DIMENSIONS, part=seen_part(corpus))[corpus.in_split("train")]
    return [dimension for d, dimension in enumerate(DIMENSIONS) if not np.isnan(means[:, d]).all()]


def seen_part(corpus: Corpus) -> str | None:
    """The part of the human votes and ratings that training may use: all of them in a corpus that is not divided."""
    return None if corpus.info.division is None else "seen"


def mean_ratings(corpus: Corpus, dimensions: Sequence[str], *, part: str | None = None) -> np.ndarray:
    """Mean human rating of each utterance on the unit scale, [U, D]: (x - middle) / half the scale; NaN where
    nobody rated.

    `part` restricts to seen or held-out raters.
    """
    means = np.full((len(corpus.ids), len(dimensions)), np.nan)
    if corpus.ratings is None or not len(dimensions) or corpus.info.scale is None:
        return means
    keep = pc.equal(corpus.ratings["source"], "human")
    if part is not None:
        keep = pc.and_(keep, pc.fill_null(pc.equal(corpus.ratings["part"], part), False))
    grouped = corpus.ratings.filter(keep).group_by(["utterance_id", "dimension"]).aggregate([("value", "mean")])
    row_of = {utterance: row for row, utterance in enumerate(corpus.ids)}
    column_of = {dimension: column for column, dimension in enumerate(dimensions)}
    for rated in grouped.to_pylist():
        if rated["dimension"] in column_of:
            means[row_of[rated["utterance_id"]], column_of[rated["dimension"]]] = rated["value_mean"]
    return to_unit(means, corpus.info.scale)


def to_unit(values: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """Ratings on a scale as numbers in [-1, 1].

    >>> to_unit(np.array([1.0, 4.0, 7.0]), (1, 7)).tolist()
    [-1.0, 0.0, 1.0]
    """
    low, high = scale
    return (values - (low + high) / 2) / ((high - low) / 2)


def from_unit(values: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """The inverse of `to_unit`."""
    low, high = scale
    return (low + high) / 2 + values * (high - low) / 2


def _seconds(corpus: Corpus, rows: np.ndarray) -> np.ndarray:
    """How long utterances are: `duration`, else end - start, else the longest known (it only decides which
    share a batch).
    """
    duration, start, end = (
        corpus.utterances[name].to_numpy(zero_copy_only=False).astype(float)[rows]
        for name in ("duration", "start", "end")
    )
    seconds = np.where(np.isnan(duration), end - start, duration)
    longest = np.nanmax(seconds) if not np.isnan(seconds).all() else 1.0
    return np.where(np.isnan(seconds), longest, seconds)


def taught_shares(examples: Examples) -> np.ndarray:
    """Mean target [K] of what is trained on, new utterances included: the prior that a model is taught."""
    return examples.targets.mean(axis=0)


def seen_marginal(fused: Fused) -> np.ndarray:
    """Share of each label among the train split's seen human votes, one half added to each count; [K], never
    0.
    """
    corpus = fused.corpus
    counts = count_votes(corpus.votes, corpus.ids, corpus.labels, part=seen_part(corpus))
    counts = counts[corpus.in_split("train")].sum(axis=0) + 0.5
    return counts / counts.sum()
