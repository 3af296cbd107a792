"""The reader of MSP-IMPROV: a fixture for each trap, a round trip, and damaged files."""

import pytest
from fixtures.mutated import damaged, damages
from fixtures.releases import (
    MSP_IMPROV_CLIPS,
    MSP_IMPROV_NATURAL,
    MSP_IMPROV_READ,
    POINTER,
    SOUND,
    accounted,
    by_id,
    laid_out,
    msp_improv,
    reader,
    release,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from serann.data.errors import CorpusError

read = reader("msp-improv")


@pytest.fixture
def imported(tmp_path):
    return read(msp_improv(tmp_path))


def test_primary_and_secondary_votes_with_the_words_behind_them(imported):
    rows = [
        (v["utterance_id"][11:15], v["rater_id"], v["rank"], v["label"], v["text"], v["weight"])
        for v in imported.votes.to_pylist()
    ]
    assert rows == [
        ("S01A", "w-1", "primary", "angry", None, 1.0),
        ("S01A", "w-1", "secondary", "angry", None, 1.0),
        ("S01A", "w-1", "secondary", "angry", "Frustrated", 1.0),
        ("S01A", "w-2", "primary", "other", "mixed, up", 1.0),
        ("S01A", "w-2", "secondary", "other", "Surprised", 1.0),
        ("S01A", "w-3", "primary", "neutral", None, 1.0),
        ("S04H", "w-1", "primary", "happy", None, 1.0),
        # No primary vote is folded, though this secondary is.
        ("S04H", "w-4", "primary", "other", "Frustrated", 1.0),
        ("S04H", "w-4", "secondary", "happy", "Excited", 1.0),
    ]


def test_repeated_raters_and_orphans_are_listed_with_their_votes(imported):
    problems = [(p["line"], p["reason"], p["votes"], p["rater_id"]) for p in imported.problems.to_pylist()]
    assert problems == [
        (4, "rater w-1 is there twice", 3, "w-1"),
        (5, "rater w-2 answered already, otherwise; the first line is kept", 1, "w-2"),
        (6, "dominance is '7.0'; expected a number from 1 to 5, or NaN", 0, "w-3"),
        (12, "a clip line that cannot be read", 0, None),
        (13, "an answer below a clip line that cannot be read", 3, "w-5"),
        (15, "an answer without a clip line above it", 1, "w-6"),
    ]
    assert imported.votes_in == 9 + 8


def test_ratings_leave_out_what_is_nan(imported):
    rows = {(r["utterance_id"][11:15], r["rater_id"], r["dimension"]): r["value"] for r in imported.ratings.to_pylist()}
    assert rows == {
        ("S01A", "w-1", "arousal"): 3,
        ("S01A", "w-1", "valence"): 2,
        ("S01A", "w-1", "dominance"): 3,
        ("S01A", "w-1", "naturalness"): 4,
        ("S01A", "w-2", "valence"): 2,
        ("S01A", "w-2", "dominance"): 3,
        ("S01A", "w-2", "naturalness"): 4,
        ("S01A", "w-3", "arousal"): 4,
        ("S01A", "w-3", "valence"): 3,
        **{
            ("S04H", f"w-{rater}", dimension): value
            for rater in (1, 4)
            for dimension, value in (("arousal", 2), ("valence", 4), ("dominance", 2), ("naturalness", 5))
        },
    }
    assert imported.scale == (1.0, 5.0)


def test_clips_have_the_speaker_of_the_fourth_field_and_the_target_emotion(imported, tmp_path):
    rows = by_id(imported)
    assert set(rows) == {MSP_IMPROV_READ, MSP_IMPROV_NATURAL}  # UTD- becomes MSP-, as the sounds are named
    names = ("speaker", "gender", "session", "dialogue", "script", "scenario", "target", "intended")
    assert [rows[MSP_IMPROV_READ][n] for n in names] == [
        *("F02", "female", "session2", "session2-S01A", "S01", "target-read", "angry", "angry")
    ]
    # Nobody acts in a natural clip, and the target sentence is not said there.
    assert [rows[MSP_IMPROV_NATURAL][n] for n in names] == [
        *("M01", "male", "session1", "session1-S04H", None, "natural", "happy", None)
    ]
    assert rows[MSP_IMPROV_READ]["audio"] == str(tmp_path.resolve() / f"session2/S01A/R/{MSP_IMPROV_READ}.wav")
    assert rows[MSP_IMPROV_NATURAL]["audio"] == str(tmp_path.resolve() / f"session1/S04H/P/{MSP_IMPROV_NATURAL}.wav")
    assert rows[MSP_IMPROV_READ]["split"] is None


def test_consensus_is_no_vote_and_x_is_none(imported):
    rows = by_id(imported)
    assert (rows[MSP_IMPROV_READ]["consensus"], rows[MSP_IMPROV_READ]["consensus_code"]) == ("angry", "A")
    assert (rows[MSP_IMPROV_NATURAL]["consensus"], rows[MSP_IMPROV_NATURAL]["consensus_code"]) == (None, "X")
    attributes = [f"consensus_{d}" for d in ("arousal", "valence", "dominance", "naturalness")]
    assert [rows[MSP_IMPROV_READ][a] for a in attributes] == [2.666667, 2.333333, 3.0, 4.1]
    assert [rows[MSP_IMPROV_NATURAL][a] for a in attributes] == [None, 3.5, 2.0, 4.5]


def test_both_spellings_of_the_file_and_every_place_of_the_sounds(tmp_path):
    flat = release(tmp_path / "flat", {f"{MSP_IMPROV_READ}.wav": SOUND, f"._{MSP_IMPROV_READ}.wav": ""})
    source = release(tmp_path / "source", {"MSP-IMPROV/Evaluation.txt": MSP_IMPROV_CLIPS})
    found = read(source)
    assert found.release == "MSP-IMPROV, Evaluation.txt"
    assert set(found.utterances["audio"].to_pylist()) == {None}
    assert found.notes[0].startswith("no sounds: no folder session*/ below")
    rows = by_id(read(source / "MSP-IMPROV/Evaluation.txt", audio=flat))
    assert rows[MSP_IMPROV_READ]["audio"] == str(flat.resolve() / f"{MSP_IMPROV_READ}.wav")
    assert rows[MSP_IMPROV_NATURAL]["audio"] == str(flat.resolve() / f"session1/S04H/P/{MSP_IMPROV_NATURAL}.wav")
    release(source / "MSP-IMPROV", {f"Audio/session2/S01A/R/{MSP_IMPROV_READ}.wav": SOUND})
    rows = by_id(read(source))
    assert rows[MSP_IMPROV_NATURAL]["audio"] == str(
        source.resolve() / f"MSP-IMPROV/Audio/session1/S04H/P/{MSP_IMPROV_NATURAL}.wav"
    )


def test_a_clip_that_is_there_twice_keeps_its_first_block(tmp_path):
    found = read(
        release(tmp_path, {"Evalution.txt": MSP_IMPROV_CLIPS + "\n" + MSP_IMPROV_CLIPS.replace("; Happy;", "; Sad;")})
    )
    assert found.votes.num_rows == 9
    assert found.votes_in == 2 * 17
    assert "sad" not in found.votes["label"].to_pylist()


def test_what_is_no_release_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="nothing is there"):
        read(tmp_path / "absent")
    with pytest.raises(CorpusError, match=r"is no msp-improv release.*Evalution\.txt or Evaluation\.txt"):
        read(release(tmp_path / "other", {"labels.txt": MSP_IMPROV_CLIPS}))
    with pytest.raises(CorpusError, match="without a clip line"):
        read(release(tmp_path / "words", {"Evalution.txt": "w-1; Happy;\n"}))
    with pytest.raises(CorpusError, match="is empty"):
        read(release(tmp_path / "empty", {"Evalution.txt": ""}))
    with pytest.raises(CorpusError, match="Git-LFS pointer"):
        read(release(tmp_path / "lfs", {"Evalution.txt": POINTER}))


