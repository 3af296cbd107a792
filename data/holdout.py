"""The one division of human votes into seen and held-out ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute

from .corpus import Corpus, Division, absolute_audio, open_corpus, write_corpus
from .errors import CorpusError, OptionError, OutputError
from .files import fingerprint, write_json
from .seeds import uniforms
from .tables import PARTS, RATINGS, VOTES, write_table
from .votes import count_votes

# pyarrow makes its compute functions at import, so type checkers do not know them.
pc: Any = pyarrow.compute


class Divided(NamedTuple):
    """Votes and ratings with their parts, and the division that made them."""

    votes: pa.Table
    ratings: pa.Table | None
    division: Division


def hold_out(corpus: Corpus, *, seen: int, seed: int = 0) -> Divided:
    """Divide the human votes: of each train utterance `seen` raters' votes are seen, all others held out for reference.

    Outside the train split every human vote is reference. A rater's primary and secondary votes and ratings of an
    utterance stay together. Which raters are seen depends on the utterance, the rater and the seed alone. Ratings by
    people who did not vote on the utterance are divided alike, by themselves. Abstentions, self-reports and synthetic
    votes belong to no part.

    Raises OptionError for `seen` below 1, CorpusError for a corpus without splits, train utterances or human votes.
    """
    if seen < 1:
        raise OptionError(f"--seen is {seen}; expected 1 or more human votes an utterance to be seen")
    _require_splits(corpus)
    train = set(np.array(corpus.ids, dtype=object)[corpus.in_split("train")])
    votes, parts = _divide_votes(corpus.votes, train, seen, seed)
    ratings = _divide_ratings(corpus.ratings, parts, train, seen, seed) if corpus.ratings is not None else None
    columns = votes.select(["utterance_id", "rater_id", "label", "rank", "part"]).to_pylist()
    mark = fingerprint(sorted(columns, key=lambda row: tuple(str(value) for value in row.values())))
    return Divided(votes, ratings, Division(seen=seen, seed=seed, fingerprint=mark))


def _require_splits(corpus: Corpus) -> None:
    if not corpus.in_split("train").any():
        found = sorted({str(s) for s in corpus.column("split")})
        raise CorpusError(
            f"{corpus.path} has no train split; its utterances' splits are: {', '.join(found)}. Write the corpus with "
            "a column 'split' of train, development and test (names that begin with test are tests too)"
        )
    human = pc.and_(pc.equal(corpus.votes["source"], "human"), pc.is_valid(corpus.votes["label"]))
    if not pc.any(human).as_py():
        raise CorpusError(f"{corpus.path} holds no human votes, so there is nothing to divide")


def _divide_votes(
    votes: pa.Table, train: set[str], seen: int, seed: int
) -> tuple[pa.Table, dict[tuple[str, str], str]]:
    human = pc.and_(pc.equal(votes["source"], "human"), pc.is_valid(votes["label"])).to_numpy(zero_copy_only=False)
    ids, raters = votes["utterance_id"].to_pylist(), votes["rater_id"].to_pylist()
    ballots = _ballots(votes, human)
    part = _part_of_ballots([(i, b) for i, b, h in zip(ids, ballots, human, strict=True) if h], train, seen, seed)
    column = [part[i, b] if h else None for i, b, h in zip(ids, ballots, human, strict=True)]
    by_rater = {(i, r): p for i, r, p in zip(ids, raters, column, strict=True) if r is not None and p is not None}
    place = votes.column_names.index("part")
    return votes.set_column(place, "part", pa.array(column, pa.string())), by_rater


def _ballots(votes: pa.Table, human: np.ndarray) -> list[str]:
    """Name each vote's ballot: the rater, or for an anonymous vote its label and how often that came before it."""
    seen_so_far: dict[tuple[str, str, str], int] = {}
    names = []
    columns = (votes[name].to_pylist() for name in ("utterance_id", "rater_id", "rank", "label"))
    for utterance, rater, rank, label in zip(*columns, strict=True):
        if rater is not None:
            names.append(f"rater {rater}")
            continue
        key = (utterance, rank, str(label))
        seen_so_far[key] = seen_so_far.get(key, 0) + 1
        names.append(f"anonymous {rank} {label} {seen_so_far[key]}")
    return names


