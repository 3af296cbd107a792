"""How well panels align with held-out human votes: `audit` scores them, and everything between which they stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...data.corpus import Corpus, corpus_fingerprint
from ...data.divergences import as_distribution
from ...data.errors import OptionError, RunError
from ...data.proper_scores import sq_unbiased, sq_unbiased_by_label, unbiased_ambiguity
from ...data.scoring import THIRDS, ScoreRow, score_row, strata_thirds
from ...data.votes import count_votes, frequencies
from ..runs import Run
from . import baselines
from .answers import answer_in_words, count
from .examples import choose_examples
from .panels import Panel, line_up
from .reference import FOLDS, Reference, build_reference
from .result import AuditResult, CurvePoint, LabelRow, PanelResult, Rows, StratumRow, System
from .scorer import Scorer, panel_ambiguity


def audit(
    corpus: Corpus,
    runs: Sequence[Run | Corpus],
    *,
    m: int | None = None,
    seed: int = 0,
    level: float = 0.95,
    progress: Callable[[int, int], None] | None = None,
) -> AuditResult:
    """Score panels (runs, or other human panels as corpora) against a divided corpus's held-out human votes.

    m held-out votes an utterance are scored (default 4, lowered to what is available); the others serve strata,
    baselines and the human curve. Every system meets the same utterances: those that have m held-out votes and a
    distribution of every panel; what a panel lacks is counted. Intervals are over speakers.

    Raises CorpusError (not divided, fewer than two held-out votes), LabelError (other labels), RunError (no common
    utterance), OptionError (no panel, m or level out of range).
    """
    if not runs:
        raise OptionError("an audit needs a run or another panel's corpus to measure; give one or more")
    if not 0 < level < 1:
        raise OptionError(f"the level of intervals is {level}; expected a number between 0 and 1, such as 0.95")
    whole = build_reference(corpus, m=m, seed=seed)
    panels = line_up(runs, corpus, whole)
    common = np.all([panel.covers for panel in panels], axis=0)
    if not common.any():
        raise RunError("no utterance has a distribution of every panel given; audit these panels one by one")
    reference, parts = whole.part(common), [_part(panel, common) for panel in panels]
    steps = _counter(progress, len(panels) + 2)
    scorer, fit = Scorer(reference, level=level), _Baselines(reference)
    systems = _baseline_systems(scorer, fit)
    steps()
    curve = [CurvePoint(kind, n, scorer.table(q)) for kind, n, q in baselines.curve_predictions(reference, fit.alpha)]
    steps()
    results = []
    for panel, before in zip(parts, panels, strict=True):
        systems += _panel_systems(scorer, panel)
        results.append(_panel_result(scorer, fit, panel, ~before.covers, corpus))
        steps()
    return _assemble(corpus, reference, level, systems, curve, results, parts, fit)


class _Baselines:
    """What is fitted once for all panels."""

    def __init__(self, reference: Reference):
        self.constant = baselines.constant(reference)
        self.alpha = baselines.prior(reference)
        self.sq_constant = sq_unbiased(self.constant, reference.scored)
        self.thirds = strata_thirds(reference.other, reference.ids, reference.seed)


def _counter(progress: Callable[[int, int], None] | None, total: int) -> Callable[[], None]:
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    return step


def _part(panel: Panel, keep: np.ndarray) -> Panel:
    def cut(rows: np.ndarray | None) -> np.ndarray | None:
        return None if rows is None else rows[keep]

    return Panel(
        name=panel.name,
        kind=panel.kind,
        path=panel.path,
        q=panel.q[keep],
        q_log=cut(panel.q_log),
        sampled=cut(panel.sampled),
        failures=panel.failures,
        about=panel.about,
    )


def _baseline_systems(scorer: Scorer, fit: _Baselines) -> list[System]:
    perfect = baselines.perfect(scorer.reference, fit.alpha)
    floor = [score_row(name, scorer.mean(x)) for name, x in perfect.items()]
    floor[0] = ScoreRow("sq_unbiased", 0.0, 0.0, 0.0, "by construction", len(fit.constant), 0, floor[0].groups)
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
    systems = [System(panel.name, "panel", panel.name, scorer.table(panel.q, q_log=panel.q_log), note)]
    if panel.sampled is not None:
        each = panel.sampled.sum(axis=1)
        name = f"{panel.name}, {np.median(each[each > 0]):.0f} sampled votes"
        systems.append(System(name, "sampled", panel.name, scorer.table(frequencies(panel.sampled))))
    moved = baselines.shuffled(panel.q, scorer.reference)
    moved_log = None if panel.q_log is None else baselines.shuffled(panel.q_log, scorer.reference)
    systems.append(System(f"{panel.name}, shuffled", "shuffled", panel.name, scorer.table(moved, q_log=moved_log)))
    return systems


def _panel_result(scorer: Scorer, fit: _Baselines, panel: Panel, lacking: np.ndarray, corpus: Corpus) -> PanelResult:
    ref = scorer.reference
    sq = sq_unbiased(panel.q, ref.scored)
    sq_shuffled = sq_unbiased(baselines.shuffled(panel.q, ref), ref.scored)
    return PanelResult(
        name=panel.name,
        kind=panel.kind,
        path=panel.path,
        about=panel.about,
        covered=int((~lacking).sum()),
        skipped=int(lacking.sum()),
        failures=panel.failures,
        gap=scorer.gap(sq, fit.sq_constant),
        over_constant=scorer.mean(fit.sq_constant - sq),
        over_shuffled=scorer.mean(sq_shuffled - sq),
        confusion=_confusion(panel.q, ref),
        labels=_labels(scorer, fit, panel),
        strata=_strata(scorer, fit, panel, sq),
        examples=choose_examples(corpus, ref, panel.q),
    )


def _confusion(q: np.ndarray, ref: Reference) -> list[list[float | None]]:
    """Mean panel mass on each label (column), weighted by the human mass on each label (row)."""
    said = ~np.isnan(q).any(axis=1)
    human = as_distribution(ref.scored)[said]
    mass, total = human.T @ as_distribution(q)[said], human.sum(axis=0)
    return [[float(x) for x in row / t] if t > 0 else [None] * len(row) for row, t in zip(mass, total, strict=True)]


def _human_confusion(ref: Reference) -> list[list[float | None]] | None:
    """The same for the other human votes: what a perfect panel would show. None without other votes."""
    return _confusion(frequencies(ref.other), ref) if ref.other.any() else None


def _labels(scorer: Scorer, fit: _Baselines, panel: Panel) -> list[LabelRow]:
    ref = scorer.reference
    human, q = as_distribution(ref.scored), as_distribution(panel.q)
    error, error_constant = (sq_unbiased_by_label(x, ref.scored) for x in (panel.q, fit.constant))
    return [
        LabelRow(
            label=label,
            human=float(human[:, c].mean()),
            panel=scorer.mean(q[:, c]),
            bias=scorer.mean(q[:, c] - human[:, c]),
            sq_unbiased=scorer.mean(error[:, c]),
            sq_constant=scorer.mean(error_constant[:, c]),
        )
        for c, label in enumerate(ref.labels)
    ]


def _strata(scorer: Scorer, fit: _Baselines, panel: Panel, sq: np.ndarray) -> list[StratumRow]:
    """Each third's scores, and its ambiguity by the scored votes (not by those that cut it: those are selected)."""
    ref, found = scorer.reference, []
    ambiguity = unbiased_ambiguity(ref.scored)
    for third, name in enumerate(THIRDS):
        part = fit.thirds == third
        if not part.any():
            continue
        found.append(
            StratumRow(
                third=name,
                utterances=int(part.sum()),
                human_ambiguity=scorer.mean(ambiguity, part),
                panel_ambiguity=scorer.mean(panel_ambiguity(panel.q), part),
                gap=scorer.gap(sq, fit.sq_constant, part),
                scores=scorer.table(panel.q, q_log=panel.q_log, rows=part),
                constant=scorer.table(fit.constant, rows=part),
            )
        )
    return found


