"""The reader of MELD: a fixture for each trap, a round trip, and damaged tables."""

import pytest
from fixtures.mutated import damaged, damages
from fixtures.releases import (
    MELD,
    MELD_HEADER,
    MELD_TRAIN,
    POINTER,
    SOUND,
    accounted,
    by_id,
    csv_text,
    laid_out,
    meld,
    reader,
    release,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from serann.data.errors import CorpusError

read = reader("meld")


@pytest.fixture
def imported(tmp_path):
    return read(meld(tmp_path))


def test_one_label_is_a_consensus_and_no_vote(imported):
    rows = by_id(imported)
    assert {u: (r["consensus"], r["consensus_code"], r["split"], r["dialogue"]) for u, r in rows.items()} == {
        "train_dia0_utt0": ("happy", "joy", "train", "train_dia0"),
        "train_dia0_utt1": ("angry", "anger", "train", "train_dia0"),
        "train_dia125_utt3": ("fear", "fear", "train", "train_dia125"),
        "train_dia126_utt0": ("bliss", "bliss", "train", "train_dia126"),
        "dev_dia110_utt7": ("sad", "sadness", "development", "dev_dia110"),
        "dev_dia0_utt0": ("surprise", "surprise", "development", "dev_dia0"),
    }
    assert (imported.votes_in, imported.votes.num_rows) == (0, 0)
    assert {row["intended"] for row in rows.values()} == {None}
    assert imported.release == "MELD, train, dev"


def test_notes_say_what_cannot_be_done_and_what_lacks(imported):
    assert "no rater's vote" in imported.notes[0]
    assert "not divided into seen and held-out votes" in imported.notes[0]
    assert imported.notes[1:] == (
        "no sounds for dev_sent_emo.csv: no folder dev_splits_complete is there; its utterances name no audio",
        "no test_sent_emo.csv is there: that split is not imported",
        "the video of train_dia125_utt3 is broken in the release",
        "the video of dev_dia110_utt7 is absent in the release",
    )


def test_odd_rows_are_listed(imported):
    assert [(p["line"], p["reason"]) for p in imported.problems.to_pylist()] == [
        (7, "a row that has not the header's 11 fields"),
        (5, "unknown emotion 'bliss'; expected one of neutral, happy, angry, sad, fear, disgust, surprise"),
        (6, "the utterance is there twice; its first row is kept"),
        (8, "dialogue 'x', utterance '2'; expected two numbers"),
    ]


def test_quotes_of_windows_are_mended_and_times_are_the_episodes(imported):
    rows = by_id(imported)
    assert rows["train_dia0_utt0"]["transcript"] == 'Well, you’re "late", again.'
    assert rows["dev_dia0_utt0"]["transcript"] == "It’s late."
    first, second = rows["train_dia0_utt0"], rows["train_dia0_utt1"]
    # 16 * 60 + 16.059 and 16 * 60 + 22
    assert (first["episode_start"], second["episode_start"]) == (pytest.approx(976.059), 982.0)
    assert (first["start"], first["end"], first["season"], first["sentiment"]) == (None, None, "8", "positive")
    assert rows["train_dia125_utt3"]["episode_start"] is None
    assert (first["speaker"], rows["train_dia125_utt3"]["speaker"]) == ("Ann", None)


def test_sounds_are_the_wav_beside_the_video_or_the_video(imported, tmp_path):
    rows = by_id(imported)
    clips = tmp_path.resolve() / "train_splits"
    assert rows["train_dia0_utt0"]["audio"] == str(clips / "dia0_utt0.mp4")
    assert rows["train_dia0_utt1"]["audio"] == str(clips / "dia0_utt1.wav")
    assert rows["train_dia125_utt3"]["audio"] == str(clips / "dia125_utt3.mp4")
    assert rows["dev_dia0_utt0"]["audio"] is None


def test_sounds_of_a_folder_that_was_named(tmp_path):
    source = release(tmp_path / "source", {f"data/MELD/{name}": content for name, content in MELD.items()})
    flat = release(tmp_path / "flat", {"train_dia0_utt0.wav": SOUND, "dia0_utt1.wav": "of which split?"}).resolve()
    rows = by_id(read(source, audio=flat))
    assert rows["train_dia0_utt0"]["audio"] == str(flat / "train_dia0_utt0.wav")
    assert rows["train_dia0_utt1"]["audio"] == str(flat / "train_dia0_utt1.wav")
    split = release(tmp_path / "split", {"dev_splits_complete/dia0_utt0.wav": SOUND}).resolve()
    rows = by_id(read(source, audio=split))
    assert rows["dev_dia0_utt0"]["audio"] == str(split / "dev_splits_complete/dia0_utt0.wav")
    assert rows["dev_dia110_utt7"]["audio"] == str(split / "dev_splits_complete/dia110_utt7.wav")
    assert {r["audio"] for r in read(source, audio=tmp_path / "no").utterances.to_pylist()} == {None}


def test_what_is_no_release_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="nothing is there"):
        read(tmp_path / "absent")
    with pytest.raises(CorpusError, match=r"is no meld release.*train_sent_emo\.csv"):
        read(release(tmp_path / "other", {"labels.csv": MELD_TRAIN}))
    with pytest.raises(CorpusError, match="lacks the columns Speaker, Emotion, Dialogue_ID, Utterance_ID; found Utt"):
        read(release(tmp_path / "columns", {"dev_sent_emo.csv": "Utterance,text\nhello,you\n"}))
    broken = {"dev_sent_emo.csv": "", "test_sent_emo.csv": POINTER}
    with pytest.raises(CorpusError, match=r"(?s)2 problems.*is empty.*Git-LFS pointer"):
        read(release(tmp_path / "broken", {"train_sent_emo.csv": MELD_TRAIN, **broken}))
    with pytest.raises(CorpusError, match="without a readable row"):
        read(release(tmp_path / "header", {"dev_sent_emo.csv": MELD_HEADER}))


