"""`empirical-bayes`: the calibrated proxy is the prior, the seen human votes are the evidence.

    n_u ~ Dirichlet-multinomial(N_u, a_u),   a_u = sum_j alpha_j g_j(q_ju)
    p_u = (n_u + a_u) / (N_u + A_u)          with N_u + A_u effective votes, A_u = sum_k a_uk

q_ju is what run j says of u (its exact panel mean), n_u the seen human votes, g a calibration fitted to them: a
row-stochastic confusion map, then temperature and class bias, softmax(log(q C) / tau + b). Several runs are a sum of
priors, each with a calibration and a strength of its own; one that lacks an utterance adds nothing there. alpha, tau
and b maximise the likelihood, with weak priors for small corpora (`calibrated_prior.py`). They are cross-fitted over
five folds of train speakers: an utterance's parameters never saw its speaker. Utterances outside train get the
parameters of all train speakers, and, having no seen vote, p_u = a_u / A_u. An utterance with votes that no run covers
falls back to the class-marginal prior, the Dirichlet-multinomial without a proxy; one with neither is undefined.

The prior's strength alpha does not say how good the proxy is: a shuffled proxy calibrates to the class marginal and
still gets a strength. The cross-fitted log score of the seen votes, each given the utterance's others, beside that of
the class-marginal prior, does. `auto` takes the same model, by the same code.
Sources: empirical Bayes shrinkage by a Dirichlet-multinomial, Minka, "Estimating a Dirichlet distribution" (2000);
measured on real votes in serann's tests (CREMA-D).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from ...data.errors import OptionError
from ...data.vote_models.calibrated_prior import NOTHING_TO_FIT
from .base import Blend, Candidates, Models, Strategy, Strengths, require_pairs, source_column
from .cross_fit import CrossFit, untaught
from .evidence import Evidence
from .models import FittedPrior, Model, fit_marginal, fit_prior, read_model
from .strengths import READ, method, prior_estimates

NAME = "empirical-bayes"
MARGINAL = "class-marginal"
FORMULA = (
    "p_u = (n_u + sum_j alpha_j g_j(q_ju)) / (N_u + sum_j alpha_j), g = softmax(log(q C) / tau + b), cross-fitted by "
    "speaker"
)
# A prior this many times heavier than the votes of an utterance leaves them without a say; the report tells.
HEAVY = 10


class Options(BaseModel):
    """What empirical Bayes can be asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    strength: float | None = Field(
        None, description="How many human votes the runs count for together; estimated otherwise."
    )

    @field_validator("strength")
    @classmethod
    def _in_range(cls, strength: float | None) -> float | None:
        if strength is not None and not 0 < strength < np.inf:
            raise OptionError(f"strength is {strength:g}; expected a number of votes above 0 (--strength 2)")
        return strength


class EmpiricalBayesFit(NamedTuple):
    """The priors of all train speakers by name, with the proxies and without; the options; and their cross-fit on the
    corpus that they were fitted to (None: they were read)."""

    models: dict[str, Model]
    options: Options
    cross: CrossFit | None = None

    def blend(self, evidence: Evidence) -> Blend:
        """Posterior means under the calibrated proxies, or under the class marginal where no proxy covers them."""
        own = self.cross is not None and evidence is self.cross.evidence
        cross = self.cross if own and self.cross else CrossFit.reusing(evidence, self.models)
        chosen = np.full(len(evidence.ids), None, dtype=object)
        chosen[evidence.voted] = MARGINAL
        chosen[cross.covered] = NAME
        p, effective = cross.posterior(chosen)
        scores = cross.log_scores([NAME, MARGINAL] if own else [])
        fits = {f: cross.model(NAME, f) for f in (*cross.folds, -1)}
        return Blend(
            p=p,
            effective_votes=effective,
            source=source_column((MARGINAL, evidence.voted), (NAME, cross.covered)),
            formula=FORMULA,
            parameters={
                "strength_fixed": self.options.strength is not None,
                "all_train_speakers": _described(fits[-1], evidence),
                "folds": [{"fold": f, **_described(fit, evidence)} for f, fit in fits.items() if f >= 0],
                "cross_fitted_log_score_per_seen_vote": scores,
                "runs": [run.name for run in evidence.runs],
            },
            warnings=(
                *_warnings(fits, scores, evidence, cross.covered, self.options),
                *untaught(evidence, cross.given, cross.audible),
            ),
        )

    def figures(self) -> Strengths:
        if self.cross is None:
            return READ
        whole, *folds = (self.cross.model(NAME, f).described() for f in (-1, *self.cross.folds))
        fixed = self.options.strength is not None
        estimates = prior_estimates(whole, folds, self.cross.evidence, fixed=fixed)
        return Strengths(estimates, {}, method(folds))

    def state(self) -> dict[str, Any]:
        return {
            "options": self.options.model_dump(),
            "models": {name: model.state() for name, model in self.models.items()},
        }