def _assemble(
    corpus: Corpus,
    ref: Reference,
    level: float,
    systems: list[System],
    curve: list[CurvePoint],
    results: list[PanelResult],
    panels: list[Panel],
    fit: _Baselines,
) -> AuditResult:
    result = AuditResult(
        corpus=_about_corpus(corpus),
        settings={"votes_scored": ref.m, "seed": ref.seed, "level": level, "folds": FOLDS},
        reference={
            "utterances": len(ref.ids),
            "speakers": len(set(ref.groups.tolist())),
            "votes_scored": int(ref.scored.sum()),
            "other_votes": int(ref.other.sum()),
            "left_out": ref.left_out,
            "thirds_undefined": int((fit.thirds < 0).sum()),
            "confusion": _human_confusion(ref),
        },
        answers=[],
        systems=systems,
        curve=curve,
        panels=results,
        notes=_notes(ref, fit, results, systems),
        rows=Rows(
            ids=ref.ids,
            human_ambiguity=unbiased_ambiguity(ref.scored + ref.other),
            thirds=fit.thirds,
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


def _notes(ref: Reference, fit: _Baselines, results: list[PanelResult], systems: list[System]) -> list[str]:
    notes = list(ref.notes)
    for reason, number in ref.left_out.items():
        notes.append(f"{number} of the corpus's utterances are left out: {reason}.")
    for panel in results:
        if panel.skipped:
            why = "; ".join(f"{number} x {reason}" for reason, number in panel.failures.items())
            notes.append(
                f"{panel.name} has no distribution for {count(panel.skipped, 'utterance')} that could be scored, "
                f"left out for every system{f' ({why})' if why else ''}."
            )
    undefined = int((fit.thirds < 0).sum())
    if undefined:
        notes.append(
            f"{count(undefined, 'utterance')} with fewer than two votes beside the scored ones: in no ambiguity third."
        )
    for system in systems:
        row = system.score("log_score")
        if row is not None and row.value == -np.inf:
            notes.append(
                f"The log score of '{system.name}' is minus infinity: it gives no chance at all to a label that "
                "somebody voted for."
            )
    if 2 <= len(set(ref.groups.tolist())) < 10:
        notes.append("Fewer than ten speakers: intervals are wide and their coverage is not assured.")
    return notes
