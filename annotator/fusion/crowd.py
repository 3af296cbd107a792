"""The crowd models `dawid-skene`, `mace` and `glad`, as crowd-kit computes them where it is installed.

    dawid-skene  every rater and listener has a confusion matrix, and every utterance one true label:
                 P(z_u = c | ballots) proportional to pi_c prod_w e_w(c, y_uw), e_w(c, y): how often worker w says y
                 for c; by EM
    mace         a rater or listener either knows the true label or guesses in its own manner: y_uw = z_u with chance
                 theta_w, else drawn from xi_w; z_u uniform; theta_w, xi_w by variational Bayes (four restarts, seeded)
    glad         raters and listeners have an ability, utterances a difficulty, and every utterance one true label:
                 P(y_uw = z_u) = 1 / (1 + exp(-a_w b_u)), the other labels sharing the rest equally; by EM

What they read is one row per listener, `task, worker, label`. Raters and listeners are workers alike. A synthetic
listener gives one row per utterance, the plurality label of its p: repeated draws of one p are no independent
witnesses, and a crowd model would take them for such. Listeners that differ in temperature alone are one worker. Votes
without a rater are the votes of one worker, `anonymous`, whose errors are those of all of them.

Crowd models look for the one true label of an utterance; the p they give says how sure they are of it, not how people
differ. They are here as the field's rules. They are fitted to the train utterances and say nothing of others.

Sources: Dawid and Skene, "Maximum likelihood estimation of observer error-rates using the EM algorithm" (Applied
Statistics, 1979); Hovy, Berg-Kirkpatrick, Vaswani and Hovy, "Learning whom to trust with MACE" (NAACL-HLT 2013);
Whitehill, Wu, Bergsma, Movellan and Ruvolo, "Whose vote should count more" (NeurIPS 2009).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from ...data.errors import CorpusError, OptionError
from ..ballots import Ballots
from .base import Blend, Rule, Strategy, source_column
from .evidence import Evidence

ANONYMOUS = "anonymous"
RESTARTS = 4
WHY = (
    "crowd-kit fits one model to all ballots; it is not fitted again without some speakers, so nothing has an interval"
)


def crowd_blend(evidence: Evidence, strategy: str, make: Callable[[Any, int], Any], formula: str) -> Blend:
    """Fit a crowd-kit model to all ballots of train; p is its posterior of the true label, NaN without a ballot. `make`
    makes the model of the library and a seed.

    `effective_votes` is the number of ballots. Raises OptionError where crowd-kit is not installed.
    """
    aggregation = crowd_kit(strategy)
    row, worker, label = ballots(evidence)
    frame = import_module("pandas").DataFrame({"task": row, "worker": worker, "label": label})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # crowd-kit's own, about pandas keywords that it still gives
        found = make(aggregation, evidence.seed % 2**32).fit_predict_proba(frame)
    p = np.full(evidence.seen.shape, np.nan)
    tasks = found.index.to_numpy().astype(int)
    p[tasks] = 0.0
    for c in found.columns:
        p[tasks, int(c)] = np.nan_to_num(found[c].to_numpy(dtype=float))
    with np.errstate(invalid="ignore"):
        p /= p.sum(axis=1, keepdims=True)
    number = np.bincount(row, minlength=len(p)).astype(float)
    defined = np.isfinite(p).all(axis=1)
    return Blend(
        p=p,
        effective_votes=np.where(defined, number, np.nan),
        source=source_column((strategy, np.asarray(defined))),
        formula=formula,
        parameters={
            "workers": len(set(worker)),
            "ballots": len(row),
            "runs": [run.name for run in evidence.runs],
        },
        warnings=_warnings(evidence, worker, defined),
    )


def crowd_kit(strategy: str) -> Any:
    """crowdkit.aggregation; OptionError with the install line where it is not installed."""
    try:
        return import_module("crowdkit.aggregation")
    except ImportError as error:
        raise OptionError(
            f"strategy '{strategy}' needs crowd-kit, which is not installed: pip install 'serann[crowd]'"
        ) from error


def ballots(evidence: Evidence) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, workers' names and labels [N] of the seen votes and of each run's listeners, train utterances only."""
    human = evidence.ballots if evidence.ballots is not None else anonymous(evidence.seen)
    parts = [("human", human)]
    for i, run in enumerate(evidence.runs):
        parts.append((f"run {i + 1}", run.ballots() if run.ballots is not None else anonymous(run.drawn)))
    rows, workers, labels = [], [], []
    for name, part in parts:
        keep = evidence.train[part.row]
        rows.append(part.row[keep])
        labels.append(part.label[keep])
        workers.append(np.array([f"{name}: {ANONYMOUS if r is None else r}" for r in part.rater[keep]], dtype=object))
    return np.concatenate(rows), np.concatenate(workers), np.concatenate(labels)


