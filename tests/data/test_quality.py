"""The corpus check finds every planted fault, names it, and finds nothing in a good corpus."""

import threading

import numpy as np
import pytest
import soundfile
from fixtures.simulated import simulated_corpus
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serann.data import quality
from serann.data.corpus import open_corpus, write_corpus
from serann.data.labels import LABEL_SETS
from serann.data.quality import SEVERITY, Excerpt, Limits, check_corpus, inspect_sound, inspect_sounds
from serann.data.tables import RATINGS, UTTERANCES, VOTES, from_rows

FOUR = LABEL_SETS["iemocap4"]
RATE = 16000


def tone(hertz=200.0, *, seconds=0.5, level=0.3, rate=RATE):
    return level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def write(path, samples, rate=RATE, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **how)
    return path


def corpus_of(path, utterances, votes=None, *, ratings=None, licence="CC0-1.0", scale=None):
    """A corpus whose utterances have two votes each, unless votes are given."""
    if votes is None:
        pairs = [(row["utterance_id"], r) for row in utterances for r in ("r1", "r2")]
        votes = [{"utterance_id": u, "rater_id": r, "label": "sad"} for u, r in pairs]
    filled = [{"speaker": f"s{k}", "split": "train"} | row for k, row in enumerate(utterances)]
    return write_corpus(
        path,
        name="small",
        labels=FOUR,
        utterances=from_rows(filled, UTTERANCES),
        votes=from_rows(votes, VOTES, labels=FOUR),
        ratings=from_rows(ratings, RATINGS) if ratings else None,
        licence=licence,
        provenance={},
        scale=scale,
    )


def found(checked, *, kinds=tuple(SEVERITY)):
    rows = [(row["kind"], row["utterance_id"]) for row in checked.findings.to_pylist()]
    return [row for row in rows if row[0] in kinds and row[0] != "licence"]


def planted(folder):
    """Name and samples of a sound for every fault."""
    stereo = np.column_stack([tone(90), np.clip(tone(90, level=3.0), -1, 1)])
    write(folder / "good.wav", tone())
    write(folder / "clipped.wav", np.clip(tone(210, level=3.0), -1, 1))
    write(folder / "one-side.wav", stereo, subtype="PCM_16")
    write(folder / "loud.wav", tone(220, level=1.0), subtype="FLOAT")
    write(folder / "silent.wav", 1e-4 * tone(230), subtype="FLOAT")
    write(folder / "click.wav", np.eye(1, 40000, 7)[0] * 0.01)
    write(folder / "offset.wav", np.full(8000, 0.4))
    write(folder / "short.wav", tone(240, seconds=0.05))
    write(folder / "long.wav", tone(250, seconds=31, rate=8000), 8000)
    write(folder / "full.wav", tone(260))
    (folder / "cut.wav").write_bytes((folder / "full.wav").read_bytes()[:5000])
    (folder / "empty.wav").write_bytes(b"")
    (folder / "pointer.wav").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    return sorted(path.name for path in folder.iterdir())


def test_every_planted_fault_is_found_and_named(tmp_path):
    names = [*planted(tmp_path / "sounds"), "absent.wav"]
    utterances = [{"utterance_id": name, "audio": str(tmp_path / "sounds" / name)} for name in names]
    utterances += [{"utterance_id": "nameless", "audio": None}, {"utterance_id": "far", "audio": "https://x/y.wav"}]
    progress = []
    checked = check_corpus(corpus_of(tmp_path / "c", utterances), progress=lambda *at: progress.append(at))
    assert found(checked) == [
        ("broken audio", "cut.wav"),
        ("broken audio", "empty.wav"),
        ("broken audio", "pointer.wav"),
        ("missing audio", "absent.wav"),
        ("missing audio", "far"),
        ("missing audio", "nameless"),
        ("silent", "click.wav"),
        ("silent", "offset.wav"),
        ("silent", "silent.wav"),
        ("too long", "long.wav"),
        ("too short", "short.wav"),
        ("clipped", "clipped.wav"),
        ("clipped", "one-side.wav"),
    ]
    said = {row["utterance_id"]: row["sentence"] for row in checked.findings.to_pylist()}
    assert "is a Git-LFS pointer, not the sound itself; fetch it with: git lfs pull" in said["pointer.wav"]
    assert said["silent.wav"].endswith("is silent: peak -90 dB, mean -93 dB")
    assert "is too short: 0.05 s, expected at least 0.1 s" in said["short.wav"]
    assert "names no audio" in said["nameless"]
    assert checked.wrong
    assert checked.sounds == len(names)
    assert progress[-1] == (len(names), len(names))
    assert checked.counts["warning"] == {"clipped": 2}
    assert {row["speaker"] for row in checked.findings.to_pylist() if row["utterance_id"]} >= {"s0", "s1"}


