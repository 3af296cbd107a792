"""How well panels align with held-out human votes: `audit` scores them, and everything between which they stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...data.corpus import Corpus, corpus_fingerprint, open_corpus
from ...data.errors import CorpusError, OptionError, RunError
from ...data.fused import is_fused
from ...data.scores.groups import group_codes
from ...data.scores.proper_scores import unbiased_ambiguity
from ...data.votes import count_votes
from ..proxies import Panel, Source, as_panels, line_up, panel_ambiguity
from ..run.place import is_run
from ..run.run import Run
from . import panel_result
from .alt_test import EPSILON, check_epsilon
from .controls import check_controls, control_of
from .noninferiority import MARGIN
from .panel_result import Ground, Measured, lay_ground, measure
from .result import AuditResult, Detail, PanelResult, Rows, RowScores, System
from .scorer import Note, Reference, build_reference
from .section import AuditSubject, PanelSubject
from .sections import findings_of, measure_audit, measure_panel

# Speakers. Coverage was simulated with ten and more.
WARNED_BELOW = 10


def open_audited(path: str | PathLike[str], *, audio_root: str | PathLike[str] | None = None) -> Corpus:
    """Open the corpus that panels are audited against; CorpusError for a run in its place."""
    if is_run(Path(path)) and not (Path(path) / "corpus.json").exists():
        raise CorpusError(f"{path} is a run, not a corpus; give the corpus first: serann audit CORPUS {path}")
    return open_corpus(path, audio_root=audio_root)


def audit(
    corpus: Corpus | str | PathLike[str],
    runs: Source | str | PathLike[str] | Sequence[Source | str | PathLike[str]],
    *,
    m: int | None = None,
    draws: int | None = None,
    seed: int = 0,
    level: float = 0.95,
    margin: float = MARGIN,
    epsilon: float = EPSILON,
    progress: Callable[[int, int], None] | None = None,
) -> AuditResult:
    """Score panels (runs, or other human panels as corpora) against a divided corpus's held-out human votes.

    m held-out votes per utterance are scored (default 4, lowered to what is available); the others serve strata,
    baselines and the human curve. Which m those are is drawn `draws` times; every figure is the mean over the draws
    (default 20, fewer for more than 10,000 utterances, whose number evens the luck of a draw out). Every system meets
    the same utterances: those that have m held-out votes and a distribution of every panel; what a panel lacks is
    counted. Intervals are over speakers. Runs made with a control (`annotate --control`) are no panels: they tell how
    much of the first run's worth survives without the voice.

    `margin` is that of non-inferiority, a share of what one more human vote adds to a constant; `epsilon` is that of
    the alternative annotator test.

    Raises CorpusError (not divided, fewer than two held-out votes), LabelError (other labels), RunError (fewer than
    two common utterances), OptionError (no panel; m, draws, level, margin or epsilon out of range).
    """
    corpus = corpus if isinstance(corpus, Corpus) else open_audited(corpus)
    given = _sort_out(corpus, as_panels(runs, "audit"))
    _check_options(draws=draws, level=level, margin=margin, epsilon=epsilon)
    common = _common(corpus, given.panels, m=m, seed=seed)
    step = _counter(progress, len(given.panels) + 2)
    ground = lay_ground(common.reference, corpus, draws=draws, level=level, step=step)
    measured, details = [], []
    for panel, source, lacking in zip(common.panels, given.panels, common.lacking, strict=True):
        measured.append(measure(ground, panel, source, lacking=lacking, margin=margin))
        subject = PanelSubject(ground, panel, source, measured[-1].calibrated, epsilon)
        details.append(Detail(panel.name, measure_panel(subject)))
        step()
    return _assemble(ground, given, common.panels, measured, details, margin=margin, epsilon=epsilon)


class _Given(NamedTuple):
    """The sources of the panels, the runs among them, and the runs made with a control."""

    panels: list[Source]
    heard: list[Run]
    controls: list[Run]


def _sort_out(corpus: Corpus, runs: Sequence[Source]) -> _Given:
    """Tell panels and controls apart, and refuse what belongs to nothing."""
    if not runs:
        raise OptionError("an audit needs a run or another panel's corpus to measure; give one or more")
    _check_sources(corpus, runs)
    controls = [run for run in runs if isinstance(run, Run) and control_of(run) is not None]
    panels = [run for run in runs if not any(run is control for control in controls)]
    heard = [run for run in panels if isinstance(run, Run)]
    if controls and not heard:
        raise OptionError("controls are measured against the run they belong to; give that run first")
    if controls:
        check_controls(heard[0], controls)
    return _Given(panels, heard, controls)


def _check_sources(corpus: Corpus, sources: Sequence[Source]) -> None:
    """Refuse what makes no audit, before anything is computed.

    CorpusError for a fused corpus, whose votes are people's and models' alike. OptionError for a panel given twice.
    """
    if is_fused(corpus.path):
        raise CorpusError(
            f"{corpus.path} is a fused corpus: what it was fused from is in it already, so nothing can be measured "
            "against it; audit against the corpus that was fused"
        )
    places = [Path(source.path).resolve() for source in sources]
    for i, place in enumerate(places):
        if place in places[:i]:
            raise OptionError(f"{sources[i].path} is given twice; give each run or panel once")


def _check_options(*, draws: int | None, level: float, margin: float, epsilon: float) -> None:
    if not 0 < level < 1:
        raise OptionError(f"the level of intervals is {level}; expected a number between 0 and 1, such as 0.95")
    if not 0 < margin < 1:
        raise OptionError(
            f"the margin of non-inferiority is {margin}; expected a share between 0 and 1 of what one more human vote "
            "adds to a constant, such as 0.1"
        )
    check_epsilon(epsilon)
    if draws is not None and draws < 1:
        raise OptionError(f"the number of draws is {draws}; expected 1 or more")


class _Common(NamedTuple):
    """The reference of the utterances that all panels cover, the panels there, and what each lacked before, masks."""

    reference: Reference
    panels: list[Panel]
    lacking: list[np.ndarray]


def _common(corpus: Corpus, sources: Sequence[Source], *, m: int | None, seed: int) -> _Common:
    whole = build_reference(corpus, m=m, seed=seed)
    panels = line_up(sources, corpus, "audit", ids=whole.ids, m=whole.m)
    covered = [panel.covers for panel in panels]
    common = np.all(covered, axis=0)
    if not common.any():
        raise RunError("no utterance has a distribution of every panel given; audit these panels one by one")
    reference = whole.part(common)
    return _Common(
        reference, [panel.part(common, reference.folds) for panel in panels], [~covers for covers in covered]
    )


def _counter(progress: Callable[[int, int], None] | None, total: int) -> Callable[[], None]:
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    return step


def _assemble(
    ground: Ground,
    given: _Given,
    panels: list[Panel],
    measured: list[Measured],
    details: list[Detail],
    *,
    margin: float,
    epsilon: float,
) -> AuditResult:
    corpus, fit, ref = ground.corpus, ground.fit, ground.scorer.reference
    thirds = fit.thirds[: len(ref.ids)]
    systems = ground.systems + [system for one in measured for system in one.systems]
    results = [one.result for one in measured]
    sections = measure_audit(AuditSubject(ground, panels, given.heard, given.controls))
    found = [finding._replace(panel=one.panel) for one in details for finding in findings_of(one.sections)]
    return AuditResult(
        corpus=_about_corpus(corpus),
        settings=_settings(ground) | {"margin": margin, "epsilon": epsilon},
        reference=_about_reference(ground, thirds),
        systems=systems,
        curve=ground.curve,
        panels=results,
        notes=notes(ref, thirds, results, systems),
        human_curve=ground.human.values(),
        details=details,
        sections=sections,
        findings=[*found, *findings_of(sections)],
        rows=_rows(ground, panels),
    )


def notes(ref: Reference, thirds: np.ndarray, results: list[PanelResult], systems: list[System]) -> list[Note]:
    """What has to be said beside the figures: who is left out, what is undefined, how far intervals reach.

    `thirds` [U] as `strata_thirds` gives them.
    """
    found = list(ref.notes)
    given = [label for label, votes in zip(ref.labels, (ref.scored + ref.other).sum(axis=0), strict=True) if votes]
    if len(given) == 1:
        found.append(Note("one label", {"label": given[0]}))
    found += [Note("left out", {"reason": reason, "utterances": n}) for reason, n in ref.left_out.items()]
    for panel in results:
        if panel.skipped:
            values = {"panel": panel.name, "utterances": panel.skipped, "failures": panel.failures}
            found.append(Note("skipped", values))
    undefined = int((thirds < 0).sum())
    if undefined:
        found.append(Note("no third", {"utterances": undefined}))
    for system in systems:
        row = system.score("log_score")
        if row is not None and row.value == -np.inf:
            found.append(Note("no chance", {"system": system.name}))
    speakers = group_codes(ref.groups)[1]
    if 2 <= speakers < WARNED_BELOW:
        found.append(Note("few speakers", {"speakers": speakers}))
    return found


def _rows(ground: Ground, panels: Sequence[Panel]) -> Rows:
    scorer, constant, ref = ground.scorer, ground.fit.constant, ground.scorer.reference
    predictions = [
        RowScores("constant", "constant", scorer.utterance_scores(constant), panel_ambiguity(constant[: len(ref.ids)]))
    ]
    for panel in panels:
        scores = scorer.utterance_scores(scorer.repeat(panel.q), scorer.repeat(panel.q_log))
        predictions.append(RowScores(panel.kind, panel.name, scores, panel.ambiguity))
    return Rows(
        ids=ref.ids,
        places=ref.rows,
        votes_scored=ref.scored.sum(axis=1),
        other_votes=ref.other.sum(axis=1),
        human_ambiguity=unbiased_ambiguity(ref.scored + ref.other),
        predictions=predictions,
    )


def _settings(ground: Ground) -> dict[str, Any]:
    ref = ground.scorer.reference
    return {
        "votes_scored": ref.m,
        "draws": len(ground.scorer.draws),
        "seed": ref.seed,
        "level": ground.scorer.level,
        "folds": len(np.unique(ref.folds)),
        "folds_of": "speakers" if ground.scorer.groups >= 2 else "utterances",
    }


def _about_reference(ground: Ground, thirds: np.ndarray) -> dict[str, Any]:
    ref = ground.scorer.reference
    return {
        "utterances": len(ref.ids),
        "speakers": ground.scorer.groups,
        "votes_scored": int(ref.scored.sum()),
        "other_votes": int(ref.other.sum()),
        "left_out": ref.left_out,
        "thirds_undefined": int((thirds < 0).sum()),
        "confusion": panel_result.human_confusion(ground.scorer),
    }


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
