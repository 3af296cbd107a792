"""What only runs can be asked: whether they listen, what moves their answers, and what their model may have met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...data.corpus import Corpus
from ..models.families import known_exposure
from ..run.run import Run
from . import cues, sensitivity
from .controls import Controls, audit_controls, check_controls
from .cues import Cues
from .sensitivity import Sensitivity


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


def check_listening(runs: Sequence[Run], control_runs: Sequence[Run]) -> None:
    """Refuse control runs that belong to no run of the audit, before anything is computed."""
    if control_runs:
        check_controls(runs[0], control_runs)


def listening(
    corpus: Corpus, runs: Sequence[Run], control_runs: Sequence[Run], *, m: int, draws: int, seed: int, level: float
) -> Listening:
    """The section; controls belong to the first run."""
    found = None
    if control_runs:
        found = audit_controls(corpus, runs[0], control_runs, m=m, draws=draws, seed=seed, level=level)
    models = list(dict.fromkeys(run.info["identity"]["model"] for run in runs))
    return Listening(
        sensitivity=sensitivity.section(runs, corpus, level=level, seed=seed) if runs else None,
        controls=found,
        exposure=[known_exposure(model, corpus.name) for model in models],
        others=[sensitivity.section([run], corpus, level=level, seed=seed) for run in runs[1:]],
        cues=[told for run in runs if (told := cues.section(run, corpus, level=level, seed=seed)) is not None],
    )