def test_limits_are_the_callers(tmp_path):
    corpus = corpus_of(tmp_path / "c", [{"utterance_id": "u", "audio": str(write(tmp_path / "u.wav", tone()))}])
    assert found(check_corpus(corpus)) == []
    assert found(check_corpus(corpus, limits=Limits(max_seconds=0.4))) == [("too long", "u")]
    assert found(check_corpus(corpus, limits=Limits(silent_peak=0.5))) == [("silent", "u")]
    assert found(check_corpus(corpus, least_votes=3)) == [("few votes", "u")]
    assert check_corpus(corpus, sounds=False).sounds == 0


def test_equal_sounds_are_found_by_file_hash_and_samples_and_are_worse_across_splits(tmp_path):
    whole = np.rint(tone() * 32767).astype(np.int16)
    write(tmp_path / "a.wav", whole)
    write(tmp_path / "a.flac", whole)
    write(tmp_path / "b.wav", tone(300.7, seconds=1.0))
    write(tmp_path / "quiet1.wav", np.zeros(8000))
    write(tmp_path / "quiet2.wav", np.zeros(8000))
    rows = [
        ("u1", "a.wav", None, "h1", "train"),
        ("u2", "a.flac", None, "h2", "test1"),
        ("u3", "a.wav", None, "h1", "train"),
        ("u4", "b.wav", 0.0, None, "test1"),
        ("u5", "b.wav", 0.5, None, "test2"),
        ("u6", "quiet1.wav", None, None, "train"),
        ("u7", "quiet2.wav", None, None, "train"),
    ]
    utterances = [
        {"utterance_id": u, "audio": str(tmp_path / a), "start": s, "end": None if s is None else s + 0.4,
         "content_hash": h, "split": split} for u, a, s, h, split in rows
    ]  # fmt: skip
    checked = check_corpus(corpus_of(tmp_path / "c", utterances[::-1]))
    kinds = ("duplicate", "sound across splits")
    assert found(checked, kinds=kinds)[0] == ("sound across splits", "u2")
    said = {row["utterance_id"]: row["sentence"] for row in checked.findings.to_pylist() if row["kind"] in kinds}
    assert said == {"u2": "u2 has the samples of u1 (test1 and train)", "u3": "u3 has the file of u1"}
    unread = check_corpus(corpus_of(tmp_path / "d", [{**row, "audio": None} for row in utterances]), sounds=False)
    assert found(unread, kinds=kinds) == [("duplicate", "u3")]


def test_leaks_splits_and_unknown_speakers(tmp_path):
    rows = [
        {"utterance_id": "u0", "speaker": "a", "split": "train", "dialogue": "d0", "script": "Hello there"},
        {"utterance_id": "u1", "speaker": "a", "split": "test1", "dialogue": "d0", "script": "hello  there"},
        {"utterance_id": "u2", "speaker": None, "split": None},
        {"utterance_id": "u3", "speaker": "b", "split": "valid"},
    ]
    checked = check_corpus(corpus_of(tmp_path / "c", rows, licence=" "), sounds=False)
    assert checked.counts == {
        "error": {"speaker across splits": 1},
        "warning": {
            "dialogue across splits": 1,
            "no split": 1,
            "script across splits": 1,
            "unknown speaker": 1,
            "unused split": 1,
        },
        "note": {"licence": 1},
    }
    said = {row["kind"]: row["sentence"] for row in checked.findings.to_pylist()}
    assert said["speaker across splits"] == "speaker 'a' is in several splits: 1 of test, 1 of train (first u1; u0)"
    assert "1 of 4 utterances have no speaker (first u2)" in said["unknown speaker"]
    assert said["licence"] == "no licence is stated: find it before you share it"


