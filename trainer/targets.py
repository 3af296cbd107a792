"""What is to be predicted: distributions, counts of votes and ratings of a corpus's utterances."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..data.arrow import pc
from ..data.corpus import Corpus
from ..data.errors import CorpusError
from ..data.fused import Fused
from ..data.votes import count_votes
from .curriculum import expected_entropy
from .vote_targets import marginal_prior, vote_targets

DIMENSIONS = ("valence", "arousal", "dominance")


@dataclass(frozen=True, slots=True)
class Examples:
    """Utterances of a corpus with what is to be predicted: N rows of it.

    `targets` [N, K] are distributions (training) or counts of human votes (validation); `votes` [N, K] are counts,
    seen ones in training; `ambiguity` [N] is the expected entropy of what votes and fusion know, over ln K; `ratings`
    [N, D] lie on the unit scale [-1, 1], NaN where nobody rated; `seconds` [N].
    """

    corpus: Corpus
    rows: np.ndarray
    targets: np.ndarray
    votes: np.ndarray
    ambiguity: np.ndarray
    ratings: np.ndarray
    seconds: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def ids(self, places: Sequence[int] | np.ndarray) -> list[str]:
        """The utterances' ids at some places of the N."""
        return [self.corpus.ids[self.rows[place]] for place in places]


def training_examples(
    fused: Fused, dimensions: Sequence[str], *, targets: str = "fused", merged_alpha: float = 0.9, seed: int = 0
) -> Examples:
    """The train split's utterances that have a target of a kind (`vote_targets`), augmented ones among them where it is
    `fused`; ratings by seen raters alone.
    """
    corpus = fused.corpus
    found = vote_targets(fused, targets, part=seen_part(corpus), merged_alpha=merged_alpha, seed=seed)
    return Examples(
        corpus=corpus,
        rows=found.rows,
        targets=found.p,
        votes=found.votes,
        ambiguity=expected_entropy(found.posterior),
        ratings=mean_ratings(corpus, dimensions, part=seen_part(corpus))[found.rows],
        seconds=_seconds(corpus, found.rows),
    )


def validation_examples(corpus: Corpus, dimensions: Sequence[str]) -> Examples:
    """The development split's utterances that people voted on; its targets are the counts of their votes.

    Raises CorpusError where there is none, or where a speaker is in the train split too: the best epoch would
    be chosen by ear of a voice that was trained on.
    """
    counts = count_votes(corpus.votes, corpus.ids, corpus.labels)
    rows = np.flatnonzero(corpus.in_split("development") & (counts.sum(axis=1) > 0))
    if not len(rows):
        raise CorpusError(
            f"{corpus.path}: no utterance of split 'development' has human votes; training needs some to choose its "
            "best epoch: give some speakers' utterances that split"
        )
    both = heard_speakers(corpus, "development", rows)
    if both:
        raise CorpusError(
            f"{corpus.path}: {len(both)} speakers are in the train and in the development split, {both[0]!r} among "
            "them; give each speaker one split"
        )
    return Examples(
        corpus=corpus,
        rows=rows,
        targets=counts[rows],
        votes=counts[rows],
        ambiguity=expected_entropy(counts[rows] + marginal_prior(counts[rows])),
        ratings=mean_ratings(corpus, dimensions)[rows],
        seconds=_seconds(corpus, rows),
    )


def heard_speakers(corpus: Corpus, split: str, rows: np.ndarray | None = None) -> list[str]:
    """Named speakers of a split (or of its utterances at `rows`) who speak in the train split too, sorted."""
    speakers = corpus.column("speaker")
    inside = speakers[corpus.in_split(split) if rows is None else rows]
    return sorted({s for s in inside if s is not None} & set(speakers[corpus.in_split("train")]))


def shared_speakers(corpus: Corpus) -> list[str]:
    """A warning for every split besides development, where it is an error, whose speakers are trained on too."""
    names = {str(s) for s in corpus.column("split") if s not in ("train", "development", None)}
    found = []
    for split in sorted({"test" if name.startswith("test") else name for name in names}):
        both = heard_speakers(corpus, split)
        if both:
            found.append(
                f"speakers of the split {split!r} who are trained on: {len(both)}, {both[0]!r} among them; scores on "
                "their utterances will be too good: give each speaker one split"
            )
    return found


