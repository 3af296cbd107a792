"""From Python as a user has it: tables in, objects and paths alike, results that show themselves."""

import doctest
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import serann
from fixtures.simulated import simulated_corpus, simulated_run
from serann.data.corpus import open_corpus
from serann.data.display import Displayed, number
from serann.data.errors import CorpusError, LabelError, OptionError, TableError
from serann.data.frames import as_arrow, corpus_from_frames
from serann.data.holdout import divide_votes, write_division
from serann.data.votes import count_votes

EXAMPLES = ["data.corpus", "data.frames", "data.holdout", "data.labels", "data.scores.intervals"]


@pytest.mark.parametrize("module", EXAMPLES)
def test_the_examples_of_docstrings_hold(module):
    found = doctest.testmod(
        import_module(f"serann.{module}"), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert found.attempted
    assert not found.failed


def frames() -> tuple[pd.DataFrame, pd.DataFrame]:
    utterances = pd.DataFrame(
        {
            "clip": ["a", "b", "c", "d"],
            "SpkrID": ["s1", "s1", "s2", "s3"],
            "split": ["train", "train", "development", "test"],
            "mood": ["x", "y", "x", "y"],
        }
    )
    votes = pd.DataFrame(
        {
            "clip": ["a", "a", "a", "b", "b", "c", "c", "d"],
            "worker": [1, 2, 3, 1, 2, 1, 3, 2],
            "emotion": ["sad", "sad", "Anger", "sad", "angry", "neutral", "sad", "angry"],
        }
    )
    return utterances, votes


def test_two_tables_become_a_corpus_and_no_vote_is_lost():
    utterances, votes = frames()
    corpus = corpus_from_frames(utterances, votes, labels="iemocap4")
    assert corpus.ids == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(
        count_votes(corpus.votes, corpus.ids, corpus.labels),
        [[0, 0, 1, 2], [0, 0, 1, 1], [1, 0, 0, 1], [0, 0, 1, 0]],
    )
    assert corpus.column("speaker").tolist() == ["s1", "s1", "s2", "s3"]
    assert sorted(set(corpus.votes["rater_id"].to_pylist())) == ["1", "2", "3"]
    assert corpus.utterances["mood"].to_pylist() == ["x", "y", "x", "y"]
    table = corpus.to_pandas()
    assert table[["neutral", "happy", "angry", "sad"]].to_numpy().tolist() == [
        [0, 0, 1, 2],
        [0, 0, 1, 1],
        [1, 0, 0, 1],
        [0, 0, 1, 0],
    ]
    about = corpus.info.provenance["import"]
    assert (about["votes_in"], about["votes_kept"], about["problems"]) == (8, 8, 0)


@pytest.mark.parametrize(
    "form",
    [
        pa.Table.from_pandas,
        lambda frame: frame.to_dict("list"),
        lambda frame: frame.to_dict("records"),
        lambda frame: frame.set_index("clip"),
        lambda frame: frame.astype({name: "category" for name in frame.columns if frame[name].dtype == object}),
    ],
)
def test_every_kind_of_table_gives_the_same_corpus(form):
    utterances, votes = frames()
    plain = corpus_from_frames(utterances, votes, labels="iemocap4")
    other = corpus_from_frames(form(utterances), form(votes), labels="iemocap4")
    assert other.votes.equals(plain.votes)
    assert other.utterances.equals(plain.utterances)


def test_a_written_corpus_is_the_one_in_memory(tmp_path):
    utterances, votes = frames()
    held = corpus_from_frames(utterances, votes, labels="iemocap4")
    written = corpus_from_frames(utterances, votes, labels="iemocap4", out=tmp_path / "c")
    assert written.path == tmp_path / "c"
    again = open_corpus(tmp_path / "c")
    assert again.votes.equals(held.votes)
    assert again.utterances.equals(held.utterances)
    assert again.info.provenance == held.info.provenance


def test_every_problem_is_listed_and_counted_by_kind(tmp_path):
    utterances, votes = frames()
    votes.loc[2, "emotion"] = "hangry"
    votes.loc[3, "emotion"] = "hangry"
    votes.loc[7, "clip"] = "nowhere"
    with pytest.raises(CorpusError) as caught:
        corpus_from_frames(utterances, votes, labels="iemocap4")
    told = str(caught.value)
    assert "3 rows cannot be taken in (skip_problems=True leaves them out)" in told
    assert "votes, 2 rows (2, 3): unknown label 'hangry'" in told
    assert "votes, 1 row (7): a vote on an utterance that the table of utterances does not list" in told
    kept = corpus_from_frames(utterances, votes, labels="iemocap4", skip_problems=True, out=tmp_path / "c")
    assert kept.votes.num_rows == 5
    assert (tmp_path / "c" / "problems.parquet").exists()


def test_what_is_no_table_is_refused_in_a_sentence():
    utterances, votes = frames()
    for wrong in (3, "votes.csv", object()):
        with pytest.raises(TableError, match="is no table; expected a pandas DataFrame"):
            as_arrow(wrong, "votes")
    mixed = votes.assign(worker=[1, "two", *range(6)])
    with pytest.raises(TableError, match="give each column one type"):
        corpus_from_frames(utterances, mixed, labels="iemocap4")
    with pytest.raises(LabelError, match="unknown label set 'iemocap5'"):
        corpus_from_frames(utterances, votes, labels="iemocap5")
    with pytest.raises(OptionError, match="unknown split 'random'"):
        corpus_from_frames(utterances, votes, split="random")
    with pytest.raises(OptionError, match="is no folder"):
        corpus_from_frames(utterances, votes, audio="nowhere-at-all")


def test_holding_out_in_memory_is_holding_out_on_disk(tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "c", utterances=40)
    kept = serann.hold_out(corpus.path, seen=1, seed=3)
    assert open_corpus(corpus.path).info.division == corpus.info.division  # nothing on disk changed
    written = serann.hold_out(corpus, seen=1, seed=3, out=tmp_path / "d")
    direct = write_division(corpus, divide_votes(corpus, seen=1, seed=3), tmp_path / "e")
    assert kept.info.division == written.info.division == direct.info.division
    assert kept.votes.equals(written.votes)
    with pytest.raises(OptionError, match="--seen is 0"):
        serann.hold_out(corpus, seen=0)


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, Displayed]:
    place = tmp_path_factory.mktemp("results")
    corpus, truth = simulated_corpus(place / "c", utterances=40)
    run = serann.open_run(simulated_run(place / "r", corpus, truth))
    return {
        "corpus": corpus,
        "run": run,
        "audit": serann.audit(corpus, run, draws=1),
        "fused": serann.fuse(corpus, run, strategy="pool", out=place / "f"),
    }


