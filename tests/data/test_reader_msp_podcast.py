"""MSP-Podcast's releases, in files written here: what becomes a vote, and what happens to what cannot."""

import json

import pytest
from fixtures.releases import (
    MSP_PODCAST_ANSWERS_HEAD,
    MSP_PODCAST_CONSENSUS,
    MSP_PODCAST_OLDEST,
    POINTER,
    by_id,
    msp_podcast,
    reader,
    release,
)
from serann.data.errors import CorpusError, LabelError
from serann.data.labels import LABEL_SETS
from serann.data.readers import load_reader
from serann.data.readers.base import votes_of
from serann.data.readers.msp_labels import spell

READER = load_reader("msp-podcast")
read = reader("msp-podcast")


def votes(found) -> set[tuple]:
    columns = ("utterance_id", "rater_id", "rank", "label", "text", "draw")
    rows = [tuple(row[name] for name in columns) for row in found.votes.to_pylist()]
    assert len(set(rows)) == len(rows) or None in {row[1] for row in rows}
    return set(rows)


def reasons(found) -> list[tuple]:
    return [(row["file"], row["line"], row["reason"], row["votes"]) for row in found.problems.to_pylist()]


def test_release_two_zero_keeps_every_raters_answers(tmp_path):
    found = read(msp_podcast(tmp_path))
    assert found.release == "MSP-Podcast 2.0 (a row per rater)"
    first, second, third = "MSP-PODCAST_0001_0008", "MSP-PODCAST_0001_0009", "MSP-PODCAST_0002_0001"
    assert votes(found) == {
        (first, "WORKER1", "primary", "angry", None, 0),
        (first, "WORKER1", "secondary", "angry", None, 0),
        (first, "WORKER1", "secondary", "angry", "Annoyed", 1),
        (first, "WORKER1", "secondary", "angry", "Frustrated", 2),
        (first, "WORKER2", "primary", "other", "tired, or bored", 0),
        (first, "WORKER2", "secondary", "sad", "Disappointed", 0),
        (second, "WORKER1", "primary", "neutral", None, 0),
        (second, "WORKER1", "secondary", "other", "Confused", 0),
        (third, "WORKER2", "primary", "happy", None, 0),
    }
    assert found.votes_in == 9
    assert found.problems.num_rows == 0
    assert found.ratings is not None
    rated = [(r["rater_id"], r["dimension"], r["value"]) for r in found.ratings.to_pylist()[:5]]
    assert rated == [
        ("WORKER1", "arousal", 5),
        ("WORKER1", "valence", 2),
        ("WORKER2", "arousal", 1),
        ("WORKER2", "valence", 7),
        ("WORKER2", "dominance", 4),
    ]
    assert found.scale == (1, 7)


def test_the_consensus_is_no_vote(tmp_path):
    found = read(msp_podcast(tmp_path, "MSP-PODCAST_0001_0008.wav,W1,Sad,,1,1,1\n"))
    rows = by_id(found)
    neutral, none, other = (rows[name] for name in sorted(rows))
    assert found.votes.num_rows == 1
    assert [row["consensus"] for row in (neutral, none, other)] == ["neutral", None, "other"]
    assert [row["consensus_code"] for row in (neutral, none, other)] == ["N", "X", "O"]
    assert [row["split"] for row in (neutral, none, other)] == ["train", "development", "test1"]
    assert [row["speaker"] for row in (neutral, none, other)] == ["12", None, "13"]
    assert [row["gender"] for row in (neutral, none, other)] == ["female", "male", None]
    assert none["consensus_arousal"] is None
    assert (neutral["consensus_arousal"], neutral["consensus_valence"]) == (3.2, 4.0)
    assert neutral["audio"] is None
    assert any("no folder of sounds" in note for note in found.notes)


def test_sounds_and_texts_are_found_where_the_release_has_them(tmp_path):
    source = msp_podcast(tmp_path, "MSP-PODCAST_0001_0008.wav,W1,Sad,,1,1,1\n")
    release(source, {"Audios/readme": "", "Transcripts/MSP-PODCAST_0001_0009.txt": "well, no\n"})
    rows = by_id(read(source / "Labels"))
    assert rows["MSP-PODCAST_0001_0009"]["transcript"] == "well, no"
    assert rows["MSP-PODCAST_0001_0008"]["transcript"] is None
    assert rows["MSP-PODCAST_0001_0008"]["audio"] == str(source.resolve() / "Audios" / "MSP-PODCAST_0001_0008.wav")
    (tmp_path / "else").mkdir()
    elsewhere = by_id(read(source, audio=tmp_path / "else"))
    assert elsewhere["MSP-PODCAST_0001_0008"]["audio"] == str(tmp_path.resolve() / "else" / "MSP-PODCAST_0001_0008.wav")


