"""Evaluation: a model's predictions against human votes that neither fusion nor training has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...data.corpus import Corpus, as_corpus
from ...data.display import Displayed, number, records
from ...data.errors import OptionError
from ...data.scores.calibration import reliability
from ...data.scores.metric import BINS
from ...data.scores.metrics import ccc_rows
from ...data.scores.scoring import THIRDS, VOTES_SCORED, ScoreRow, choose_votes_scored, score_row
from ..checkpoint import CONSTANT, ModelInfo, Trained, open_model
from ..predict import Prediction, Progress, as_prediction, predict_corpus
from .ambiguity import REDRAWS, Draw, about_thirds, concordance_in_third, cuttable, redraw, score_thirds
from .held_out import HeldOut, aligned, check_fit, held_out, notes_of, reference, warnings_of
from .measures import CCC, balanced_scores, by_class, corrected_scores, gender_gap, measures, scored
from .noise import KINDS, under_noise
from .speakers import SUPPORT, by_speaker

if TYPE_CHECKING:
    import pandas as pd

OVERALL = "all"


class EvaluationRow(NamedTuple):
    """A score of one system (the model's name, or `constant`) on one stratum (`all`, or a third by
    ambiguity).
    """

    system: str
    stratum: str
    score: ScoreRow

    def to_json(self) -> dict[str, Any]:
        return {"system": self.system, "stratum": self.stratum, **self.score._asdict()}


@dataclass(frozen=True, slots=True, repr=False)
class Evaluation(Displayed):
    """Every score of a model and of the constant baseline on one split, and what they rest on.

    `thirds` says what the scores by ambiguity are and why they do not add up to those of all; None without them.
    `classes`: label by label; `speakers_own`: paUAR and the UAR of each speaker; `genders`: the gap between women and
    men; `calibration`: the bins behind the ECE; `balanced`: scores as if all labels were equally common, and
    `corrected`: with the prior that was taught corrected to people's (`prior`); `noise`: under noise.
    """

    model: ModelInfo
    corpus: str
    split: str
    votes_scored: int
    utterances: int
    speakers: int
    rows: list[EvaluationRow]
    thirds: str | None
    warnings: list[str]
    notes: list[str]
    failures: dict[str, str]
    balanced: dict[str, Any]
    corrected: list[dict[str, Any]] = field(default_factory=list)
    classes: dict[str, Any] = field(default_factory=dict)
    speakers_own: dict[str, Any] = field(default_factory=dict)
    genders: dict[str, Any] = field(default_factory=dict)
    calibration: list[dict[str, float]] = field(default_factory=list)
    noise: list[dict[str, Any]] = field(default_factory=list)

    @property
    def path(self) -> Path | None:
        """None: an evaluation is written where `evaluate -o` or `report.evaluation_page` is told to."""
        return None

    def lines(self) -> tuple[str, str]:
        """What was scored against what; UAR, accuracy and log score beside the constant's."""
        own, constant = self.model.name, CONSTANT
        figures = [
            f"{metric} {self.value(metric):.3f} (constant {self.value(metric, system=constant):.3f})"
            for metric in ("uar", "accuracy", "log_score")
        ]
        return (
            f"Evaluation of {own} on {self.split} of {self.corpus}: {number(self.utterances, 'utterance')} of "
            f"{number(self.speakers, 'speaker')}",
            ", ".join(figures),
        )

    def to_pandas(self, limit: int | None = None) -> pd.DataFrame:
        """A row per score of the model and the constant, of all utterances and by ambiguity, with its interval."""
        return records([row.to_json() for row in self.rows[:limit]])

    def value(self, metric: str, *, system: str | None = None, stratum: str = OVERALL) -> float:
        """One figure; `system` is the model's name by default. KeyError if there is none of that name."""
        wanted = (system or self.model.name, stratum, metric)
        for row in self.rows:
            if (row.system, row.stratum, row.score.metric) == wanted:
                return row.score.value
        raise KeyError(wanted)

    def to_json(self) -> dict[str, Any]:
        """The evaluation as a JSON object."""
        return {
            "model": self.model.name,
            "fused": self.model.fused.model_dump(),
            "corpus": self.corpus,
            "split": self.split,
            "votes_scored": self.votes_scored,
            "utterances": self.utterances,
            "speakers": self.speakers,
            "scores": [row.to_json() for row in self.rows],
            "redraws": REDRAWS if self.thirds else 0,
            "thirds": self.thirds,
            "classes": self.classes,
            "by_speaker": self.speakers_own,
            "genders": self.genders,
            "calibration": {"bins": BINS, "top_label": self.calibration},
            "class_balanced": self.balanced,
            "prior_corrected": self.corrected,
            "noise": self.noise,
            "warnings": self.warnings,
            "notes": self.notes,
            "failures": [{"utterance_id": name, "reason": reason} for name, reason in self.failures.items()],
        }


