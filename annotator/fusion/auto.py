"""`auto`: the proxy model that predicts the seen votes best, taken only where it beats the human mixture.

    score(model) = mean over seen votes v of log p_model(v | the utterance's other seen votes, its proxies)

cross-fitted by speaker. The candidates are the models of every strategy that offers some: `empirical-bayes`, and
`latent-class` at each power (of several runs, with those that raise its score). The best is set against
`human-mixture`, vote by vote, in

    everything;  each speaker group (gender);  each label of the seen votes;  each third of the proxy's ambiguity

and is taken for an utterance only if in all four of its strata the gain's paired interval by speaker (95 %) lies above
0, and that of the loss in Brier score (its difference is that in squared error) below .005: a gain in log score may be
bought with squared error, and a stratum too small to tell is not given away. Elsewhere the human mixture stands, and
the report says where and how many. So a proxy that is deaf, that is right for women only, or wrong for one label, does
no harm where it is deaf or wrong: speaker groups are looked at first, the other strata within the groups that won. What
is decided for a fold's speakers is decided on the other folds' votes (predicted by fits that this fold helped to make:
its votes can move which model is taken, never the fit that predicts them).

A vote's label stratum is the plurality of the utterance's *other* seen votes: the plurality of all would hold the vote
that is scored, and favour whichever model is surer. Ambiguity is 1 - sum q^2 of the runs' mean distribution; its thirds
are cut by the proxy alone. Ties count for each tied label, and all of them have to be won. An utterance without a seen
vote has no label stratum; where the proxy is not taken it has no distribution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...data.scores.intervals import Interval
from .base import Blend, Fitted, Models, NoOptions, Strategy, Strengths, source_column
from .cross_fit import CrossFit, mean_over, untaught
from .evidence import Evidence
from .human_mixture import HUMAN_MIXTURE
from .human_mixture import NAME as BASE
from .models import FittedMixture, Model, fit_human_mixture, read_model
from .strengths import READ, mixture_strengths, prior_estimates

FORMULA = (
    "the best of empirical-bayes and latent-class by cross-fitted log score of the seen votes where it beats "
    "human-mixture in the utterance's strata, else human-mixture"
)
GROUP = "gender:"
# What may be lost in squared error before a stratum falls back.
MARGIN = 0.005
THIRDS = ("low", "middle", "high")


class Strata(NamedTuple):
    """Which strata an utterance is in, `of_row` [U, S]; the last are the labels of its seen votes. `ends`: where the
    thirds of the proxy's ambiguity end (None: no utterance has one)."""

    names: tuple[str, ...]
    of_row: np.ndarray
    ends: tuple[float, float] | None = None


class Gain(NamedTuple):
    """Paired differences from the human mixture, a vote: gain in log score, and loss in Brier score."""

    log: Interval
    loss: Interval

    @property
    def won(self) -> bool:
        """Whether the log score surely gains and the Brier score surely loses less than the margin."""
        return self.log.low > 0 and self.loss.high < MARGIN


class Decision(NamedTuple):
    """The model that stands against the human mixture, and what it gains by stratum."""

    model: str
    gains: dict[str, Gain]

    @property
    def won(self) -> frozenset[str]:
        """The strata in which the model is taken."""
        return frozenset(name for name, gain in self.gains.items() if gain.won)