def test_results_are_two_lines_and_a_table(results):
    for name, result in results.items():
        lines = repr(result).splitlines()
        assert len(lines) == 2, name
        assert max(map(len, lines)) < 300
        page = result._repr_html_()
        assert page.startswith("<p><strong>")
        assert "</table>" in page
        assert len(page) < 20_000
    assert repr(results["corpus"]).startswith("Corpus ")
    assert re.search(r"r \d+\.\d\d( or more)? \[", repr(results["audit"]))


def test_tables_have_label_names_as_columns(results):
    corpus = open_corpus(results["corpus"])
    for name in ("run", "fused"):
        table = results[name].to_pandas()
        assert set(corpus.labels) <= set(table.columns)
        np.testing.assert_allclose(table[list(corpus.labels)].sum(axis=1), 1, atol=1e-6)
        assert len(results[name].to_pandas(3)) == 3
    assert {"system", "metric", "value", "low", "high"} <= set(results["audit"].to_pandas().columns)


def test_names_of_corpora_are_escaped_in_notebooks(tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "c", utterances=12, name="<b>odd</b>")
    assert "<b>odd" not in corpus._repr_html_()


def test_objects_and_paths_are_alike(results, tmp_path):
    corpus, run = results["corpus"], results["run"]
    assert corpus.path is not None
    assert run.path is not None
    from_paths = serann.audit(str(corpus.path), Path(run.path), draws=1)
    assert from_paths.to_json() == results["audit"].to_json()  # type: ignore[attr-defined]
    fused = serann.fuse(corpus.path, [run.path], strategy="pool", out=tmp_path / "f")
    assert fused.fingerprint == results["fused"].fingerprint  # type: ignore[attr-defined]
    assert open_corpus(corpus).ids == open_corpus(corpus.path).ids


def test_a_result_that_lies_nowhere_is_no_path(results):
    with pytest.raises(OptionError, match="lies in no folder"):
        Path(results["audit"])
    with pytest.raises(OptionError, match="corpus frames is in memory, and a path is needed"):
        Path(corpus_from_frames(*frames(), labels="iemocap4"))


def test_counts_in_words():
    assert [number(n, "vote") for n in (0, 1, 2880)] == ["0 votes", "1 vote", "2,880 votes"]