def evaluate(
    model: str | PathLike[str] | Prediction,
    corpus: Corpus | str | PathLike[str],
    *,
    split: str = "test",
    votes_scored: int | None = None,
    speaker_support: int = SUPPORT,
    snrs: Sequence[float] = (),
    noises: Sequence[str] = KINDS,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> Evaluation:
    """Score a model directory, or a prediction directory, on a split's human votes.

    The reference is every human vote in test and development and the held-out ones in train, the same for
    every system. Divergences are taken at `votes_scored` votes (`jsd_bits@4`): 4, or fewer where there are
    fewer (`choose_votes_scored`). Ambiguity thirds are cut by votes that are not scored: `votes_scored` votes
    an utterance are scored and the rest cuts, drawn anew and averaged (`ambiguity.py`). Ratings are
    compared with the mean human rating (CCC). Intervals are over speakers. Beside the model stands the best it
    could do without listening: `constant`, the shares of the labels among the train split's seen votes. With `snrs` the
    model listens again, to each kind of noise at each level in dB (`noise.py`).

    Raises CorpusError for a corpus whose votes are divided otherwise than the model's, or that has none to
    score, LabelError for another label set, OptionError for noise asked of a prediction.
    """
    check_numbers(votes_scored, speaker_support)
    corpus = as_corpus(corpus)
    prediction = as_prediction(model)
    if prediction is not None and snrs:
        raise OptionError(f"{model} is a prediction, which cannot listen again: give the model itself for --snr")
    trained = _named_as_given(open_model(Path(model))) if prediction is None else None
    info = prediction.model if prediction is not None else trained.info  # type: ignore[union-attr]
    check_fit(info, corpus)
    rows, counts = reference(corpus, split)
    chosen = choose_votes_scored(counts.sum(axis=1)) if votes_scored is None else votes_scored
    ref = held_out(corpus, split, rows, counts, info.dimensions, m=chosen, seed=seed)
    if trained is not None:
        prediction = predict_corpus(trained, corpus, rows=rows, device=device, progress=progress)
    assert prediction is not None
    noise = [] if trained is None else _robustness(trained, prediction, ref, snrs, noises, device, progress)
    found = score(prediction, ref, speaker_support=speaker_support, noise=noise)
    if votes_scored is None and chosen < VOTES_SCORED:
        found.notes.append(
            f"{chosen} votes per utterance are scored in divergences and thirds: too few have {VOTES_SCORED} and two "
            "more to cut by (--votes-scored chooses)"
        )
    return found


def _named_as_given(trained: Trained) -> Trained:
    """The model under its directory's name, for it may have been copied or renamed since it was trained."""
    path = trained.path.resolve()
    name = str(path) if path.name == CONSTANT else path.name
    return replace(trained, info=trained.info.model_copy(update={"name": name}))


def check_numbers(votes_scored: int | None, speaker_support: int) -> None:
    """OptionError where either number is too small to score anything."""
    if votes_scored is not None and votes_scored < 2:
        raise OptionError(
            f"--votes-scored is {votes_scored}; expected 2 or more, for two votes are needed to score one"
        )
    if speaker_support < 1:
        raise OptionError(f"--speaker-support is {speaker_support}; expected 1 or more utterances of a label")


def _robustness(
    trained: Trained,
    clean: Prediction,
    ref: HeldOut,
    snrs: Sequence[float],
    noises: Sequence[str],
    device: str,
    progress: Progress | None,
) -> list[dict[str, Any]]:
    if not snrs:
        return []
    return under_noise(trained, clean, ref, snrs, noises, device=device, progress=progress)


def score(
    prediction: Prediction, ref: HeldOut, *, speaker_support: int = SUPPORT, noise: Sequence[dict[str, Any]] = ()
) -> Evaluation:
    """Score a prediction, and the constant, against the held-out votes."""
    info = prediction.model
    distributions, rated = aligned(prediction, ref)
    # The constant is scored where the model is: an utterance that the model could not hear is left out of both.
    unheard = np.isnan(distributions).any(axis=1, keepdims=True)
    systems = {info.name: distributions, CONSTANT: np.where(unheard, np.nan, np.array(info.marginal))}
    draws = redraw(ref.counts, ref.ids, m=ref.m, seed=ref.seed)
    own = measures(distributions, rated, ref)
    table = []
    for system, q in systems.items():
        mine = system == info.name  # a constant rates nothing
        found = own if mine else measures(q, None, ref)
        table += [EvaluationRow(system, OVERALL, scored(measure, ref)) for measure in found]
        table += _by_third(system, q, rated if mine else None, ref, draws)
    asked = set(ref.ids)
    return Evaluation(
        model=info,
        corpus=ref.corpus.name,
        split=ref.split,
        votes_scored=ref.m,
        utterances=len(ref.ids),
        speakers=len(set(ref.speakers)),
        rows=table,
        thirds=about_thirds(ref.counts, ref.m),
        warnings=warnings_of(info, ref, prediction),
        notes=[*notes_of(ref), *_notes(info, ref)],
        failures={name: reason for name, reason in prediction.failures.items() if name in asked},
        balanced=balanced_scores(systems, info, ref),
        corrected=corrected_scores(distributions, info, ref),
        classes=by_class(distributions, ref),
        speakers_own=by_speaker(distributions, ref, least=speaker_support),
        genders=gender_gap(own, distributions, ref),
        calibration=[row._asdict() for row in reliability(distributions, ref.counts, bins=BINS)],
        noise=list(noise),
    )


def _by_third(
    system: str, q: np.ndarray, rated: np.ndarray | None, ref: HeldOut, draws: Sequence[Draw]
) -> list[EvaluationRow]:
    common: dict[str, Any] = {"labels": ref.labels, "ids": ref.ids, "groups": ref.speakers, "m": ref.m}
    rows = []
    for stratum, found in score_thirds(q, ref.counts, draws, **common, seed=ref.seed).items():
        if rated is not None:
            found = [*found, *_concordances(rated, ref, draws, THIRDS.index(stratum))]
        rows += [EvaluationRow(system, stratum, row) for row in found]
    return rows


def _concordances(rated: np.ndarray, ref: HeldOut, draws: Sequence[Draw], third: int) -> list[ScoreRow]:
    """CCC of each dimension whose human ratings are there, of the draws' utterances of a third."""
    rows = []
    for d, dimension in enumerate(ref.dimensions):
        columns = ccc_rows(rated[:, d], ref.ratings[:, d])
        if np.isnan(columns).all():
            continue
        interval, count, skipped = concordance_in_third(columns, draws, third, groups=ref.speakers, seed=ref.seed)
        rows.append(score_row(f"{CCC.name}_{dimension}", interval)._replace(utterances=count, skipped=skipped))
    return rows


def _notes(info: ModelInfo, ref: HeldOut) -> list[str]:
    notes = []
    if ref.corpus.name != info.fused.name:
        notes.append(f"the model learnt from {info.fused.name}: another corpus, other raters")
    uncut = int((~cuttable(ref.counts, ref.m)).sum())
    if uncut:
        notes.append(
            f"{uncut} of {len(ref.ids)} utterances are in no third: {ref.m} votes are scored, and two more are needed "
            "to cut"
        )
    return notes
