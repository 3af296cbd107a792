"""The one division of human votes into seen and held-out ones."""

import hashlib
import json
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from .arrow import pc
from .corpus import Corpus, Division, as_corpus, open_corpus, write_corpus
from .errors import CorpusError, OptionError, OutputError, few
from .files import write_json
from .seeds import uniforms
from .sound_paths import elsewhere
from .tables import PARTS, RATINGS, VOTES, occurrence, row_keys, write_table
from .votes import count_votes

# Rows of text that are hashed at a time.
PIECE = 100_000


class Divided(NamedTuple):
    """Votes and ratings with their parts, and the division that made them."""

    votes: pa.Table
    ratings: pa.Table | None
    division: Division


def hold_out(
    corpus: Corpus | str | PathLike[str],
    *,
    seen: int,
    seed: int = 0,
    out: str | PathLike[str] | None = None,
    overwrite: bool = False,
) -> Corpus:
    """The corpus with its human votes divided into seen and held-out ones (`divide_votes`), in memory or written.

    Without `out` nothing on disk changes; with it a divided corpus is written there, which reads the sounds where they
    lie. (`serann corpus holdout` divides a corpus in its place.)

    Raises OptionError for `seen` below 1; CorpusError for a corpus without splits, train utterances or human votes;
    OutputError for an existing `out` without `overwrite`.

    >>> hold_out("demo", seen=1)
    Corpus demo: 480 utterances of 32 speakers, 6 labels (neutral, happy, angry, sad, fear, surprise)
    4,898 votes of 21 named raters; 1 per train utterance are seen; ...
    """
    corpus = as_corpus(corpus)
    divided = divide_votes(corpus, seen=seen, seed=seed)
    if out is not None:
        return write_division(corpus, divided, Path(out), overwrite=overwrite)
    info = corpus.info.model_copy(update={"division": divided.division})
    return replace(corpus, info=info, votes=divided.votes, ratings=divided.ratings)


def divide_votes(corpus: Corpus, *, seen: int, seed: int = 0) -> Divided:
    """Divide the human votes: of each train utterance `seen` raters' votes are seen, all others held out for reference.

    Outside the train split every human vote is reference. A rater's primary and secondary votes and ratings of an
    utterance stay together. Which raters are seen depends on the utterance, the rater and the seed alone. Ratings by
    people who did not vote on the utterance are divided alike, by themselves. Abstentions, self-reports and synthetic
    votes belong to no part.

    Raises OptionError for `seen` below 1, CorpusError for a corpus without splits, train utterances or human votes.
    """
    if seen < 1:
        raise OptionError(f"--seen is {seen}; expected 1 or more human votes per utterance to be seen")
    _require_splits(corpus)
    train = corpus.utterances["utterance_id"].filter(pa.array(corpus.in_split("train"))).combine_chunks()
    votes, parts = _divide_votes(corpus.votes, train, seen, seed)
    ratings = _divide_ratings(corpus.ratings, parts, train, seen, seed) if corpus.ratings is not None else None
    return Divided(votes, ratings, Division(seen=seen, seed=seed, fingerprint=_fingerprint(votes)))


def _require_splits(corpus: Corpus) -> None:
    if not corpus.in_split("train").any():
        found = sorted({str(s) for s in corpus.column("split")})
        raise CorpusError(
            f"{corpus.path} has no train split; its utterances' splits are: {few(found, 10)}. Write the corpus with "
            "a column 'split' of train, development and test (names that begin with test are tests too)"
        )
    human = pc.and_(pc.equal(corpus.votes["source"], "human"), pc.is_valid(corpus.votes["label"]))
    if not pc.any(human).as_py():
        raise CorpusError(f"{corpus.path} holds no human votes, so there is nothing to divide")


def _divide_votes(votes: pa.Table, train: pa.Array, seen: int, seed: int) -> tuple[pa.Table, pa.Table]:
    """The votes with their parts, and the parts of the ballots of known raters: (utterance, rater, part), distinct."""
    human = pc.and_(pc.equal(votes["source"], "human"), pc.is_valid(votes["label"])).to_numpy(zero_copy_only=False)
    ballots = _named(votes, _ballots(votes))
    part = _parts(votes["utterance_id"], ballots, human, train, seen, seed)
    divided = votes.set_column(votes.column_names.index("part"), "part", part)
    known = divided.select(["utterance_id", "rater_id", "part"]).filter(
        pc.and_(pc.is_valid(divided["rater_id"]), pc.is_valid(divided["part"]))
    )
    return divided, known.group_by(["utterance_id", "rater_id", "part"]).aggregate([])


def _ballots(votes: pa.Table) -> pa.Array:
    """Name an anonymous vote's ballot: its label and how often that came before it on the utterance."""
    label, anonymous = pc.fill_null(votes["label"], "None"), pc.is_null(votes["rater_id"])
    asked = pa.table([votes["utterance_id"], votes["rank"], label, anonymous], ["utterance", "rank", "label", "none"])
    return pc.binary_join_element_wise("anonymous", votes["rank"], label, _number(asked), " ")