def _part_of_ballots(
    ballots: Sequence[tuple[str, str]], train: set[str], seen: int, seed: int
) -> dict[tuple[str, str], str]:
    distinct = sorted(set(ballots))
    names = [f"{utterance}\x1f{ballot}" for utterance, ballot in distinct]
    order = np.argsort(uniforms(names, 1, "holdout", seed)[:, 0], kind="stable")
    taken: dict[str, int] = {}
    part = {}
    for k in order:
        utterance = distinct[k][0]
        taken[utterance] = taken.get(utterance, 0) + 1
        part[distinct[k]] = "seen" if utterance in train and taken[utterance] <= seen else "heldout"
    return part


def _divide_ratings(
    ratings: pa.Table, by_rater: dict[tuple[str, str], str], train: set[str], seen: int, seed: int
) -> pa.Table:
    rows = ratings.select(["utterance_id", "rater_id", "source", "dimension"]).to_pylist()
    names, count = [], {}
    for row in rows:
        key = (row["utterance_id"], row["dimension"])
        count[key] = count.get(key, 0) + 1
        names.append(f"rater {row['rater_id']}" if row["rater_id"] is not None else f"anonymous {count[key]}")
    known = [by_rater.get((row["utterance_id"], row["rater_id"])) for row in rows]
    human = [row["source"] == "human" for row in rows]
    alone = [
        (row["utterance_id"], n) for row, n, k, h in zip(rows, names, known, human, strict=True) if h and k is None
    ]
    part = _part_of_ballots(alone, train, seen, seed)
    column = [
        None if not h else k or part[row["utterance_id"], n]
        for row, n, k, h in zip(rows, names, known, human, strict=True)
    ]
    return ratings.set_column(ratings.column_names.index("part"), "part", pa.array(column, pa.string()))


def remarks(corpus: Corpus) -> list[str]:
    """Return what a reader of a divided corpus should know: votes that leave nothing to score, splits that leak or
    are odd.
    """
    seen, heldout = (count_votes(corpus.votes, corpus.ids, corpus.labels, part=p).sum(axis=1) for p in PARTS)
    train, found = corpus.in_split("train"), []
    spent = int((train & (seen > 0) & (heldout == 0)).sum())
    if spent:
        found.append(
            f"{spent} of {int(train.sum())} train utterances have no held-out vote left, so nothing of theirs can be "
            "scored; a smaller --seen leaves some"
        )
    odd = sorted({str(s) for s in corpus.column("split") if s not in ("train", "development") and not _is_test(s)})
    if odd:
        found.append(f"splits named {', '.join(odd)} are neither train, development nor test…: no command uses them")
    shared = _speakers_across_splits(corpus)
    if shared:
        found.append(f"{len(shared)} speakers are in several splits, first {shared[0]}: scores on them are too good")
    return found


def _is_test(split: object) -> bool:
    return isinstance(split, str) and split.startswith("test")


def _speakers_across_splits(corpus: Corpus) -> list[str]:
    where: dict[str, set[str]] = {}
    for speaker, split in zip(corpus.column("speaker"), corpus.column("split"), strict=True):
        if speaker is not None and split is not None:
            where.setdefault(speaker, set()).add("test" if _is_test(split) else split)
    return sorted(speaker for speaker, splits in where.items() if len(splits) > 1)


def write_division(corpus: Corpus, divided: Divided, out: str | Path | None, *, overwrite: bool = False) -> Corpus:
    """Write a divided corpus: in place (`out` None) or as a new corpus at `out` that reads the sounds where they lie.

    In place, the directory's tables are replaced one by one, `corpus.json` last. Raises OutputError where the corpus
    was divided before, since fused corpora and models hold its division, unless `overwrite`.
    """
    info = corpus.info
    if out is not None:
        return write_corpus(
            out,
            name=info.name,
            labels=corpus.labels,
            utterances=absolute_audio(corpus),
            votes=divided.votes,
            ratings=divided.ratings,
            licence=info.licence,
            provenance=info.provenance,
            simulated=info.simulated,
            scale=info.scale,
            division=divided.division,
            overwrite=overwrite,
        )
    if info.division is not None and not overwrite:
        raise OutputError(
            f"{corpus.path} is divided already (seen {info.division.seen}, seed {info.division.seed}); fused corpora "
            "and models depend on that: write another corpus with -o, or pass --overwrite"
        )
    write_table(divided.votes, corpus.path / "votes.parquet", VOTES, labels=corpus.labels, provenance=info.provenance)
    if divided.ratings is not None:
        rated = {**info.provenance, "scale": list(info.scale) if info.scale else None}
        write_table(divided.ratings, corpus.path / "ratings.parquet", RATINGS, labels=corpus.labels, provenance=rated)
    write_json(
        corpus.path / "corpus.json", info.model_copy(update={"division": divided.division}).model_dump(mode="json")
    )
    return open_corpus(corpus.path)
