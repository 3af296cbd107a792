"""The division of votes against the same rule written as plain loops, and the one stored with the embedded corpus."""

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from serann.data.arrow import pc
from serann.data.corpus import Corpus, CorpusInfo, open_corpus
from serann.data.files import fingerprint
from serann.data.holdout import divide_votes
from serann.data.labels import LABEL_SETS
from serann.data.seeds import uniforms
from serann.data.tables import RATINGS, UTTERANCES, VOTES, from_rows

FOUR = LABEL_SETS["iemocap4"]


def as_corpus(tmp, utterances, votes, ratings):
    info = CorpusInfo(name="c", labels=FOUR.to_json(), licence="", provenance={})
    table, cast = (from_rows(rows, spec, labels=FOUR) for rows, spec in ((utterances, UTTERANCES), (votes, VOTES)))
    return Corpus(tmp, info, FOUR, table, cast, from_rows(ratings, RATINGS) if ratings is not None else None)


def naive_parts(ballots, train, seen, seed):
    distinct = sorted(set(ballots))
    names = [f"{utterance}\x1f{ballot}" for utterance, ballot in distinct]
    part, taken = {}, {}
    for k in np.argsort(uniforms(names, 1, "holdout", seed)[:, 0], kind="stable"):
        utterance = distinct[k][0]
        taken[utterance] = taken.get(utterance, 0) + 1
        part[distinct[k]] = "seen" if utterance in train and taken[utterance] <= seen else "heldout"
    return part


def naive_ballots(rows):
    count, names = {}, []
    for row in rows:
        key = (row["utterance_id"], row["rank"], str(row["label"]))
        if row["rater_id"] is None:
            count[key] = count.get(key, 0) + 1
            names.append(f"anonymous {row['rank']} {row['label']} {count[key]}")
        else:
            names.append(f"rater {row['rater_id']}")
    return names


def naive_ratings(ratings, by_rater, train, seen, seed):
    count, names, alone = {}, [], []
    for row in ratings:
        key = (row["utterance_id"], row["dimension"])
        count[key] = count.get(key, 0) + 1
        names.append(f"rater {row['rater_id']}" if row["rater_id"] is not None else f"anonymous {count[key]}")
        if row["source"] == "human" and (row["utterance_id"], row["rater_id"]) not in by_rater:
            alone.append((row["utterance_id"], names[-1]))
    part = naive_parts(alone, train, seen, seed)
    return [
        None
        if row["source"] != "human"
        else by_rater.get((row["utterance_id"], row["rater_id"])) or part[row["utterance_id"], name]
        for row, name in zip(ratings, names, strict=True)
    ]


def naive_division(corpus, seen, seed):
    """Parts of votes and ratings and the fingerprint, one row at a time."""
    train = set(np.array(corpus.ids, dtype=object)[corpus.in_split("train")])
    rows = corpus.votes.to_pylist()
    human = [row["source"] == "human" and row["label"] is not None for row in rows]
    pairs = [(row["utterance_id"], name) for row, name in zip(rows, naive_ballots(rows), strict=True)]
    part = naive_parts([pair for pair, h in zip(pairs, human, strict=True) if h], train, seen, seed)
    votes = [part[pair] if h else None for pair, h in zip(pairs, human, strict=True)]
    named = zip(rows, votes, strict=True)
    by_rater = {(r["utterance_id"], r["rater_id"]): p for r, p in named if r["rater_id"] is not None and p}
    ratings = naive_ratings(corpus.ratings.to_pylist(), by_rater, train, seen, seed) if corpus.ratings else None
    chosen = ("utterance_id", "rater_id", "label", "rank")
    marked = [{**{c: r[c] for c in chosen}, "part": p} for r, p in zip(rows, votes, strict=True)]
    mark = fingerprint(sorted(marked, key=lambda row: tuple(str(value) for value in row.values())))
    return votes, ratings, mark


# ids that sort differently as text and as numbers, of one and of several bytes, and the text of a null
IDS = ["u1", "u10", "u2", 'ü "3"', "None"]
RATERS = st.sampled_from([None, None, "r1", "r10", "r2", "None", "ř"])


@st.composite
def corpora(draw):
    utterances = [{"utterance_id": u, "split": draw(st.sampled_from(["train", "train", "test1", None]))} for u in IDS]
    utterances[0]["split"] = "train"
    votes: list[dict[str, Any]] = [{"utterance_id": "u1", "label": "sad", "rater_id": "r1"}]
    cast: set[tuple[str, str | None]] = {("u1", "r1")}
    ratings, rated = [], set()
    for _ in range(draw(st.integers(0, 14))):
        u, rater = draw(st.sampled_from(IDS)), draw(RATERS)
        if rater is not None and (u, rater) in cast:
            continue
        cast.add((u, rater))
        source = draw(st.sampled_from(["human", "human", "human", "self", "synthetic"]))
        vote = {"utterance_id": u, "rater_id": rater, "source": source, "draw": len(votes) if not rater else 0}
        label = draw(st.sampled_from([*FOUR, None]))
        votes.append({**vote, "label": label, "reason": None if label else "silence"})
        if draw(st.booleans()):
            votes.append({**vote, "label": draw(st.sampled_from(list(FOUR))), "rank": "secondary"})
    for _ in range(draw(st.integers(0, 8))):
        row = (draw(st.sampled_from(IDS)), draw(RATERS), draw(st.sampled_from(["human", "human", "self"])), "valence")
        if row[1] is None or row not in rated:
            rated.add(row)
            ratings.append(dict(zip(("utterance_id", "rater_id", "source", "dimension"), row, strict=True), value=1.0))
    return utterances, votes, ratings if draw(st.booleans()) else None


@settings(max_examples=150, deadline=None)
@given(tables=corpora(), seen=st.integers(1, 3), seed=st.integers(0, 3))
def test_hold_out_is_what_the_loops_give(tmp_path_factory, tables, seen, seed):
    corpus = as_corpus(tmp_path_factory.getbasetemp(), *tables)
    votes, ratings, mark = naive_division(corpus, seen, seed)
    divided = divide_votes(corpus, seen=seen, seed=seed)
    assert divided.votes["part"].to_pylist() == votes
    assert divided.division.fingerprint == mark
    if ratings is not None:
        assert divided.ratings is not None
        assert divided.ratings["part"].to_pylist() == ratings


def test_the_embedded_corpus_keeps_its_division():
    corpus = open_corpus("demo")
    stored = corpus.info.division
    assert stored is not None
    again = divide_votes(corpus, seen=stored.seen, seed=stored.seed)
    assert again.division == stored
    assert again.votes["part"].equals(corpus.votes["part"])
    assert again.division.fingerprint == naive_division(corpus, stored.seen, stored.seed)[2]


def test_chunks_of_a_table_change_nothing():
    corpus = open_corpus("demo")
    pieces = pa.concat_tables([corpus.votes.slice(0, 1000), corpus.votes.slice(1000)])
    chunked = Corpus(corpus.path, corpus.info, corpus.labels, corpus.utterances, pieces, corpus.ratings)
    one, other = (divide_votes(given, seen=2).votes["part"] for given in (chunked, corpus))
    assert pc.all(pc.equal(one, other)).as_py()