class Auto(NamedTuple):
    """What was decided for all train speakers: the model, its strategy, the strata that it won and where the thirds of
    ambiguity end; the models by name; and, on the corpus that it was fitted to, the cross-fit with each fold's
    decision (None: it was read)."""

    models: dict[str, Model]
    model: str
    family: str
    won: frozenset[str]
    ends: tuple[float, float] | None
    cross: CrossFit | None = None
    decisions: Mapping[int, Decision] | None = None
    families: Mapping[str, str] | None = None

    def blend(self, evidence: Evidence) -> Blend:
        """Fuse where the proxy model is shown to help, else by the human mixture."""
        if self.cross is None or self.decisions is None or evidence is not self.cross.evidence:
            cross, decisions = CrossFit.reusing(evidence, self.models), None
            strata = cut(evidence, evidence.proxy(), self.ends)
            chosen = _choose(cross, strata, {-1: (self.model, self.won)})
        else:
            cross, decisions = self.cross, self.decisions
            strata = cut(evidence, evidence.proxy())
            chosen = _choose(cross, strata, {f: (d.model, d.won) for f, d in decisions.items()})
        families = self.families or {self.model: self.family}
        p, effective = cross.posterior(chosen)
        taken = np.array([name not in (None, BASE) for name in chosen])
        of = np.array([families.get(name, "") for name in chosen], dtype=object)
        warnings = untaught(evidence, cross.given, cross.audible)
        if decisions is not None:
            warnings = (*_warnings(evidence, cross, strata, decisions[-1], taken), *warnings)
        return Blend(
            p=p,
            effective_votes=effective,
            source=source_column((BASE, chosen == BASE), *((name, of == name) for name in sorted({*of} - {""}))),
            formula=FORMULA,
            parameters=_parameters(cross, strata, decisions, taken) if decisions else {"model": self.model},
            warnings=warnings,
        )

    def figures(self) -> Strengths:
        if self.cross is None:
            return READ
        if isinstance(self.models[self.model], FittedMixture):
            return mixture_strengths(self.cross, [self.model, BASE])
        mixture = mixture_strengths(self.cross, [BASE])
        whole, *folds = (self.cross.model(self.model, f).described() for f in (-1, *self.cross.folds))
        if "proxies" not in whole:
            return mixture
        return mixture._replace(estimates=[*prior_estimates(whole, folds, self.cross.evidence), *mixture.estimates])

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "family": self.family,
            "won": sorted(self.won),
            "ends": self.ends,
            "models": {name: model.state() for name, model in self.models.items()},
        }


class WithoutRuns(NamedTuple):
    """No run was given: the human mixture, which says so."""

    mixture: Fitted

    def blend(self, evidence: Evidence) -> Blend:
        blend = self.mixture.blend(evidence)
        return blend._replace(warnings=("no run was given: auto is human-mixture", *blend.warnings))

    def figures(self) -> Strengths:
        return self.mixture.figures()

    def state(self) -> dict[str, Any]:
        return self.mixture.state()


def fit(evidence: Evidence, options: NoOptions, models: Models) -> Fitted:
    """Decide where a proxy model is shown to help; without runs it is the human mixture."""
    if not evidence.runs:
        return WithoutRuns(HUMAN_MIXTURE.fit(evidence, options, models))
    runs = len(evidence.runs)
    offered = {s.name: s.candidates for s in models.strategies.values() if s.candidates is not None}
    fits = {name: dict(candidates.fits(runs)) for name, candidates in offered.items()}
    families = {model: name for name, some in fits.items() for model in some if model != BASE}
    cross = CrossFit(evidence, _joined(fits), models)
    strata = cut(evidence, evidence.proxy())
    rest = np.ascontiguousarray(np.moveaxis(plurality_of_rest(cross.sampled), 2, 0))
    decisions = {
        int(f): decide(cross, strata, rest, int(f), [one.best(cross, int(f)) for one in offered.values()])
        for f in sorted({*np.unique(cross.fold).tolist(), -1})
    }
    whole = decisions[-1]
    return Auto(
        models=cross.whole([whole.model, BASE]),
        model=whole.model,
        family=families[whole.model],
        won=whole.won,
        ends=strata.ends,
        cross=cross,
        decisions=decisions,
        families=families,
    )


def read(state: Mapping[str, Any], models: Models) -> Fitted:
    """The decision of a state, or the human mixture's fit where there were no runs."""
    if "mixture" in state:
        return WithoutRuns(HUMAN_MIXTURE.read(state, models))
    own = {name: read_model(model) for name, model in state["models"].items()}
    ends = None if state["ends"] is None else tuple(state["ends"])
    return Auto(own, state["model"], state["family"], frozenset(state["won"]), ends)


