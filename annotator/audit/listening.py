"""What only runs can be asked: whether they listen, what moves their answers, and what their model may have met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ...data.corpus import Corpus
from ..models.families import known_exposure
from ..runs import Run
from . import controls, sensitivity, sensitivity_html
from .controls import Controls, audit_controls, check_controls
from .sensitivity import Sensitivity


@dataclass(frozen=True, slots=True)
class Listening:
    """Of the runs of an audit: the first one's sensitivity (None: no run), its controls, and each model's exposure."""

    sensitivity: Sensitivity | None
    controls: Controls | None
    exposure: list[str]


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
    )


def to_html(found: Listening) -> str:
    """The section; without runs there is none."""
    if found.sensitivity is None:
        return ""
    heard = (
        controls.to_html(found.controls)
        if found.controls is not None
        else "<p>No control was given, so nothing tells the voice's part from the words': make runs with "
        "<code>serann annotate --control transcript-only</code> (silence, noise, other-voice) and audit them beside "
        "the run.</p>"
    )
    exposure = "".join(f"<li>{escape(sentence)}</li>" for sentence in found.exposure)
    return (
        f"<section><h2>Is it listening, and what moves it?</h2>{heard}"
        f"{sensitivity_html.to_html(found.sensitivity)}<h3>What the model may have met</h3><ul>{exposure}</ul>"
        "</section>\n"
    )
