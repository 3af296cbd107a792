"""A transcript that changes: what was answered to the former words is asked again, and nothing else is."""

import dataclasses
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures.scripted_runs import corpus_of, run_scripted, scripted, tables_of
from serann.annotator.engines.base import EngineSpec
from serann.annotator.engines.scripted import ScriptedEngine
from serann.annotator.run.annotate import plan_annotation
from serann.annotator.run.open_questions import fingerprint_transcript
from serann.annotator.run.run import open_run
from serann.data.files import read_json


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_of(tmp_path_factory.mktemp("corpora") / "simulated", 6)


def reworded(corpus, words):
    """The corpus with other words for some of its utterances (by row)."""
    texts = corpus.utterances["transcript"].to_pylist()
    for row, text in words.items():
        texts[row] = text
    place = corpus.utterances.column_names.index("transcript")
    column = pa.array(texts, pa.string())
    return dataclasses.replace(corpus, utterances=corpus.utterances.set_column(place, "transcript", column))


def changed_transcripts(run):
    return [
        session["changed_transcripts"] for session in read_json(run.path / "environment.json", what="r")["sessions"]
    ]


def test_a_changed_transcript_is_asked_again_of_those_who_read_it(corpus, tmp_path):
    other = reworded(corpus, {2: "quite other words", 4: "where  is it"})  # the latter reads as before
    run_scripted(corpus, tmp_path / "run")
    engine = scripted()
    run = run_scripted(other, tmp_path / "run", engine=engine)
    assert [("quite other words" in text) for text in engine.asked] == [True]  # one of five listeners reads the words
    assert tables_of(run.path) == tables_of(run_scripted(other, tmp_path / "straight").path)
    assert changed_transcripts(run) == [0, 1]
    again = scripted()
    run_scripted(other, tmp_path / "run", engine=again)
    assert again.asked == []


def test_words_that_come_later_ask_the_silent_listener_alone_and_words_that_go_silence_it(corpus, tmp_path):
    without = reworded(corpus, dict.fromkeys(range(6)))
    run_scripted(without, tmp_path / "run")
    engine = scripted()
    run_scripted(corpus, tmp_path / "run", engine=engine)
    assert len(engine.asked) == 6
    with_words = tables_of(run_scripted(corpus, tmp_path / "with").path)
    assert tables_of(tmp_path / "run") == with_words
    engine = scripted()
    run_scripted(without, tmp_path / "run", engine=engine)
    assert engine.asked == []
    assert tables_of(tmp_path / "run") == tables_of(run_scripted(without, tmp_path / "without").path)


@pytest.mark.parametrize(
    "options",
    [{"mode": "sample", "votes": 40}, {"mode": "verbalized", "votes": 40}, {"attributes": ("valence", "arousal")}],
)
def test_texts_and_attributes_are_asked_again_too(corpus, tmp_path, options):
    other = reworded(corpus, {1: "quite other words"})
    run_scripted(corpus, tmp_path / "run", **options)
    engine = scripted()
    run = run_scripted(other, tmp_path / "run", engine=engine, **options)
    straight = run_scripted(other, tmp_path / "straight", **options)
    assert engine.asked
    assert all("quite other words" in text for text in engine.asked)
    assert tables_of(run.path) == tables_of(straight.path)
    for name in (path.name for path in straight.path.glob("*.parquet")):
        assert (run.path / name).read_bytes() == (straight.path / name).read_bytes()


class Stop(Exception):
    pass


def test_a_crash_after_the_answers_were_dropped(corpus, tmp_path):
    class Stopping(ScriptedEngine):
        def score(self, sounds, questions):
            if self.batches:
                raise Stop
            return super().score(sounds, questions)

    Stopping.__name__ = "ScriptedEngine"
    other = reworded(corpus, {0: "some words", 3: "quite other words"})
    run_scripted(corpus, tmp_path / "run")
    first, second = Stopping(EngineSpec("scripted", "scripted")), scripted()
    with pytest.raises(Stop):
        run_scripted(other, tmp_path / "run", engine=first, batch_size=1)
    run_scripted(other, tmp_path / "run", engine=second, batch_size=1)
    assert (len(first.asked), len(second.asked)) == (1, 1)
    assert tables_of(tmp_path / "run") == tables_of(run_scripted(other, tmp_path / "straight").path)


def test_a_run_that_did_not_record_its_transcripts_is_taken_as_it_is_and_records_them(corpus, tmp_path):
    run = run_scripted(corpus, tmp_path / "run")
    state = run.path / ".ledger" / "sounds.parquet"
    pq.write_table(pq.read_table(state).drop_columns(["transcript"]), state)
    engine = scripted()
    run_scripted(reworded(corpus, {1: "other"}), tmp_path / "run", engine=engine, votes=21)
    assert engine.asked == []
    run_scripted(reworded(corpus, {1: "other again"}), tmp_path / "run", engine=engine, votes=21)
    assert len(engine.asked) == 1


def test_the_plan_counts_what_changed(corpus, tmp_path):
    run = run_scripted(corpus, tmp_path / "run")
    before = tables_of(run.path)
    found = plan_annotation(reworded(corpus, {1: "other"}), "scripted", engine=scripted(), out=run.path)
    assert (found.utterances, found.answered) == (1, 5)
    assert tables_of(run.path) == before


def test_utterances_that_left_the_corpus_stay_and_are_counted(corpus, tmp_path):
    run_scripted(corpus, tmp_path / "run")
    fewer = dataclasses.replace(corpus, utterances=corpus.utterances.slice(2))
    run = run_scripted(fewer, tmp_path / "run")
    assert open_run(run.path).ids == corpus.ids
    sessions = read_json(run.path / "environment.json", what="record")["sessions"]
    assert [session["not_in_corpus"] for session in sessions] == [0, 2]


def test_looking_at_a_hundred_thousand_transcripts_takes_a_moment():
    clock = time.process_time()
    found = {
        fingerprint_transcript(f"well {i} <|im_end|> where  is it, and who took it there?") for i in range(100_000)
    }
    assert len(found) == 100_000
    assert time.process_time() - clock < 3  # 0.4 s where this was written
    assert fingerprint_transcript(None) == fingerprint_transcript("  ") == ""
    assert fingerprint_transcript("a  b") == fingerprint_transcript(" a b ")
