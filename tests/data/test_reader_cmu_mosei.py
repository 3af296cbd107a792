"""The reader of CMU-MOSEI: the rules that make votes of strengths, a fixture for each trap, a round trip, damage."""

import pytest
from fixtures.mutated import damaged, damages
from fixtures.releases import (
    CMU_MOSEI,
    CMU_MOSEI_HEADER,
    CMU_MOSEI_TRANSCRIPTS,
    POINTER,
    SOUND,
    accounted,
    by_id,
    cmu_mosei,
    cmu_mosei_answer,
    csv_text,
    laid_out,
    reader,
    release,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from serann.data.errors import CorpusError, OptionError
from serann.data.labels import LABEL_SETS

read = reader("cmu-mosei")

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise")


def votes_on(imported, clip) -> set[tuple]:
    rows = imported.votes.to_pylist()
    return {(row["rater_id"], row["label"], row["weight"]) for row in rows if row["utterance_id"] == clip}


def test_argmax_shares_a_vote_among_ties_and_reads_zeros_as_neutral(tmp_path):
    imported = read(cmu_mosei(tmp_path))
    expected = {("W1", "angry", 1), ("W2", "angry", 0.5), ("W2", "happy", 0.5), ("W3", "neutral", 1), ("W4", "fear", 1)}
    assert votes_on(imported, "abc_0") == expected
    assert votes_on(imported, "x___3") == {("W1", "happy", 1)}
    assert imported.notes[0] == (
        "rule argmax: each annotator votes for the strongest emotion, ties sharing the vote; all zero is neutral "
        "(answers it happened to: 1)"
    )
    assert imported.labels == LABEL_SETS["mosei7"]


def test_threshold_votes_for_every_emotion_of_one_or_more(tmp_path):
    imported = read(cmu_mosei(tmp_path), rule="threshold")
    both = {(rater, label, 0.5) for rater in ("W1", "W2") for label in ("angry", "happy")}
    assert votes_on(imported, "abc_0") == both | {("W3", "neutral", 1), ("W4", "neutral", 1)}
    assert "none is neutral (answers it happened to: 2)" in imported.notes[0]


def test_argmax_abstain_gives_a_reason_instead_of_neutral(tmp_path):
    imported = read(cmu_mosei(tmp_path), rule="argmax-abstain")
    silent = [row for row in imported.votes.to_pylist() if row["label"] is None]
    reason = "every emotion has the strength 0, and the release has no neutral class"
    assert [(row["rater_id"], row["reason"]) for row in silent] == [("W3", reason)]
    with pytest.raises(OptionError, match="unknown --rule 'mean'; expected one of argmax, threshold, argmax-abstain"):
        read(tmp_path, rule="mean")


def test_what_cannot_be_a_vote_is_listed(tmp_path):
    imported = read(cmu_mosei(tmp_path))
    problems = {(row["file"].split("_")[0], row["line"], row["reason"], row["votes"], row["rater_id"])
                for row in imported.problems.to_pylist()}  # fmt: skip
    assert problems == {
        ("Batch", 3, "rater W1 answered for this clip already", 2, "W1"),
        ("Batch", 4, "no clip: Input.VIDEO_ID 'abc', Input.CLIP 'one'", 1, "W5"),
        ("Batch", 5, "strengths that are no numbers from 0 to 3: Answer.anger=''", 1, "W6"),
        ("Batch", 6, "strengths that are no numbers from 0 to 3: Answer.anger='9'", 1, "W7"),
        ("Batch", 7, "sentiment '30' is no number from -3 to 3; it is left out of the mean", 0, "W8"),
        ("Batch", 10, "another number of fields than the header's 11", 1, None),
        ("abc.txt", 1, "starts at -0.25 s; read as 0", 0, None),
        ("abc.txt", 3, "no time span: from 9.0 to 8.0 s", 0, None),
        ("abc.txt", 4, "expected video___clip___start___end___text", 0, None),
    }
    # W1 1, W2 2, W3 1, W1 on x__ 1; W4 1, W1 again 2, W5 to W9 1 each, and twice nobody.
    assert imported.votes_in == 5 + 3 + 5 + 2
    assert votes_on(imported, "abc_5") == {("W8", "sad", 1), (None, "sad", 1)}
    assert any("extreme_sentiment_results.csv has no emotion columns" in note for note in imported.notes)
    assert imported.files == ("5000_batch_raw.csv", "Batch_2980374_batch_results.csv")


def test_means_times_and_words(tmp_path):
    rows = by_id(read(cmu_mosei(tmp_path)))
    assert set(rows) == {"abc_0", "abc_5", "x___3"}
    clip = rows["abc_0"]
    assert (clip["start"], clip["end"], clip["transcript"]) == (0, 4.5, "Hello, it's _me_.")
    assert (clip["intensity_angry"], clip["intensity_happy"], clip["intensity_fear"]) == (0.75, 0.5, 0.125)
    assert (clip["sentiment"], clip["annotators"]) == (-0.5, 4)
    assert (clip["speaker"], clip["dialogue"], clip["split"], clip["intended"]) == (None, "abc", None, None)
    assert (rows["abc_5"]["start"], rows["abc_5"]["transcript"]) == (None, "Ends before it starts.")
    underscored = rows["x___3"]
    assert (underscored["start"], underscored["end"], underscored["dialogue"]) == (1.5, 3.25, "x__")
    assert underscored["transcript"] == "Quite three___underscores."


def test_sounds_are_videos_with_times_or_clips_of_their_own(tmp_path):
    folder = cmu_mosei(tmp_path)
    without = read(folder)
    assert by_id(without)["abc_0"]["audio"] is None
    assert any("no folder Audio/Full/WAV_16000" in note for note in without.notes)
    sounds = tmp_path.resolve() / "Raw" / "Audio" / "Full" / "WAV_16000"
    release(folder, {"Raw/Audio/Full/WAV_16000/x___3.wav": SOUND})
    imported = read(folder)
    rows = by_id(imported)
    assert (rows["abc_0"]["audio"], rows["abc_0"]["end"]) == (str(sounds / "abc.wav"), 4.5)
    assert (rows["x___3"]["audio"], rows["x___3"]["end"]) == (str(sounds / "x___3.wav"), None)
    assert rows["abc_5"]["audio"] is None
    assert "clips without times in a transcript, and so without sound: 1" in imported.notes


def test_source_may_be_raw_labels_or_one_table(tmp_path):
    folder = cmu_mosei(tmp_path)
    whole = read(folder)
    for source in (folder / "Raw", folder / "Raw" / "Labels"):
        assert read(source).votes.equals(whole.votes)
        assert read(source).utterances.equals(whole.utterances)
    assert read(folder / "Raw" / "Labels" / "5000_batch_raw.csv").votes_in == 5


def test_another_corpus_is_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"(?s)is no cmu-mosei release.*Raw/Labels/\*\.csv"):
        read(release(tmp_path / "none", {"wav/03a01Fa.wav": SOUND}))
    with pytest.raises(CorpusError, match="tables without these columns, train_sent_emo"):
        read(release(tmp_path / "meld", {"train_sent_emo.csv": b"Utterance,Emotion\nhi,joy\n"}))
    with pytest.raises(CorpusError, match=r"has no column WorkerId, Answer\.disgust"):
        read(release(tmp_path / "cut", {"a.csv": b"Input.VIDEO_ID,Input.CLIP,Answer.anger\nv,1,1\n"}))
    with pytest.raises(CorpusError, match="Git-LFS pointer"):
        read(release(tmp_path / "pointer", {"Labels/a.csv": POINTER}))
    with pytest.raises(CorpusError, match="nothing is there"):
        read(tmp_path / "nowhere")


