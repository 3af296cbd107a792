"""Evaluation: a model's predictions against human votes that neither fusion nor training has seen."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..data.bootstrap import by_group
from ..data.class_balance import class_balanced, estimated_prior, expected_shares, prior_corrected
from ..data.corpus import Corpus
from ..data.errors import CorpusError, LabelError, OptionError
from ..data.metrics import ccc_of, ccc_rows
from ..data.scoring import THIRDS, VOTES_SCORED, ScoreRow, choose_votes_scored, score_row, score_table
from ..data.votes import count_votes
from .ambiguity import REDRAWS, Draw, about_thirds, concordance_in_third, cuttable, redraw, score_thirds
from .checkpoint import CONSTANT, ModelInfo, open_model
from .predict import Prediction, Progress, is_prediction, predict_corpus, read_prediction
from .targets import from_unit, heard_speakers, mean_ratings

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


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Every score of a model and of the constant baseline on one split, and what they rest on.

    `thirds` says what the scores by ambiguity are and why they do not add up to those of all; None without them.
    `balanced`: scores as if all labels were equally common (`data.class_balance`), and the priors behind them.
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
            "class_balanced": self.balanced,
            "warnings": self.warnings,
            "notes": self.notes,
            "failures": [{"utterance_id": name, "reason": reason} for name, reason in self.failures.items()],
        }


def evaluate(
    model: str | Path,
    corpus: Corpus,
    *,
    split: str = "test",
    votes_scored: int | None = None,
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
    could do without listening: `constant`, the shares of the labels among the train split's seen votes.

    Raises CorpusError for a corpus whose votes are divided otherwise than the model's, or that has none to
    score, LabelError for another label set.
    """
    if votes_scored is not None and votes_scored < 2:
        raise OptionError(
            f"--votes-scored is {votes_scored}; expected 2 or more, for two votes are needed to score one"
        )
    prediction = read_prediction(model) if is_prediction(model) else None
    trained = open_model(model) if prediction is None else None
    info = prediction.model if prediction is not None else trained.info  # type: ignore[union-attr]
    check_fit(info, corpus)
    rows, counts = reference(corpus, split)
    if trained is not None:
        prediction = predict_corpus(trained, corpus, rows=rows, device=device, progress=progress)
    assert prediction is not None
    chosen = choose_votes_scored(counts.sum(axis=1)) if votes_scored is None else votes_scored
    found = score(prediction, corpus, rows, counts, split=split, m=chosen, seed=seed)
    if votes_scored is None and chosen < VOTES_SCORED:
        found.notes.append(
            f"{chosen} votes an utterance are scored in divergences and thirds: too few have {VOTES_SCORED} and two "
            "more to cut by (--votes-scored chooses)"
        )
    return found


def check_fit(info: ModelInfo, corpus: Corpus) -> None:
    """Raise unless the corpus has the model's labels and, if it is the one it learnt from, the same division
    of votes.

    Another corpus (of another name) has a division of its own, and no vote of it was seen.
    """
    labels = info.label_set
    if labels.labels != corpus.labels.labels:
        raise LabelError(
            f"{corpus.path} has the labels {', '.join(corpus.labels)}; the model {info.name} answers with "
            f"{', '.join(labels)}, in this order: evaluate it on a corpus with these"
        )
    if corpus.name != info.fused.name or corpus.info.division == info.division:
        return

    def described(division: Any) -> str:
        return f"seen {division.seen}, seed {division.seed}" if division is not None else "not divided"

    found, expected = described(corpus.info.division), described(info.division)
    if found == expected:
        found, expected = f"{found}, of other votes", f"{expected}, of the votes that it learnt from"
    raise CorpusError(
        f"{corpus.path}: its votes are divided otherwise ({found}) than those that the model {info.name} learnt from "
        f"({expected}), so votes may be scored that it has seen; evaluate it on the corpus that it was fused from"
    )