def test_what_cannot_be_taken_in_is_listed_with_its_votes(tmp_path):
    source = msp_podcast(
        tmp_path,
        'MSP-PODCAST_0001_0008.wav,W1,Sad,"Sad,Sad",1,1,1\n'  # a word twice
        "MSP-PODCAST_0001_0008.wav,W1,Sad,,1,1,1\n"  # the same answer again, its ratings too
        'MSP-PODCAST_0001_0008.wav,W2,Happy,"Excited,Amus\n'  # cut off inside a list
        "MSP-PODCAST_0001_0009.wav,W2,Happy,,8,loud,2\n"  # off the scale, and no number
        "MSP-PODCAST_9999_0001.wav,W2,Happy,Excited,1,1,1\n"  # nowhere listed
        "MSP-PODCAST_0001_0009.wav,W3,,Amused,1,1,1\n"  # no primary emotion
        "MSP-PODCAST_0001_0009.wav,,Happy,,1,1,1\n"  # nobody's, twice: two anonymous votes
        "MSP-PODCAST_0001_0009.wav,,Happy,,1,1,1\n",
    )
    found = read(source)
    # By hand: 3 + 1 + 3 (Happy, Excited seen; Amus is cut: 2) + 1 + 2 + 1 + 1 + 1.
    assert found.votes_in == 3 + 1 + 2 + 1 + 2 + 1 + 1 + 1
    assert found.votes.num_rows == 2 + 1 + 1 + 1 + 1
    assert votes_of(found.problems) == 1 + 1 + 2 + 2
    file = "labels_detailed.csv"
    assert set(reasons(found)) == {
        (file, 2, "this rater gave this vote already", 1),
        (file, 3, "this rater gave this vote already", 1),
        *((file, 3, f"this rater rated {name} already", 0) for name in ("arousal", "valence", "dominance")),
        (file, 4, "not a record of the table", 2),
        (file, 5, "arousal is no number from 1 to 7", 0),
        (file, 5, "valence is no number from 1 to 7", 0),
        (file, 6, "an answer about an utterance that the release does not list", 2),
        (file, 7, "an answer without a primary emotion", 0),
    }


def test_a_lost_quote_takes_no_other_line_with_it(tmp_path):
    line = 'MSP-PODCAST_0001_0008.wav,W{},Sad,"Sad,Fear",1,1,1\n'
    text = "".join(line.format(i) for i in range(100)).replace('W50,Sad,"', "W50,Sad,", 1)
    found = read(msp_podcast(tmp_path, text))
    assert found.votes.num_rows == 99 * 3
    assert [row[:3] for row in reasons(found)] == [("labels_detailed.csv", 52, "not a record of the table")]


@pytest.mark.parametrize(
    ("folder", "consensus", "said"),
    [
        ("label", "labels_concensus.csv", "MSP-Podcast 1.7 to 1.9 (concensus, packed answers)"),
        ("Labels", "labels_consensus.csv", "MSP-Podcast 1.10 to 1.12 (packed answers)"),
    ],
)
def test_packed_answers_with_and_without_a_list(tmp_path, folder, consensus, said):
    source = release(
        tmp_path,
        {
            f"{folder}/{consensus}": MSP_PODCAST_CONSENSUS,
            f"{folder}/labels_detailed.csv": "FileName,EmoDetail\n"
            'MSP-PODCAST_0001_0008.wav,"WORKER00000123; Angry; Angry,Annoyed; A:5.0; V:2.0; D:4.0;"\n'
            "MSP-PODCAST_0001_0008.wav,WORKER00000124; Happy; A:5.0; V:2.0; D:NaN;\n"
            "MSP-PODCAST_0001_0009.wav,WORKER00000124; Other-why: so; ; A:5.0; V:2.0; D:4.0;\n"
            "MSP-PODCAST_0001_0009.wav,WORKER00000125; Fear; Happy; A:5.\n",
        },
    )
    found = read(source)
    assert found.release == said
    assert {row[1:] for row in votes(found)} == {
        ("WORKER00000123", "primary", "angry", None, 0),
        ("WORKER00000123", "secondary", "angry", None, 0),
        ("WORKER00000123", "secondary", "angry", "Annoyed", 1),
        ("WORKER00000124", "primary", "happy", None, 0),
        ("WORKER00000124", "primary", "other", "why: so", 0),
    }
    assert reasons(found) == [("labels_detailed.csv", 5, "not an answer of rater; emotions; A; V; D", 2)]
    assert found.ratings is not None
    assert found.ratings.num_rows == 3 + 2 + 3


