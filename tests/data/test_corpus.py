"""The corpus, its tables and the division of its votes."""

import errno
import json
import os

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures.present import present
from hypothesis import given, settings
from hypothesis import strategies as st
from serann.data.corpus import corpus_fingerprint, open_corpus, take, write_corpus
from serann.data.errors import CorpusError, LabelError, OutputError, SerannError, TableError
from serann.data.holdout import divide_votes, remarks, write_division
from serann.data.labels import LABEL_SETS, LabelSet, label_set, map_labels
from serann.data.seeds import uniforms
from serann.data.tables import (
    DISTRIBUTIONS,
    RATINGS,
    UTTERANCES,
    VOTES,
    distribution_array,
    distribution_column,
    from_rows,
    read_table,
    table_labels,
    validate,
    write_table,
)
from serann.data.votes import count_votes, draw_counts, frequencies, split_counts

FOUR = LABEL_SETS["iemocap4"]


def vote(utterance, rater, label, **further):
    row = {"utterance_id": utterance, "rater_id": rater, "source": "human", "draw": 0, "label": label}
    return {**row, "rank": "primary", "weight": 1.0, **further}


def small_corpus(path, *, votes=None, utterances=None, **further):
    utterances = utterances or [
        {"utterance_id": f"u{i}", "audio": f"audio/u{i}.wav", "speaker": f"s{i % 3}", "split": split, "duration": 1.0}
        for i, split in enumerate(["train"] * 4 + ["development", "test"])
    ]
    ids = [row["utterance_id"] for row in utterances]
    cycle = [FOUR.labels[i % 4] for i in range(100)]
    votes = votes or [vote(u, f"r{r}", cycle[i + r * r]) for i, u in enumerate(ids) for r in range(5)]
    ratings = [
        {"utterance_id": u, "rater_id": f"r{r}", "source": "human", "dimension": "valence", "value": 1.0 + r}
        for u in ids
        for r in range(5)
    ]
    return write_corpus(
        path,
        name="small",
        labels=FOUR,
        utterances=from_rows(utterances, UTTERANCES),
        votes=from_rows(votes, VOTES, labels=FOUR),
        ratings=from_rows(ratings, RATINGS),
        licence="CC0-1.0",
        provenance={"made by": "a test"},
        scale=(1.0, 7.0),
        **further,
    )


def test_a_corpus_comes_back_as_it_was_written(tmp_path):
    corpus = small_corpus(tmp_path / "c")
    again = open_corpus(tmp_path / "c")
    assert again.utterances.equals(corpus.utterances)
    assert again.votes.equals(corpus.votes)
    assert again.labels == FOUR
    assert again.info.counts == {"utterances": 6, "votes": 30, "ratings": 30}
    assert corpus_fingerprint(again) == corpus_fingerprint(corpus)
    assert again.audio_path(2) == tmp_path / "c" / "audio" / "u2.wav"


def test_a_written_corpus_is_the_one_that_lies_under_its_name(tmp_path):
    corpus, again = small_corpus(tmp_path / "c"), open_corpus(tmp_path / "c")
    assert corpus.path == again.path == tmp_path / "c"
    assert corpus.audio_path(0) == tmp_path / "c" / "audio" / "u0.wav"
    assert corpus.info == again.info
    for mine, theirs in ((corpus.votes, again.votes), (corpus.utterances, again.utterances)):
        assert mine.equals(theirs, check_metadata=True)
    replaced = small_corpus(tmp_path / "c", votes=[vote("u0", "r0", "sad")], overwrite=True)
    assert replaced.votes.num_rows == open_corpus(tmp_path / "c").votes.num_rows == 1
    assert corpus.votes.num_rows == 30  # what was read before stays as it was


def test_rows_of_one_key_are_named_among_a_hundred_thousand():
    ids = [f"u{i // 10}" for i in range(100_000)]
    table = pa.table(
        {"utterance_id": ids, "rater_id": [f"r{i % 10}" for i in range(100_000)], "label": ["sad"] * 100_000}
    )
    validate(table, VOTES, labels=FOUR)
    with pytest.raises(TableError, match="2 rows share the key utterance_id='u77', rater_id='r3'"):
        validate(pa.concat_tables([table, table.slice(773, 1)]), VOTES, labels=FOUR)