def left_out(examples: Examples, targets: str) -> list[str]:
    """How many train utterances have no target of a kind, and so teach nothing; empty where all have one."""
    asked, taught = int(examples.corpus.in_split("train").sum()), len(np.unique(examples.rows))
    if taught == asked:
        return []
    what = "fused distribution" if targets == "fused" else f"seen vote, which targets {targets} are made of"
    return [f"{asked - taught} of {asked} train utterances have no {what}, and are left out"]


def untaught_labels(examples: Examples) -> list[str]:
    """A warning that names the labels no target has anything of; empty where there is none."""
    none = [name for name, mass in zip(examples.corpus.labels, examples.targets.sum(axis=0), strict=True) if mass <= 0]
    if not none:
        return []
    return [
        f"no training utterance has any of the label {', '.join(none)}: a model can hardly answer it; import with a "
        "label set that the votes fill, or fuse by a strategy that smooths (human-mixture)"
    ]


def rated_dimensions(corpus: Corpus) -> list[str]:
    """Which of valence, arousal and dominance the seen raters rated in the train split, in this order.

    Raises CorpusError for ratings on a scale that corpus.json does not name.
    """
    if corpus.ratings is not None and corpus.info.scale is None:
        raise CorpusError(
            f"{corpus.path}: it has ratings, but corpus.json names no scale; write the scale's ends there, "
            'as "scale": [1, 7]'
        )
    means = mean_ratings(corpus, DIMENSIONS, part=seen_part(corpus))[corpus.in_split("train")]
    return [dimension for d, dimension in enumerate(DIMENSIONS) if not np.isnan(means[:, d]).all()]


def seen_part(corpus: Corpus) -> str | None:
    """The part of the human votes and ratings that training may use: all of them in a corpus that is not divided."""
    return None if corpus.info.division is None else "seen"


def mean_ratings(corpus: Corpus, dimensions: Sequence[str], *, part: str | None = None) -> np.ndarray:
    """Mean human rating of each utterance on the unit scale, [U, D]: (x - middle) / half the scale; NaN where
    nobody rated.

    `part` restricts to seen or held-out raters.
    """
    means = np.full((len(corpus.ids), len(dimensions)), np.nan)
    if corpus.ratings is None or not len(dimensions) or corpus.info.scale is None:
        return means
    keep = pc.equal(corpus.ratings["source"], "human")
    if part is not None:
        keep = pc.and_(keep, pc.fill_null(pc.equal(corpus.ratings["part"], part), False))
    grouped = corpus.ratings.filter(keep).group_by(["utterance_id", "dimension"]).aggregate([("value", "mean")])
    row_of = {utterance: row for row, utterance in enumerate(corpus.ids)}
    column_of = {dimension: column for column, dimension in enumerate(dimensions)}
    for rated in grouped.to_pylist():
        if rated["dimension"] in column_of:
            means[row_of[rated["utterance_id"]], column_of[rated["dimension"]]] = rated["value_mean"]
    return to_unit(means, corpus.info.scale)


def to_unit(values: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """Ratings on a scale as numbers in [-1, 1].

    >>> to_unit(np.array([1.0, 4.0, 7.0]), (1, 7)).tolist()
    [-1.0, 0.0, 1.0]
    """
    low, high = scale
    return (values - (low + high) / 2) / ((high - low) / 2)


def from_unit(values: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """The inverse of `to_unit`."""
    low, high = scale
    return (low + high) / 2 + values * (high - low) / 2


def _seconds(corpus: Corpus, rows: np.ndarray) -> np.ndarray:
    """How long utterances are: `duration`, else end - start, else the longest known (it only decides which
    share a batch).
    """
    duration, start, end = (
        corpus.utterances[name].to_numpy(zero_copy_only=False).astype(float)[rows]
        for name in ("duration", "start", "end")
    )
    seconds = np.where(np.isnan(duration), end - start, duration)
    longest = np.nanmax(seconds) if not np.isnan(seconds).all() else 1.0
    return np.where(np.isnan(seconds), longest, seconds)


def taught_shares(examples: Examples) -> np.ndarray:
    """Mean target [K] of what is trained on, new utterances included: the prior that a model is taught."""
    return examples.targets.mean(axis=0)


def seen_marginal(fused: Fused) -> np.ndarray:
    """Share of each label among the train split's seen human votes, one half added to each count; [K], never
    0.
    """
    corpus = fused.corpus
    counts = count_votes(corpus.votes, corpus.ids, corpus.labels, part=seen_part(corpus))
    counts = counts[corpus.in_split("train")].sum(axis=0) + 0.5
    return counts / counts.sum()