def _number(table: pa.Table) -> pa.Array:
    """How many rows up to and with this one are equal to it, as text."""
    return pc.cast(pa.array(occurrence(row_keys(table, table.column_names)) + 1), pa.string())


def _named(table: pa.Table, anonymous: pa.Array) -> pa.Array:
    raters = table["rater_id"]
    return pc.if_else(pc.is_valid(raters), pc.binary_join_element_wise("rater ", raters, ""), anonymous)


def _ranked(column: pa.ChunkedArray | pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Each value's place among the distinct values in order (a null is the text None), and those values."""
    filled = pc.fill_null(column, "None")
    encoded = (filled.combine_chunks() if isinstance(filled, pa.ChunkedArray) else filled).dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy(zero_copy_only=False)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank[encoded.indices.to_numpy(zero_copy_only=False)], encoded.dictionary.take(pa.array(order))


def _parts(
    utterances: pa.ChunkedArray, ballots: pa.ChunkedArray, divided: np.ndarray, train: pa.Array, seen: int, seed: int
) -> pa.Array:
    """The part of each row that is `divided` (bool [N]): of a train utterance's ballots the first `seen` in an order
    drawn from their names are seen; null elsewhere.
    """
    (utterance, ids), (ballot, names) = (_ranked(c.filter(pa.array(divided))) for c in (utterances, ballots))
    distinct, row = np.unique(utterance * max(len(names), 1) + ballot, return_inverse=True)
    of, name = np.divmod(distinct, max(len(names), 1))
    drawn = pc.binary_join_element_wise(ids.take(pa.array(of)), names.take(pa.array(name)), "\x1f").to_pylist()
    order = np.lexsort((uniforms(drawn, 1, "holdout", seed)[:, 0], of))
    place = np.empty(len(of), dtype=np.int64)
    place[order] = occurrence(of[order])
    is_train = pc.is_in(ids, value_set=train).to_numpy(zero_copy_only=False)
    chosen = np.full(len(divided), -1)
    chosen[divided] = np.where(is_train[of] & (place < seen), 0, 1)[row.reshape(-1)]
    return pa.array(PARTS).take(pa.array(chosen, mask=chosen < 0))


def _divide_ratings(ratings: pa.Table, by_rater: pa.Table, train: pa.Array, seen: int, seed: int) -> pa.Table:
    human = pc.equal(ratings["source"], "human").to_numpy(zero_copy_only=False)
    number = _number(ratings.select(["utterance_id", "dimension"]))
    names = _named(ratings, pc.binary_join_element_wise("anonymous", number, " "))
    known = _look_up(ratings, by_rater)
    alone = human & pc.is_null(known).to_numpy(zero_copy_only=False)
    part = pc.coalesce(known, _parts(ratings["utterance_id"], names, alone, train, seen, seed))
    part = pc.if_else(pa.array(human), part, pa.scalar(None, pa.string()))
    return ratings.set_column(ratings.column_names.index("part"), "part", part)


def _look_up(ratings: pa.Table, by_rater: pa.Table) -> pa.Array:
    """The part of each rating's rater on its utterance, null where that rater did not vote."""
    asked = ratings.select(["utterance_id", "rater_id"]).append_column("row", pa.array(np.arange(ratings.num_rows)))
    found = asked.join(by_rater, ["utterance_id", "rater_id"], join_type="inner")
    place = pc.index_in(asked["row"], value_set=found["row"].combine_chunks())
    return found["part"].combine_chunks().take(place.combine_chunks())


def _fingerprint(votes: pa.Table) -> str:
    """The fingerprint of the divided votes, rows sorted by their values' text: that of their list of objects.

    It is `files.fingerprint` of that list, written in pieces, for a million objects take ten times as long.
    """
    columns = ["utterance_id", "rater_id", "label", "rank", "part"]
    order = np.lexsort([_ranked(votes[name])[0] for name in reversed(columns)])
    texts: list[Any] = []
    for name in sorted(columns):
        encoded = votes[name].combine_chunks().dictionary_encode(null_encoding="encode")
        values = pa.array([json.dumps(value, ensure_ascii=False) for value in encoded.dictionary.to_pylist()])
        texts += [f'{"," if texts else "{"}"{name}":', values.take(encoded.indices.take(pa.array(order)))]
    rows = pc.binary_join_element_wise(*texts, "}", "")
    digest = hashlib.sha256(b"[")
    for start in range(0, len(rows), PIECE):
        digest.update(("," if start else "").encode() + ",".join(rows[start : start + PIECE].to_pylist()).encode())
    digest.update(b"]")
    return "sha256:" + digest.hexdigest()


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
        found.append(f"splits named {few(odd, 10)} are neither train, development nor test…: no command uses them")
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
        utterances, audio_root = elsewhere(corpus)
        return write_corpus(
            out,
            name=info.name,
            labels=corpus.labels,
            utterances=utterances,
            audio_root=audio_root,
            votes=divided.votes,
            ratings=divided.ratings,
            licence=info.licence,
            provenance=info.provenance,
            simulated=info.simulated,
            scale=info.scale,
            division=divided.division,
            overwrite=overwrite,
            inputs=[corpus.path],
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