def test_pandas_duckdb_and_datasets_read_the_tables_unchanged(tmp_path):
    import datasets

    corpus = small_corpus(tmp_path / "c")
    p = pa.table(
        {
            "utterance_id": corpus.ids,
            "p": distribution_column(np.full((6, 4), 0.25)),
            "effective_votes": [3.0] * 6,
            "source": ["human"] * 6,
        }
    )
    path = tmp_path / "c" / "distributions.parquet"
    write_table(p, path, DISTRIBUTIONS, labels=FOUR)
    assert list(pd.read_parquet(path)["p"][0]) == [0.25] * 4
    assert present(duckdb.sql(f"select sum(list_sum(p::double[])) from '{path}'")).fetchall() == [(6.0,)]
    hub = datasets.load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    assert hub[0]["p"] == [0.25] * 4
    votes = pd.read_parquet(tmp_path / "c" / "votes.parquet")
    assert votes.groupby("utterance_id").size().eq(5).all()  # pyright: ignore[reportGeneralTypeIssues]


def test_a_votes_table_lists_every_problem(tmp_path):
    rows = [
        vote("u0", "r0", "anger"),
        vote("u0", "r1", "happy", source="robot"),
        vote("u0", "r2", None),
        vote("u0", "r3", "sad"),
        vote("u0", "r3", "sad"),
    ]
    with pytest.raises(TableError) as caught:
        from_rows(rows, VOTES, labels=FOUR)
    assert len(caught.value.problems) == 4
    text = str(caught.value)
    assert "row 1: unknown label 'anger'; expected one of neutral, happy, angry, sad" in text
    assert "row 2: source is 'robot'; expected one of human, self, synthetic" in text
    assert "row 3: a vote without a label must give the reason" in text
    assert "2 rows share the key utterance_id='u0', rater_id='r3'" in text


def test_what_nearly_every_vote_says_need_not_be_said():
    short = from_rows([{"utterance_id": "u0", "rater_id": "r0", "label": "sad"}], VOTES, labels=FOUR)
    assert short.equals(from_rows([vote("u0", "r0", "sad")], VOTES, labels=FOUR))
    without = pa.table({"utterance_id": ["u0"], "rater_id": ["r0"], "label": ["sad"]})
    assert validate(without, VOTES, labels=FOUR).equals(short)


def test_anonymous_votes_may_repeat():
    table = from_rows([vote("u0", None, "sad")] * 3, VOTES, labels=FOUR)
    assert count_votes(table, ["u0", "u1"], FOUR).tolist() == [[0, 0, 0, 3], [0, 0, 0, 0]]


def test_no_votes_no_distribution():
    p = frequencies(np.array([[1, 3, 0, 0], [0, 0, 0, 0]]))
    assert p[0].tolist() == [0.25, 0.75, 0, 0]
    assert np.isnan(p[1]).all()


@pytest.mark.parametrize("bad", [[0.5, 0.5, 0.5, 0.0], [-0.1, 0.6, 0.5, 0.0], [float("nan"), 0.5, 0.5, 0.0]])
def test_what_is_no_distribution_is_refused(bad):
    table = pa.table({"utterance_id": ["u"], "p": distribution_column(np.array([bad])), "source": ["x"]})
    with pytest.raises(TableError, match="row 1: p is no distribution"):
        validate(table, DISTRIBUTIONS, labels=FOUR)


def test_label_order_is_never_guessed(tmp_path):
    reordered = LabelSet("other order", tuple(reversed(FOUR.labels)))
    table = pa.table({"utterance_id": ["u"], "p": distribution_column(np.eye(4)[:1]), "source": ["x"]})
    write_table(table, tmp_path / "d.parquet", DISTRIBUTIONS, labels=reordered)
    stored = read_table(tmp_path / "d.parquet", DISTRIBUTIONS)
    assert table_labels(stored) == reordered
    assert distribution_array(stored["p"]).tolist() == [[1, 0, 0, 0]]
    with pytest.raises(TableError, match="its labels are sad, angry, happy, neutral; expected neutral, happy"):
        read_table(tmp_path / "d.parquet", DISTRIBUTIONS, labels=FOUR)