PRIMARY = {"Angry": "angry", "Sad": "sad", "Happy": "happy", "Neutral": "neutral", "Other": "other"}
SECONDARY = {**PRIMARY, "Frustrated": "angry", "Depressed": "sad", "Excited": "happy", "Surprised": "other"}


@st.composite
def clips(draw):
    """Clips with their raters' answers: a primary, further words, four attributes (None is NaN)."""
    number = st.none() | st.integers(1, 5)
    answer = st.tuples(
        st.sampled_from(list(PRIMARY)),
        st.lists(st.sampled_from(list(SECONDARY)), max_size=3, unique=True),
        st.tuples(number, number, number, number),
    )
    raters = st.sampled_from(["a-1", "a-2", "b-1", "b-2"])
    names = st.from_regex(r"S0[1-9][AHNS]-[FM]0[1-6]-[PRST]-[FM][FM][0-9]{2}", fullmatch=True)
    return draw(st.dictionaries(names, st.dictionaries(raters, answer, max_size=4), min_size=1, max_size=4))


@settings(max_examples=25, deadline=None)
@given(clips())
def test_what_is_written_in_the_releases_format_is_read_back(corpus):
    text = ""
    for name, answers in corpus.items():
        text += f"UTD-IMPROV-{name}.avi; N; A:1.0; V:2.0; D:3.0 ; N:4.0;\n"
        for rater, (primary, words, values) in answers.items():
            a, v, d, n = ("NaN" if value is None else f"{value:.1f}" for value in values)
            text += f"{rater}; {primary}; {','.join(words)}; A:{a}; V:{v}; D:{d}; N:{n};\n"
        text += "\n"
    with laid_out({"Evalution.txt": text}) as folder:
        found = read(folder)
    assert found.problems.num_rows == 0
    votes = sorted((v["utterance_id"][11:], v["rater_id"], v["rank"], v["label"]) for v in found.votes.to_pylist())
    assert votes == sorted(
        vote
        for name, answers in corpus.items()
        for rater, (primary, words, _) in answers.items()
        for vote in [
            (name, rater, "primary", PRIMARY[primary]),
            *((name, rater, "secondary", SECONDARY[word]) for word in words),
        ]
    )
    ratings = found.ratings.to_pylist() if found.ratings else []
    dimensions = ("arousal", "valence", "dominance", "naturalness")
    assert {(r["utterance_id"][11:], r["rater_id"], r["dimension"], r["value"]) for r in ratings} == {
        (name, rater, dimension, float(value))
        for name, answers in corpus.items()
        for rater, (_, _, values) in answers.items()
        for dimension, value in zip(dimensions, values, strict=True)
        if value is not None
    }
    assert {u["speaker"] for u in found.utterances.to_pylist()} == {name[5:8] for name in corpus}


@settings(max_examples=100, deadline=None)
@given(st.lists(damages(), min_size=1, max_size=3))
def test_damaged_files_are_read_with_every_vote_accounted_for_or_refused(chosen):
    with laid_out({"Evalution.txt": damaged(MSP_IMPROV_CLIPS.encode(), *chosen)}) as folder:
        found = accounted(read, folder, audio=folder)
    assert found is None or found.utterances.num_rows


@settings(max_examples=25, deadline=None)
@given(st.permutations(MSP_IMPROV_CLIPS.split("\n")))
def test_no_vote_is_lost_wherever_the_lines_stand(lines):
    with laid_out({"Evalution.txt": "\n".join(lines)}) as folder:
        found = read(folder)
    # Counted by hand in the fixture: 3, 2, 3, 1, 1; 1, 2; 3; 1.
    assert found.votes_in == 17