def anonymous(counts: np.ndarray) -> Ballots:
    """Whole counts [U, K] as ballots without a rater; CorpusError for shares of votes."""
    whole = np.rint(np.nan_to_num(counts)).astype(int)
    if not np.allclose(whole, np.nan_to_num(counts)):
        raise CorpusError("crowd models read whole votes, and some votes here weigh a share of one")
    row, label = np.nonzero(whole)
    times = whole[row, label]
    row, label = np.repeat(row, times), np.repeat(label, times)
    return Ballots(row, np.full(len(row), None, dtype=object), label)


def _warnings(evidence: Evidence, worker: np.ndarray, defined: np.ndarray) -> tuple[str, ...]:
    found = []
    nameless = sum(str(name).endswith(f": {ANONYMOUS}") for name in worker)
    if nameless:
        found.append(f"votes without a rater, taken for one worker's: {nameless}")
    bare = int((~defined & ~evidence.train).sum())
    if bare:
        found.append(f"utterances outside train, of which a crowd model says nothing: {bare}")
    return tuple(found)


def not_installed() -> str:
    """What to do where crowd-kit is not installed; nothing where it is."""
    return "" if find_spec("crowdkit") else "crowd-kit is not installed: pip install 'serann[crowd]'"


def crowd_model(name: str, make: Callable[[Any, int], Any], *, about: str, formula: str) -> Strategy:
    """The record of a crowd model: one fit to all ballots of train, of no use on another corpus."""
    made = Rule(lambda evidence: crowd_blend(evidence, name, make, formula), WHY)
    return Strategy(
        name=name,
        about=about,
        formula=formula,
        fit=lambda evidence, options, models: made,
        read=lambda state, models: made,
        sources={name: "the ballots of people and listeners, by a crowd model"},
        smooths=False,
        needs=frozenset({"votes"}),
        fits="once",
        slow=True,
        missing=not_installed,
    )


DAWID_SKENE = crowd_model(
    "dawid-skene",
    lambda kit, seed: kit.DawidSkene(n_iter=100),
    about="one true label, a confusion matrix a rater (crowd-kit)",
    formula="p_u = P(true label | ballots), pi_c prod_w e_w(c, y_uw), Dawid and Skene (1979) by crowd-kit",
)
MACE = crowd_model(
    "mace",
    lambda kit, seed: kit.MACE(n_restarts=RESTARTS, random_state=seed),
    about="one true label, raters who know or guess (crowd-kit)",
    formula="p_u = P(true label | ballots), workers that know or guess, MACE (Hovy et al. 2013) by crowd-kit",
)
GLAD = crowd_model(
    "glad",
    lambda kit, seed: kit.GLAD(n_iter=20),
    about="one true label, abilities and difficulties (crowd-kit)",
    formula="p_u = P(true label | ballots), P(right) = 1 / (1 + exp(-a_w b_u)), GLAD (Whitehill et al. 2009) by "
    "crowd-kit",
)