def test_votes_raters_and_ratings(tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "c", utterances=200, seen=None)
    checked = check_corpus(corpus, sounds=False)
    assert checked.counts["error"] == {}
    (rater,) = [row for row in checked.findings.to_pylist() if row["kind"] == "suspicious rater"]
    assert rater["rater_id"] == "spammer-0"
    assert rater["sentence"].startswith("one label: rater spammer-0 always said neutral (")
    rows = [{"utterance_id": f"u{k}"} for k in range(5)]
    votes = [
        *({"utterance_id": "u3", "rater_id": f"q{k}", "label": "angry"} for k in range(10)),
        *({"utterance_id": "u4", "rater_id": f"q{k}", "label": "neutral"} for k in range(10)),
        {"utterance_id": "u0", "rater_id": "r1", "label": "angry"},
        {"utterance_id": "u0", "rater_id": "r1", "label": "sad"},
        {"utterance_id": "u1", "rater_id": None, "label": "neutral"},
        {"utterance_id": "u1", "rater_id": None, "label": "neutral"},
        {"utterance_id": "u2", "rater_id": "r1", "label": "sad", "source": "self"},
    ]
    values = (("u2", 9.0), ("u3", 1.0), ("u4", 4.0))
    ratings = [{"utterance_id": u, "rater_id": "r", "dimension": "arousal", "value": v} for u, v in values]
    few = check_corpus(corpus_of(tmp_path / "d", rows, votes, ratings=ratings, scale=(1, 5)), sounds=False)
    # two labels of one rater are one answer; a self-report is none
    assert found(few, kinds=("few votes",)) == [("few votes", "u0"), ("few votes", "u2")]
    doubts = [row["sentence"] for row in few.findings.to_pylist() if row["kind"] == "ratings"]
    assert doubts[0] == "1 ratings of arousal are off the scale 1-5 (first u2)"
    assert doubts[1].startswith("arousal may be upside down: mean 1.00 with votes for angry, 4.00")
    assert not few.wrong
    scaleless = check_corpus(corpus_of(tmp_path / "e", rows, votes, ratings=ratings), sounds=False)
    assert any("scale is not stated" in row["sentence"] for row in scaleless.findings.to_pylist())


def test_a_corpus_without_sounds_or_votes_says_so_once(tmp_path):
    checked = check_corpus(corpus_of(tmp_path / "c", [{"utterance_id": f"u{k}"} for k in range(5)], votes=[]))
    assert found(checked) == [("no audio", None), ("no votes", None)]


def test_the_embedded_corpus_has_no_error():
    checked = check_corpus(open_corpus("demo"))
    assert not checked.wrong
    assert checked.sounds == 480


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(["wav", "flac", "ogg"]))
def test_no_damage_to_a_file_breaks_the_check(tmp_path, data, kind):
    path = write(tmp_path / f"x.{kind}", tone(seconds=0.2))
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    report = inspect_sound(Excerpt(path), Limits())
    assert report.kind in {None, "broken audio", "too short", "too long", "silent", "clipped"}
    assert (report.sentence is None) == (report.kind is None)


def test_sounds_in_flight_are_bounded_and_come_back_in_order(tmp_path, monkeypatch):
    started, most, lock, seen = 0, 0, threading.Lock(), []

    def slow(excerpt, limits):
        nonlocal started
        with lock:
            started += 1
        return quality.SoundReport(None, excerpt.path.name)

    def progress(done, total):
        nonlocal most
        most = max(most, started - done)
        seen.append(done)

    monkeypatch.setattr(quality, "inspect_sound", slow)
    excerpts = [Excerpt(tmp_path / f"{k:04d}") for k in range(2000)]
    reports = inspect_sounds(excerpts, Limits(), workers=2, progress=progress)
    assert [r.sentence for r in reports] == [e.path.name for e in excerpts]
    assert most <= quality.TOGETHER * (2 * quality.AHEAD + 1)
    assert seen == sorted(seen)
    assert inspect_sounds([], Limits()) == []


@pytest.mark.parametrize("window", [(0.0, 0.2), (0.3, None)])
def test_windows_are_checked_alone(tmp_path, window):
    samples = np.concatenate([tone(seconds=0.25), np.zeros(4000)])
    path = write(tmp_path / "x.wav", samples)
    report = inspect_sound(Excerpt(path, *window), Limits())
    assert report.kind == (None if window[0] == 0 else "silent")