def test_train_and_development_alone_are_the_challenge(tmp_path):
    consensus = "".join(MSP_PODCAST_CONSENSUS.splitlines(keepends=True)[:3])
    detailed = "FileName,EmoDetail\nMSP-PODCAST_0001_0008.wav,W1; Sad; A:1; V:1; D:1;\n"
    files = {"Labels/labels_consensus.csv": consensus, "Labels/labels_detailed.csv": detailed}
    assert "challenge pack of November 2024" in read(release(tmp_path, files)).release


def test_release_one_six_in_both_its_forms(tmp_path):
    consensus = {"label/labels_concensus.csv": MSP_PODCAST_CONSENSUS}
    text = (
        MSP_PODCAST_ANSWERS_HEAD.replace("WorkerID", "Workers") + "MSP-PODCAST_0001_0008.wav,W1,Sad,Depressed,1,2,3\n"
    )
    answer = {"EmoClass_Major": "Sad", "EmoClass_Second": "Depressed", "EmoAct": 1, "EmoVal": 2, "EmoDom": 3}
    tree = json.dumps({"MSP-PODCAST_0001_0008.wav": {"W1": answer}, "MSP-PODCAST_0001_0009.wav": "Happy"})
    as_csv = read(release(tmp_path / "a", {**consensus, "label/labels_detailed.csv": text}))
    as_json = read(release(tmp_path / "b", {**consensus, "label/labels_detailed.json": tree}))
    assert as_csv.release == "MSP-Podcast 1.6 (labels_detailed.csv)"
    assert as_json.release == "MSP-Podcast 1.6 (labels_detailed.json)"
    assert as_csv.votes.equals(as_json.votes)
    assert as_csv.ratings is not None
    assert as_csv.ratings.equals(as_json.ratings)
    assert [row[2:] for row in reasons(as_json)] == [("not an answer of questions and answers", 1)]


def test_the_oldest_releases_have_labels_txt_alone(tmp_path):
    found = read(release(tmp_path, MSP_PODCAST_OLDEST))
    assert found.release == "MSP-Podcast 1.0 to 1.5 (labels.txt alone)"
    first, second = "MSP-PODCAST_0001_0008", "MSP-PODCAST_0001_0009"
    assert votes(found) == {
        (first, "WORKER00000001", "primary", "neutral", None, 0),
        (first, "WORKER00000001", "secondary", "neutral", None, 0),
        (first, "WORKER00000001", "secondary", "sad", "Concerned", 0),
        (first, "WORKER00000002", "primary", "other", "calm", 0),
        (second, "WORKER00000001", "primary", "happy", None, 0),
        (second, "WORKER00000001", "secondary", "happy", None, 0),
    }
    rows = by_id(found)
    assert [rows[name]["split"] for name in (first, second)] == ["train", "development"]
    assert [rows[name]["consensus"] for name in (first, second)] == ["neutral", None]
    assert rows[first]["consensus_arousal"] == 3.2
    assert [row[1:] for row in reasons(found)] == [
        (9, "an answer below a line that names no utterance", 2),
        (8, "not a line of utterance; emotion; A; V; D", 0),
    ]
    assert any("unconfirmed" in note for note in found.notes)


