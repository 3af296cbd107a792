"""What only runs can be asked: whether they listen, what moves their answers, and what their model may have met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...data.corpus import Corpus
from ..models.families import known_exposure
from ..run.run import Run
from . import sensitivity
from .controls import Controls, audit_controls
from .section import AuditSubject, Section
from .sensitivity import Cues, Sensitivity


@dataclass(frozen=True, slots=True)
class Listening:
    """Of the runs of an audit: sensitivity, controls, identity cues and each model's exposure.

    `sensitivity` is the first run's, with what differs between all runs (None: no run), `others` the other runs';
    `controls` belong to the first run; `cues` are those of the runs whose panels state any.
    """

    sensitivity: Sensitivity | None
    controls: Controls | None
    exposure: list[str]
    others: list[Sensitivity] = field(default_factory=list)
    cues: list[Cues] = field(default_factory=list)


def listening(
    corpus: Corpus, runs: Sequence[Run], control_runs: Sequence[Run], *, m: int, draws: int, seed: int, level: float
) -> Listening:
    """What only runs can be asked: whether they listen, what moves their answers, what their model may have met.

    Controls belong to the first run.
    """
    found = None
    if control_runs:
        found = audit_controls(corpus, runs[0], control_runs, m=m, draws=draws, seed=seed, level=level)
    models = list(dict.fromkeys(run.info["identity"]["model"] for run in runs))
    return Listening(
        sensitivity=sensitivity.section(runs, corpus, level=level, seed=seed) if runs else None,
        controls=found,
        exposure=[known_exposure(model, corpus.name) for model in models],
        others=[sensitivity.section([run], corpus, level=level, seed=seed) for run in runs[1:]],
        cues=[told for run in runs if (told := sensitivity.cues_of(run, corpus, level=level, seed=seed)) is not None],
    )


def _measured(subject: AuditSubject) -> Listening:
    scorer = subject.ground.scorer
    how = {"m": scorer.reference.m, "draws": len(scorer.draws), "seed": scorer.reference.seed}
    return listening(subject.ground.corpus, subject.runs, subject.controls, **how, level=scorer.level)


SECTION = Section(
    name="listening",
    title="Is it listening, and what moves it?",
    about="What the voice adds to the words, which factors of the prompt move answers, whether stated cues do, and "
    "whether the model may have met the corpus.",
    of="audit",
    measure=_measured,
)
