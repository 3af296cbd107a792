"""The reader of ESD: both layouts, every encoding, a round trip, and damaged transcripts."""

import pytest
from fixtures.mutated import damaged, damages
from fixtures.releases import (
    ESD,
    ESD_ENGLISH,
    ESD_MANDARIN,
    SOUND,
    accounted,
    by_id,
    esd,
    laid_out,
    reader,
    release,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from serann.data.errors import CorpusError

read = reader("esd")


@pytest.fixture
def imported(tmp_path):
    return read(esd(tmp_path))


def test_the_folder_is_what_was_intended_and_nobody_voted(imported, tmp_path):
    rows = by_id(imported)
    assert {u: (r["intended"], r["split"], r["speaker"]) for u, r in rows.items()} == {
        "0001_000001": ("neutral", None, "0001"),
        "0011_000001": ("neutral", "test", "0011"),
        "0011_000351": ("angry", "train", "0011"),
        "0011_000352": ("angry", "development", "0011"),
        "0011_000353": ("angry", "development", "0011"),
    }
    assert (imported.votes_in, imported.votes.num_rows, imported.ratings) == (0, 0, None)
    assert {row["consensus"] for row in rows.values()} == {None}
    assert "no listener's vote" in imported.notes[0]
    wav = tmp_path.resolve() / "0011/Neutral/test/0011_000001.wav"
    assert rows["0011_000001"]["audio"] == str(wav)


def test_odd_sounds_and_lines_are_listed(imported):
    reasons = {(p["file"], p["line"], p["reason"]) for p in imported.problems.to_pylist()}
    outside = "a sound outside the folders of the emotions neutral, happy, angry, sad, surprise"
    assert reasons == {
        ("0011/0011.txt", 3, "a line that is not id, sentence and emotion"),
        ("0011/0011.txt", 5, "utterance 0011_000351 is there twice; its first line is kept"),
        ("0011/0011_000355.wav", None, outside),
        ("0011/Whispered/0011_000354.wav", None, outside),
        ("0011/Angry/evaluation/0012_000002.wav", None, "a sound whose name is not 0011_ and six digits"),
        ("0011/Happy/0011_000351.wav", None, "the utterance is there twice; the first sound is kept"),
        (
            *("0011/Angry/evaluation/0011_000353.wav", None),
            "the transcript says 'Happy', the folder 'Angry'; the folder counts",
        ),
    }


def test_language_and_gender_are_the_readmes(imported, tmp_path):
    rows = by_id(imported)
    assert (rows["0001_000001"]["language"], rows["0001_000001"]["gender"]) == ("zh", "female")
    assert (rows["0011_000001"]["language"], rows["0011_000001"]["gender"]) == ("en", "male")
    (tmp_path / "ReadMe.txt").unlink()
    assert {(r["language"], r["gender"]) for r in read(tmp_path).utterances.to_pylist()} == {(None, None)}


def test_the_same_sentence_has_the_same_script(imported):
    rows = by_id(imported)
    assert rows["0011_000351"]["transcript"] == "The nine the eggs, I keep."
    assert rows["0011_000351"]["script"] == rows["0011_000001"]["script"] == "the nine the eggs i keep"
    assert rows["0011_000352"]["transcript"] is None  # its line is malformed


@pytest.mark.parametrize("encoding", ["gb2312", "utf-16", "utf-8", "utf-8-sig", "latin-1"])
def test_transcripts_of_every_encoding(tmp_path, encoding):
    text = ESD_ENGLISH if encoding == "latin-1" else ESD_MANDARIN
    speaker = text[:4]
    name = text.split("\t")[0]
    files = {f"{speaker}/{speaker}.txt": text.encode(encoding, "replace"), f"{speaker}/Angry/{name}.wav": SOUND}
    found = read(release(tmp_path, files))
    assert found.utterances["transcript"].to_pylist() == [text.split("\t")[1]]


def test_latin_1_is_not_taken_for_chinese(tmp_path):
    found = read(release(tmp_path, {**ESD, "0011/Happy/0011_000353.wav": SOUND}))
    assert by_id(found)["0011_000353"]["transcript"] == "A café, he said."


def test_missing_and_broken_transcripts_are_said(tmp_path):
    files = {"0011/Angry/0011_000351.wav": SOUND, "0012/Sad/0012_000001.wav": SOUND, "0012/0012.txt": b"\0\1"}
    found = read(release(tmp_path, files))
    assert found.notes[1:] == ("no 0011/0011.txt is there: speaker 0011 has no transcripts",)
    assert ["is not text" in p["reason"] for p in found.problems.to_pylist()] == [True]


def test_the_sounds_may_lie_elsewhere_and_the_release_one_folder_below(tmp_path):
    texts = {name: content for name, content in ESD.items() if name.endswith(".txt")}
    wavs = {name: content for name, content in ESD.items() if name.endswith(".wav")}
    source, sounds = release(tmp_path / "a", {f"ESD/{n}": c for n, c in texts.items()}), release(tmp_path / "b", wavs)
    rows = by_id(read(source, audio=sounds))
    assert rows["0011_000001"]["audio"] == str(sounds.resolve() / "0011/Neutral/test/0011_000001.wav")
    assert rows["0011_000001"]["transcript"] == "The nine the eggs, I keep."
    assert rows["0011_000001"]["language"] == "en"
    with pytest.raises(CorpusError, match=r"is no esd release.*(?s:.*)0011/Angry/train/0011_000351\.wav"):
        read(source)


def test_what_is_no_release_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="nothing is there"):
        read(tmp_path / "absent")
    with pytest.raises(CorpusError, match=r"found labels\.txt"):
        read(release(tmp_path / "other", {"labels.txt": "x"}))


