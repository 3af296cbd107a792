"""How well panels align with held-out human votes: `audit` scores them, and everything between which they stand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...data.bootstrap import group_codes
from ...data.corpus import Corpus, corpus_fingerprint
from ...data.errors import OptionError, RunError
from ...data.proper_scores import sq_unbiased, unbiased_ambiguity
from ...data.scoring import ScoreRow, score_row, strata_thirds
from ...data.votes import count_votes, frequencies
from ..runs import Run
from . import baselines, panel_tables, variants
from .answers import answer_in_words
from .calibration import calibrations
from .controls import control_of
from .detail import Detail, detail
from .effective_votes import HumanCurve, effective_votes
from .examples import choose_examples
from .independence import independent_listeners
from .listening import check_listening, listening
from .noninferiority import non_inferiority, vote_scores
from .notes import notes
from .panels import Panel, line_up
from .reference import build_reference
from .result import AuditResult, CurvePoint, PanelResult, Rows, System
from .scorer import Scorer, panel_ambiguity
from .variants import Variants

MOST_DRAWS = 20
# draws times utterances: what a large corpus may cost in time and memory
MOST_ROWS = 200_000


def audit(
    corpus: Corpus,
    runs: Sequence[Run | Corpus],
    *,
    m: int | None = None,
    draws: int | None = None,
    seed: int = 0,
    level: float = 0.95,
    progress: Callable[[int, int], None] | None = None,
) -> AuditResult:
    """Score panels (runs, or other human panels as corpora) against a divided corpus's held-out human votes.

    m held-out votes an utterance are scored (default 4, lowered to what is available); the others serve strata,
    baselines and the human curve. Which m those are is drawn `draws` times; every figure is the mean over the draws
    (default 20, fewer for more than 10,000 utterances, whose number evens the luck of a draw out). Every system meets
    the same utterances: those that have m held-out votes and a distribution of every panel; what a panel lacks is
    counted. Intervals are over speakers. Runs made with a control (`annotate --control`) are no panels: they tell how
    much of the first run's worth survives without the voice.

    Raises CorpusError (not divided, fewer than two held-out votes), LabelError (other labels), RunError (fewer than
    two common utterances), OptionError (no panel; m, draws or level out of range).
    """
    if not runs:
        raise OptionError("an audit needs a run or another panel's corpus to measure; give one or more")
    control_runs = [run for run in runs if isinstance(run, Run) and control_of(run) is not None]
    runs = [run for run in runs if not any(run is control for control in control_runs)]
    heard = [run for run in runs if isinstance(run, Run)]
    if control_runs and not heard:
        raise OptionError("controls are measured against the run they belong to; give that run first")
    check_listening(heard, control_runs)
    if not 0 < level < 1:
        raise OptionError(f"the level of intervals is {level}; expected a number between 0 and 1, such as 0.95")
    if draws is not None and draws < 1:
        raise OptionError(f"the number of draws is {draws}; expected 1 or more")
    whole = build_reference(corpus, m=m, seed=seed)
    panels = line_up(runs, corpus, whole)
    common = np.all([panel.covers for panel in panels], axis=0)
    if not common.any():
        raise RunError("no utterance has a distribution of every panel given; audit these panels one by one")
    reference = whole.part(common)
    parts = [panel.part(common, reference) for panel in panels]
    steps = _counter(progress, len(panels) + 2)
    draws = draws or max(1, min(MOST_DRAWS, MOST_ROWS // len(reference.ids)))
    scorer = Scorer([reference.redrawn(draw) for draw in range(draws)], level=level)
    fit = _Baselines(scorer)
    systems = _baseline_systems(scorer, fit)
    steps()
    points = _curve(scorer, fit)
    curve = [CurvePoint(kind, n, scorer.table(q)) for kind, n, q in points]
    human = HumanCurve(scorer, fit.people, points, corpus)
    steps()
    results: list[PanelResult] = []
    details: list[Detail] = []
    for panel, before, run in zip(parts, panels, runs, strict=True):
        systems += _panel_systems(scorer, panel)
        candidates = calibrations(panel, reference)
        found = _panel_result(scorer, fit, human, panel, ~before.covers, corpus, candidates)
        if isinstance(run, Run):
            found = replace(found, independence=independent_listeners(run, reference, level=level))
        results.append(found)
        used = max(found.effective_votes.calibration, key=lambda name: found.effective_votes.calibration[name])
        details.append(
            detail(
                scorer,
                panel,
                run,
                corpus,
                constant=fit.constant,
                thirds=fit.thirds,
                calibrated=candidates[used],
                curve=curve,
            )
        )
        steps()
    result = _assemble(corpus, scorer, systems, curve, human, results, parts, fit)
    asked = listening(corpus, heard, control_runs, m=reference.m, draws=draws, seed=seed, level=level)
    return replace(result, details=details, variants=_variants(scorer, fit, parts), listening=asked)


def _variants(scorer: Scorer, fit: _Baselines, panels: Sequence[Panel]) -> Variants:
    """The further variants in use of every panel and the constant, and the sampling-noise floor."""
    systems = {panel.name: scorer.repeat(panel.q) for panel in panels} | {"constant": fit.constant}
    people = {panel.name: panel.people for panel in panels if panel.people is not None}
    return variants.section(scorer, systems, people=people, alpha=fit.alpha)


class _Baselines:
    """What is fitted once for all panels, in every draw on the votes that are not scored there; [R * U] rows."""

    def __init__(self, scorer: Scorer):
        self.constant = scorer.each(baselines.constant)
        self.alpha = scorer.each(baselines.prior)
        self.sq_constant = sq_unbiased(self.constant, scorer.scored)
        self.thirds = scorer.each(lambda draw: strata_thirds(draw.other, draw.ids, draw.seed))
        self.people = baselines.fit_people(scorer.reference)
        self.vote_scores = vote_scores(scorer, self.people)

    def alphas(self, scorer: Scorer) -> list[np.ndarray]:
        """alpha [U, K] of each draw."""
        return np.split(self.alpha, len(scorer.draws))


def _curve(scorer: Scorer, fit: _Baselines) -> list[tuple[str, int, np.ndarray]]:
    """`curve_predictions` of every draw, one after another: a point's predictions are [R * U, K]."""
    points = [baselines.curve_predictions(draw, fit.people) for draw in scorer.draws]
    return [(same[0][0], same[0][1], np.concatenate([q for *_, q in same])) for same in zip(*points, strict=True)]