def _joined(fits: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """All models by name, the human mixture first and the last strategy's before the others': reports list them so."""
    found: dict[str, Any] = {BASE: fit_human_mixture}
    for some in reversed(list(fits.values())):
        found |= some
    return found


def _choose(cross: CrossFit, strata: Strata, by_fold: Mapping[int, tuple[str, frozenset[str]]]) -> np.ndarray:
    """The model's name of each utterance [U]; None: no distribution."""
    chosen = np.full(len(cross.evidence.ids), None, dtype=object)
    chosen[cross.evidence.voted] = BASE
    for f, (model, won) in by_fold.items():
        chosen[(cross.fold == f) & accepted(won, strata) & cross.covered] = model
    return chosen


def decide(cross: CrossFit, strata: Strata, rest: np.ndarray, fold: int, candidates: Sequence[str]) -> Decision:
    """Choose the proxy model among the candidates and measure its gain by stratum, on the speakers outside a fold (-1:
    on all); `rest` [K, R, K] is `plurality_of_rest` of the sample's votes, label first."""
    # where nothing tells them apart the last stands
    best = max(reversed(candidates), key=lambda name: cross.mean_score(name, without=fold, where=cross.covered))
    ours, base = cross.scores(best), cross.scores(BASE)
    gain, loss = (np.nan_to_num((a - b) * cross.sampled) for a, b in zip(ours, base, strict=True))
    groups, of_row = cross.groups[cross.rows], strata.of_row[cross.rows]
    keep = (cross.fold[cross.rows] != fold) & cross.covered[cross.rows]

    def measure(name: str, keep: np.ndarray) -> Gain:
        held = votes_of(strata, name, of_row, rest)
        d_log, d_brier, votes = ((array * held).sum(axis=1) for array in (gain, loss, cross.sampled))
        return Gain(*(mean_over(d, votes, groups, keep) for d in (d_log, d_brier)))

    grouped = [name for name in strata.names if name.startswith(GROUP)]
    found = {name: measure(name, keep) for name in grouped}
    won = np.array([name in found and found[name].won for name in strata.names])
    within = keep & (of_row & won).any(axis=1) if won.any() else keep
    return Decision(best, {name: found[name] if name in found else measure(name, within) for name in strata.names})


def votes_of(strata: Strata, name: str, of_row: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Mask [R, K] or [R, 1] of the votes that a stratum holds: its utterances' (`of_row` [R, S]), or for a label those
    beside which it has the most votes (`rest` [K, R, K])."""
    i = strata.names.index(name)
    of_label = i - (len(strata.names) - len(rest))
    return of_row[:, i, None] if of_label < 0 else rest[of_label]


def accepted(won: frozenset[str], strata: Strata) -> np.ndarray:
    """Mask [U]: every stratum of the utterance was won."""
    lost = np.array([name not in won for name in strata.names])
    return np.asarray(~(strata.of_row & lost).any(axis=1))


def cut(evidence: Evidence, q: np.ndarray, ends: tuple[float, float] | None = None) -> Strata:
    """Strata of utterances: all, speaker group, ambiguity of q (in thirds of the train utterances, or at `ends`), label
    of the seen votes."""
    ambiguity = 1 - (q**2).sum(axis=1)
    known = evidence.train & np.isfinite(ambiguity)
    if ends is None and known.any():
        low, high = np.quantile(ambiguity[known], [1 / 3, 2 / 3]).tolist()
        ends = low, high
    named = [*_of_rows(evidence, ambiguity, ends)]
    names = [name for name, _ in named] + [f"seen:{label}" for label in evidence.labels]
    return Strata(tuple(names), np.column_stack([*(mask for _, mask in named), plurality(evidence.seen)]), ends)


def _of_rows(
    evidence: Evidence, ambiguity: np.ndarray, ends: tuple[float, float] | None
) -> Iterator[tuple[str, np.ndarray]]:
    yield "all", np.ones(len(ambiguity), bool)
    genders = np.array(["unknown" if g is None else str(g) for g in evidence.speaker_groups()], dtype=object)
    for gender in sorted(set(genders)):
        yield f"{GROUP}{gender}", genders == gender
    if ends is not None:
        third = np.searchsorted(ends, ambiguity)
        for i, name in enumerate(THIRDS):
            yield f"proxy ambiguity:{name}", np.isfinite(ambiguity) & (third == i)


def plurality(counts: np.ndarray) -> np.ndarray:
    """Mask [U, K] of the labels with the most votes; several where they tie, none without votes."""
    return (counts == counts.max(axis=1, keepdims=True)) & (counts > 0)


def plurality_of_rest(counts: np.ndarray) -> np.ndarray:
    """Mask [U, K, K]: entry (u, v, c) is whether c has the most votes of u once one vote for v is taken away."""
    found = np.zeros((*counts.shape, counts.shape[1]), bool)
    for v in range(counts.shape[1]):
        rest = counts.copy()
        rest[:, v] = np.maximum(rest[:, v] - 1, 0)
        found[:, v] = plurality(rest) & (counts[:, v] > 0)[:, None]
    return found


def _parameters(
    cross: CrossFit, strata: Strata, decisions: Mapping[int, Decision], taken: np.ndarray
) -> dict[str, Any]:
    whole = decisions[-1]
    rows = strata.of_row & cross.evidence.train[:, None]
    return cross.described() | {
        "model": whole.model,
        "models_of_folds": [decision.model for f, decision in decisions.items() if f >= 0],
        "gain_in_log_score_per_seen_vote": {
            name: {
                "gain": _number(gain.log.value),
                "low": _number(gain.log.low),
                "high": _number(gain.log.high),
                "brier_loss": _number(gain.loss.value),
                "brier_low": _number(gain.loss.low),
                "brier_high": _number(gain.loss.high),
                "speakers": gain.log.groups,
                "won": name in whole.won,
                "utterances": int(rows[:, i].sum()),
                "proxy_taken": int((rows[:, i] & taken).sum()),
            }
            for i, (name, gain) in enumerate(whole.gains.items())
        },
        "all_train_speakers": cross.model(whole.model, -1).described(),
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _warnings(
    evidence: Evidence, cross: CrossFit, strata: Strata, whole: Decision, taken: np.ndarray
) -> tuple[str, ...]:
    found = []
    voted = evidence.train & evidence.voted
    fallen = int((voted & ~taken).sum())
    if fallen:
        lost = [name for name in strata.names if name not in whole.won and whole.gains[name].log.groups]
        where = f"the proxy is not shown to help in {', '.join(lost)}" if lost else "it was not shown in every fold"
        found.append(
            f"utterances with human votes that fell back to the human mixture: {fallen} of {int(voted.sum())} ({where})"
        )
    uncovered = int((voted & ~cross.covered).sum())
    if uncovered:
        found.append(f"utterances with human votes and no proxy, which are smoothed without one: {uncovered}")
    bare = int((~evidence.voted & ~taken).sum())
    if bare:
        found.append(f"utterances without a seen vote where no proxy is taken, and so without a distribution: {bare}")
    if not cross.sample.all() and int(voted.sum()) > int(cross.sample.sum()):
        found.append(f"models were fitted to a seeded subsample of {int(cross.sample.sum())} utterances")
    return tuple(found)


AUTO = Strategy(
    name="auto",
    about="the best model of people and proxies where it is shown to beat human-mixture, else that",
    formula=FORMULA,
    fit=fit,
    read=read,
    sources=HUMAN_MIXTURE.sources,
    smooths=True,
    needs=frozenset({"votes", "pairs"}),
)
