"""Comparison: systems side by side on the same utterances and the same held-out human votes, with paired intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data.corpus import Corpus, as_corpus
from ...data.display import NAMES, Displayed, number, records
from ...data.errors import CorpusError, LabelError, OptionError, few, list_problems
from ...data.scores.intervals import share, share_difference
from ...data.scores.metric import BINS, GUESSES, THRESHOLDS, pauar_name
from ...data.scores.scoring import VOTES_SCORED, ScoreRow, choose_votes_scored, score_row
from ..checkpoint import CONSTANT, ModelInfo, Trained, open_model
from ..predict import Prediction, Progress, as_prediction, predict_corpus
from .evaluate import check_numbers
from .held_out import HeldOut, aligned, check_fit, held_out, notes_of, reference, warnings_of
from .measures import by_name, difference, measures, scored
from .speakers import SUPPORT, own_uar, recalls

if TYPE_CHECKING:
    import pandas as pd

# Distributions [U, K] and, of systems that rate, ratings [U, D] under each system's name.
Answers = dict[str, tuple[np.ndarray, np.ndarray | None]]


@dataclass(frozen=True, slots=True, repr=False)
class Comparison(Displayed):
    """Scores of several systems on the utterances that all of them heard, and each system's less those of `against`.

    `scores` and `differences` are under each system's name, and under `constant` for the best answer without listening
    (the seen votes' shares that `against` was trained beside), which rates nothing; `left_out` counts the utterances
    that some system lacks, `bins` are those of the calibration errors.
    """

    systems: list[str]
    against: str
    corpus: str
    split: str
    votes_scored: int
    speaker_support: int
    utterances: int
    left_out: int
    speakers: int
    bins: int
    scores: dict[str, list[ScoreRow]]
    differences: dict[str, list[ScoreRow]]
    warnings: list[str]
    notes: list[str]

    @property
    def path(self) -> Path | None:
        """None: a comparison is written where `compare -o` is told to."""
        return None

    def lines(self) -> tuple[str, str]:
        """What was compared on what; utterances that all heard."""
        return (
            f"Comparison of {few(self.systems, NAMES)} against {self.against} on {self.split} of {self.corpus}",
            f"{number(self.utterances, 'utterance')} that all heard, of {number(self.speakers, 'speaker')}; "
            f"{self.left_out:,} left out",
        )

    def to_pandas(self, limit: int | None = None) -> pd.DataFrame:
        """A row per system and score: its value, and its difference to that of `against`, each with its interval."""
        gaps = {(name, row.metric): row for name, found in self.differences.items() for row in found}
        rows = []
        for name, found in self.scores.items():
            for row in found:
                gap = gaps.get((name, row.metric))
                less = {} if gap is None else {"value": gap.value, "low": gap.low, "high": gap.high}
                rows.append({"system": name, **row._asdict(), **{f"difference_{k}": v for k, v in less.items()}})
        return records(rows[:limit])

    def to_json(self) -> dict[str, Any]:
        """The comparison as a JSON object."""
        about = {name: getattr(self, name) for name in self.__slots__ if name not in ("scores", "differences")}
        rows = [{"system": name, **row._asdict()} for name, found in self.scores.items() for row in found]
        gaps = [
            {"system": name, "less": self.against, **row._asdict()}
            for name, found in self.differences.items()
            for row in found
        ]
        return {**about, "scores": rows, "differences": gaps}


def compare(
    systems: Sequence[str | PathLike[str]],
    corpus: Corpus | str | PathLike[str],
    *,
    against: str | PathLike[str] | None = None,
    split: str = "test",
    votes_scored: int | None = None,
    speaker_support: int = SUPPORT,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> Comparison:
    """Score models or predictions on a split's human votes, on the utterances that all of them heard.

    Every score of `evaluate`, and paUAR, of each system, and its difference to that of `against` (the first, by
    default) with an interval over speakers, paired: what an utterance or a voice adds to both cancels.

    Raises OptionError for fewer than two systems, one named twice, or an `against` that is none of them; CorpusError or
    LabelError, naming each system that does not fit, for another label set or another division of votes; CorpusError
    where no utterance was heard by all.
    """
    check_numbers(votes_scored, speaker_support)
    names, base = _names(systems, against)
    corpus = as_corpus(corpus)
    opened = [as_prediction(system) or open_model(Path(system)) for system in systems]
    infos = [_info(system) for system in opened]
    _check_all(names, infos, corpus)
    rows, counts = reference(corpus, split)
    m = choose_votes_scored(counts.sum(axis=1)) if votes_scored is None else votes_scored
    dimensions = [d for d in infos[0].dimensions if all(d in info.dimensions for info in infos)]
    ref = held_out(corpus, split, rows, counts, dimensions, m=m, seed=seed)
    predictions = [_heard(system, ref, device, progress) for system in opened]
    answers: Answers = dict(zip(names, _heard_by_all(names, predictions, ref), strict=True))
    kept = ~np.isnan(answers[base][0]).any(axis=1)
    marginal = np.array(infos[names.index(base)].marginal)
    answers[CONSTANT] = np.where(np.expand_dims(kept, 1), marginal, np.nan), None
    scores, differences = _tables(answers, base, ref, speaker_support)
    warnings = [f"{name}: {text}" for name, p in zip(names, predictions, strict=True) for text in _warned(p, ref)]
    return Comparison(
        systems=names,
        against=base,
        corpus=corpus.name,
        split=split,
        votes_scored=m,
        speaker_support=speaker_support,
        utterances=int(kept.sum()),
        left_out=int((~kept).sum()),
        speakers=len(set(ref.speakers[kept])),
        bins=BINS,
        scores=scores,
        differences=differences,
        warnings=warnings,
        notes=_notes(ref, infos, m if votes_scored is None else VOTES_SCORED),
    )


def _names(systems: Sequence[str | PathLike[str]], against: str | PathLike[str] | None) -> tuple[list[str], str]:
    """A name for each system, the directory's where that tells them apart, and the name of the one compared with."""
    paths = [Path(system) for system in systems]
    if len(paths) < 2:
        raise OptionError(
            f"compare takes two or more models or predictions and then the corpus; found {len(paths)} "
            f"({', '.join(map(str, paths)) or 'none'}): name another, or use 'serann evaluate'"
        )
    twice = sorted({str(path) for path in paths if paths.count(path) > 1})
    if twice:
        raise OptionError(f"{', '.join(twice)} is named twice: a system does not differ from itself")
    short = [path.name for path in paths]
    apart = len(set(short)) == len(short) and CONSTANT not in short
    names = short if apart else [str(path.resolve() if path.name == str(path) else path) for path in paths]
    if against is None:
        return names, names[0]
    places = [place for place, path in enumerate(paths) if path == Path(against) or names[place] == str(against)]
    if not places:
        raise OptionError(f"--against is {against}, which is none of the systems compared: {', '.join(names)}")
    return names, names[places[0]]


def _info(system: Trained | Prediction) -> ModelInfo:
    return system.model if isinstance(system, Prediction) else system.info


def _check_all(names: Sequence[str], infos: Sequence[ModelInfo], corpus: Corpus) -> None:
    """Raise one error that names every system whose labels or division of votes are not the corpus's."""
    problems, kinds = [], []
    for name, info in zip(names, infos, strict=True):
        try:
            check_fit(info, corpus)
        except (CorpusError, LabelError) as error:
            problems.append(f"{name}: {error}")
            kinds.append(type(error))
    if problems:
        raise kinds[0](list_problems(f"{len(problems)} of {len(names)} systems cannot be compared here", problems))


def _heard(system: Trained | Prediction, ref: HeldOut, device: str, progress: Progress | None) -> Prediction:
    if isinstance(system, Prediction):
        return system
    return predict_corpus(system, ref.corpus, rows=ref.rows, device=device, progress=progress)


def _heard_by_all(
    names: Sequence[str], predictions: Sequence[Prediction], ref: HeldOut
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each system's distributions and ratings, NaN wherever any system has no distribution."""
    found = [aligned(prediction, ref) for prediction in predictions]
    heard = np.array([~np.isnan(q).any(axis=1) for q, _ in found])
    shared = np.logical_and.reduce(heard)
    if not shared.any():
        counts = ", ".join(f"{name} {n}" for name, n in zip(names, heard.sum(axis=1), strict=True))
        raise CorpusError(
            f"no utterance of the split {ref.split!r} of {ref.corpus.path} was heard by every system ({counts} of "
            f"{len(ref.ids)}); let them predict the same corpus"
        )
    lost = ~shared[:, None]
    return [(np.where(lost, np.nan, q), np.where(lost, np.nan, rated)) for q, rated in found]


def _tables(
    answers: Answers, base: str, ref: HeldOut, least: int
) -> tuple[dict[str, list[ScoreRow]], dict[str, list[ScoreRow]]]:
    found = {name: measures(q, rated, ref) for name, (q, rated) in answers.items()}
    own = {name: _above(q, ref, least) for name, (q, _) in answers.items()}
    scores = {
        name: [
            *(scored(x, ref) for x in found[name]),
            *(score_row(metric, share(x)) for metric, x in own[name].items()),
        ]
        for name in answers
    }
    less = by_name(found[base])
    differences = {
        name: [
            *(difference(x, less[x.name], ref) for x in found[name]),
            *(score_row(metric, share_difference(x, own[base][metric])) for metric, x in own[name].items()),
        ]
        for name in answers
        if name != base
    }
    return scores, differences


def _above(q: np.ndarray, ref: HeldOut, least: int) -> dict[str, np.ndarray]:
    """Whether the own UAR of each speaker with enough utterances is above each threshold, [G'] under paUAR's names."""
    found = recalls(q, ref)
    uars = own_uar(found.hits, found.support, least)
    able = ~np.isnan(uars[0])
    if not able.any():
        return {}
    return {
        pauar_name(threshold, n): uars[place, able] > threshold
        for place, n in enumerate(GUESSES)
        for threshold in THRESHOLDS
    }


def _warned(prediction: Prediction, ref: HeldOut) -> list[str]:
    lost = [name for name in ref.ids if name in prediction.failures]
    failed = [f"{len(lost)} utterances could not be heard, {lost[0]!r} among them"] if lost else []
    return [*failed, *warnings_of(prediction.model, ref, prediction)]


def _notes(ref: HeldOut, infos: Sequence[ModelInfo], m: int) -> list[str]:
    notes = notes_of(ref)
    if m < VOTES_SCORED:
        notes.append(f"divergences are taken at {m} votes: too few utterances have {VOTES_SCORED}")
    divisions = {str(info.division) for info in infos}
    if len(divisions) > 1:
        notes.append("the systems saw votes divided differently in training: a difference may be one of divisions")
    return notes
