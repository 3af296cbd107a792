"""`opinion-pool`: a weighted mean of what people say and what the proxy says, of the chances or of their logarithms.

    linear        p_u = (1 - w) h_u + w q_u
    logarithmic   p_u proportional to h_u^(1 - w) q_u^w

h_u = (n_u + alpha) / (N_u + A) is the seen votes under a Dirichlet prior fitted to all of them (without it the first
label that nobody chose would rule a logarithmic pool out), q_u the runs' mean distribution. The weight w is fixed
(`weight`), or the one with the best log score of the seen votes, each set against the utterance's other votes; alpha
and w are cross-fitted by speaker. One w for all utterances: the pool knows how good the proxy is, and not that five
votes need it less than two. An utterance without seen votes is q_u, one that no run covers is h_u. Effective votes are
undefined (NaN). Sources: Stone, "The opinion pool" (1961); Genest and Zidek, "Combining probability distributions"
(1986).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator
from scipy.optimize import minimize_scalar

from ...data.errors import OptionError
from ...data.scores.intervals import NO_LIMITS
from ...data.vote_models.dirichlet_mixture import log_share, without_one
from ...data.vote_models.dirichlet_multinomial import fit_dirichlet_multinomial, posterior_mean
from .base import Blend, Models, Strategy, Strengths, averaged, source_column
from .cross_fit import FOLDS, subsample
from .evidence import Evidence
from .simple import HUMAN_ALONE, PROXIES_ALONE
from .strengths import READ, estimate, method

NAME = "opinion-pool"
FORMS = ("linear", "logarithmic")
FORMULA = {
    "linear": "p_u = (1 - w) h_u + w q_u, h_u = (n_u + alpha) / (N_u + A)",
    "logarithmic": "p_u ~ h_u^(1 - w) q_u^w, h_u = (n_u + alpha) / (N_u + A)",
}


class Others(NamedTuple):
    """Each seen vote against the utterance's others: its `row` and `label` [P], how often it was cast (`times` [P]),
    and the logs of h and q [P, K] that predict it."""

    row: np.ndarray
    label: np.ndarray
    times: np.ndarray
    log_h: np.ndarray
    log_q: np.ndarray


class Options(BaseModel):
    """What the opinion pool can be asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    opinion: str = Field("linear", description="The form: linear or logarithmic.")
    weight: float | None = Field(None, description="The proxy's weight, 0 to 1; learnt where not given.")

    @field_validator("opinion")
    @classmethod
    def _known(cls, opinion: str) -> str:
        if opinion not in FORMS:
            raise OptionError(f"unknown form '{opinion}' of opinion-pool; expected one of {', '.join(FORMS)}")
        return opinion

    @field_validator("weight")
    @classmethod
    def _in_range(cls, weight: float | None) -> float | None:
        if weight is not None and not 0 <= weight <= 1:
            raise OptionError(f"the proxy's weight is {weight:g}; expected a share from 0 to 1 (--weight 0.3)")
        return weight


class OpinionPool(NamedTuple):
    """alpha [K] and w of every fold (-1: of all train speakers), and the evidence that they were fitted to (None: they
    were read)."""

    options: Options
    alphas: dict[int, np.ndarray]
    weights: dict[int, float]
    evidence: Evidence | None = None

    def blend(self, evidence: Evidence) -> Blend:
        """Pool the seen votes' and the runs' distributions."""
        form, q = self.options.opinion, evidence.proxy()
        covered = np.asarray(np.isfinite(q).all(axis=1))
        fold = evidence.folds(folds=FOLDS) if evidence is self.evidence else np.full(len(q), -1)
        p = np.full(q.shape, np.nan)
        for f in np.unique(fold):
            rows = (fold == f) & evidence.voted
            p[rows] = posterior_mean(evidence.seen[rows], self.alphas[int(f)])
            both = rows & covered
            p[both] = pooled(np.log(p[both]), log_share(q[both]), self.weights[int(f)], form)
        alone = covered & ~evidence.voted
        p[alone] = q[alone]
        return Blend(
            p=p,
            effective_votes=np.full(len(p), np.nan),
            source=source_column(("human", evidence.voted), ("synthetic", covered), (NAME, covered & evidence.voted)),
            formula=FORMULA[form],
            parameters={
                "form": form,
                "weight": self.weights[-1],
                "weight_fixed": self.options.weight is not None,
                "weights_of_folds": self._weights_of_folds(),
                "runs": [run.name for run in evidence.runs],
            },
            warnings=(*averaged(evidence), *_warnings(evidence, covered)),
        )

    def _weights_of_folds(self) -> list[float]:
        return [w for f, w in sorted(self.weights.items()) if f >= 0]

    def figures(self) -> Strengths:
        if self.evidence is None:
            return READ
        values = [self.weights[-1], *self._weights_of_folds()]
        fixed = self.options.weight is not None
        weight = estimate("the proxies together", "weight in the pool", values, NO_LIMITS, fixed)
        weight = weight._replace(low=max(0.0, weight.low), high=min(1.0, weight.high))
        return Strengths([weight], {}, method(values[1:]))

    def state(self) -> dict[str, Any]:
        return {"options": self.options.model_dump(), "alpha": self.alphas[-1].tolist(), "weight": self.weights[-1]}


