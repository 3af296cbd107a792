"""A run from end to end: tables, votes, failures, resuming, refusals; a scripted engine and a small checkpoint."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fixtures.present import present
from fixtures.scripted_runs import TABLES, corpus_of, run_scripted, scripted, tables_of
from fixtures.small_models import make_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from serann.annotator.engines.base import EngineSpec
from serann.annotator.engines.scripted import ScriptedEngine, loudness_and_text
from serann.annotator.run import annotate as module
from serann.annotator.run.annotate import annotate
from serann.annotator.run.ledger import Ledger
from serann.annotator.run.run import open_run, panel_distribution, synthetic_counts
from serann.annotator.run.tables import deal, draw_label
from serann.annotator.sounds.corpus_sounds import plan_batches
from serann.data.arrow import pc
from serann.data.errors import LabelError, ModelError, OptionError, OutputError, PromptError, RunError
from serann.data.files import read_json
from serann.data.tables import UTTERANCES, distribution_array, from_rows
from typer.testing import CliRunner

TESTS = str(Path(__file__).parents[1])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_of(tmp_path_factory.mktemp("corpora") / "simulated")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("models") / "small")


def test_a_run_holds_what_the_engine_said(corpus, tmp_path):
    run = run_scripted(corpus, tmp_path / "run")
    assert run.ids == corpus.ids
    assert run.scores.num_rows == 12 * 20
    assert run.listeners.num_rows == 20
    assert run.failures.num_rows == 0
    row = run.scores.filter(pc.equal(run.scores["listener"], "voice@1")).to_pylist()[0]
    np.testing.assert_allclose(np.exp(row["logp"]).sum(), 1, atol=1e-6)
    np.testing.assert_allclose(np.exp(row["log_mass"]), 0.9, atol=1e-6)  # the script's own mass
    np.testing.assert_allclose(row["p"], np.exp(row["logp"]), atol=1e-6)  # T = 1
    cold = run.scores.filter(pc.equal(run.scores["listener"], "voice@0.5")).to_pylist()[0]
    assert cold["logp"] == row["logp"]
    squared = np.exp(row["logp"]) ** 2
    np.testing.assert_allclose(cold["p"], squared / squared.sum(), atol=1e-6)  # T = 1/2 squares
    assert sorted(path.name for path in run.path.iterdir() if not path.name.startswith(".")) == sorted(
        [*TABLES, "run.json", "environment.json"]
    )
    assert "T" in read_json(run.path / "environment.json", what="record")["sessions"][0]["started"]


def test_temperatures_cost_nothing(corpus, tmp_path):
    engine = scripted()
    run_scripted(corpus, tmp_path / "run", engine=engine)
    assert len(engine.asked) == 12 * 5  # five focuses, not twenty listeners


def test_panel_distribution_is_the_unweighted_mean(corpus, tmp_path):
    run = run_scripted(corpus, tmp_path / "run")
    p = distribution_array(run.scores["p"])
    mine = np.array(run.scores["utterance_id"].to_pylist()) == "u003"
    found = panel_distribution(run, ["u003", "nowhere", "u001"])
    np.testing.assert_allclose(found[0], p[mine].mean(axis=0))
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[[0, 2]].sum(axis=1), 1, atol=1e-6)


def test_votes_are_dealt_and_follow_the_distribution(corpus, tmp_path):
    run = run_scripted(corpus, tmp_path / "run", votes=4000)
    counts = synthetic_counts(run, run.ids)
    assert (counts.sum(axis=1) == 4000).all()
    per_listener = run.votes.group_by(["utterance_id", "rater_id"]).aggregate([([], "count_all")])
    assert set(per_listener["count_all"].to_pylist()) == {200}
    # 4,000 draws stray from their mean by at most about 4 * sqrt(p(1-p)/4000) = .032 in any of 72 cells.
    np.testing.assert_allclose(counts / 4000, panel_distribution(run, run.ids), atol=0.035)


def test_seven_votes_are_cast_by_seven_listeners_that_vary(corpus, tmp_path):
    run = run_scripted(corpus, tmp_path / "run", votes=7)
    votes = run.votes.to_pylist()
    by_utterance = {i: {v["rater_id"] for v in votes if v["utterance_id"] == i} for i in corpus.ids}
    assert all(len(raters) == 7 for raters in by_utterance.values())
    assert len(set.union(*by_utterance.values())) == 20  # no listener is left out for coming last in the file


@given(votes=st.integers(0, 40), more=st.integers(0, 40), listeners=st.integers(1, 9))
def test_more_votes_leave_the_former_as_they_were(votes, more, listeners):
    few = deal(["a", "b"], listeners, votes=votes, seed=1)
    many = deal(["a", "b"], listeners, votes=votes + more, seed=1)
    for first, second in zip(few, many, strict=False):
        for a, b in zip(first, second, strict=True):
            assert a.tolist() == b.tolist()
    cast = np.array([turn[1] for turn in many])  # [votes, utterances]
    for u in range(2 if len(cast) else 0):
        tally = np.bincount(cast[:, u], minlength=listeners)
        assert tally.max() - tally.min() <= 1


def test_draw_label_by_hand():
    p = np.array([[0.2, 0.0, 0.8]] * 4 + [[np.nan] * 3])
    # Quantiles below .2 are the first label, the rest the third; the impossible second is never drawn.
    assert draw_label(p, np.array([0.0, 0.1999, 0.2, 0.9999999, 0.5])).tolist() == [0, 0, 2, 2, -1]


def test_words_only_abstains_without_a_transcript(tmp_path):
    corpus = corpus_of(tmp_path / "corpus", 4, transcript=None)
    run = run_scripted(corpus, tmp_path / "run")
    assert run.scores.num_rows == 4 * 16
    silent = [vote for vote in run.votes.to_pylist() if vote["label"] is None]
    assert {vote["rater_id"].split("@")[0] for vote in silent} == {"words"}
    assert len(silent) == 4 * 4
    assert {vote["reason"] for vote in silent} == {"the listener judges words only and the utterance has no transcript"}
    assert synthetic_counts(run, run.ids).sum() == 4 * 16
    assert np.isfinite(panel_distribution(run, run.ids)).all()


def test_a_panel_that_abstains_as_a_whole_asks_nothing(tmp_path):
    corpus = corpus_of(tmp_path / "corpus", 3, transcript=None)
    panel = tmp_path / "words.toml"
    panel.write_text(
        'name = "words"\nquestion = "emotion"\nform = "label"\n[[listeners]]\nfocus = "words"\ntemperature = 1\n'
    )
    engine = scripted()
    run = run_scripted(corpus, tmp_path / "run", engine=engine, panel=panel, votes=2)
    assert engine.batches == []
    assert run.scores.num_rows == 0
    assert run.votes["label"].null_count == run.votes.num_rows == 6
    assert np.isnan(panel_distribution(run, corpus.ids)).all()


def test_one_unreadable_utterance_is_one_failure(tmp_path):
    corpus = corpus_of(tmp_path / "corpus", 10, break_audio=(4,))
    run = run_scripted(corpus, tmp_path / "run")
    assert run.failures.select(["utterance_id", "attempts", "listener"]).to_pylist() == [
        {"utterance_id": "u004", "attempts": 1, "listener": None}
    ]
    assert "not audio that can be decoded" in run.failures["reason"][0].as_py()
    assert len(run.ids) == 9
    assert "u004" not in set(run.votes["utterance_id"].to_pylist())


def test_failures_are_tried_again_but_not_for_ever(tmp_path):
    corpus = corpus_of(tmp_path / "corpus", 5, break_audio=(1,))
    for attempts in (1, 2, 3, 3):
        run = run_scripted(corpus, tmp_path / "run")
        assert run.failures["attempts"].to_pylist() == [attempts]


def test_a_mended_file_is_heard_on_the_next_run(tmp_path):
    corpus = corpus_of(tmp_path / "corpus", 5, break_audio=(1,))
    run_scripted(corpus, tmp_path / "run")
    soundfile.write(corpus.audio_path(1), np.full(8000, 0.1), 16000)
    engine = scripted()
    run = run_scripted(corpus, tmp_path / "run", engine=engine)
    assert run.failures.num_rows == 0
    assert len(run.ids) == 5
    assert len(engine.asked) == 5  # one utterance, five questions


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_answers_that_are_no_numbers_are_failures(corpus, tmp_path, bad):
    def broken(wave, question):
        return np.full(6, bad) if len(wave) > 15000 else loudness_and_text(wave, question)

    run = run_scripted(corpus, tmp_path / "run", engine=scripted(broken))
    long = [i for i, seconds in zip(corpus.ids, corpus.column("duration"), strict=True) if seconds * 16000 > 15000]
    assert run.failures["utterance_id"].to_pylist() == long
    assert "no numbers (NaN)" in run.failures["reason"][0].as_py()
    assert not set(long) & set(run.ids)


def test_audio_beyond_the_models_window_is_a_failure_that_names_it(corpus, tmp_path):
    run = run_scripted(corpus, tmp_path / "run", engine=scripted(max_seconds=0.5))
    assert run.failures.num_rows > 0
    assert all("the model hears at most 0.5 s" in reason for reason in run.failures["reason"].to_pylist())


def test_an_utterance_that_names_no_audio_is_a_failure(corpus, tmp_path):
    lost = corpus.utterances.to_pylist()
    lost[2]["audio"] = None
    lost[3]["audio"] = "s3://bucket/a.wav"
    run = run_scripted(dataclasses.replace(corpus, utterances=from_rows(lost, UTTERANCES)), tmp_path / "run")
    told = run.failures["reason"].to_pylist()
    assert "names no audio" in told[0]
    assert "is remote" in told[1]
    assert len(run.ids) == 10


def test_everything_failed(tmp_path):
    corpus = corpus_of(tmp_path / "corpus", 3, break_audio=(0, 1, 2))
    run = run_scripted(corpus, tmp_path / "run")
    assert run.ids == []
    assert run.failures.num_rows == 3
    assert open_run(tmp_path / "run").votes.num_rows == 0


def test_again_asks_nothing_and_changes_nothing(corpus, tmp_path):
    run_scripted(corpus, tmp_path / "run")
    before, engine = tables_of(tmp_path / "run"), scripted()
    run_scripted(corpus, tmp_path / "run", engine=engine)
    assert engine.asked == []
    assert tables_of(tmp_path / "run") == before


def test_more_utterances_and_votes_extend(corpus, tmp_path):
    whole = tables_of(run_scripted(corpus, tmp_path / "whole", votes=30).path)
    small = run_scripted(corpus, tmp_path / "run", limit=5, votes=10)
    assert small.ids == corpus.ids[:5]
    engine = scripted()
    run_scripted(corpus, tmp_path / "run", engine=engine, votes=30)
    assert len(engine.asked) == 7 * 5
    assert tables_of(tmp_path / "run") == whole
    assert run_scripted(corpus, tmp_path / "run", votes=3).info["votes"] == 30  # what is there is never taken away


def test_no_votes_are_the_distributions_alone(corpus, tmp_path):
    run = run_scripted(corpus, tmp_path / "run", votes=0)
    assert (run.votes.num_rows, run.scores.num_rows) == (0, 12 * 20)
    assert run.ids == corpus.ids
    assert np.isfinite(panel_distribution(run, run.ids)).all()
    engine = scripted()
    later = run_scripted(corpus, tmp_path / "run", votes=5, engine=engine)
    assert (later.votes.num_rows, engine.asked) == (60, [])
    for mode in ("sample", "verbalized"):  # there a vote is an answer: without any, nothing is asked
        with pytest.raises(OptionError, match=rf"0 votes in mode {mode}, where every vote is an answer; expected 1 or"):
            run_scripted(corpus, tmp_path / "words", votes=0, mode=mode)


class _Stop(Exception):
    pass


@settings(max_examples=8, deadline=None)
@given(stop_at=st.integers(0, 6), batch_size=st.integers(1, 5))
def test_an_interrupted_run_ends_as_a_straight_one(corpus, tmp_path_factory, stop_at, batch_size):
    place = tmp_path_factory.mktemp("runs")
    straight = run_scripted(corpus, place / "straight", batch_size=batch_size)
    calls = 0

    class Stopping(ScriptedEngine):
        def score(self, waves, questions):
            nonlocal calls
            calls += 1
            if calls > stop_at:
                raise _Stop
            return super().score(waves, questions)

    first = Stopping(EngineSpec("scripted", "scripted"))
    total = len(plan_batches(range(12), np.zeros(12), batch_size))
    if stop_at < total:
        first.__class__.__name__ = "ScriptedEngine"
        with pytest.raises(_Stop):
            run_scripted(corpus, place / "run", engine=first, batch_size=batch_size)
        if stop_at == 0:
            assert not (place / "run").exists()  # nothing half-written
        else:
            with pytest.raises(RunError, match="is unfinished; give the same serann annotate command again"):
                open_run(place / "run")
    second = scripted()
    run_scripted(corpus, place / "run", engine=second, batch_size=batch_size)
    assert sum(first.batches) + sum(second.batches) == 12 if stop_at < total else sum(second.batches) == 12
    assert tables_of(place / "run") == tables_of(straight.path)


def test_a_torn_last_line_is_asked_again(corpus, tmp_path, monkeypatch):
    straight = tables_of(run_scripted(corpus, tmp_path / "straight", batch_size=3).path)

    def no_tables(*_, **__):
        raise _Stop

    with monkeypatch.context() as patched, pytest.raises(_Stop):
        patched.setattr(module, "write_tables", no_tables)
        run_scripted(corpus, tmp_path / "run", batch_size=3)
    segment = next((tmp_path / "run" / "segments").glob("*.jsonl"))
    segment.write_bytes(segment.read_bytes()[:-20])
    engine = scripted()
    run_scripted(corpus, tmp_path / "run", engine=engine, batch_size=3)
    assert engine.batches == [3]
    assert tables_of(tmp_path / "run") == straight


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
from fixtures.scripted_runs import run_scripted, scripted, loudness_and_text
from serann.data.corpus import open_corpus
def slow(wave, question):
    time.sleep(0.01)
    return loudness_and_text(wave, question)
print("ready", flush=True)
run_scripted(open_corpus({corpus!r}), {out!r}, engine=scripted(slow), batch_size=2)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_kill_nine_and_resume(corpus, tmp_path):
    straight = tables_of(run_scripted(corpus, tmp_path / "straight", batch_size=2).path)
    code = KILLED.format(tests=TESTS, corpus=str(corpus.path), out=str(tmp_path / "run"))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert present(process.stdout).readline() == "ready\n"
    segment = tmp_path / "run" / "segments" / "0001.jsonl"
    for _ in range(2000):
        if segment.exists() and segment.read_bytes().count(b"\n") >= 3:  # who the raters are, and two batches
            break
        time.sleep(0.005)
    process.kill()
    process.wait()
    present(process.stdout).close()
    engine = scripted()
    run_scripted(corpus, tmp_path / "run", engine=engine, batch_size=2)
    assert sum(engine.batches) <= 8
    assert tables_of(tmp_path / "run") == straight


def test_two_writers_on_one_run(corpus, tmp_path):
    run = run_scripted(corpus, tmp_path / "run")
    ledger = Ledger(run.path, lambda former: dict(present(former)), labels=6, raters="abcde")
    with ledger:
        for overwrite in (False, True):
            with pytest.raises(OutputError, match="is being written by another serann annotate"):
                run_scripted(corpus, tmp_path / "run", overwrite=overwrite)
    assert open_run(tmp_path / "run").ids == corpus.ids


def test_another_run_is_refused_by_name(corpus, tmp_path):
    run_scripted(corpus, tmp_path / "run")
    before = tables_of(tmp_path / "run")
    with pytest.raises(
        OutputError,
        match=r"holds another run \(this panel lacks its listeners contrast@0\.5, .* and 15 more, or asks them "
        r"otherwise: a larger panel must keep them all; panel is 'crossed' there and 'letters' here; "
        r"panel_fingerprint is 'sha256:[0-9a-f]{8}…' there and 'sha256:[0-9a-f]{8}…' here\); choose another output",
    ):
        run_scripted(corpus, tmp_path / "run", panel="letters")
    with pytest.raises(OutputError, match="seed is 0 there and 7 here"):
        run_scripted(corpus, tmp_path / "run", seed=7)
    other = corpus_of(tmp_path / "other", 3, name="other")
    with pytest.raises(OutputError, match="corpus is 'simulated' there and 'other' here"):
        run_scripted(other, tmp_path / "run")
    assert tables_of(tmp_path / "run") == before
    assert (
        run_scripted(corpus, tmp_path / "run", panel="letters", overwrite=True).info["identity"]["panel"] == "letters"
    )


def test_places_that_are_taken_are_left_alone(corpus, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="holds something that is not a run"):
            run_scripted(corpus, tmp_path / "thesis", overwrite=overwrite)
    with pytest.raises(OutputError, match="is a file; expected a folder"):
        run_scripted(corpus, tmp_path / "thesis" / "chapter.txt")
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]


def test_a_newer_run_is_refused(corpus, tmp_path):
    run = run_scripted(corpus, tmp_path / "run")
    text = (run.path / "run.json").read_text()
    (run.path / "run.json").write_text(text.replace('"format": 1', '"format": 9'))
    for attempt in (lambda: open_run(run.path), lambda: run_scripted(corpus, run.path)):
        with pytest.raises(RunError, match=r"made by a newer serann.*run format 9, this one reads up to 1"):
            attempt()


def test_no_run_there(tmp_path):
    with pytest.raises(RunError, match=r"no run at .*nothing.*make one with: serann annotate"):
        open_run(tmp_path / "nothing")


def test_a_disk_that_cannot_be_written(corpus, tmp_path, monkeypatch):
    def read_only(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("pathlib.Path.mkdir", read_only)
    with pytest.raises(OutputError, match=r"cannot be written to .*: Read-only file system"):
        run_scripted(corpus, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_disk_that_fills_up_keeps_what_is_finished(corpus, tmp_path, monkeypatch):
    written, real = 0, os.fsync

    def full(handle):
        nonlocal written
        written += 1
        if written > 8:  # run.json twice and the segment's name, then batches
            raise OSError(28, "No space left on device")
        real(handle)

    def slow(wave, question):
        time.sleep(0.002)
        return loudness_and_text(wave, question)

    straight = tables_of(run_scripted(corpus, tmp_path / "straight", batch_size=2).path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match=r"No space left on device; .*; \d+ of 12 utterances remain"):
            run_scripted(corpus, tmp_path / "run", engine=scripted(slow), batch_size=2)
    engine = scripted()
    run_scripted(corpus, tmp_path / "run", engine=engine, batch_size=2)
    assert 0 < sum(engine.batches) < 12
    assert tables_of(tmp_path / "run") == straight


def test_nothing_is_written_when_the_call_is_wrong(corpus, tmp_path):
    for options, error, message in [
        ({"mode": "guess"}, OptionError, "unknown mode 'guess'; expected one of exact"),
        ({"votes": -1}, OptionError, "-1 votes"),
        ({"limit": 0}, OptionError, "a limit of 0 utterances"),
        ({"batch_size": 0}, OptionError, "a batch of 0"),
        ({"max_hours": 0.0}, OptionError, "0 hours at most; expected more than 0"),
        ({"panel": "nobody"}, PromptError, "unknown panel 'nobody'"),
    ]:
        with pytest.raises(error, match=message):
            run_scripted(corpus, tmp_path / "run", **options)
    with pytest.raises(ModelError, match="was not found on disk"):
        annotate(corpus, str(tmp_path / "nothing"), out=tmp_path / "run")
    with pytest.raises(LabelError, match="both"):
        run_scripted(corpus, tmp_path / "run", engine=scripted(_refuse))
    assert not (tmp_path / "run").exists()


def _refuse(wave, question):
    raise LabelError("labels 'a' and 'b' are both answered by 'a'")


@given(durations=st.lists(st.one_of(st.floats(0, 60), st.just(float("nan"))), max_size=40), size=st.integers(1, 9))
def test_batches_hold_every_row_once_and_like_with_like(durations, size):
    batches = plan_batches(range(len(durations)), np.array(durations, dtype=float), size)
    rows = [row for batch in batches for row in batch]
    assert sorted(rows) == list(range(len(durations)))
    assert all(len(batch) == size for batch in batches[:-1])
    known = np.nan_to_num(np.array([durations[row] for row in rows], dtype=float))
    assert (np.diff(known) <= 0).all()


def test_progress_reaches_the_end(corpus, tmp_path):
    seen = []
    run_scripted(corpus, tmp_path / "run", batch_size=5, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 12)
    assert seen[-1] == (12, 12)
    assert {done for done, _ in seen} <= {0, 5, 10, 12}  # a batch counts as a whole, once it is on the disk
    assert seen == sorted(seen)


def test_global_random_state_is_left_alone(corpus, tmp_path):
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state(legacy=False)["state"]["key"].tolist()  # noqa: NPY002
    run_scripted(corpus, tmp_path / "run")
    assert np.random.get_state(legacy=False)["state"]["key"].tolist() == before  # noqa: NPY002


@pytest.mark.parametrize("panel", ["crossed", "letters"])
def test_real_model_batches_and_single_agree(corpus, checkpoint, tmp_path, panel):
    many = annotate(corpus, str(checkpoint), out=tmp_path / "many", panel=panel, batch_size=5, device="cpu")
    single = annotate(corpus, str(checkpoint), out=tmp_path / "single", panel=panel, batch_size=1, device="cpu")
    for name in ("logp", "p"):
        np.testing.assert_allclose(
            distribution_array(many.scores[name]), distribution_array(single.scores[name]), atol=1e-4
        )
    np.testing.assert_allclose(many.scores["log_mass"].to_numpy(), single.scores["log_mass"].to_numpy(), atol=1e-4)
    assert many.info == single.info


def test_run_names_its_model_by_its_weights(corpus, checkpoint, tmp_path):
    copy = shutil.copytree(checkpoint, tmp_path / "small")
    first = annotate(corpus, str(checkpoint), out=tmp_path / "run", limit=2, device="cpu")
    annotate(corpus, str(copy), out=tmp_path / "run", limit=3, device="cpu")  # the same weights elsewhere go on
    make_checkpoint(copy, seed=1)
    with pytest.raises(OutputError, match="weights is 'sha256:"):
        annotate(corpus, str(copy), out=tmp_path / "run", limit=3, device="cpu")
    assert first.name.startswith("small/crossed/")


def test_command_line(tmp_path, checkpoint):
    from serann.annotator.cli import app

    corpus = corpus_of(tmp_path / "corpus", 4, break_audio=(2,))
    call = ["annotate", str(corpus.path), "--model", str(checkpoint), "-o", str(tmp_path / "run")]
    found = CliRunner().invoke(app, [*call, "--json"])
    assert found.exit_code == 1
    told = json.loads(found.stdout)
    assert told["utterances"] == 3
    assert told["votes"] == 60
    assert [failure["utterance_id"] for failure in told["failures"]] == ["u002"]
    text = CliRunner().invoke(app, call)
    assert text.exit_code == 1
    assert "failed" in text.stderr
    assert "1 x audio/u002.wav: not audio" in text.stderr
    assert CliRunner().invoke(app, [*call[:-1], str(tmp_path / "good"), "--limit", "2"]).exit_code == 0


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (["models"], "qwen2-audio"),
        (["prompts"], "emotion"),
        (["prompts", "emotion"], "Consider subtle vocal cues"),
        (["panels"], "crossed"),
        (["panels", "crossed", "--render"], 'Consider the words only, not the voice: "I told you so.".'),
    ],
)
def test_listing_commands(call, expected):
    from serann.annotator.cli import app

    found = CliRunner().invoke(app, call)
    assert found.exit_code == 0
    assert expected in found.stdout
    as_json = CliRunner().invoke(app, [*call, "--json"])
    assert as_json.stdout.strip()[0] in "[{"
