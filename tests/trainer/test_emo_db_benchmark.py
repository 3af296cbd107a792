"""tests/benchmarks/emo_db.py: its parts on sounds of our own, and (slow, real corpus) the figure it stands for."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import lfilter, welch
from serann.data.audio import load_audio

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import emo_db

LETTERS = "WLEAFTN"


@pytest.fixture
def release(tmp_path):
    """Four speakers, two sounds of each emotion: a tone of the emotion's own, a little higher for some speakers."""
    folder = tmp_path / "emo-db" / "wav"
    folder.mkdir(parents=True)
    for number, speaker in enumerate(("03", "08", "09", "10")):
        for place, letter in enumerate(LETTERS):
            for version in "ab":
                time = np.arange(22050 // 2) / 22050
                tone = 0.3 * np.sin(2 * np.pi * (200 + 150 * place + 10 * number) * time)
                soundfile.write(folder / f"{speaker}a01{letter}{version}.wav", tone, 22050)
    return folder.parent


def test_the_intended_emotion_is_the_one_vote_and_the_scored_speaker_teaches_nothing(release, tmp_path):
    corpus = emo_db.read(release, tmp_path)
    assert corpus.votes.num_rows == len(corpus.ids) == 56
    divided = emo_db.split_for(corpus, "09", "10", tmp_path, copies=2)
    speakers, splits = divided.column("speaker"), divided.column("split")
    assert {(s, p) for s, p in zip(speakers, splits, strict=True)} == {
        ("03", "train"),
        ("08", "train"),
        ("09", "test"),
        ("10", "development"),
    }
    assert (splits == "train").sum() == 3 * 28
    label_of = dict(zip(divided.votes["utterance_id"].to_pylist(), divided.votes["label"].to_pylist(), strict=True))
    assert all(label_of[name] == label_of[name.removesuffix("-1")] for name in divided.ids if name.endswith("-1"))


def test_copies_are_at_another_speed(release, tmp_path):
    corpus = emo_db.split_for(emo_db.read(release, tmp_path), "09", "10", tmp_path, copies=1)
    seconds = dict(zip(corpus.ids, corpus.column("duration"), strict=True))
    path = dict(zip(corpus.ids, corpus.column("audio"), strict=True))
    for name in ("03a01Wa", "08a01Tb"):
        rate = seconds[name] / seconds[f"{name}-0"]
        assert 2**-0.35 - 0.01 < rate < 2**0.35 + 0.01
        loudest = [
            np.abs(np.fft.rfft(x * np.hanning(len(x)))).argmax() / len(x)
            for x in (load_audio(path[name]), load_audio(path[f"{name}-0"]))
        ]
        assert loudest[1] / loudest[0] == pytest.approx(rate, rel=0.02)


def decibels(sound):
    """Power from 200 Hz to 7.5 kHz."""
    frequencies, power = welch(sound, 16000, nperseg=512)
    return 10 * np.log10(power[(frequencies > 200) & (frequencies < 7500)])


def test_a_speakers_own_colour_and_level_are_taken_away():
    rng = np.random.default_rng(3)
    voice = [lfilter([1, -0.9], [1], rng.standard_normal(32000)).astype(np.float32) for _ in range(4)]  # pyright: ignore[reportAttributeAccessIssue]
    recorded = [0.05 * emo_db.filtered(sound, 10 ** np.linspace(0, -2, 201)) for sound in voice]
    first, second = (emo_db.filtered(sounds[0], emo_db.flattening(sounds)) for sounds in (voice, recorded))
    assert np.ptp(decibels(voice[0])) > 20
    assert np.std(decibels(first)) < 1
    assert np.sqrt(np.mean((first - second) ** 2)) < 0.05 * np.std(first)


def test_a_filter_multiplies_frequencies_without_delay():
    time = np.arange(16000) / 16000
    tone = np.sin(2 * np.pi * 2000 * time)
    gains = np.ones(201)
    gains[50:] = 0.5  # 2 kHz and above
    np.testing.assert_allclose(emo_db.filtered(tone, gains)[2000:-2000], 0.5 * tone[2000:-2000], atol=0.01)


def test_evened_sounds_keep_their_names_votes_and_lengths(release, tmp_path):
    corpus = emo_db.read(release, tmp_path)
    (tmp_path / "evened").mkdir()
    found = emo_db.evened(corpus, tmp_path / "evened")
    assert found.ids == corpus.ids
    assert found.votes.equals(corpus.votes)
    for before, after in zip(corpus.column("audio"), found.column("audio"), strict=True):
        assert before != after
        assert len(load_audio(before)) == len(load_audio(after))


def test_scores_are_those_counted_by_hand(release, tmp_path):
    corpus = emo_db.read(release, tmp_path)
    truth, speakers = emo_db.one_hot(corpus), corpus.column("speaker")
    rng = np.random.default_rng(1)
    p = truth + rng.uniform(0, 1.5, truth.shape)
    p /= p.sum(axis=1, keepdims=True)
    right = p.argmax(axis=1) == truth.argmax(axis=1)
    own = [np.mean([right[(speakers == s) & (truth[:, k] > 0)].mean() for k in range(7)]) for s in sorted({*speakers})]
    found = emo_db.summary(p, corpus)
    assert list(found["uar_by_speaker"].values()) == pytest.approx(own)
    assert found["mean_uar"]["value"] == pytest.approx(np.mean(own))
    assert found["uar_of_all"]["value"] == pytest.approx(np.mean([right[truth[:, k] > 0].mean() for k in range(7)]))
    assert found["accuracy_of_all"] == pytest.approx(right.mean())


def test_speakers_choose_in_a_circle_and_few_utterances_are_heard_oftener():
    assert emo_db.pairs(["a", "b", "c"], 2) == [("a", "b"), ("a", "c"), ("b", "c"), ("b", "a"), ("c", "a"), ("c", "b")]
    assert emo_db.pairs(["a", "b"], 5) == [("a", "b"), ("b", "a")]
    assert [emo_db.epochs_for(count, 9000) for count in (100, 500, 5000)] == [80, 18, 6]


def test_a_run_leaves_each_speaker_out_once(release):
    found = emo_db.run(release, "wavlm", epochs=1, rotate=1)
    assert (found["models"], len(found["uar_by_speaker"])) == (4, 4)
    assert 0 <= found["mean_uar"]["value"] <= 1


def test_the_best_recipe_averages_models_that_other_speakers_chose(release):
    found = emo_db.run(release, epochs=1, rotate=2, only=["09"])
    assert (found["models"], list(found["uar_by_speaker"])) == (2, ["09"])
    assert found["core_seconds"] > 0


@pytest.mark.slow
@pytest.mark.corpora
@pytest.mark.skipif("SERANN_CORPORA" not in os.environ, reason="SERANN_CORPORA is not set")
def test_emo_db_from_scratch_reaches_its_aim():
    """Leave one speaker out, from random weights; the figure is printed, and BENCHMARKS.md says what it was (.633 on
    half of Emo-DB, interval .47 to .77). Twice chance is what a broken training misses, .60 what it is aimed at, and
    thirty minutes of two cores what it may take, whatever else they have to do."""
    found = emo_db.run(Path(os.environ["SERANN_CORPORA"]) / "emo-db", workers=2)
    print(found)
    assert found["mean_uar"]["value"] > 2 / 7
    assert found["mean_uar"]["value"] >= 0.60
    assert found["core_seconds"] < 2 * 1800
