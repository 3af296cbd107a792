"""What a panel is measured between: a constant, a shuffled panel, n other human votes, and a perfect prediction.

Everything that is fitted is cross-fitted by speaker, on votes that are not scored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.special import logsumexp

from ...data.errors import CorpusError, OptionError
from ...data.scores.groups import cross_fitted
from ...data.scores.metric import Metric, Pairs, metrics_at
from ...data.scores.scoring import rows_of
from ...data.seeds import rng_from, uniforms
from ...data.vote_models.dirichlet_mixture import DirichletMixture, fit_dirichlet_mixture
from ...data.vote_models.dirichlet_multinomial import distinct_places
from ...data.votes import frequencies, nested_draws
from .scorer import Reference

MOST_HUMAN_VOTES = 10
# the human curve goes as far as this share of the utterances has other votes
CURVE_KEPT = 0.8
# Draws of an utterance for the floor, at most; of all utterances together, so that a million cost what 100,000 do.
POSTERIOR_DRAWS, POSTERIOR_ROWS = 50, 5_000_000
# So many utterances, drawn by seed and id, are fitted on where there are more.
FITTED_ON = 100_000
# Kinds of utterances that the human mixture knows (CREMA-D, three votes: log score -1.2429 with 8, -1.2419 with 16,
# -1.2418 with 24), and steps of its EM (more than 100 gain nothing there). Below 2,000 utterances the number is chosen.
COMPONENTS = 16
COMPONENTS_TO_CHOOSE = (1, 4, 16)
CHOOSE_BELOW = 2000
STEPS = 100
# Steps of a fit begun at one to nearly the same votes: with 100 its intervals of a worth are no wider.
REFIT_STEPS = 20

Fit = TypeVar("Fit")


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


def shuffled(q: np.ndarray, reference: Reference) -> np.ndarray:
    """The rows of q dealt to other utterances by the seed: as good overall, deaf to the single utterance."""
    by_id = np.argsort(reference.ids)
    order = rng_from("shuffled run", reference.seed, reference.draw).permutation(len(q))
    dealt = np.empty_like(q)
    dealt[by_id] = q[by_id][order]
    return dealt


def human_votes(reference: Reference, n: int) -> np.ndarray:
    """n of the other human votes of each utterance, [U, K], nested in n; NaN rows where there are fewer."""
    return _human_votes(reference, [n])[0]


def _human_votes(reference: Reference, numbers: Sequence[int]) -> list[np.ndarray]:
    return nested_draws(reference.other, numbers, reference.ids, "human curve", reference.seed, reference.draw)


def curve_length(reference: Reference) -> int:
    """The largest n, up to 10, for which 80 % of the utterances have n other votes."""
    others = reference.other.sum(axis=1)
    reached = [n for n in range(1, MOST_HUMAN_VOTES + 1) if (others >= n).mean() >= CURVE_KEPT]
    return max(reached, default=0)


def fitted_part(reference: Reference) -> np.ndarray:
    """Mask [U] of the utterances that models are fitted on: all, or 100,000 drawn by the seed and their ids."""
    return drawn_part(reference, FITTED_ON)


def drawn_part(reference: Reference, most: int) -> np.ndarray:
    """Mask [U] of all utterances, or of so many drawn by the seed and their ids; smaller draws lie in larger ones."""
    if len(reference.ids) <= most:
        return np.ones(len(reference.ids), dtype=bool)
    place = uniforms(reference.ids, 1, "fitted on", reference.seed)[:, 0]
    return place <= np.partition(place, most - 1)[most - 1]


class Posterior(NamedTuple):
    """What distributions of rows [N] may be, given `votes` [N, K]: the human mixture's posterior, to draw from.

    `below` [N, Z] sums up the chances of the kinds of utterances, whose Dirichlets are `alpha` [F, Z, K] of the row's
    `fold` [N].
    """

    below: np.ndarray
    alpha: np.ndarray
    fold: np.ndarray
    votes: np.ndarray

    def take(self, rows: np.ndarray) -> Posterior:
        """The posterior of some rows."""
        return Posterior(self.below[rows], self.alpha, self.fold[rows], self.votes[rows])

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """A distribution of each row, [N, K]: its kind, then Dirichlet(alpha of the kind + votes)."""
        kind = (rng.random((len(self.votes), 1)) >= self.below).sum(axis=1)
        # gamma draws with tiny shapes underflow to 0, all of a row at once in the worst case
        p = np.maximum(rng.standard_gamma(self.alpha[self.fold, kind] + self.votes), 1e-300)
        return p / p.sum(axis=1, keepdims=True)


@dataclass(frozen=True, slots=True)
class People:
    """The best model without a panel: a mixture of Dirichlets for each fold, fitted to the other folds' votes.

    It has met all human votes of other folds' speakers and none of an utterance's own speaker, so it is the same in
    every draw of the scored votes. `folds` [U]; `fitted_on` is the number of utterances of all folds' fits together.
    """

    fits: dict[int, DirichletMixture]
    folds: np.ndarray
    fitted_on: int

    def predict(self, votes: np.ndarray) -> np.ndarray:
        """Expected distributions [U, K] given some votes [U, K] of each utterance; rows with NaN stay NaN.

        Few votes have few outcomes: each is computed once.
        """
        found = np.full(votes.shape, np.nan)
        for fold, fit in self.fits.items():
            here = np.flatnonzero((self.folds == fold) & ~np.isnan(votes).any(axis=1))
            first, of = distinct_places(votes[here])
            if len(here):
                found[here] = fit.posterior_mean(votes[here[first]])[of]
        return found

    def only(self, keep: np.ndarray) -> People:
        """The same model for some of the utterances."""
        return replace(self, folds=self.folds[keep])

    def posterior(self, votes: np.ndarray) -> Posterior:
        """What the distributions behind some whole votes [U, K] of each utterance may be."""
        kinds = max(len(fit.pi) for fit in self.fits.values())
        alpha = np.ones((len(self.fits), kinds, votes.shape[1]))
        below, place = np.ones((len(votes), kinds)), np.empty(len(votes), dtype=int)
        for f, (fold, fit) in enumerate(self.fits.items()):
            here = np.flatnonzero(self.folds == fold)
            first, of = distinct_places(votes[here])
            log = fit.log_joint(votes[here[first]])
            chances = np.exp(log - logsumexp(log, axis=1, keepdims=True))
            # the last kind's bound stays 1, whatever the sum is rounded to
            below[here, : len(fit.pi) - 1] = np.cumsum(chances, axis=1)[of, :-1]
            alpha[f, : len(fit.pi)], place[here] = fit.alpha, f
        return Posterior(below, alpha, place, votes)


def fit_people(reference: Reference) -> People:
    """Fit a mixture of Dirichlets to the other folds' human votes, for every fold.

    Of few utterances, the number of kinds is the one under which one of those other folds' votes are likeliest, given
    the rest of them.
    """
    human, part = reference.scored + reference.other, fitted_part(reference)
    fits = {}
    for fold in np.unique(reference.folds):
        others = part & (reference.folds != fold)
        components = _components(human, reference.folds, others) if len(human) < CHOOSE_BELOW else COMPONENTS
        fits[int(fold)] = fit_dirichlet_mixture(human[others], components=components, steps=STEPS)
    return People(fits, reference.folds, int(part.sum()))


def refit_people(people: People, reference: Reference, kept: np.ndarray) -> People:
    """The same model, of as many kinds, fitted to the utterances `kept` (mask [U]) alone; begun at `people`."""
    human = reference.scored + reference.other

    def fit(rows: np.ndarray, begin: DirichletMixture) -> DirichletMixture:
        return fit_dirichlet_mixture(human[rows], steps=REFIT_STEPS, begin=begin)

    fits = fitted_anew(people.fits, reference.folds, kept, fit)
    return People(fits, reference.folds, int(kept.sum()))


def fitted_anew(
    fits: Mapping[int, Fit], folds: np.ndarray, kept: np.ndarray, fit: Callable[[np.ndarray, Fit], Fit]
) -> dict[int, Fit]:
    """Each fold's model fitted to the utterances `kept` (mask [U]) of the other folds, begun at the former model.

    A fold whose others are all kept has nothing to learn, and one of whose others too few are kept to fit anything
    cannot: the former model stays.
    """
    found = {}
    for fold, former in fits.items():
        others = folds != fold
        rows = others & kept
        found[fold] = former
        if rows.any() and not kept[others].all():
            with suppress(CorpusError, OptionError):
                found[fold] = fit(rows, former)
    return found


def _components(human: np.ndarray, folds: np.ndarray, others: np.ndarray) -> int:
    """The number of kinds, chosen within `others` [U] on their first fold; one where there is only one such fold."""
    inner = others & (folds == folds[others].min())
    rest = others & ~inner
    if not rest.any():
        return 1

    def evidence(components: int) -> float:
        fit = fit_dirichlet_mixture(human[rest], components=components, steps=STEPS)
        return float(np.asarray(logsumexp(fit.log_joint(human[inner]), axis=1)).sum())

    return max(COMPONENTS_TO_CHOOSE, key=evidence)


def curve_votes(reference: Reference, most: int | None = None) -> list[np.ndarray]:
    """The human votes [U, K] that the curve's points predict from: none, 1, 2, … up to `most` (`curve_length`)."""
    numbers = range(1, (curve_length(reference) if most is None else most) + 1)
    return [np.zeros_like(reference.other), *_human_votes(reference, numbers)]