def fit(evidence: Evidence, options: Options, models: Models) -> OpinionPool:
    """Fit alpha and w of every fold; OptionError where every utterance has a single seen vote."""
    q = evidence.proxy()
    covered = np.asarray(np.isfinite(q).all(axis=1))
    fold, sample = evidence.folds(folds=FOLDS), subsample(evidence) & covered
    alphas = {int(f): fit_dirichlet_multinomial(evidence.seen[sample & (fold != f)]) for f in {*fold.tolist(), -1}}
    others = against_others(evidence.seen, log_share(np.where(covered[:, None], q, 1.0)), alphas, fold, sample)
    weights = {
        f: best_weight(_without(others, fold[others.row] != f), options.opinion)
        if options.weight is None
        else options.weight
        for f in alphas
    }
    return OpinionPool(options, alphas, weights, evidence)


def read(state: Mapping[str, Any], models: Models) -> OpinionPool:
    """The pool of a state."""
    return OpinionPool(Options(**state["options"]), {-1: np.array(state["alpha"])}, {-1: state["weight"]})


def pooled(log_h: np.ndarray, log_q: np.ndarray, weight: float, form: str) -> np.ndarray:
    """The pool [..., K] of two distributions given as logs.

    >>> pooled(np.log([[.5, .5]]), np.log([[.8, .2]]), 0.5, "logarithmic").round(4)
    array([[0.6667, 0.3333]])
    """
    if form == "linear":
        return (1 - weight) * np.exp(log_h) + weight * np.exp(log_q)
    z = (1 - weight) * log_h + weight * log_q
    p = np.exp(z - z.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def against_others(
    seen: np.ndarray, log_q: np.ndarray, alphas: dict[int, np.ndarray], fold: np.ndarray, sample: np.ndarray
) -> Others:
    """Every seen vote of the sample with what its utterance's other votes and the proxy say, alphas cross-fitted."""
    row, label, rest = without_one(seen * sample[:, None])
    alpha = np.array([alphas[int(f)] for f in fold[row]]).reshape(len(row), seen.shape[1])
    return Others(row, label, seen[row, label], np.log(posterior_mean(rest, alpha)), log_q[row])


def best_weight(others: Others, form: str) -> float:
    """The weight in 0 to 1 with the best mean log score (both forms are concave in it)."""
    at = np.arange(len(others.row)), others.label

    def loss(weight: float) -> float:
        return -float(others.times @ np.log(pooled(others.log_h, others.log_q, weight, form)[at])) / others.times.sum()

    return float(minimize_scalar(loss, bounds=(0.0, 1.0), method="bounded", options={"xatol": 1e-4}).x)  # type: ignore[union-attr]


def _without(others: Others, keep: np.ndarray) -> Others:
    return Others(*(array[keep] for array in others))


def _warnings(evidence: Evidence, covered: np.ndarray) -> tuple[str, ...]:
    alone = int((evidence.voted & ~covered).sum())
    return (f"utterances with human votes and no proxy, whose own votes stand alone: {alone}",) if alone else ()


OPINION_POOL = Strategy(
    name=NAME,
    about="a weighted mean of what people and what the proxies say",
    formula=f"{FORMULA['linear']}; or {FORMULA['logarithmic']}",
    fit=fit,
    read=read,
    sources={"human": HUMAN_ALONE, "synthetic": PROXIES_ALONE, NAME: "the pool of both"},
    smooths=True,
    Options=Options,
    needs=frozenset({"votes", "pairs", "runs"}),
    compared={form: {"opinion": form} for form in FORMS},
)