def fits(strength: float | None = None) -> dict[str, Any]:
    """The calibrated prior and the class marginal, by name."""
    if strength is None:
        return {NAME: fit_prior, MARGINAL: fit_marginal}
    return {NAME: partial(fit_prior, strength=strength), MARGINAL: partial(fit_marginal, strength=strength)}


def fit(evidence: Evidence, options: Options, models: Models) -> EmpiricalBayesFit:
    """Fit both priors; OptionError where every utterance has a single seen vote and no strength is stated, and where
    no utterance has both a vote and a proxy."""
    if options.strength is None:
        require_pairs(evidence)
    cross = CrossFit(evidence, fits(options.strength), models)
    if not (cross.given.covered & cross.sample).any():
        raise OptionError(NOTHING_TO_FIT)
    cross.fit((name, f) for name in cross.fits for f in (-1, *cross.folds))
    return EmpiricalBayesFit(cross.whole([NAME, MARGINAL]), options, cross)


def read(state: Mapping[str, Any], models: Models) -> EmpiricalBayesFit:
    """The priors of a state."""
    own = {name: read_model(model) for name, model in state["models"].items()}
    return EmpiricalBayesFit(own, Options(**state["options"]))


def _prior(model: Model) -> FittedPrior:
    assert isinstance(model, FittedPrior)
    return model


def _described(model: Model, evidence: Evidence) -> dict[str, Any]:
    found = _prior(model).fit
    proxies = [
        {
            "run": run.name,
            "strength": proxy.strength,
            "temperature": proxy.temperature,
            "bias": dict(zip(evidence.labels, proxy.bias.tolist(), strict=True)),
            "confusion": proxy.confusion.tolist(),
        }
        for run, proxy in zip(evidence.runs, found.proxies, strict=True)
    ]
    return {"strength": found.strength, "proxies": proxies, "utterances": found.rows, "converged": found.converged}


def _warnings(
    fits: Mapping[int, Model], scores: dict[str, float], evidence: Evidence, covered: np.ndarray, options: Options
) -> tuple[str, ...]:
    found = []
    fallen = int((~covered & evidence.voted).sum())
    if fallen:
        found.append(f"utterances with human votes and no proxy, whose prior is the class marginal: {fallen}")
    bare = int((~covered & ~evidence.voted).sum())
    if bare:
        found.append(f"utterances with neither seen votes nor a proxy, and so without a distribution: {bare}")
    if scores and scores[NAME] <= scores[MARGINAL]:
        found.append(
            "the proxy predicts the seen votes of unseen speakers no better than the class marginal does (log score a "
            f"vote {scores[NAME]:.4f} against {scores[MARGINAL]:.4f}): what looks like a gain is smoothing"
        )
    whole, voted = _prior(fits[-1]).fit, evidence.voted.sum()
    typical = float(evidence.seen.sum() / voted) if voted else np.inf
    if options.strength is None and whole.strength > HEAVY * typical:
        found.append(
            f"the proxy counts for {whole.strength:.0f} votes against {typical:.1f} seen ones an utterance: the "
            "seen votes hardly vary more than chance around it, and hardly move it"
        )
    if not all(_prior(fit).fit.converged for fit in fits.values()):
        found.append("the maximum of the likelihood was not reached in every fold; see 'converged' in the parameters")
    return tuple(found)


EMPIRICAL_BAYES = Strategy(
    name=NAME,
    about="the calibrated proxies as a prior, the seen votes as evidence",
    formula=FORMULA,
    fit=fit,
    read=read,
    sources={
        MARGINAL: "their seen votes, smoothed towards the class marginal, for no proxy covers them",
        NAME: "the calibrated proxies and their seen votes",
    },
    smooths=True,
    Options=Options,
    needs=frozenset({"votes", "runs"}),
    candidates=Candidates(fits=lambda runs: {NAME: fit_prior}, best=lambda cross, fold: NAME),
)
