"""The reader of MELD: a fixture for each trap, a round trip, and damaged tables."""

import csv
import io
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from fixtures.mutated import damaged, damages
from hypothesis import given, settings
from hypothesis import strategies as st
from serann.data.errors import CorpusError, SerannError
from serann.data.readers import Options, load_reader

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
TRAIN = (
    HEADER
    + '1,"Well, you\x92re ""late"", again.",Ann,joy,positive,0,0,8,21,"00:16:16,059","00:16:21,731"\n'
    + "2,Go away!,Ben,anger,negative,0,1,8,21,00:16:22,00:16:23\n"
    + "3,Broken.,,fear,negative,125,3,8,21,0,0\n"
    + "4,Hmm.,Ben,bliss,neutral,126,0,8,21,0,0\n"
    + "5,Twice.,Ben,neutral,neutral,0,1,8,21,0,0\n"
    + "6,Unquoted, comma.,Ben,neutral,neutral,0,2,8,21,0,0\n"
    + "7,No number.,Ben,neutral,neutral,x,2,8,21,0,0\n"
)
DEV = (
    HEADER
    + "1,Nobody has this.,Cid,sadness,negative,110,7,1,2,0,0\n2,It\u0092s late.,Cid,surprise,positive,0,0,1,2,0,0\n"
)
FILES: dict[str, str | bytes] = {
    "train_sent_emo.csv": TRAIN.encode("latin-1"),
    "dev_sent_emo.csv": DEV.encode("utf-8-sig").replace(b"\n", b"\r\n"),
    "train_splits/dia0_utt0.mp4": "video",
    "train_splits/dia0_utt1.mp4": "video",
    "train_splits/dia0_utt1.wav": "RIFF",
}


def release(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def read(folder: Path, **options):
    return load_reader("meld").read(folder, Options(**options))


def by_id(table):
    return {row["utterance_id"]: row for row in table.to_pylist()}


@pytest.fixture
def imported(tmp_path):
    return read(release(tmp_path, FILES))


def test_one_label_is_a_consensus_and_no_vote(imported):
    rows = by_id(imported.utterances)
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
    rows = by_id(imported.utterances)
    assert rows["train_dia0_utt0"]["transcript"] == 'Well, you’re "late", again.'
    assert rows["dev_dia0_utt0"]["transcript"] == "It’s late."
    first, second = rows["train_dia0_utt0"], rows["train_dia0_utt1"]
    # 16 * 60 + 16.059 and 16 * 60 + 22
    assert (first["episode_start"], second["episode_start"]) == (pytest.approx(976.059), 982.0)
    assert (first["start"], first["end"], first["season"], first["sentiment"]) == (None, None, "8", "positive")
    assert rows["train_dia125_utt3"]["episode_start"] is None
    assert (first["speaker"], rows["train_dia125_utt3"]["speaker"]) == ("Ann", None)


def test_sounds_are_the_wav_beside_the_video_or_the_video(imported, tmp_path):
    rows = by_id(imported.utterances)
    clips = tmp_path.resolve() / "train_splits"
    assert rows["train_dia0_utt0"]["audio"] == str(clips / "dia0_utt0.mp4")
    assert rows["train_dia0_utt1"]["audio"] == str(clips / "dia0_utt1.wav")
    assert rows["train_dia125_utt3"]["audio"] == str(clips / "dia125_utt3.mp4")
    assert rows["dev_dia0_utt0"]["audio"] is None


def test_sounds_of_a_folder_that_was_named(tmp_path):
    source = release(tmp_path / "source", {f"data/MELD/{name}": content for name, content in FILES.items()})
    flat = release(tmp_path / "flat", {"train_dia0_utt0.wav": "RIFF", "dia0_utt1.wav": "of which split?"}).resolve()
    rows = by_id(read(source, audio=flat).utterances)
    assert rows["train_dia0_utt0"]["audio"] == str(flat / "train_dia0_utt0.wav")
    assert rows["train_dia0_utt1"]["audio"] == str(flat / "train_dia0_utt1.wav")
    split = release(tmp_path / "split", {"dev_splits_complete/dia0_utt0.wav": "RIFF"}).resolve()
    rows = by_id(read(source, audio=split).utterances)
    assert rows["dev_dia0_utt0"]["audio"] == str(split / "dev_splits_complete/dia0_utt0.wav")
    assert rows["dev_dia110_utt7"]["audio"] == str(split / "dev_splits_complete/dia110_utt7.wav")
    assert {r["audio"] for r in read(source, audio=tmp_path / "no").utterances.to_pylist()} == {None}


def test_what_is_no_release_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="nothing is there"):
        read(tmp_path / "absent")
    with pytest.raises(CorpusError, match=r"is no meld release.*train_sent_emo\.csv"):
        read(release(tmp_path / "other", {"labels.csv": TRAIN}))
    with pytest.raises(CorpusError, match="lacks the columns Speaker, Emotion, Dialogue_ID, Utterance_ID; found Utt"):
        read(release(tmp_path / "columns", {"dev_sent_emo.csv": "Utterance,text\nhello,you\n"}))
    broken = {"dev_sent_emo.csv": "", "test_sent_emo.csv": "version https://git-lfs.github.com/spec/v1\noid x\n"}
    with pytest.raises(CorpusError, match=r"(?s)2 problems.*is empty.*Git-LFS pointer"):
        read(release(tmp_path / "broken", {"train_sent_emo.csv": TRAIN, **broken}))
    with pytest.raises(CorpusError, match="without a readable row"):
        read(release(tmp_path / "header", {"dev_sent_emo.csv": HEADER}))


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
    files: dict[str, str | bytes] = {}
    for split in {place[0] for place in corpus}:
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(HEADER.strip().split(","))
        for (own, dialogue, turn), (emotion, speaker, words) in corpus.items():
            if own == split:
                writer.writerow([1, words, speaker, emotion, "neutral", dialogue, turn, 1, 2, "0:0:1,5", "0:0:2"])
        files[f"{split}_sent_emo.csv"] = text.getvalue().encode(encoding)
    with tempfile.TemporaryDirectory() as folder:
        found = read(release(Path(folder), files))
    assert found.problems.num_rows == 0
    assert {
        u: (r["consensus"], r["speaker"], r["transcript"], r["split"], r["episode_start"])
        for u, r in by_id(found.utterances).items()
    } == {
        f"{split}_dia{dialogue}_utt{turn}": (EMOTIONS[emotion], speaker, words, SPLITS[split], 1.5)
        for (split, dialogue, turn), (emotion, speaker, words) in corpus.items()
    }


@settings(max_examples=100, deadline=None)
@given(st.lists(damages(), min_size=1, max_size=3))
def test_damaged_tables_are_read_or_refused(chosen):
    files: dict[str, str | bytes] = {"train_sent_emo.csv": damaged(TRAIN.encode("latin-1"), *chosen)}
    with tempfile.TemporaryDirectory() as folder, suppress(SerannError):
        found = read(release(Path(folder), files), audio=Path(folder))
        assert found.utterances.num_rows
        assert found.votes_in == 0