def _counter(progress: Callable[[int, int], None] | None, total: int) -> Callable[[], None]:
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    return step


def _baseline_systems(scorer: Scorer, fit: _Baselines) -> list[System]:
    each = math.ceil(baselines.POSTERIOR_DRAWS / len(scorer.draws))
    pairs = zip(scorer.draws, fit.alphas(scorer), strict=True)
    found = [baselines.perfect(draw, alpha, draws=each) for draw, alpha in pairs]
    perfect = {name: np.concatenate([scores[name] for scores in found]) for name in found[0]}
    floor = [score_row(name, scorer.mean(x)) for name, x in perfect.items()]
    floor[0] = ScoreRow("sq_unbiased", 0.0, 0.0, 0.0, "by construction", len(scorer.reference.ids), 0, floor[0].groups)
    votes = baselines.evidence(scorer.reference)[1]
    return [
        System("constant", "constant", None, scorer.table(fit.constant), f"class marginal of {votes}: 0 %"),
        System(
            "perfect prediction",
            "perfect",
            None,
            floor,
            "the true distribution scored against as few votes, by draws from the fitted posterior: the floor",
        ),
    ]


def _panel_systems(scorer: Scorer, panel: Panel) -> list[System]:
    """The panel, its sampled votes' frequencies beside it, and its shuffle."""
    note = None
    if panel.q_log is not None:
        note = "raw vote frequencies; the log score is of their Dirichlet-multinomial posterior mean, cross-fitted"
    q = scorer.repeat(panel.q)
    q_log = None if panel.q_log is None else scorer.repeat(panel.q_log)
    systems = [System(panel.name, "panel", panel.name, scorer.table(q, q_log=q_log), note)]
    if panel.sampled is not None:
        each = panel.sampled.sum(axis=1)
        name = f"{panel.name}, {np.median(each[each > 0]):.0f} sampled votes"
        systems.append(System(name, "sampled", panel.name, scorer.table(scorer.repeat(frequencies(panel.sampled)))))
    moved = _shuffled(scorer, panel.q)
    moved_log = None if panel.q_log is None else _shuffled(scorer, panel.q_log)
    systems.append(System(f"{panel.name}, shuffled", "shuffled", panel.name, scorer.table(moved, q_log=moved_log)))
    return systems


