"""Utterances longer than may be heard: refused, heard to a point, or in windows whose answers are averaged."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import soundfile
from fixtures.scripted_runs import corpus_of, interrupted, run_scripted, scripted, tables_of
from fixtures.small_models import make_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from serann.annotator.engines.base import Scores
from serann.annotator.listener import mean_scores, score_windows
from serann.annotator.panel.attributes import RATING_SCORES
from serann.annotator.run import session as session_module
from serann.annotator.run.annotate import annotate, plan_annotation
from serann.annotator.sounds import decoding
from serann.annotator.sounds.corpus_sounds import plan_batches
from serann.annotator.sounds.hearing import Windows
from serann.data.audio import ROUNDING
from serann.data.errors import OptionError, OutputError
from serann.data.files import read_json
from serann.data.tables import RATINGS, UTTERANCES, distribution_array, from_rows, read_table

RATE = 16000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_of(tmp_path_factory.mktemp("corpora") / "simulated", 8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("models") / "small")


def cut_by_hand(corpus, most):
    """The same sounds with every window as an utterance of its own (id#place), and the seconds of each."""
    rows, seconds = [], {}
    for row in corpus.utterances.to_pylist():
        samples = soundfile.info(corpus.path / row["audio"]).frames
        count = max(1, math.ceil((samples / RATE - ROUNDING) / most))
        for place in range(count):
            first, last = samples * place // count, samples * (place + 1) // count
            name = f"{row['utterance_id']}#{place}"
            rows.append({**row, "utterance_id": name, "start": first / RATE, "end": last / RATE, "duration": None})
            seconds.setdefault(row["utterance_id"], {})[name] = (last - first) / RATE
    return dataclasses.replace(corpus, utterances=from_rows(rows, UTTERANCES)), seconds


def answers_of(run):
    """log P(answer), not normalised over the answers, of each utterance and listener."""
    logp, mass = distribution_array(run.scores["logp"]), run.scores["log_mass"].to_numpy()
    names = zip(run.scores["utterance_id"].to_pylist(), run.scores["listener"].to_pylist(), strict=True)
    return {name: logp[i] + mass[i] for i, name in enumerate(names)}


def assert_averaged(found, pieces, seconds, atol):
    """Every answer is the mean over its windows by duration; by hand, in probabilities."""
    assert {name for name, _ in found} == seconds.keys()
    for (utterance, listener), logp in found.items():
        own = seconds[utterance]
        shares = {name: length / sum(own.values()) for name, length in own.items()}
        expected = sum(share * np.exp(pieces[name, listener]) for name, share in shares.items())
        np.testing.assert_allclose(np.exp(logp), expected, atol=atol)


@settings(max_examples=6, deadline=None)
@given(most=st.floats(0.2, 1.3))
def test_windows_are_asked_like_utterances_and_averaged(corpus, tmp_path_factory, most):
    tmp_path, options = tmp_path_factory.mktemp("runs"), {"votes": 0, "panel": "letters"}
    pieces, seconds = cut_by_hand(corpus, most)
    run = run_scripted(corpus, tmp_path / "windows", max_seconds=most, too_long="windows", **options)
    alone = answers_of(run_scripted(pieces, tmp_path / "pieces", **options))
    found = answers_of(run)
    assert_averaged(found, alone, seconds, 1e-6)
    plain = answers_of(run_scripted(corpus, tmp_path / "plain", **options))
    for name, own in seconds.items():
        same = [np.array_equal(found[key], plain[key]) for key in found if key[0] == name]
        assert all(same) if len(own) == 1 else not any(same)  # a short one is unchanged to the bit
    cut = sum(len(own) > 1 for own in seconds.values())
    assert read_json(run.path / "environment.json", what="record")["sessions"][-1]["cut_sounds"] == cut


def test_windows_of_a_model(corpus, checkpoint, tmp_path):
    options = {"votes": 0, "panel": "letters", "device": "cpu", "attributes": ("valence",)}
    pieces, seconds = cut_by_hand(corpus, 0.4)
    run = annotate(corpus, str(checkpoint), out=tmp_path / "run", max_seconds=0.4, too_long="windows", **options)
    by_hand = annotate(pieces, str(checkpoint), out=tmp_path / "pieces", **options)
    assert_averaged(answers_of(run), answers_of(by_hand), seconds, 1e-5)
    found, alone = (ratings_of(each.path) for each in (run, by_hand))
    assert_averaged(found, alone, seconds, 1e-5)


def ratings_of(path):
    """log P(point), not normalised over the points, of each utterance and listener at temperature 1."""
    rows = read_table(path / "rating_scores.parquet", RATING_SCORES).to_pylist()
    return {
        (row["utterance_id"], row["listener"]): np.log(row["p"]) + row["log_mass"]
        for row in rows
        if row["listener"].endswith("@1")
    }


def test_ratings_are_averaged_likewise(corpus, tmp_path):
    options = {"votes": 0, "attributes": ("valence",)}
    pieces, seconds = cut_by_hand(corpus, 0.3)
    run = run_scripted(corpus, tmp_path / "run", max_seconds=0.3, too_long="windows", **options)
    by_hand = run_scripted(pieces, tmp_path / "pieces", **options)
    found, alone = ratings_of(run.path), ratings_of(by_hand.path)
    assert len(found) == 8 * 5
    assert_averaged(found, alone, seconds, 1e-6)
    assert read_table(run.path / "ratings.parquet", RATINGS).num_rows == 8 * 20


def test_truncated_utterances_are_heard_from_their_start(corpus, tmp_path):
    run = run_scripted(corpus, tmp_path / "run", max_seconds=0.5, too_long="truncate")
    rows = corpus.utterances.to_pylist()
    long = [row for row in rows if row["duration"] > 0.51]
    for row in long:
        row["end"] = 0.5
    cut = dataclasses.replace(corpus, utterances=from_rows(rows, UTTERANCES))
    by_hand = run_scripted(cut, tmp_path / "by hand")
    assert run.failures.num_rows == 0
    assert run.scores == by_hand.scores
    assert 0 < len(long) < 8
    again = run_scripted(corpus, tmp_path / "run", max_seconds=0.5, too_long="truncate")
    sessions = read_json(again.path / "environment.json", what="record")["sessions"]
    assert [each["cut_sounds"] for each in sessions] == [len(long)] * 2  # known from the run, not only when heard


def test_the_usual_policy_refuses_and_is_what_runs_without_one_had(corpus, tmp_path):
    run = run_scripted(corpus, tmp_path / "run", max_seconds=0.5)
    assert 0 < run.failures.num_rows < 8
    assert all("and the model hears at most 0.5 s" in reason for reason in run.failures["reason"].to_pylist())
    plain = run_scripted(corpus, tmp_path / "plain")
    assert not {"max_seconds", "too_long"} & plain.info["identity"].keys()
    same = run_scripted(corpus, tmp_path / "plain", max_seconds=30, too_long="reject")
    assert same.name == plain.name


def test_another_policy_is_another_run(corpus, tmp_path):
    out = tmp_path / "run"
    run_scripted(corpus, out)
    with pytest.raises(OutputError, match=r"too_long is 'reject' there and 'truncate' here\)"):
        run_scripted(corpus, out, too_long="truncate")
    with pytest.raises(OutputError, match=r"max_seconds is 'what the model hears' there and 0\.5 here"):
        plan_annotation(corpus, "scripted", out=out, engine=scripted(), max_seconds=0.5)
    run_scripted(corpus, tmp_path / "cut", max_seconds=0.5, too_long="windows")
    with pytest.raises(OutputError, match=r"too_long is 'windows' there and 'reject' here.*max_seconds is 0\.5 there"):
        run_scripted(corpus, tmp_path / "cut")


def test_windows_stay_together_and_a_run_is_resumed(corpus, tmp_path):
    options = {"max_seconds": 0.3, "too_long": "windows", "batch_size": 4}
    straight = scripted()
    run = run_scripted(corpus, tmp_path / "straight", engine=straight, **options)
    _, seconds = cut_by_hand(corpus, 0.3)
    assert sum(straight.batches) == sum(map(len, seconds.values()))
    assert max(straight.batches) <= max(4, *map(len, seconds.values()))
    first = interrupted(corpus, tmp_path / "run", 2, **options)
    plan = read_json(tmp_path / "run" / "run.json", what="run")["plan"]["batches"]
    assert [sum(len(seconds[name]) for name in batch) for batch in plan] == straight.batches
    second = scripted()
    resumed = run_scripted(corpus, tmp_path / "run", engine=second, **options)
    assert sorted(first.asked + second.asked) == sorted(straight.asked)
    assert tables_of(resumed.path) == tables_of(run.path)


@pytest.mark.parametrize("load_after", [0, 1000])
def test_processes_cut_as_threads_do(corpus, checkpoint, tmp_path, monkeypatch, load_after):
    options = {"max_seconds": 0.3, "too_long": "windows", "device": "cpu", "batch_size": 4, "panel": "letters"}
    run = annotate(corpus, str(checkpoint), out=tmp_path / "threads", **options)
    monkeypatch.setattr(session_module, "MANY", 1)
    monkeypatch.setattr(decoding, "LOAD_AFTER", load_after)
    other = annotate(corpus, str(checkpoint), out=tmp_path / "processes", **options)
    assert tables_of(run.path) == tables_of(other.path)


def test_a_run_of_windows_checks_itself(corpus, checkpoint, tmp_path):
    """Batch against single on first windows; what the check is shown besides is every utterance's mean."""
    run = annotate(
        corpus,
        str(checkpoint),
        out=tmp_path / "run",
        max_seconds=0.3,
        too_long="windows",
        device="cpu",
        panel="letters",
        selfcheck=True,
    )
    assert len(run.info["canaries"]) == 4
    assert run.ids == corpus.ids


def test_batches_count_windows():
    durations, windows = np.array([6.0, 2.0, 9.0, np.nan]), np.array([2, 1, 3, 10])
    # Three windows of 3 s, two of 3 s, one of 2 s; the last's windows are of unknown length, and come last.
    assert plan_batches(range(4), durations, 100, seconds=15, windows=windows) == [[2, 0], [1], [3]]
    assert plan_batches(range(4), durations, 5, windows=windows) == [[2, 0], [1], [3]]
    assert plan_batches(range(4), durations, 4, windows=windows) == [[2], [0, 1], [3]]


class Small:
    """An engine whose memory holds no more than so many sounds."""

    def __init__(self, most):
        self.most, self.batches = most, []

    def score(self, sounds, questions):
        if len(sounds) > self.most:
            raise MemoryError
        self.batches.append(len(sounds))
        return [Scores(np.full((1, 2), float(sound))) for sound in sounds]


@pytest.mark.parametrize(("most", "batches"), [(9, [4, 3]), (3, [1, 1, 1, 1, 3]), (1, [1] * 7)])
def test_one_long_utterance_is_asked_in_parts(most, batches):
    engine: Any = Small(most)
    asked: Any = [["a question"]]
    (found,) = score_windows(engine, [Windows(tuple(range(-7, 0)), (30.0,) * 7)], asked)
    assert engine.batches == batches
    assert isinstance(found, Scores)
    np.testing.assert_allclose(np.exp(found.answer_logp), np.mean(np.exp(np.arange(-7.0, 0))))
    with pytest.raises(MemoryError):
        engine.most = 0
        score_windows(engine, [Windows((1, 2), (30.0, 30.0))], asked)


def test_means_by_hand():
    first, second = np.log([[0.1, 0.3], [0.2, 0.2]]), np.log([[0.5, 0.1], [1e-300, 1.0]])
    second[1, 0] = -np.inf
    found = mean_scores([Scores(first), Scores(second)], (3.0, 1.0)).answer_logp
    np.testing.assert_allclose(np.exp(found), [[0.2, 0.25], [0.15, 0.4]])
    assert np.isnan(mean_scores([Scores(first), Scores(first * np.nan)], (1.0, 1.0)).answer_logp).all()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"too_long": "cut"}, "unknown policy 'cut' for utterances that are too long; expected reject, truncate or"),
        ({"max_seconds": 0.05}, r"0\.05 seconds of an utterance at most; expected at least 0\.1, with --too-lo"),
        ({"max_seconds": 0.15, "too_long": "windows"}, r"expected at least 0\.2, with --too-long windows"),
        ({"max_seconds": float("nan")}, "nan seconds of an utterance at most"),
        ({"max_seconds": float("inf")}, "inf seconds of an utterance at most"),
        ({"max_seconds": 31}, "31 seconds of an utterance at most, and the model hears 30; give --max-seconds 30"),
        (
            {"too_long": "windows", "mode": "sample"},
            "windows in mode sample: answers in words have no mean over windows; use --mode exact, or --too-long trunc",
        ),
        ({"too_long": "windows", "mode": "verbalized"}, "windows in mode verbalized"),
    ],
)
def test_what_cannot_be_heard_is_refused(corpus, tmp_path, options, sentence):
    with pytest.raises(OptionError, match=sentence):
        run_scripted(corpus, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_plan_counts_what_is_heard(corpus, tmp_path):
    def planned(**options):
        engine = scripted()
        engine.count_tokens = lambda seconds, questions: math.ceil(100 * seconds)  # pyright: ignore[reportAttributeAccessIssue]
        return plan_annotation(corpus, "scripted", engine=engine, panel="letters", **options)

    whole, cut = planned(), planned(max_seconds=0.3, too_long="windows")
    _, seconds = cut_by_hand(corpus, 0.3)
    tokens = sum(len(own) * math.ceil(100 * sum(own.values()) / len(own)) for own in seconds.values())
    assert cut.hours_of_audio == pytest.approx(whole.hours_of_audio)
    assert cut.tokens == pytest.approx(tokens, abs=len(seconds) * 5)
    short = planned(max_seconds=0.3, too_long="truncate")
    heard = np.minimum(corpus.utterances["duration"].to_numpy(), 0.3).sum()
    assert short.hours_of_audio == pytest.approx(heard / 3600)
