"""The reader of RAVDESS: the seven fields of its names, a round trip, damaged names."""

import pytest
from fixtures.releases import RAVDESS_SOUNDS, by_id, laid_out, ravdess, reader
from hypothesis import given, settings
from hypothesis import strategies as st
from serann.data.errors import CorpusError, OptionError
from serann.data.labels import LABEL_SETS

read = reader("ravdess")
EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise")


def test_names_say_everything_there_is(tmp_path):
    imported = read(ravdess(tmp_path))
    rows = by_id(imported)
    assert {name: row["intended"] for name, row in rows.items()} == {
        "03-01-01-01-01-01-01": "neutral",
        "03-01-02-02-02-01-01": "calm",
        "03-01-06-01-02-01-12": "fear",
        "03-02-03-02-01-02-12": "happy",
    }
    sung = rows["03-02-03-02-01-02-12"]
    assert (sung["speaker"], sung["gender"], sung["script"], sung["transcript"]) == ("Actor_12", "female", "01", None)
    assert (sung["channel"], sung["intensity"], sung["repetition"], sung["split"]) == ("song", "strong", 2, None)
    assert sung["audio"] == str(tmp_path.resolve() / "Actor_12" / "03-02-03-02-01-02-12.wav")
    assert rows["03-01-01-01-01-01-01"]["gender"] == "male"
    assert imported.labels == LABEL_SETS["ravdess8"]
    assert imported.problems.num_rows == 0


def test_intended_labels_are_no_votes(tmp_path):
    imported = read(ravdess(tmp_path))
    assert (imported.votes_in, imported.votes.num_rows, imported.ratings) == (0, 0, None)
    assert imported.notes[0].startswith("no votes: the release holds what the actors intended")
    assert set(imported.utterances["consensus"].to_pylist()) == {None}


def test_speech_and_song_apart(tmp_path):
    folder = ravdess(tmp_path)
    speech, song = read(folder, modality="speech"), read(folder, modality="song")
    assert (speech.utterances.num_rows, song.utterances.num_rows) == (3, 1)
    assert "files that are no speech, not imported: 1" in speech.notes
    with pytest.raises(OptionError, match="unknown --modality 'voice'; expected one of speech, song"):
        read(folder, modality="voice")
    with pytest.raises(CorpusError, match="of song"):
        read(folder / "Actor_01", modality="song")


def test_names_that_do_not_fit_are_listed_and_films_counted(tmp_path):
    odd = (
        "copy/Actor_12/03-01-06-01-02-01-12.wav",  # a second copy
        "Actor_02/03-01-05-01-01-01-04.wav",  # in another actor's folder
        "Actor_02/03-01-01-02-01-01-02.wav",  # a strong neutral
        "Actor_02/03-01-09-01-01-01-02.wav",
        "Actor_02/take two.wav",
        "Actor_02/01-01-05-01-01-01-02.mp4",
        "Actor_02/holiday.mp4",
        "Actor_02/._03-01-05-01-01-01-02.wav",
        b"Actor_02/\xff\xfe.wav",
    )
    imported = read(ravdess(tmp_path, *RAVDESS_SOUNDS, *odd))
    problems = {row["file"]: row["reason"] for row in imported.problems.to_pylist()}
    assert problems == {
        "copy/Actor_12/03-01-06-01-02-01-12.wav": "a file of this name was imported already",
        "Actor_02/03-01-05-01-01-01-04.wav": "the name says actor 04, the folder 02; the name is believed",
        "Actor_02/03-01-01-02-01-01-02.wav": "a strong neutral, which the corpus does not have",
        "Actor_02/03-01-09-01-01-01-02.wav": "unknown emotion 09",
        "Actor_02/take two.wav": "no RAVDESS name (expected seven fields of two digits, as 03-01-06-01-02-01-12)",
        "Actor_02/\ufffd\ufffd.wav": "no RAVDESS name (expected seven fields of two digits, as 03-01-06-01-02-01-12)",
    }
    rows = by_id(imported)
    assert len(rows) == 6
    assert rows["03-01-05-01-01-01-04"]["speaker"] == "Actor_04"
    assert rows["03-01-06-01-02-01-12"]["audio"] == str(tmp_path.resolve() / RAVDESS_SOUNDS[2])
    assert "files of another modality than audio alone (03), not imported: 1" in imported.notes


def test_another_corpus_is_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"(?s)is no ravdess release.*Actor_01/ and the like"):
        read(ravdess(tmp_path / "other", "wav/03a01Fa.wav"))
    with pytest.raises(CorpusError, match="nothing is there"):
        read(tmp_path / "nowhere")
    with pytest.raises(CorpusError, match="found a file, 03a01Fa"):
        read(tmp_path / "other" / "wav" / "03a01Fa.wav")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="found an empty folder"):
        read(tmp_path / "empty")
    with pytest.raises(OptionError, match="is no folder"):
        read(tmp_path, audio=tmp_path / "nowhere")


fields = st.tuples(
    st.integers(1, 2), st.integers(1, 8), st.integers(1, 2), st.integers(1, 2), st.integers(1, 2), st.integers(1, 24)
).filter(lambda drawn: drawn[1:3] != (1, 2))


@settings(max_examples=25, deadline=None)
@given(st.sets(fields, min_size=1, max_size=10))
def test_round_trip(drawn):
    names = {"03-" + "-".join(f"{value:02}" for value in one): one for one in drawn}
    with laid_out({}) as folder:
        imported = read(ravdess(folder, *(f"Actor_{one[-1]:02}/{name}.wav" for name, one in names.items())))
    assert imported.problems.num_rows == 0
    found = {
        name: (row["channel"], row["intended"], row["intensity"], row["script"], row["repetition"], row["speaker"])
        for name, row in by_id(imported).items()
    }
    assert found == {
        name: (
            ("speech", "song")[channel - 1],
            EMOTIONS[emotion - 1],
            ("normal", "strong")[intensity - 1],
            f"{statement:02}",
            repetition,
            f"Actor_{actor:02}",
        )
        for name, (channel, emotion, intensity, statement, repetition, actor) in names.items()
    }


@settings(max_examples=60, deadline=None)
@given(st.sets(st.binary(min_size=1, max_size=3), max_size=4), st.integers(1, 20))
def test_damaged_names_are_listed(junk, at):
    whole = b"03-01-06-01-02-01-12"
    pieces = {piece.translate(None, b"/\0") for piece in junk} - {b""}
    names = [whole[:at] + piece + whole[at:] for piece in pieces]  # too long for any name of the corpus
    with laid_out({}) as folder:
        imported = read(ravdess(folder, *RAVDESS_SOUNDS, *(b"Actor_12/" + name + b".wav" for name in names)))
    assert (imported.utterances.num_rows, imported.problems.num_rows) == (len(RAVDESS_SOUNDS), len(set(names)))
