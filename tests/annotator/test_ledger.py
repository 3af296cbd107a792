"""The ledger: what extends a run, what is asked again, and that no crash leaves half of anything."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from fixtures.present import present
from fixtures.scripted_runs import Stop, corpus_of, interrupted, panel_of, run_scripted, scripted, tables_of
from serann.annotator.engines.base import EngineSpec
from serann.annotator.engines.scripted import ScriptedEngine, loudness_and_text
from serann.annotator.engines.transformers import TransformersEngine
from serann.annotator.panel.attributes import Judged
from serann.annotator.panel.panel import ListeningPanel
from serann.annotator.run import annotate as module
from serann.annotator.run import ledger as commit_module
from serann.annotator.run import ledger as ledger_module
from serann.annotator.run.ledger import complete_commit
from serann.annotator.run.run import open_run
from serann.annotator.run.segments import (
    Failed,
    Results,
    SegmentWriter,
    Unit,
    encode,
    read_segments,
    read_unit,
    unit_record,
)
from serann.annotator.sounds.corpus_sounds import plan_batches
from serann.annotator.sounds.hearing import Sound, fingerprint_sound
from serann.data.errors import OutputError, RunError
from serann.data.files import read_json
from serann.prompts.loader import load_panel

TESTS = str(Path(__file__).parents[1])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_of(tmp_path_factory.mktemp("corpora") / "simulated")


def focuses():
    return sorted({item.focus for item in load_panel("crossed").listeners})


def test_more_listeners_extend_a_run(corpus, tmp_path):
    names = focuses()
    small = panel_of(tmp_path / "small.toml", focus=names[1:3])
    large = panel_of(tmp_path / "large.toml", focus=names, temperature=(1.0, 0.5), name="many")
    straight = tables_of(run_scripted(corpus, tmp_path / "straight", panel=large).path)
    run_scripted(corpus, tmp_path / "run", panel=small)
    engine = scripted()
    run = run_scripted(corpus, tmp_path / "run", panel=large, engine=engine)
    assert len(engine.asked) == 12 * (len(names) - 2)  # the two that answered are not asked again
    assert tables_of(run.path) == straight
    assert run.info["identity"]["panel"] == "many"
    with pytest.raises(
        OutputError, match=rf"lacks its listeners {names[0]}@0.5, .*panel is 'many' there and 'few' here"
    ):
        run_scripted(corpus, tmp_path / "run", panel=small)
    assert tables_of(run.path) == straight


def test_a_panel_that_asks_otherwise_does_not_extend(corpus, tmp_path):
    first = panel_of(tmp_path / "first.toml", focus=focuses()[:1])
    run_scripted(corpus, tmp_path / "run", panel=first)
    text = first.read_text().replace("[cross]", '[cross]\npersona = ["You are a nurse."]')
    (tmp_path / "second.toml").write_text(text)
    with pytest.raises(OutputError, match="panel_fingerprint is"):
        run_scripted(corpus, tmp_path / "run", panel=tmp_path / "second.toml")


def test_listeners_added_to_an_interrupted_run(corpus, tmp_path):
    names = focuses()
    small = panel_of(tmp_path / "small.toml", focus=names[1:2])
    large = panel_of(tmp_path / "large.toml", focus=names)
    straight = tables_of(run_scripted(corpus, tmp_path / "straight", panel=large).path)
    first = interrupted(corpus, tmp_path / "run", 2, panel=small, batch_size=3)
    second = scripted()
    run_scripted(corpus, tmp_path / "run", panel=large, engine=second)
    assert len(first.asked) + len(second.asked) == 12 * len(names)
    assert tables_of(tmp_path / "run") == straight


def test_the_plan_is_written_first_and_kept_by_the_next_session(corpus, tmp_path):
    first = interrupted(corpus, tmp_path / "run", 1, batch_size=5)
    info = read_json(tmp_path / "run" / "run.json", what="run")
    assert [len(batch) for batch in info["plan"]["batches"]] == [5, 5, 2]
    assert sorted(utterance for batch in info["plan"]["batches"] for utterance in batch) == corpus.ids
    second = scripted()
    run = run_scripted(corpus, tmp_path / "run", engine=second, batch_size=3)  # another size: the plan stands
    assert (first.batches, second.batches) == ([5], [5, 2])
    assert run.info["plan"] is None


def test_an_unfinished_plan_is_finished_under_a_smaller_limit(corpus, tmp_path):
    straight = tables_of(run_scripted(corpus, tmp_path / "straight", batch_size=4).path)
    interrupted(corpus, tmp_path / "run", 1, batch_size=4)
    run_scripted(corpus, tmp_path / "run", limit=2)
    assert tables_of(tmp_path / "run") == straight


def test_a_changed_sound_is_asked_again_and_replaced(tmp_path):
    corpus = corpus_of(tmp_path / "corpus", 5)
    before = run_scripted(corpus, tmp_path / "run").scores.to_pylist()
    os.utime(corpus.audio_path(3))  # touched, and the same
    engine = scripted()
    run_scripted(corpus, tmp_path / "run", engine=engine)
    assert engine.asked == []
    soundfile.write(corpus.audio_path(2), np.full(8000, 0.25), 16000)
    run = run_scripted(corpus, tmp_path / "run", engine=engine)
    assert len(engine.asked) == 5
    after = run.scores.to_pylist()
    changed = {b["utterance_id"] for b, a in zip(before, after, strict=True) if a != b}
    assert changed == {"u002"}
    sessions = read_json(run.path / "environment.json", what="record")["sessions"]
    assert [session["changed_sounds"] for session in sessions] == [0, 0, 1]
    assert tables_of(run.path) == tables_of(run_scripted(corpus, tmp_path / "straight").path)


def test_a_sound_that_broke_takes_its_answer_along(tmp_path):
    corpus = corpus_of(tmp_path / "corpus", 5)
    run_scripted(corpus, tmp_path / "run")
    corpus.audio_path(2).write_text("no sound any more")
    run = run_scripted(corpus, tmp_path / "run")
    assert "u002" not in run.ids
    assert run.failures["utterance_id"].to_pylist() == ["u002"]


def test_a_mended_sound_starts_afresh_after_three_failures(tmp_path):
    corpus = corpus_of(tmp_path / "corpus", 3, break_audio=(1,))
    for _ in range(4):
        run_scripted(corpus, tmp_path / "run")
    soundfile.write(corpus.audio_path(1), np.full(8000, 0.1), 16000)
    assert len(run_scripted(corpus, tmp_path / "run").ids) == 3


def test_segments_of_one_file_are_different_sounds(tmp_path):
    file = tmp_path / "long.wav"
    soundfile.write(file, np.zeros(16000), 16000)
    whole, part = (present(fingerprint_sound(str(file), *edges)) for edges in ((None, None), (0.5, 1.0)))
    assert part.content == f"{whole.content}#0.5-1"
    file_size = file.stat()
    # Size and time of change as they were: the hash is taken over, the file is not read.
    known = Sound("sha256:taken-over#0-9", file_size.st_size, file_size.st_mtime_ns)
    assert present(fingerprint_sound(str(file), 0.5, 1.0, known)).content == "sha256:taken-over#0.5-1"
    assert fingerprint_sound(str(tmp_path / "nothing.wav"), None, None) is None


def test_a_smaller_limit_keeps_the_abstentions_beyond_it(tmp_path):
    corpus = corpus_of(tmp_path / "corpus", 4, transcript=None)
    panel = panel_of(tmp_path / "words.toml", focus=("words",))
    straight = tables_of(run_scripted(corpus, tmp_path / "run", panel=panel, votes=2).path)
    run = run_scripted(corpus, tmp_path / "run", panel=panel, votes=2, limit=1)
    assert run.votes.num_rows == 8
    assert tables_of(run.path) == straight


def test_max_hours_stops_between_batches_and_the_next_call_goes_on(corpus, tmp_path):
    straight = tables_of(run_scripted(corpus, tmp_path / "straight", batch_size=2).path)
    run = run_scripted(corpus, tmp_path / "run", batch_size=2, max_hours=1e-9)
    assert run.ids == []
    session = read_json(run.path / "environment.json", what="record")["sessions"][-1]
    assert session["remaining"] == 12
    assert sum(map(len, run.info["plan"]["batches"])) == 12
    run_scripted(corpus, tmp_path / "run", batch_size=5)
    assert tables_of(tmp_path / "run") == straight


@pytest.mark.parametrize("names", [("write_json",), ("complete_commit",)])
def test_a_crash_while_the_tables_are_put_together(corpus, tmp_path, monkeypatch, names):
    straight = tables_of(run_scripted(corpus, tmp_path / "straight", votes=30).path)
    run_scripted(corpus, tmp_path / "run", limit=5)
    former = tables_of(tmp_path / "run")
    real = commit_module.write_json

    def crash_at_marker(path, obj):
        if path.name == "commit.json":
            raise Stop
        real(path, obj)

    def crash_in_the_middle(path):
        if (path / ".ledger" / "commit.json").exists():
            staged = path / ".ledger" / "staged"
            os.replace(staged / "votes.parquet", path / "votes.parquet")
            raise Stop

    with monkeypatch.context() as patched, pytest.raises(Stop):
        if "write_json" in names:
            patched.setattr(commit_module, "write_json", crash_at_marker)
        else:
            patched.setattr(ledger_module, "complete_commit", crash_in_the_middle)
        run_scripted(corpus, tmp_path / "run", votes=30)
    if "write_json" in names:  # nothing was promised: the former set stands
        assert tables_of(tmp_path / "run") == former
        assert open_run(tmp_path / "run").ids == corpus.ids[:5]
    else:  # half of the new set is in place: readers are told
        with pytest.raises(RunError, match="is unfinished; give the same serann annotate command again"):
            open_run(tmp_path / "run")
    engine = scripted()
    run_scripted(corpus, tmp_path / "run", votes=30, engine=engine)
    assert engine.asked == []
    assert tables_of(tmp_path / "run") == straight


def test_complete_commit_is_idle_without_a_marker(tmp_path):
    complete_commit(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_halvings_are_recorded_and_taken_up(corpus, tmp_path, monkeypatch):
    class Small(ScriptedEngine):
        """Holds two utterances at once."""

        stop_after = 99

        def score(self, waves, questions):
            if len(waves) > 2:
                raise MemoryError
            if len(self.batches) >= self.stop_after:
                raise Stop
            return super().score(waves, questions)

    Small.__name__ = "ScriptedEngine"
    first, second = (Small(EngineSpec("scripted", "scripted")) for _ in range(2))
    first.stop_after = 1
    with pytest.raises(Stop):
        run_scripted(corpus, tmp_path / "run", engine=first, batch_size=8)
    run = run_scripted(corpus, tmp_path / "run", engine=second, batch_size=8)
    assert first.batches == [2]
    assert second.batches == [2, 2, 2, 2, 2]  # the halves of 8 stay halves; the 4 that come next are halved too
    sessions = read_json(run.path / "environment.json", what="record")["sessions"]
    assert sessions[-1]["halvings"] == 2
    assert len(run.ids) == 12


def test_a_model_leaves_halving_to_the_run(corpus, tmp_path):
    import torch
    from fixtures.small_models import make_checkpoint

    engine = TransformersEngine(EngineSpec("transformers", str(make_checkpoint(tmp_path / "small")), device="cpu"))
    whole = engine._score

    def scarce(sounds, questions):
        if len(sounds) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return whole(sounds, questions)

    engine._score = scarce
    run = run_scripted(corpus, tmp_path / "run", engine=engine, batch_size=4)
    session = read_json(run.path / "environment.json", what="record")["sessions"][-1]
    assert session["halvings"] == 3
    assert len(run.ids) == 12
    # The caller's engine is as it was: whoever uses it next is not left with an error.
    waves = [np.full(8000, 0.1, dtype=np.float32)] * 4
    asked = ListeningPanel(load_panel("letters"), corpus.labels).questions("x")
    assert len(engine.score([engine.frontend(wave) for wave in waves], [asked] * 4)) == 4


def test_an_engine_that_halves_is_asked_at_once_and_keeps_halving_for_others(corpus, tmp_path):
    class Failing(ScriptedEngine):
        halved = 0

        def score(self, sounds, questions):
            self.halved += 1
            return super().score(sounds, questions)

        def score_at_once(self, sounds, questions):
            raise Stop

    engine = Failing(EngineSpec("scripted", "scripted"))
    before = dict(vars(engine))
    with pytest.raises(Stop):
        run_scripted(corpus, tmp_path / "run", engine=engine)
    assert vars(engine) == before  # given back as it was, also when a run fails
    asked = ListeningPanel(load_panel("letters"), corpus.labels).questions("x")
    assert len(engine.score([np.zeros(8000, dtype=np.float32)], [asked])) == engine.halved == 1


def test_one_utterance_that_fits_into_no_memory_is_a_failure(corpus, tmp_path):
    longest = int(np.argmax(corpus.column("duration")))

    def hungry(wave, question):
        if len(wave) == round(corpus.column("duration")[longest] * 16000):
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return loudness_and_text(wave, question)

    run = run_scripted(corpus, tmp_path / "run", engine=scripted(hungry))
    assert run.failures["utterance_id"].to_pylist() == [corpus.ids[longest]]
    assert "do not fit into the memory" in run.failures["reason"][0].as_py()
    assert len(run.ids) == 11


def test_run_json_says_under_which_versions(corpus, tmp_path, monkeypatch):
    run_scripted(corpus, tmp_path / "run", limit=3)
    monkeypatch.setattr(module, "engine_versions", lambda: {"transformers": "6.0"})
    run = run_scripted(corpus, tmp_path / "run")
    assert [sorted(found) for found in run.info["versions"]] == [["serann", "torch", "transformers"], ["transformers"]]


def test_a_garbled_line_is_not_believed(tmp_path):
    good = encode({"unit": "1/0", "ids": ["a"]})
    (tmp_path / "0001.jsonl").write_bytes(good.replace(b'"a"', b'"b"') + b"\xff\x00\n" + good + good[:-5])
    assert [record["ids"] for record in read_segments(tmp_path)] == [["a"]]


def test_a_unit_survives_its_record():
    unit = Unit(
        "1/2.0",
        ("a", "b"),
        np.log(np.full((2, 1, 2), 0.5, dtype=np.float32)),
        np.array([[-0.5], [np.nan]], dtype=np.float32),
        {"a": [("voice@1", 0, "Sad.", "sad", None, None), ("voice@1", 1, "?", None, "no label", (0.5, 0.5))]},
        {"a": [Judged("emotion/voice/", "valence", (-2.3, -0.1), -0.4)]},
        {"c": Failed("zero bytes", 2)},
        {"a": Sound("sha256:0", 5, 7, 31.5)},
    )
    found = read_unit(json.loads(json.dumps(unit_record(unit))), raters=1, labels=2)
    np.testing.assert_array_equal(found.logp, unit.logp)
    np.testing.assert_array_equal(found.log_mass, unit.log_mass)
    assert found._replace(logp=None, log_mass=None, ids=()) == unit._replace(logp=None, log_mass=None, ids=())
    twice = Results(1, 2)
    for _ in range(2):  # a unit that is read twice counts once
        twice.apply(found)
    assert twice.failed["c"].attempts == 2
    assert twice.answered() == ["a"]


def test_the_writer_hands_its_error_to_the_caller(tmp_path):
    written = []
    writer = SegmentWriter(tmp_path / "gone" / "segments", written.append)
    writer.put({"a": 1}, "a")
    with pytest.raises(FileNotFoundError):
        writer.flush()
    with pytest.raises(FileNotFoundError):
        writer.put({"b": 2}, "b")
    writer.close()
    assert written == []


FULL = """
import resource, sys
sys.path.insert(0, {tests!r})
from fixtures.scripted_runs import run_scripted, scripted
from serann.data.corpus import open_corpus
corpus = open_corpus({corpus!r})
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
run_scripted(corpus, {out!r}, batch_size=2)
"""


@pytest.mark.parametrize("limit", [6000, 2500, 600])
def test_a_disk_that_is_really_full(corpus, tmp_path, limit):
    straight = tables_of(run_scripted(corpus, tmp_path / "straight", batch_size=2).path)
    assert hasattr(resource, "RLIMIT_FSIZE")
    code = FULL.format(tests=TESTS, corpus=str(corpus.path), out=str(tmp_path / "run"), limit=limit)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "OutputError" in done.stderr
    assert "File too large" in done.stderr
    engine = scripted()
    run_scripted(corpus, tmp_path / "run", engine=engine, batch_size=2)
    assert tables_of(tmp_path / "run") == straight


def test_a_place_that_cannot_be_written(corpus, tmp_path):
    place = tmp_path / "locked"
    place.mkdir()
    place.chmod(0o500)
    if os.access(place, os.W_OK):
        pytest.skip("this user writes everywhere")
    with pytest.raises(OutputError, match=r"cannot be written to .*: Permission denied"):
        run_scripted(corpus, place / "run")


def test_batches_keep_to_a_budget_of_sound():
    durations = np.array([9.0, 1.0, 1.0, 5.0, 1.0, np.nan])
    # 9 alone; 5 with one more counts 10; then 1 + 1; the unknown one is taken for 30 s.
    assert plan_batches(range(6), durations, 8, seconds=10) == [[0], [3, 1], [2, 4], [5]]
    assert plan_batches(range(6), durations, 8) == [[0, 3, 1, 2, 4, 5]]
    assert plan_batches(range(3), durations, 8, seconds=4, extra=1) == [[0], [1, 2]]


def test_the_tables_are_cut_into_blocks(corpus, tmp_path, monkeypatch):
    whole = run_scripted(corpus, tmp_path / "whole")
    monkeypatch.setattr("serann.annotator.run.tables.BLOCK", 5)
    parts = run_scripted(corpus, tmp_path / "parts")
    assert pq.ParquetFile(parts.path / "scores.parquet").num_row_groups == 3
    for name in ("scores", "votes", "failures", "listeners"):
        assert getattr(whole, name).equals(getattr(parts, name))


def test_what_a_kill_left_of_the_first_file_is_cleared_away(corpus, tmp_path):
    (tmp_path / "run" / ".ledger").mkdir(parents=True)
    (tmp_path / "run" / ".lock").touch()
    (tmp_path / "run" / ".run.json.abc.partial.json").write_text('{"form')
    run = run_scripted(corpus, tmp_path / "run")
    assert len(run.ids) == 12
    assert not list(run.path.glob(".run.json*"))


def test_a_unit_of_an_older_run_says_less():
    """No mass on a scale's points, and no length of a sound that was cut."""
    record = {"unit": "1/0", "judged": {"a": [["j", "valence", [-0.7, -0.7]]]}, "sounds": {"a": ["sha256:0", 5, 7]}}
    found = read_unit(record, raters=1, labels=2)
    assert found.judged["a"][0].log_mass is None
    assert found.sounds["a"].whole_seconds is None