def test_errors_of_a_corpus_are_sentences(tmp_path):
    with pytest.raises(CorpusError, match="nothing is there; write one"):
        open_corpus(tmp_path / "none")
    corpus = small_corpus(tmp_path / "c")
    with pytest.raises(OutputError, match="exists already"):
        small_corpus(tmp_path / "c")
    info = json.loads((tmp_path / "c" / "corpus.json").read_text())
    (tmp_path / "c" / "corpus.json").write_text(json.dumps({**info, "format": 99}))
    with pytest.raises(CorpusError, match="format 99 was written by a newer serann"):
        open_corpus(tmp_path / "c")
    (tmp_path / "c" / "corpus.json").write_text(json.dumps({**info, "licens": "x"}))
    with pytest.raises(CorpusError, match="licens: Extra inputs are not permitted"):
        open_corpus(tmp_path / "c")
    (tmp_path / "c" / "corpus.json").write_text("{")
    with pytest.raises(SerannError, match="no valid JSON"):
        open_corpus(tmp_path / "c")
    (tmp_path / "c" / "corpus.json").write_text(json.dumps(info))
    (tmp_path / "c" / "votes.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(TableError, match="cannot be read as Parquet"):
        open_corpus(tmp_path / "c")
    assert corpus.name == "small"


def test_doubled_ids_strange_votes_and_empty_tables_are_refused_and_nothing_is_left(tmp_path):
    twice = [{"utterance_id": "u0"}, {"utterance_id": "u0"}]
    with pytest.raises(TableError, match="2 rows share the key utterance_id='u0'"):
        small_corpus(tmp_path / "c", utterances=twice)
    with pytest.raises(CorpusError, match=r"utterance .ghost. is not in utterances\.parquet"):
        small_corpus(tmp_path / "c", votes=[vote("ghost", "r", "sad")])
    with pytest.raises(TableError, match="the table is empty"):
        write_corpus(
            tmp_path / "c",
            name="none",
            labels=FOUR,
            utterances=UTTERANCES.schema().empty_table(),
            votes=VOTES.schema().empty_table(),
            licence="",
            provenance={},
        )
    assert list(tmp_path.iterdir()) == []


def test_errors_name_the_place_that_the_corpus_was_to_have(tmp_path, monkeypatch):
    """It is filled under another name, which nobody has heard of and which is gone."""
    place = tmp_path / "c"
    with pytest.raises(CorpusError) as strange:
        small_corpus(place, votes=[vote("ghost", "r", "sad")])
    assert str(strange.value) == f"{place}: votes.parquet: utterance 'ghost' is not in utterances.parquet"
    none = UTTERANCES.schema().empty_table(), VOTES.schema().empty_table()
    with pytest.raises(TableError, match="the table is empty") as empty:
        write_corpus(place, name="none", labels=FOUR, utterances=none[0], votes=none[1], licence="", provenance={})
    assert empty.value.where == str(place / "utterances.parquet")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OutputError) as error:
        small_corpus(place)
    assert str(error.value).startswith(f"{place / 'utterances.parquet'} cannot be written: No space left")
    assert ".partial" not in f"{strange.value}{empty.value}{error.value}"


def test_holdout_keeps_a_raters_votes_together_and_ignores_the_order_of_rows(tmp_path):
    corpus = small_corpus(tmp_path / "c")
    divided = divide_votes(corpus, seen=2, seed=7)
    seen = count_votes(divided.votes, corpus.ids, FOUR, part="seen").sum(axis=1)
    assert seen.tolist() == [2, 2, 2, 2, 0, 0]
    assert count_votes(divided.votes, corpus.ids, FOUR, part="heldout").sum(axis=1).tolist() == [3, 3, 3, 3, 5, 5]
    part = {(r["utterance_id"], r["rater_id"]): r["part"] for r in divided.votes.to_pylist()}
    assert all(part[r["utterance_id"], r["rater_id"]] == r["part"] for r in present(divided.ratings).to_pylist())
    shuffled = small_corpus(tmp_path / "d", votes=list(reversed(corpus.votes.to_pylist())))
    assert divide_votes(shuffled, seen=2, seed=7).division == divided.division
    assert divide_votes(corpus, seen=2, seed=8).division != divided.division


def test_a_part_of_a_corpus_keeps_its_votes(tmp_path):
    corpus = small_corpus(tmp_path / "c")
    part = take(corpus, corpus.column("speaker") == "s1")
    assert part.ids == ["u1", "u4"]
    assert np.array_equal(count_votes(part.votes, part.ids, FOUR), count_votes(corpus.votes, part.ids, FOUR))
    assert present(part.ratings).num_rows == 10


