"""The reader of CREMA-D: tabulated votes and single responses, a fixture for each trap, a round trip, damaged files."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.mutated import damaged, damages
from fixtures.releases import (
    CREMA_D_COUNTED,
    CREMA_D_COUNTS,
    CREMA_D_RESPONSES,
    CREMA_D_SINGLE,
    CREMA_D_TABULATED,
    POINTER,
    SOUND,
    accounted,
    by_id,
    crema_d_response,
    crema_d_table,
    laid_out,
    reader,
    release,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from serann.data.errors import CorpusError, OptionError
from serann.data.labels import LABEL_SETS
from serann.data.votes import count_votes

read = reader("crema-d")
LETTERS = "ADFHNS"
NAMES = dict(zip(LETTERS, ("angry", "disgust", "fear", "happy", "neutral", "sad"), strict=True))


def labels_of(imported) -> dict[str, Counter]:
    counted: dict[str, Counter] = {}
    for row in imported.votes.to_pylist():
        counted.setdefault(row["utterance_id"], Counter())[row["label"]] += 1
    return counted


def test_counts_become_that_many_votes_without_a_rater(tmp_path):
    imported = read(release(tmp_path, CREMA_D_COUNTED))
    assert labels_of(imported) == {
        "1001_IEO_ANG_HI": Counter(neutral=3, angry=1),
        "1002_TIE_HAP_XX": Counter(angry=2, disgust=2, sad=1),
        "1076_MTI_SAD_XX": Counter(neutral=4),
    }
    assert set(imported.votes["rater_id"].to_pylist()) == {None}
    assert (imported.votes_in, imported.problems.num_rows, imported.ratings) == (13, 0, None)
    assert imported.release.startswith("CREMA-D, voice: tabulated votes")
    assert imported.labels == LABEL_SETS["crema6"]
    assert imported.files[0] == "processedResults/tabulatedVotes.csv"


def test_each_modality_has_its_own_votes(tmp_path):
    folder = release(tmp_path, CREMA_D_COUNTED)
    assert labels_of(read(folder, modality="face")) == {"1001_IEO_ANG_HI": Counter(angry=4)}
    heard_and_saw = read(folder, modality="av")
    assert labels_of(heard_and_saw) == {"1001_IEO_ANG_HI": Counter(angry=5, sad=1)}
    assert any("heard and saw the actor" in note for note in heard_and_saw.notes)
    with pytest.raises(OptionError, match="unknown --modality 'smell'; expected one of voice, face, av"):
        read(folder, modality="smell")


def test_what_is_acted_and_what_is_published_are_no_votes(tmp_path):
    rows = by_id(read(release(tmp_path, CREMA_D_COUNTED)))
    acted, tied = rows["1001_IEO_ANG_HI"], rows["1002_TIE_HAP_XX"]
    assert (acted["intended"], acted["intended_level"], acted["consensus"]) == ("angry", "high", "neutral")
    assert (tied["intended"], tied["intended_level"]) == ("happy", None)
    assert (tied["consensus"], tied["consensus_code"]) == (None, "A:D")
    # -1 says that nobody chose the label.
    assert (tied["level_angry"], tied["level_neutral"], rows["1076_MTI_SAD_XX"]["level_angry"]) == (55.5, None, None)
    assert rows["1003_DFA_NEU_XX"]["consensus"] is None


def test_clips_are_described_by_name_actor_and_readme(tmp_path):
    imported = read(release(tmp_path, CREMA_D_COUNTED))
    rows = by_id(imported)
    clip = rows["1001_IEO_ANG_HI"]
    assert (clip["speaker"], clip["gender"], clip["speaker_age"]) == ("1001", "male", 51)
    assert (clip["script"], clip["transcript"], clip["language"]) == ("IEO", "It's eleven o'clock.", "en")
    assert (rows["1002_TIE_HAP_XX"]["gender"], rows["1076_MTI_SAD_XX"]["gender"]) == ("female", None)
    assert rows["1076_MTI_SAD_XX"]["remark"] == "silent"
    assert {row["split"] for row in rows.values()} == {None}
    assert "clips of SentenceFilenames.csv without a vote: 1" in imported.notes
    assert any("actors of whom VideoDemographics.csv says nothing" in note for note in imported.notes)
    assert "ANG_HI_practice" not in rows


def test_sounds_are_the_wavs_else_the_mp3s_else_absent(tmp_path):
    folder = release(tmp_path, CREMA_D_COUNTED)
    silent = read(folder)
    assert by_id(silent)["1001_IEO_ANG_HI"]["audio"] is None
    assert any("no folder AudioWAV" in note for note in silent.notes)
    release(folder, {"AudioMP3/1001_IEO_ANG_HI.mp3": b"ID3"})
    compressed = read(folder)
    assert by_id(compressed)["1002_TIE_HAP_XX"]["audio"] == str(folder / "AudioMP3/1002_TIE_HAP_XX.mp3")
    assert any("the sounds are the mp3s" in note for note in compressed.notes)
    release(folder, {"AudioWAV/1001_IEO_ANG_HI.wav": POINTER})
    pointers = read(folder)
    assert by_id(pointers)["1076_MTI_SAD_XX"]["audio"] == str(folder / "AudioWAV/1076_MTI_SAD_XX.wav")
    assert any("1001_IEO_ANG_HI.wav is a Git-LFS pointer" in note for note in pointers.notes)
    named = read(folder, audio=folder / "AudioMP3")
    assert by_id(named)["1001_IEO_ANG_HI"]["audio"] == str(folder / "AudioMP3/1001_IEO_ANG_HI.mp3")
    with pytest.raises(OptionError, match="is no folder"):
        read(folder, audio=folder / "nowhere")


def test_the_older_name_of_one_sound_is_found(tmp_path):
    files = {
        "tabulatedVotes.csv": crema_d_table(
            [CREMA_D_COUNTS, ["100001", 0, 0, 0, 0, 4, 0, "1040_ITH_SAD_XX", 4, 1, "N", -1, 5]]
        )
    }
    folder = release(tmp_path, {**files, "AudioWAV/1040_ITH_SAD_X.wav": SOUND})
    assert by_id(read(folder))["1040_ITH_SAD_XX"]["audio"] == str(folder / "AudioWAV/1040_ITH_SAD_X.wav")


def test_tabulated_rows_that_cannot_be_read_are_listed_with_their_votes(tmp_path):
    rows = [
        *CREMA_D_TABULATED,
        ["100004", 1, 2, "x", 0, 3, 0, "1004_TIE_SAD_XX", 9, 0, "N", 1, 1],  # 9 by its numResponses
        ["100001", 1, 0, 0, 0, 3, 0, "1001_IEO_ANG_HI", 4, 0, "N", 1, 1],  # a second row
        ["900005", 1, 1, 0, 0, 0, 0, "1005_TIE_SAD_XX", 2, 0, "A:D", 1, 1],
        ["100006", 0, 0, 0, 0, 2, 0, "practice", 2, 0, "N", 1, 1],
        ["100007", 1, 1],  # cut short: 2 that can be seen
        ["100008", 0, 0, 0, 0, 2, 0, "1008_TIE_SAD_XX", 7, 0, "N", 1, 1],  # its sum is wrong, its votes are kept
        ["200009", 1],  # another modality's
    ]
    imported = read(release(tmp_path, {"tabulatedVotes.csv": crema_d_table(rows)}))
    reasons = {row["content"].split(",")[0]: (row["reason"], row["votes"]) for row in imported.problems.to_pylist()}
    assert reasons["100004"] == ("counts that are no numbers: F=x", 9)
    assert reasons["100001"] == ("clip 1001_IEO_ANG_HI has a row already", 4)
    assert reasons["900005"][1] == 2
    assert "names no modality" in reasons["900005"][0]
    assert reasons["100006"] == ("'practice' is no clip's name", 2)
    assert reasons["100007"] == ("another number of fields than the header's 13", 2)
    assert reasons["100008"] == ("numResponses is 7, the counts add up to 2", 0)
    assert len(reasons) == 6
    assert imported.votes_in == 13 + 9 + 4 + 2 + 2 + 2 + 2
    assert labels_of(imported)["1008_TIE_SAD_XX"] == Counter(neutral=2)


def test_single_responses_keep_their_raters_and_the_authors_filter(tmp_path):
    imported = read(release(tmp_path, CREMA_D_SINGLE))
    votes = {(row["utterance_id"], row["rater_id"], row["label"]) for row in imported.votes.to_pylist()}
    assert votes == {
        ("1001_IEO_ANG_HI", "SSI_1", "neutral"),
        ("1001_IEO_ANG_HI", "SSI_2", "angry"),
        ("1001_IEO_ANG_HI", "session-14", "sad"),
        ("1002_TIE_HAP_XX", "SSI_1", "happy"),
        ("1002_TIE_HAP_XX", "SSI_2", "disgust"),
    }
    problems = Counter((row["reason"], row["votes"]) for row in imported.problems.to_pylist())
    assert problems == {
        ("the first click came after more than 10,000 ms (the authors' filter)", 1): 1,
        ("respLevel is 'H', not a number; the vote is kept", 0): 1,
        ("rater SSI_1 voted on this clip already", 1): 1,
        ("ttr is negative (-12448 ms); the vote is kept", 0): 1,
        ("a practice clip", 1): 1,
        ("unknown label 'Q'; expected one of A, D, F, H, N, S", 1): 1,
        ("queryType '9' is no modality (expected 1, 2 or 3)", 1): 1,
        ("a time the filter cannot use", 0): 1,
    }
    assert imported.votes_in == 10
    assert imported.release == "CREMA-D, voice: responses of single raters, filter official"
    assert by_id(imported)["1003_DFA_NEU_XX"]["intended"] == "neutral"


def test_without_the_filter_slow_responses_stay(tmp_path):
    folder = release(tmp_path, {**CREMA_D_SINGLE, **CREMA_D_COUNTED})
    everything = read(folder, filter="none")
    assert labels_of(everything)["1001_IEO_ANG_HI"] == Counter(neutral=2, angry=1, sad=1)
    assert everything.release.endswith("filter none")
    assert everything.files == ("finishedResponses.csv", "SentenceFilenames.csv", "VideoDemographics.csv")
    assert labels_of(read(folder, filter="official"))["1001_IEO_ANG_HI"] == Counter(neutral=1, angry=1, sad=1)
    assert "tabulated" in read(folder).release
    assert labels_of(read(folder, modality="face", filter="official")) == {"1001_IEO_ANG_HI": Counter(angry=1)}


def test_source_may_be_a_folder_within_or_a_vote_file(tmp_path):
    folder = release(tmp_path, {**CREMA_D_SINGLE, **CREMA_D_COUNTED})
    whole = read(folder)
    for source in (folder / "processedResults", folder / "processedResults" / "tabulatedVotes.csv"):
        assert read(source).utterances.equals(whole.utterances)
    assert "responses" in read(folder / "finishedResponses.csv").release


def test_what_is_missing_is_said(tmp_path):
    folder = release(tmp_path / "counted", CREMA_D_COUNTED)
    with pytest.raises(CorpusError, match="--filter none needs finishedResponses"):
        read(folder, filter="none")
    assert "after the authors' filter" in read(folder, filter="official").release
    with pytest.raises(OptionError, match="unknown --filter 'fast'; expected one of official, none"):
        read(folder, filter="fast")
    raw = release(tmp_path / "raw", {"finishedResponses.csv": CREMA_D_SINGLE["finishedResponses.csv"]})
    with pytest.raises(CorpusError, match=r"needs .*finishedEmoResponses\.csv, which is missing; .*--filter none"):
        read(raw)
    other = release(tmp_path / "other", {"wav/03a01Fa.wav": SOUND, "erkennung.txt": b"Nr."})
    with pytest.raises(CorpusError, match=r"(?s)is no crema-d .*found erkennung\.txt, wav/.*tabulatedVotes\.csv"):
        read(other)
    with pytest.raises(CorpusError, match="nothing is there"):
        read(tmp_path / "nowhere")
    (folder / "processedResults" / "tabulatedVotes.csv").write_text(POINTER)
    with pytest.raises(CorpusError, match="Git-LFS pointer"):
        read(folder)
    (folder / "processedResults" / "tabulatedVotes.csv").write_bytes(b"a,b\n1,2\n")
    with pytest.raises(CorpusError, match="has no column A, D, F, H, N, S, fileName, numResponses"):
        read(folder)


clips = st.builds(
    "{}_{}_{}_XX".format,
    st.integers(1001, 1091),
    st.sampled_from(("IEO", "TIE", "DFA")),
    st.sampled_from(("ANG", "NEU", "SAD")),
)
ballots = st.dictionaries(clips, st.lists(st.sampled_from(LETTERS), max_size=6), min_size=1, max_size=5)


@settings(max_examples=25, deadline=None)
@given(ballots, st.sampled_from(("voice", "face", "av")))
def test_round_trip(drawn, modality):
    code = {"voice": "1", "face": "2", "av": "3"}[modality]
    counts: list[list[Any]] = [CREMA_D_COUNTS]
    single: list[Any] = [CREMA_D_RESPONSES]
    for number, (clip, letters) in enumerate(drawn.items(), start=1):
        of = [letters.count(letter) for letter in LETTERS]
        counts.append([f"{code}{number:05}", *of, clip, len(letters), 0, "N", 1, 1])
        single += [
            crema_d_response(len(single) + k, f"R{k}", k, clip, letter, query=int(code), question=number)
            for k, letter in enumerate(letters)
        ]
    expected = {clip: Counter(NAMES[letter] for letter in letters) for clip, letters in drawn.items() if letters}
    with laid_out(
        {"tabulatedVotes.csv": crema_d_table(counts), "finishedResponses.csv": crema_d_table(single)}
    ) as root:
        counted, by_rater = read(root, modality=modality), read(root, modality=modality, filter="none")
    assert labels_of(counted) == labels_of(by_rater) == expected
    assert set(by_id(counted)) == set(drawn)
    assert {(row["utterance_id"], row["rater_id"], row["label"]) for row in by_rater.votes.to_pylist()} == {
        (clip, f"R{k}", NAMES[letter]) for clip, letters in drawn.items() for k, letter in enumerate(letters)
    }


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(sorted({**CREMA_D_COUNTED, **CREMA_D_SINGLE})), st.lists(damages(), min_size=1, max_size=3))
def test_damaged_files_are_read_or_refused(name, chosen):
    files = dict(CREMA_D_COUNTED if name in CREMA_D_COUNTED else CREMA_D_SINGLE)
    files[name] = damaged(files[name], *chosen)
    with laid_out(files) as root:
        accounted(read, root)


@pytest.mark.corpora
@pytest.mark.skipif(not os.environ.get("SERANN_CORPORA"), reason="SERANN_CORPORA names no folder of real corpora")
def test_figures_of_the_real_votes():
    source = Path(os.environ["SERANN_CORPORA"]) / "crema-d"
    imported = read(source)
    counts = count_votes(imported.votes, imported.utterances["utterance_id"].to_pylist(), imported.labels)
    totals = counts.sum(axis=1)
    assert counts.shape == (7442, 6)
    assert (totals.sum(), totals.min(), totals.max(), round(totals.mean(), 3)) == (68_568, 4, 12, 9.214)
    shares = dict(zip(imported.labels, (counts.sum(axis=0) / counts.sum()).round(3), strict=True))
    assert shares == {"angry": 0.144, "disgust": 0.129, "fear": 0.120, "happy": 0.067, "neutral": 0.440, "sad": 0.101}
    assert ((counts == counts.max(axis=1, keepdims=True)).sum(axis=1) > 1).sum() == 644
    assert imported.utterances["consensus"].null_count == 644
    p = counts / totals[:, None]
    entropy = -(p * np.log2(np.where(p > 0, p, 1))).sum(axis=1)
    assert round(entropy.mean(), 3) == 1.196
    assert imported.problems.num_rows == 0
    assert len(set(imported.utterances["speaker"].to_pylist())) == 91
    assert imported.utterances["gender"].null_count == imported.utterances["transcript"].null_count == 0
    # Measured by itself: the three panels' votes add up to the 212,000 of the release's own filter.
    others = [read(source, modality=modality) for modality in ("face", "av")]
    assert [other.utterances.num_rows for other in others] == [7442, 7442]
    assert imported.votes_in + sum(other.votes_in for other in others) == 212_000