def _shuffled(scorer: Scorer, q: np.ndarray) -> np.ndarray:
    return scorer.each(lambda draw: baselines.shuffled(q, draw))


def _panel_result(
    scorer: Scorer,
    fit: _Baselines,
    human: HumanCurve,
    panel: Panel,
    lacking: np.ndarray,
    corpus: Corpus,
    candidates: dict[str, np.ndarray],
) -> PanelResult:
    q = scorer.repeat(panel.q)
    sq = sq_unbiased(q, scorer.scored)
    sq_shuffled = sq_unbiased(_shuffled(scorer, panel.q), scorer.scored)
    return PanelResult(
        name=panel.name,
        kind=panel.kind,
        path=panel.path,
        about=panel.about,
        covered=int((~lacking).sum()),
        skipped=int(lacking.sum()),
        failures=panel.failures,
        label_mass=panel.label_mass,
        gap=scorer.gap(sq, fit.sq_constant),
        over_constant=scorer.mean(fit.sq_constant - sq),
        over_shuffled=scorer.mean(sq_shuffled - sq),
        confusion=panel_tables.confusion(q, scorer.scored),
        labels=panel_tables.label_rows(scorer, fit.constant, q),
        strata=panel_tables.strata(scorer, fit.constant, fit.sq_constant, fit.thirds, panel, sq),
        examples=choose_examples(corpus, scorer.reference, panel.q),
        effective_votes=effective_votes(human, panel, candidates),
        non_inferiority=non_inferiority(scorer, panel, fit.vote_scores, fit.constant),
        independence=None,
    )


def _assemble(
    corpus: Corpus,
    scorer: Scorer,
    systems: list[System],
    curve: list[CurvePoint],
    human: HumanCurve,
    results: list[PanelResult],
    panels: list[Panel],
    fit: _Baselines,
) -> AuditResult:
    ref, thirds = scorer.reference, fit.thirds[: len(scorer.reference.ids)]
    result = AuditResult(
        corpus=_about_corpus(corpus),
        settings={
            "votes_scored": ref.m,
            "draws": len(scorer.draws),
            "seed": ref.seed,
            "level": scorer.level,
            "folds": len(np.unique(ref.folds)),
            "folds_of": "speakers" if group_codes(ref.groups)[1] >= 2 else "utterances",
        },
        reference={
            "utterances": len(ref.ids),
            "speakers": group_codes(ref.groups)[1],
            "votes_scored": int(ref.scored.sum()),
            "other_votes": int(ref.other.sum()),
            "left_out": ref.left_out,
            "thirds_undefined": int((thirds < 0).sum()),
            "confusion": panel_tables.human_confusion(scorer),
        },
        answers=[],
        systems=systems,
        curve=curve,
        panels=results,
        notes=notes(ref, thirds, results, systems),
        human_curve=human.values(),
        rows=Rows(
            ids=ref.ids,
            human_ambiguity=unbiased_ambiguity(ref.scored + ref.other),
            thirds=thirds,
            panel_ambiguity={panel.name: panel_ambiguity(panel.q) for panel in panels},
        ),
    )
    result.answers.extend(answer_in_words(result, panel) for panel in results)
    return result


def _about_corpus(corpus: Corpus) -> dict[str, Any]:
    votes = count_votes(corpus.votes, corpus.ids, corpus.labels)
    return {
        "name": corpus.name,
        "path": str(corpus.path),
        "simulated": corpus.info.simulated,
        "licence": corpus.info.licence,
        "labels": list(corpus.labels),
        "utterances": len(corpus.ids),
        "human_votes": int(votes.sum()),
        "division": corpus.info.division.model_dump() if corpus.info.division else None,
        "fingerprint": corpus_fingerprint(corpus),
    }