def test_aggregated_counts_become_anonymous_votes(tmp_path):
    emotions = ("Angry", "Sad", "Happy", "Surprise", "Fear", "Disgust", "Contempt", "Neutral")
    header = ",".join(["FileName", *(f"count::{name}" for name in emotions), "num_other_annotations"])
    table = (
        f"{header}\nMSP-PODCAST_0001_0008.wav,2,0,0,0,0,0,0,3,1\n"
        "MSP-PODCAST_0001_0009.wav,0,1.5,-1,0,0,0,0,999999999999,0\n"
        "MSP-PODCAST_0001_0008.wav,1,1,0,0,0,0,0,0,0\n"
        "MSP-PODCAST_7777_0001.wav,0,0,4,0,0,0,0,0,0\n"
    )
    files = {"Labels/labels_consensus.csv": MSP_PODCAST_CONSENSUS, "Labels/labels_detailed_aggregated.csv": table}
    found = read(release(tmp_path, files))
    assert found.release == "MSP-Podcast 2.0 (counts without raters)"
    assert sorted(found.votes["label"].to_pylist()) == ["angry"] * 2 + ["neutral"] * 3 + ["other"]
    assert set(found.votes["rater_id"].to_pylist()) == {None}
    assert found.ratings is None
    assert found.scale is None
    # Three cells that are no counts, the second row of an utterance (2), the utterance that is nowhere listed (4).
    assert [row[3] for row in reasons(found)] == [1, 1, 1, 2, 4]
    assert found.votes_in == 6 + 9


def test_without_a_detailed_file_there_are_no_votes(tmp_path):
    found = read(release(tmp_path, {"labels_consensus.csv": MSP_PODCAST_CONSENSUS}))
    assert found.votes.num_rows == 0
    assert found.release == "MSP-Podcast 1.10 or later"
    assert any("no votes" in note for note in found.notes)


def test_without_a_consensus_file_the_utterances_are_those_that_were_answered(tmp_path):
    text = MSP_PODCAST_ANSWERS_HEAD + "MSP-PODCAST_0001_0008.wav,W1,Sad,,1,2,3\n"
    found = read(release(tmp_path, {"labels_detailed.csv": text}))
    assert list(by_id(found)) == ["MSP-PODCAST_0001_0008"]
    assert any("no consensus file" in note for note in found.notes)


@pytest.mark.parametrize(
    ("word", "label", "text"),
    [
        ("Other", "other", None),
        ("Other-", "other", None),
        ("other - Calm", "other", "Calm"),
        ("Amused", "happy", "Amused"),
        ("DISSAPOINTED", "sad", "Disappointed"),
        ("bewildered", "other", "bewildered"),
        ("U", "surprise", None),
    ],
)
def test_words(word, label, text):
    assert spell(word, LABEL_SETS["msp9"], {}) == (label, text)
    assert spell("confused", LABEL_SETS["msp9"], {"confused": "sad"}) == ("sad", "confused")


def test_an_alias_must_name_a_label(tmp_path):
    source = msp_podcast(tmp_path, "MSP-PODCAST_0001_0008.wav,W1,Confused,,1,1,1\n")
    assert read(source, aliases={"Confused": "sad"}).votes["label"].to_pylist() == ["sad"]
    with pytest.raises(LabelError, match="--alias names gloomy; expected one of neutral, happy"):
        read(source, aliases={"Confused": "gloomy"})


def test_what_is_no_release_is_refused_with_what_was_looked_for(tmp_path):
    with pytest.raises(CorpusError, match="nothing is there"):
        read(tmp_path / "none")
    release(tmp_path / "other", {"Session1/dialog/a.txt": "x"})
    with pytest.raises(CorpusError, match=r"(?s)it looked for.*labels\.txt.*labels_concensus\.csv.*aggregated"):
        read(tmp_path / "other")
    with pytest.raises(CorpusError, match=r"(?s)found labels_detailed\.csv with the columns a, b.*EmoDetail"):
        read(release(tmp_path / "odd", {"labels_detailed.csv": "a,b\n1,2\n"}))
    with pytest.raises(CorpusError, match="Git-LFS pointer"):
        read(release(tmp_path / "lfs", {"labels_consensus.csv": POINTER}))
    with pytest.raises(CorpusError, match="holds no line"):
        read(release(tmp_path / "mark", {"labels_consensus.csv": "\ufeff"}))
    with pytest.raises(CorpusError, match="names 'FileName' twice"):
        read(release(tmp_path / "twice", {"labels_consensus.csv": "FileName,FileName\n"}))


def test_the_readers_page_says_what_it_does():
    assert "serann corpus import msp-podcast" in READER.page
    assert 20 <= len(READER.page.splitlines()) <= 60
    for word in ("labels.txt", "confused", "Dissapointed", "num_other_annotations", "--audio", "not redistributable"):
        assert word in READER.page