def curve_predictions(reference: Reference, people: People) -> list[tuple[str, int, np.ndarray]]:
    """The human curve: ("raw", n, frequencies) for n = 1, 2, …, and ("smoothed", n, posterior mean) from n = 0.

    Smoothed by the mixture of Dirichlets, the best use of n votes without a panel (squared error of two votes on
    CREMA-D .096, of the single Dirichlet .112).
    """
    points = []
    for n, votes in enumerate(curve_votes(reference)):
        if n:
            points.append(("raw", n, np.where(np.isnan(votes), np.nan, frequencies(np.nan_to_num(votes)))))
        points.append(("smoothed", n, people.predict(votes)))
    return points


def perfect(reference: Reference, people: People, *, draws: int = POSTERIOR_DRAWS) -> dict[str, np.ndarray]:
    """Scores by metric, rows [U] or [U, T], that the true distribution itself would get against m votes: the floor that
    sampling noise sets.

    p is drawn from the human mixture's posterior given the other votes, the m votes from p, and p is scored against
    them; the mean over `draws`. (Resampling an utterance's few frequencies understates the floor two to three times; a
    single Dirichlet's posterior had it 9 % too low where the truth was known, this one right to .1 %.) A score whose
    value is known by construction (`sq_unbiased` is exactly 0 in expectation) is given as that.
    """
    m = reference.m
    by_id = np.argsort(reference.ids)
    posterior = people.posterior(reference.other).take(by_id)
    rng = rng_from("posterior draws", reference.seed, reference.draw)
    asked = sorted(floor_metrics(), key=lambda metric: metric.votes != "m")
    sums: dict[str, np.ndarray] = {}
    for _ in range(draws):
        p = posterior.draw(rng)
        votes = rng.multinomial(m, p)
        pairs = Pairs(p, votes, votes, m)
        for metric in asked:
            key = metric.key(m)
            sums[key] = sums.get(key, 0.0) + rows_of(metric, pairs)
    scores = {metric.key(m): np.full(len(by_id), metric.truth) for metric in floor_metrics(known=True)}
    for name, total in sums.items():
        scores[name] = np.empty_like(total)
        scores[name][by_id] = total / draws
    return scores


def floor_metrics(*, known: bool = False) -> list[Metric]:
    """The scores of distributions whose value for the truth has to be simulated, or is `known` by construction."""
    asked = [metric for metric in metrics_at("scores") if metric.of == "distribution"]
    return [metric for metric in asked if (metric.truth is not None) == known]