def test_holdout_is_written_once(tmp_path):
    corpus = small_corpus(tmp_path / "c")
    write_division(corpus, divide_votes(corpus, seen=2, seed=0), None)
    divided = open_corpus(tmp_path / "c")
    assert divided.info.division is not None
    with pytest.raises(OutputError, match="is divided already"):
        write_division(divided, divide_votes(divided, seen=3, seed=0), None)
    other = write_division(divided, divide_votes(divided, seen=3, seed=0), tmp_path / "other")
    assert other.audio_path(0) == tmp_path / "c" / "audio" / "u0.wav"


def test_a_division_that_leaves_nothing_or_leaks_is_remarked(tmp_path):
    rows = [("u0", "train", "s0"), ("u1", "train", "s1"), ("u2", "test1", "s1"), ("u3", "valid", "s2")]
    utterances = [{"utterance_id": u, "split": split, "speaker": speaker} for u, split, speaker in rows]
    votes = [vote(u, f"r{r}", "sad") for u, _, _ in rows for r in range(2)]
    corpus = small_corpus(tmp_path / "c", utterances=utterances, votes=votes)
    spent, odd, shared = remarks(write_division(corpus, divide_votes(corpus, seen=2), None))
    assert spent.startswith("2 of 2 train utterances have no held-out vote left")
    assert odd.startswith("splits named valid are neither train, development nor test")
    assert shared.startswith("1 speakers are in several splits, first s1")
    good = small_corpus(tmp_path / "d")
    assert not [r for r in remarks(write_division(good, divide_votes(good, seen=2), None)) if "held-out" in r]


def test_holdout_divides_anonymous_votes_too(tmp_path):
    votes = [vote("u0", None, label) for label in ("sad", "sad", "sad", "happy", "angry")]
    corpus = small_corpus(tmp_path / "c", votes=votes)
    divided = divide_votes(corpus, seen=2, seed=0)
    assert count_votes(divided.votes, ["u0"], FOUR, part="seen").sum() == 2
    assert count_votes(divided.votes, ["u0"], FOUR, part="heldout").sum() == 3


@settings(max_examples=25, deadline=None)
@given(
    counts=st.lists(st.lists(st.integers(0, 4), min_size=4, max_size=4), min_size=1, max_size=6), n=st.integers(0, 5)
)
def test_split_counts_parts_the_votes_and_depends_on_the_id_alone(counts, n):
    counts = np.array(counts)
    ids = [f"u{i}" for i in range(len(counts))]
    first, rest = split_counts(counts, n, ids, 3)
    enough = counts.sum(axis=1) >= n
    assert np.array_equal((first + rest)[enough], counts[enough])
    assert (first[enough].sum(axis=1) == n).all()
    assert np.isnan(first[~enough]).all()
    alone = split_counts(counts[-1:], n, ids[-1:], 3)[0]
    assert np.array_equal(alone, first[-1:], equal_nan=True)


def test_draws_are_fair():
    # Two of three votes from (2, 1, 0, 0): the single vote is among them with probability 2/3.
    drawn = draw_counts(np.tile([2, 1, 0, 0], (6000, 1)), 2, [str(i) for i in range(6000)], 0)
    assert abs(drawn[:, 1].mean() - 2 / 3) < 4 * np.sqrt(2 / 9 / 6000)


def test_uniforms_do_not_depend_on_company():
    many = uniforms([f"u{i}" for i in range(500)], 40, "x", 1)
    assert np.array_equal(many[7:8, :3], uniforms(["u7"], 3, "x", 1))
    assert abs(many.mean() - 0.5) < 4 / np.sqrt(12 * many.size)
    assert abs(np.corrcoef(many[:, 0], many[:, 1])[0, 1]) < 0.2


def test_label_sets_and_maps():
    assert label_set("crema6").canonical("FEARFUL") == "fear"
    with pytest.raises(LabelError, match="unknown label 'rage'; expected one of neutral, happy, angry, sad"):
        FOUR.canonical("rage")
    with pytest.raises(LabelError, match="unknown label set 'msp7'; expected one of msp9"):
        label_set("msp7")
    mapped = map_labels(LABEL_SETS["iemocap9"], FOUR)
    assert mapped.merges == {"happy": ["happy", "excited"]}
    assert mapped.drops == ["frustrated", "fear", "disgust", "surprise"]
    assert map_labels(LABEL_SETS["emodb7"], LABEL_SETS["msp9"]).to["boredom"] == "other"
    with pytest.raises(LabelError, match="'joy' is not a label of iemocap9"):
        map_labels(LABEL_SETS["iemocap9"], FOUR, {"joy": "happy"})
    with pytest.raises(LabelError, match="names a label twice"):
        LabelSet("bad", ("a", "a"))