def reference(corpus: Corpus, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the split's utterances that have votes to be scored, and the counts of those votes [U, K]."""
    part = "heldout" if split == "train" else None
    counts = count_votes(corpus.votes, corpus.ids, corpus.labels, part=part)
    inside = corpus.in_split(split)
    if not inside.any():
        found = ", ".join(sorted({str(s) for s in corpus.column("split")}))
        raise CorpusError(f"{corpus.path} has no split {split!r}; its splits are {found}")
    rows = np.flatnonzero(inside & (counts.sum(axis=1) > 0))
    if not len(rows):
        what = "held-out human votes" if part else "human votes"
        raise CorpusError(f"{corpus.path}: the split {split!r} has no {what}, so there is nothing to score against")
    return rows, counts[rows]


def score(
    prediction: Prediction,
    corpus: Corpus,
    rows: np.ndarray,
    counts: np.ndarray,
    *,
    split: str,
    m: int,
    seed: int,
) -> Evaluation:
    """Score a prediction, and the constant, on the corpus's utterances at `rows` with the reference counts [U, K]."""
    info = prediction.model
    ids = [corpus.ids[row] for row in rows]
    speakers = corpus.column("speaker")[rows]
    distributions, rated = _aligned(prediction, ids)
    # The constant is scored where the model is: an utterance that the model could not hear is left out of both.
    unheard = np.isnan(distributions).any(axis=1, keepdims=True)
    systems = {info.name: distributions, CONSTANT: np.where(unheard, np.nan, np.array(info.marginal))}
    draws = redraw(counts, ids, m=m, seed=seed)
    human = mean_ratings(corpus, info.dimensions, part="heldout" if split == "train" else None)[rows]
    if corpus.info.scale is not None:
        human = from_unit(human, corpus.info.scale)
    table = []
    for system, q in systems.items():
        common = {"labels": corpus.labels, "ids": ids, "groups": speakers, "m": m, "seed": seed}
        mine = system == info.name  # a constant rates nothing
        found = score_table(q, counts, **common)
        found += _concordances(rated, human, info, speakers, seed) if mine else []
        table += [EvaluationRow(system, OVERALL, row) for row in found]
        for stratum, found in score_thirds(q, counts, draws, **common).items():
            third = THIRDS.index(stratum)
            found += _concordances(rated, human, info, speakers, seed, draws, third) if mine else []
            table += [EvaluationRow(system, stratum, row) for row in found]
    asked = {name: reason for name, reason in prediction.failures.items() if name in set(ids)}
    return Evaluation(
        model=info,
        corpus=corpus.name,
        split=split,
        votes_scored=m,
        utterances=len(ids),
        speakers=len(set(speakers)),
        rows=table,
        thirds=about_thirds(counts, m),
        warnings=_warnings(corpus, info, split, speakers),
        notes=_notes(corpus, info, counts, m),
        failures=asked,
        balanced=balanced_scores(systems, counts, info, speakers, seed=seed),
    )


def balanced_scores(
    systems: dict[str, np.ndarray], counts: np.ndarray, info: ModelInfo, speakers: np.ndarray, *, seed: int
) -> dict[str, Any]:
    """Class-balanced scores of each system's distributions [U, K] as they are, and of the model's corrected from the
    label shares it was taught to equal ones (where it knows them; a constant so corrected is uniform).

    `prior` holds the shares taught, those of the test votes, and those that the model's answers alone imply.
    """
    labels = info.label_set
    taught = None if info.fused.shares is None else np.array(info.fused.shares)
    scored = {(name, "none"): q for name, q in systems.items()}
    if taught is not None:
        level = np.full(len(labels), 1 / len(labels))
        scored[info.name, "to equal shares"] = prior_corrected(systems[info.name], taught, level)
        scored[CONSTANT, "to equal shares"] = np.where(np.isnan(systems[CONSTANT]), np.nan, level)
    priors = {"taught": taught, "test": expected_shares(counts)}
    if taught is not None:
        priors["implied"] = estimated_prior(systems[info.name], taught)
    return {
        "prior": {
            name: dict(zip(labels, shares.tolist(), strict=True))
            for name, shares in priors.items()
            if shares is not None
        },
        "scores": [
            {"system": system, "correction": correction, **row._asdict()}
            for (system, correction), q in scored.items()
            for row in class_balanced(q, counts, groups=speakers, seed=seed)
        ],
    }


def _aligned(prediction: Prediction, ids: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """A prediction's rows in the order of `ids`; NaN where it has none."""
    row_of = {name: row for row, name in enumerate(prediction.ids)}
    distributions = np.full((len(ids), prediction.distributions.shape[1]), np.nan)
    ratings = np.full((len(ids), prediction.ratings.shape[1]), np.nan)
    for place, name in enumerate(ids):
        if name in row_of:
            distributions[place] = prediction.distributions[row_of[name]]
            ratings[place] = prediction.ratings[row_of[name]]
    if np.isnan(distributions).all():
        raise CorpusError(
            "the prediction holds none of the utterances that are to be scored; predict this corpus, or name "
            "another split"
        )
    return distributions, ratings


def _concordances(
    rated: np.ndarray,
    human: np.ndarray,
    info: ModelInfo,
    speakers: np.ndarray,
    seed: int,
    draws: list[Draw] | None = None,
    third: int = 0,
) -> list[ScoreRow]:
    """CCC of each dimension whose human ratings are there, with an interval over speakers: of all utterances, or of
    the draws' utterances of a third.
    """
    rows = []
    for d, dimension in enumerate(info.dimensions):
        columns = ccc_rows(rated[:, d], human[:, d])
        if np.isnan(columns).all():
            continue
        name = f"ccc_{dimension}"
        if draws is None:
            rows.append(score_row(name, by_group(columns, speakers, statistic=ccc_of, seed=seed)))
            continue
        interval, scored, skipped = concordance_in_third(columns, draws, third, groups=speakers, seed=seed)
        rows.append(score_row(name, interval)._replace(utterances=scored, skipped=skipped))
    return rows


def _warnings(corpus: Corpus, info: ModelInfo, split: str, speakers: np.ndarray) -> list[str]:
    """Whoever the model has heard in training; another corpus (of another name) has other speakers."""
    if corpus.name != info.fused.name:
        return []
    if split == "train":
        return ["the model was trained on the utterances of this split; only the votes scored are new to it"]
    heard = heard_speakers(corpus, split)
    if not heard:
        return []
    named = ", ".join(heard[:5]) + (", …" if len(heard) > 5 else "")
    return [
        f"{len(heard)} of the {len(set(speakers))} speakers of the split '{split}' were trained on ({named}): these "
        "scores are too good for a voice that the model has not heard"
    ]


def _notes(corpus: Corpus, info: ModelInfo, counts: np.ndarray, m: int) -> list[str]:
    notes = []
    if corpus.info.simulated:
        notes.append(f"{corpus.name} is simulated: programs made its voices and votes, so its scores are no evidence")
    if corpus.name != info.fused.name:
        notes.append(f"the model learnt from {info.fused.name}: another corpus, other raters")
    uncut = int((~cuttable(counts, m)).sum())
    if uncut:
        notes.append(
            f"{uncut} of {len(counts)} utterances are in no third: {m} votes are scored, and two more are needed to cut"
        )
    few = int((counts.sum(axis=1) < m).sum())
    if few:
        notes.append(f"{few} of {len(counts)} utterances have fewer than {m} votes and no divergence @{m}")
    return notes