EMOTIONS = {"neutral": "neutral", "joy": "happy", "anger": "angry", "sadness": "sad"}
EMOTIONS |= {"fear": "fear", "disgust": "disgust", "surprise": "surprise"}
SPLITS = {"train": "train", "dev": "development", "test": "test"}


@st.composite
def tables(draw):
    """Utterances by split, dialogue and turn: emotion, speaker, words."""
    place = st.tuples(st.sampled_from(list(SPLITS)), st.integers(0, 30), st.integers(0, 30))
    words = st.text("abc ,\"'.;\né’", min_size=1).map(str.strip).filter(bool)
    values = st.tuples(st.sampled_from(list(EMOTIONS)), st.sampled_from(["Ann", "Ben", "Cid, the 2nd"]), words)
    return draw(st.dictionaries(place, values, min_size=1, max_size=8))


@settings(max_examples=25, deadline=None)
@given(tables(), st.sampled_from(["utf-8", "utf-8-sig", "cp1252"]))
def test_what_is_written_in_the_releases_format_is_read_back(corpus, encoding):
    files = {}
    for split in {place[0] for place in corpus}:
        rows = [
            [1, words, speaker, emotion, "neutral", dialogue, turn, 1, 2, "0:0:1,5", "0:0:2"]
            for (own, dialogue, turn), (emotion, speaker, words) in corpus.items()
            if own == split
        ]
        text = csv_text([MELD_HEADER.strip().split(","), *rows], lineterminator="\r\n")
        files[f"{split}_sent_emo.csv"] = text.encode(encoding)
    with laid_out(files) as folder:
        found = read(folder)
    assert found.problems.num_rows == 0
    assert {
        u: (r["consensus"], r["speaker"], r["transcript"], r["split"], r["episode_start"])
        for u, r in by_id(found).items()
    } == {
        f"{split}_dia{dialogue}_utt{turn}": (EMOTIONS[emotion], speaker, words, SPLITS[split], 1.5)
        for (split, dialogue, turn), (emotion, speaker, words) in corpus.items()
    }


@settings(max_examples=100, deadline=None)
@given(st.lists(damages(), min_size=1, max_size=3))
def test_damaged_tables_are_read_or_refused(chosen):
    with laid_out({"train_sent_emo.csv": damaged(MELD_TRAIN.encode("latin-1"), *chosen)}) as folder:
        found = accounted(read, folder, audio=folder)
    assert found is None or (found.utterances.num_rows and found.votes_in == 0)
