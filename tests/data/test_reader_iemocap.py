"""The reader of IEMOCAP: a fixture for each trap, a round trip, and damaged files."""

import pytest
from fixtures.mutated import damaged, damages
from fixtures.releases import (
    IEMOCAP,
    IEMOCAP_DIALOGUE,
    IEMOCAP_HEAD,
    IEMOCAP_WORDS,
    POINTER,
    SOUND,
    accounted,
    by_id,
    iemocap,
    laid_out,
    reader,
    release,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from serann.data.errors import CorpusError
from serann.data.labels import LABEL_SETS

read = reader("iemocap")


@pytest.fixture
def imported(tmp_path):
    return read(iemocap(tmp_path))


def test_votes_keep_every_label_and_their_rater_weighs_one(imported):
    rows = [
        (v["rater_id"], v["source"], v["label"], v["weight"], v["text"])
        for v in imported.votes.to_pylist()
        if v["utterance_id"] == "Ses01F_impro01_F000"
    ]
    assert rows == [
        ("E2", "human", "neutral", 1.0, None),
        ("E3", "human", "neutral", 0.5, "torn"),
        ("E3", "human", "angry", 0.5, "torn"),
        ("E4", "human", "other", 1.0, "amused"),
        ("Ses01_F1", "self", "neutral", 0.25, "curious"),
        ("Ses01_F1", "self", "angry", 0.25, "curious"),
        ("Ses01_F1", "self", "frustrated", 0.25, "curious"),
        ("Ses01_F1", "self", "excited", 0.25, "curious"),
    ]
    # 8 of the first utterance, 3 of the second, 2 below the broken header, 1 of the other session.
    assert imported.votes_in == 14
    assert imported.votes.num_rows == 12


def test_a_category_that_is_none_of_the_ten_is_other_with_its_word(imported):
    assert {
        v["text"] for v in imported.votes.to_pylist() if (v["rater_id"], v["utterance_id"][-4:]) == ("E4", "M013")
    } == {"Puzzled"}


def test_a_label_named_twice_in_a_vote_is_listed_and_the_vote_still_weighs_one(tmp_path):
    text = (
        IEMOCAP_HEAD
        + "\n[0 - 1]\tSes05F_impro01_F000\tneu\t[1, 2, 3]\nC-E1:\tNeutral; neutral state; Anger; Odd; odd;\t()\n"
    )
    found = read(release(tmp_path, {"Session5/dialog/EmoEvaluation/Ses05F_impro01.txt": text}))
    votes = [(v["label"], v["text"], v["weight"]) for v in found.votes.to_pylist()]
    assert votes == [("neutral", None, 1 / 3), ("angry", "Anger", 1 / 3), ("other", "Odd", 1 / 3)]
    assert [(p["reason"], p["votes"]) for p in found.problems.to_pylist()] == [
        ("the vote names 'neutral state' twice", 1),
        ("the vote names 'odd' twice", 1),
    ]


def test_a_raters_second_line_is_listed(tmp_path):
    again = IEMOCAP_DIALOGUE.replace(
        "C-E4:\tOther;\t(amused)\n", "C-E2:\tNeutral;\t()\nC-E3:\tAnger; Fear;\t()\nA-E3:\tval 1;\t()\n"
    )
    found = read(release(tmp_path, {**IEMOCAP, "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt": again}))
    assert [(p["line"], p["reason"], p["votes"]) for p in found.problems.to_pylist()][:3] == [
        (6, "rater E2 voted already; the first line is kept", 1),
        (7, "rater E3 voted already; the first line is kept", 2),
        (10, "rater E3 rated valence already", 0),
    ]
    assert found.votes.num_rows == 11


def test_speaker_is_the_last_letter_and_not_who_wore_the_markers(imported):
    speakers = {u: (row["speaker"], row["gender"]) for u, row in by_id(imported).items()}
    assert speakers == {
        "Ses01F_impro01_F000": ("Ses01F", "female"),
        "Ses01F_impro01_M013": ("Ses01M", "male"),
        "Ses03M_script01_1b_FXX2": ("Ses03F", "female"),
    }


def test_the_header_gives_consensus_attributes_and_place_in_the_dialogue(imported):
    rows = by_id(imported)
    first, second = rows["Ses01F_impro01_F000"], rows["Ses01F_impro01_M013"]
    assert (first["consensus"], first["consensus_code"]) == ("neutral", "neu")
    assert (second["consensus"], second["consensus_code"]) == (None, "xxx")
    names = ("consensus_valence", "consensus_arousal", "consensus_dominance", "dialog_start", "dialog_end")
    assert [second[name] for name in names] == [2.0, 3.5, 3.0, 10.01, 11.3925]
    assert (second["start"], second["end"], second["split"]) == (None, None, None)
    assert (second["dialogue"], second["session"], second["scenario"]) == ("Ses01F_impro01", "Ses01", "improvised")
    scripted = rows["Ses03M_script01_1b_FXX2"]
    assert (scripted["scenario"], scripted["script"], second["script"]) == ("scripted", "script01_1b", None)


def test_ratings_are_kept_with_their_own_raters_and_dominance_may_lack(imported):
    rows = {
        (r["utterance_id"][-4:], r["rater_id"], r["source"], r["dimension"]): r["value"]
        for r in imported.ratings.to_pylist()
    }
    assert rows == {
        ("F000", "E3", "human", "valence"): 3,
        ("F000", "E3", "human", "arousal"): 2,
        ("F000", "E3", "human", "dominance"): 2,
        ("F000", "E4", "human", "valence"): 2,
        ("F000", "E4", "human", "arousal"): 3,
        ("F000", "E1", "human", "valence"): 2,
        ("F000", "E1", "human", "arousal"): 3,
        ("F000", "Ses01_F1", "self", "valence"): 5,
        ("F000", "Ses01_F1", "self", "arousal"): 1,
        ("F000", "Ses01_F1", "self", "dominance"): 4,
        ("M013", "E3", "human", "arousal"): 4,
        ("M013", "E3", "human", "dominance"): 3,
    }
    assert imported.scale == (1.0, 5.0)
    remarks = by_id(imported)["Ses01F_impro01_F000"]["rating_comments"]
    assert remarks == "A-E4: staying polite\nA-F1: tired"


def test_votes_below_a_broken_header_are_listed_and_belong_to_nobody_else(imported):
    reasons = [(p["line"], p["reason"], p["votes"]) for p in imported.problems.to_pylist()]
    below = "an evaluation below a header that cannot be read"
    assert reasons == [
        (17, "valence is '9'; expected a number from 1 to 5", 0),
        (19, "an utterance's header that cannot be read", 0),
        (20, below, 2),
        (21, below, 0),
    ]


def test_words_and_sounds(imported, tmp_path):
    rows = by_id(imported)
    assert rows["Ses01F_impro01_M013"]["transcript"] == "Do you have: your forms?"
    wav = tmp_path / "Session1/sentences/wav/Ses01F_impro01"
    assert rows["Ses01F_impro01_F000"]["audio"] == str((wav / "Ses01F_impro01_F000.wav").resolve())
    assert rows["Ses01F_impro01_M013"]["audio"] == str((wav / "Ses01F_impro01_M013.wav").resolve())
    assert len(rows) == 3  # the transcribed MXX0 was never evaluated
    assert imported.release == "IEMOCAP, Session1, Session3"


def test_sounds_may_lie_elsewhere_or_nowhere(tmp_path):
    files = {name: content for name, content in IEMOCAP.items() if "/wav/" not in name and "transcriptions" not in name}
    source = release(tmp_path / "IEMOCAP_full_release", files)
    found = read(source)
    assert set(found.utterances["audio"].to_pylist()) == {None}
    assert [note.split(" ")[0] for note in found.notes] == ["no", "no"]
    flat = release(tmp_path / "flat", {"Ses01F_impro01_M013.wav": SOUND})
    rows = by_id(read(tmp_path, audio=flat))  # the release one folder below
    assert rows["Ses01F_impro01_M013"]["audio"] == str(flat.resolve() / "Ses01F_impro01_M013.wav")
    expected = flat.resolve() / "Ses01F_impro01" / "Ses01F_impro01_F000.wav"
    assert rows["Ses01F_impro01_F000"]["audio"] == str(expected)
    assert read(source / "Session3").utterances.num_rows == 1  # one session


def test_an_utterance_evaluated_twice_keeps_its_first_evaluation(tmp_path):
    again = IEMOCAP_DIALOGUE.replace(IEMOCAP_HEAD, "").replace("neu", "ang").replace("Neutral;", "Sadness;")
    found = read(release(tmp_path, {"Session1/dialog/EmoEvaluation/Ses01F_impro01.txt": IEMOCAP_DIALOGUE + again}))
    assert by_id(found)["Ses01F_impro01_F000"]["consensus"] == "neutral"
    assert found.votes.num_rows == 11
    assert found.votes_in == 2 * 13


def test_other_folders_and_broken_files_are_refused_with_what_was_looked_for(tmp_path):
    with pytest.raises(CorpusError, match="nothing is there"):
        read(tmp_path / "absent")
    with pytest.raises(CorpusError, match=r"is no iemocap release.*Session1/dialog/EmoEvaluation"):
        read(release(tmp_path / "other", {"labels.txt": "MSP-PODCAST_0001_0008.wav; N;"}))
    (tmp_path / "file.txt").write_text("text")
    with pytest.raises(CorpusError, match="found a file"):
        read(tmp_path / "file.txt")
    evaluations = "Session1/dialog/EmoEvaluation/"
    broken = release(tmp_path / "broken", {evaluations + "a.txt": "", evaluations + "b.txt": POINTER, **IEMOCAP})
    with pytest.raises(CorpusError, match=r"(?s)2 problems.*a\.txt is empty.*b\.txt is a Git-LFS pointer"):
        read(broken)
    with pytest.raises(CorpusError, match="without an utterance"):
        read(release(tmp_path / "words", {evaluations + "a.txt": "nothing of the kind\n"}))


CATEGORIES = ("Neutral", "Happiness", "Anger", "Sadness", "Frustration", "Excited", "Fear", "Disgust", "Surprise")
LABELS = dict(zip(CATEGORIES, LABEL_SETS["iemocap9"].labels, strict=True))


@st.composite
def evaluations(draw):
    """Utterances of a dialogue: id, votes by rater, ratings by rater."""
    ids = draw(st.lists(st.tuples(st.sampled_from("FM"), st.integers(0, 99)), min_size=1, max_size=4, unique=True))
    raters = st.sampled_from(["E1", "E2", "E3", "F1", "M1"])
    ballot = st.lists(st.sampled_from(CATEGORIES), min_size=1, max_size=4, unique=True)
    numbers = st.tuples(*[st.integers(1, 5)] * 3)
    return {
        f"Ses02M_impro03_{letter}{number:03d}": (
            draw(st.dictionaries(raters, ballot, max_size=5)),
            draw(st.dictionaries(raters, numbers, max_size=5)),
        )
        for letter, number in ids
    }


@settings(max_examples=25, deadline=None)
@given(evaluations())
def test_what_is_written_in_the_releases_format_is_read_back(corpus):
    text = IEMOCAP_HEAD
    for utterance, (ballots, numbers) in corpus.items():
        text += f"\n[1.0 - 2.0]\t{utterance}\tang\t[1.0, 2.0, 3.0]\n"
        text += "".join(f"C-{rater}:\t{'; '.join(ballot)};\t()\n" for rater, ballot in ballots.items())
        text += "".join(f"A-{rater}:\tval {v}; act {a}; dom  {d};\t()\n" for rater, (v, a, d) in numbers.items())
    with laid_out({"Session2/dialog/EmoEvaluation/Ses02M_impro03.txt": text}) as folder:
        found = read(folder)
    name = lambda rater: rater if rater[0] == "E" else f"Ses02_{rater}"  # noqa: E731
    votes = {
        (utterance, name(rater), LABELS[word], 1 / len(ballot))
        for utterance, (ballots, _) in corpus.items()
        for rater, ballot in ballots.items()
        for word in ballot
    }
    assert {(v["utterance_id"], v["rater_id"], v["label"], v["weight"]) for v in found.votes.to_pylist()} == votes
    ratings = {
        (utterance, name(rater), dimension, float(value))
        for utterance, (_, numbers) in corpus.items()
        for rater, values in numbers.items()
        for dimension, value in zip(("valence", "arousal", "dominance"), values, strict=True)
    }
    rows = found.ratings.to_pylist() if found.ratings else []
    assert {(r["utterance_id"], r["rater_id"], r["dimension"], r["value"]) for r in rows} == ratings
    assert found.problems.num_rows == 0
    assert found.utterances["utterance_id"].to_pylist() == sorted(corpus)


@settings(max_examples=100, deadline=None)
@given(st.lists(damages(), min_size=1, max_size=3), st.lists(damages(), max_size=1))
def test_damaged_files_are_read_with_every_vote_accounted_for_or_refused(evaluation, words):
    files = {
        "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt": damaged(IEMOCAP_DIALOGUE.encode(), *evaluation),
        "Session1/dialog/transcriptions/Ses01F_impro01.txt": damaged(IEMOCAP_WORDS.encode(), *words),
    }
    with laid_out(files) as folder:
        found = accounted(read, folder, audio=folder)
    assert found is None or found.utterances.num_rows


@settings(max_examples=25, deadline=None)
@given(st.permutations(IEMOCAP_DIALOGUE.split("\n")))
def test_no_vote_is_lost_wherever_the_lines_stand(lines):
    evaluation = "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    with laid_out({evaluation: "\n".join(lines)}) as folder:
        found = read(folder)
    # Counted by hand in the fixture: 8, 3 and 2.
    assert found.votes_in == 13
