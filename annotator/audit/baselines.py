"""What a panel is measured between: a constant, a shuffled panel, n other human votes, and a perfect prediction.

Everything that is fitted is cross-fitted by speaker, on votes that are not scored.
"""

from __future__ import annotations

import numpy as np

from ...data.dirichlet import fit_dirichlet_multinomial, posterior_mean
from ...data.divergences import bhattacharyya, jsd_bits, total_variation
from ...data.folds import cross_fitted
from ...data.proper_scores import log_score
from ...data.seeds import rng_from
from ...data.votes import draw_counts, frequencies
from .reference import Reference

MOST_HUMAN_VOTES = 10
# the human curve goes as far as this share of the utterances has other votes
CURVE_KEPT = 0.8
POSTERIOR_DRAWS = 50


def evidence(reference: Reference) -> tuple[np.ndarray, str]:
    """The votes [U, K] that baselines are fitted on, and their name: the others, or else other folds' scored votes.

    Other votes are wanted; where no fold's complement has an utterance with two of them, the scored votes of the
    other folds stand in: still never an utterance's own, nor (where folds are of speakers) its speaker's.
    """
    enough = reference.other.sum(axis=1) >= 2
    if all((enough & (reference.folds != fold)).any() for fold in np.unique(reference.folds)):
        return reference.other, "votes that are not scored, of the other folds"
    return reference.scored, "the scored votes of the other folds (too few utterances have two further votes)"


def constant(reference: Reference) -> np.ndarray:
    """The class marginal of the other folds' votes, [U, K]: (votes for c + 1/2) / (votes + K/2). The 0 % mark."""
    votes, _ = evidence(reference)

    def marginal(others: np.ndarray) -> np.ndarray:
        raised = votes[others].sum(axis=0) + 0.5
        return raised / raised.sum()

    return cross_fitted(reference.folds, marginal, width=votes.shape[1])


def prior(reference: Reference) -> np.ndarray:
    """Dirichlet-multinomial alpha [U, K] of each row, by maximum likelihood on the other folds' votes."""
    votes, _ = evidence(reference)
    return cross_fitted(reference.folds, lambda o: fit_dirichlet_multinomial(votes[o]), width=votes.shape[1])


def smoothed(counts: np.ndarray, reference: Reference) -> np.ndarray:
    """A panel's own votes [U, K] as distributions without zeros: its Dirichlet-multinomial posterior mean.

    alpha is fitted to the panel's votes on the other folds' speakers: no human vote of the corpus enters. Rows
    without votes stay NaN.
    """
    said = counts.sum(axis=1) > 0
    alpha = cross_fitted(reference.folds, lambda o: fit_dirichlet_multinomial(counts[o]), width=counts.shape[1])
    return np.where(said[:, None], posterior_mean(counts, alpha), np.nan)


def shuffled(q: np.ndarray, reference: Reference) -> np.ndarray:
    """The rows of q dealt to other utterances by the seed: as good overall, deaf to the single utterance."""
    by_id = np.argsort(reference.ids)
    order = rng_from("shuffled run", reference.seed, reference.draw).permutation(len(q))
    dealt = np.empty_like(q)
    dealt[by_id] = q[by_id][order]
    return dealt


def human_votes(reference: Reference, n: int) -> np.ndarray:
    """n of the other human votes of each utterance, [U, K], nested in n; NaN rows where there are fewer."""
    return draw_counts(reference.other, n, reference.ids, "human curve", reference.seed, reference.draw)


def curve_length(reference: Reference) -> int:
    """The largest n, up to 10, for which 80 % of the utterances have n other votes."""
    others = reference.other.sum(axis=1)
    reached = [n for n in range(1, MOST_HUMAN_VOTES + 1) if (others >= n).mean() >= CURVE_KEPT]
    return max(reached, default=0)


def curve_predictions(reference: Reference, alpha: np.ndarray) -> list[tuple[str, int, np.ndarray]]:
    """The human curve: ("raw", n, frequencies) for n = 1, 2, …, and ("smoothed", n, posterior mean) from n = 0."""
    none = np.zeros_like(reference.other)
    points = [("smoothed", 0, posterior_mean(none, alpha))]
    for n in range(1, curve_length(reference) + 1):
        votes = human_votes(reference, n)
        raw = np.where(np.isnan(votes), np.nan, frequencies(np.nan_to_num(votes)))
        points += [("raw", n, raw), ("smoothed", n, posterior_mean(votes, alpha))]
    return points


def perfect(reference: Reference, alpha: np.ndarray, *, draws: int = POSTERIOR_DRAWS) -> dict[str, np.ndarray]:
    """Scores [U] that the true distribution itself would get against m votes: the sampling-noise floor.

    p is drawn from the fitted posterior Dirichlet(alpha + other votes), the m votes from p, and p is scored against
    them; the mean over `draws`. (Resampling an utterance's few frequencies understates the floor two to three
    times.) `sq_unbiased` is exactly 0 in expectation and given as 0.
    """
    m = reference.m
    by_id = np.argsort(reference.ids)
    shape = (alpha + reference.other)[by_id]
    rng = rng_from("posterior draws", reference.seed, reference.draw)
    names = (f"jsd_bits@{m}", f"bhattacharyya@{m}", f"total_variation@{m}", "log_score")
    sums = {name: np.zeros(len(shape)) for name in names}
    for _ in range(draws):
        # gamma draws with tiny shapes underflow to 0, all of a row at once in the worst case
        p = np.maximum(rng.standard_gamma(shape), 1e-300)
        p /= p.sum(axis=1, keepdims=True)
        votes = rng.multinomial(m, p)
        for name, score in zip(names, (jsd_bits, bhattacharyya, total_variation, log_score), strict=True):
            sums[name] += score(p, votes)
    scores = {"sq_unbiased": np.zeros(len(shape))}
    for name, total in sums.items():
        scores[name] = np.empty(len(shape))
        scores[name][by_id] = total / draws
    return scores