def test_a_transcript_that_is_no_text_is_listed(tmp_path):
    imported = read(release(tmp_path, {**CMU_MOSEI, f"{CMU_MOSEI_TRANSCRIPTS}/abc.txt": b"\0\1"}))
    assert [row["reason"][-50:] for row in imported.problems.to_pylist() if row["file"] == "abc.txt"] == [
        "text (it holds zero bytes); copy or download it again"[-50:]
    ]
    assert by_id(imported)["x___3"]["start"] == 1.5


def test_a_long_run_of_underscores_costs_no_more_than_its_length(tmp_path):
    file = f"{CMU_MOSEI_TRANSCRIPTS}/x__.txt"
    imported = read(release(tmp_path, {**CMU_MOSEI, file: b"_" * 200_000 + b"\n" + CMU_MOSEI[file]}))
    assert by_id(imported)["x___3"]["end"] == 3.25


videos = st.sampled_from(("abc", "-k_9", "x__", "24196", "_a"))
drawn_answers = st.dictionaries(
    st.tuples(videos, st.integers(0, 3), st.sampled_from(("W1", "W2", "W3"))),
    st.tuples(st.tuples(*[st.integers(0, 3)] * 6), st.integers(-3, 3)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=25, deadline=None)
@given(drawn_answers, st.booleans())
def test_round_trip(drawn, in_folder):
    rows = [CMU_MOSEI_HEADER]
    rows += [
        cmu_mosei_answer(worker, f"dir/{video}" if in_folder else video, clip, strengths, sentiment)
        for (video, clip, worker), (strengths, sentiment) in drawn.items()
    ]
    words = {}
    for video, clip in sorted({key[:2] for key in drawn}):
        name = f"Transcript/Segmented/Combined/{video}.txt"
        words[name] = words.get(name, "") + f"{video}___{clip}___{clip}.5___{clip + 2}___Words {clip}\n"
    with laid_out({"Labels/a.csv": csv_text(rows), **words}) as folder:
        imported = read(folder)
    expected = set()
    for (video, clip, worker), (strengths, _) in drawn.items():
        tied = [label for label, value in zip(LABELS, strengths, strict=True) if value == max(strengths) > 0]
        expected |= {(f"{video}_{clip}", worker, label, 1 / len(tied or [1])) for label in tied or ["neutral"]}
    found = [(row["utterance_id"], row["rater_id"], row["label"], row["weight"]) for row in imported.votes.to_pylist()]
    assert (set(found), len(found), imported.problems.num_rows) == (expected, len(expected), 0)
    for name, row in by_id(imported).items():
        sentiments = [value for (video, clip, _), (_, value) in drawn.items() if f"{video}_{clip}" == name]
        assert row["sentiment"] == pytest.approx(sum(sentiments) / len(sentiments))
        clip = int(name.rsplit("_", 1)[1])
        assert (row["start"], row["end"], row["transcript"]) == (clip + 0.5, clip + 2, f"Words {clip}")


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(sorted(CMU_MOSEI)),
    st.lists(damages(), min_size=1, max_size=3),
    st.sampled_from(("argmax", "threshold", "argmax-abstain")),
)
def test_damaged_files_are_read_or_refused(name, chosen, rule):
    with laid_out({**CMU_MOSEI, name: damaged(CMU_MOSEI[name], *chosen)}) as folder:
        accounted(read, folder, rule=rule)