EMOTIONS = {"Angry": "angry", "Happy": "happy", "Neutral": "neutral", "Sad": "sad", "Surprise": "surprise"}
FOLDERS = {"train/": "train", "evaluation/": "development", "test/": "test", "": None}


@st.composite
def speakers(draw):
    """Utterances of some speakers: emotion, split folder and sentence by id."""
    ids = draw(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 1750)), min_size=1, max_size=6, unique=True))
    sentence = st.text("abcdefghij é.,", min_size=1).map(str.strip).filter(bool)
    return {
        f"{speaker:04d}_{number:06d}": (
            draw(st.sampled_from(list(EMOTIONS))),
            draw(st.sampled_from(list(FOLDERS))),
            draw(sentence),
        )
        for speaker, number in ids
    }


@settings(max_examples=25, deadline=None)
@given(speakers(), st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]))
def test_what_is_written_in_the_releases_format_is_read_back(corpus, encoding):
    files = {f"{u[:4]}/{emo}/{s}{u}.wav": SOUND for u, (emo, s, _) in corpus.items()}
    for speaker in {u[:4] for u in corpus}:
        lines = [f"{u}\t{text}\t{emo}\n" for u, (emo, _, text) in corpus.items() if u[:4] == speaker]
        files[f"{speaker}/{speaker}.txt"] = "".join(lines).encode(encoding)
    with laid_out(files) as folder:
        found = read(folder)
    assert found.problems.num_rows == 0
    rows = by_id(found)
    assert {u: (r["intended"], r["split"], r["transcript"], r["speaker"]) for u, r in rows.items()} == {
        u: (EMOTIONS[emo], FOLDERS[s], text, u[:4]) for u, (emo, s, text) in corpus.items()
    }


@settings(max_examples=100, deadline=None)
@given(st.lists(damages(), min_size=1, max_size=3))
def test_damaged_transcripts_never_lose_an_utterance(chosen):
    files = {"0011/0011.txt": damaged(ESD_ENGLISH.encode(), *chosen), "0011/Angry/0011_000351.wav": SOUND}
    with laid_out({**files, "ReadMe.txt": damaged(b"0011: English Male\n", *chosen)}) as folder:
        found = accounted(read, folder)
    assert found is None or found.utterances["intended"].to_pylist() == ["angry"]
