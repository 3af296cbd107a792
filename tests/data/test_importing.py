"""From a release to a corpus on disk: accounting, label maps, splits, sounds, the command line."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from serann.annotator.cli import app
from serann.data.corpus import open_corpus
from serann.data.errors import CorpusError, OptionError
from serann.data.importing import import_corpus
from serann.data.labels import LABEL_SETS
from serann.data.policies import OUTSIDE
from serann.data.readers import READERS, Options, load_reader
from serann.data.readers.base import Gatherer, Imported
from serann.data.tables import PROBLEMS, read_table
from typer.testing import CliRunner

VOTES = "utterance,rater,label,speaker,arousal\n" + "".join(
    f"u{i},r{r},{label},s{i % 4},{value}\n"
    for i in range(12)
    for r, (label, value) in enumerate([("angry", 6), ("neutral", 2), ("fear" if i % 3 == 0 else "sad", 4)])
)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "votes.csv"
    path.write_text(VOTES + "u1,r1,neutral,s1,2\n")
    return path


def test_a_corpus_with_its_problems_its_split_and_its_report(table, tmp_path):
    corpus, report = import_corpus("table", table, tmp_path / "corpus", options=Options(columns={"scale": "1-7"}))
    assert (report.votes_in, report.votes_kept, report.votes_in_problems) == (37, 36, 1)
    problems = read_table(corpus.path / "problems.parquet", PROBLEMS).to_pylist()
    assert [(row["utterance_id"], row["rater_id"], row["votes"]) for row in problems if row["votes"]] == [
        ("u1", "r1", 1)
    ]
    assert set(corpus.column("split")) == {"train", "development", "test"}
    assert report.splits.startswith("speaker-disjoint")
    said = corpus.info.provenance["import"]
    assert said["votes_in"] == 37
    assert corpus.ratings is not None
    assert corpus.info.scale == (1.0, 7.0)


def test_labels_are_mapped_and_every_vote_is_reported(tmp_path):
    clips = tmp_path / "processedResults"
    clips.mkdir()
    header = '"","A","D","F","H","N","S","fileName","numResponses","agreement","emoVote"\n'
    (clips / "tabulatedVotes.csv").write_text(
        header + '"100001",2,1,1,0,3,0,"1001_IEO_ANG_HI",7,0.43,"N"\n"100002",0,0,0,1,4,0,"1002_IEO_NEU_XX",5,0.8,"N"\n'
    )
    corpus, report = import_corpus(
        "crema-d", tmp_path, tmp_path / "corpus", labels=LABEL_SETS["iemocap4"], split="none"
    )
    assert corpus.labels.name == "iemocap4"
    rows = {row["label"]: (row["target"], row["votes"], row["kind"]) for row in report.label_map}
    assert rows["disgust"] == (None, 1, "dropped")
    assert rows["angry"] == ("angry", 2, "kept")
    assert sum(votes for _, votes, _ in rows.values()) == report.votes_in == corpus.votes.num_rows
    dropped = [row for row in corpus.votes.to_pylist() if row["label"] is None]
    assert {row["reason"] for row in dropped} == {f"{OUTSIDE}: disgust", f"{OUTSIDE}: fear"}
    assert set(corpus.column("split")) == {None}


def test_sounds_are_read_in_place_or_copied(table, tmp_path):
    folder = tmp_path / "sounds"
    folder.mkdir()
    for i in range(12):
        soundfile.write(folder / f"u{i}.wav", np.zeros(1600 * (i + 1), dtype=np.float32), 16000)
    here, _ = import_corpus("table", table, tmp_path / "here", options=Options(audio=folder))
    assert here.audio_path(0) == folder / f"{here.ids[0]}.wav"
    np.testing.assert_allclose(here.column("duration").astype(float).max(), 1.2)
    copied, _ = import_corpus("table", table, tmp_path / "copied", options=Options(audio=folder), copy_audio=True)
    assert copied.audio_path(0) == tmp_path / "copied" / "audio" / f"{copied.ids[0]}.wav"
    assert copied.audio_path(0).is_file()


def test_arousal_that_stands_on_its_head_is_doubted(tmp_path):
    path = tmp_path / "votes.csv"
    path.write_text(VOTES.replace(",6\n", ",1\n"))
    _, report = import_corpus("table", path, tmp_path / "corpus", options=Options(columns={"scale": "1-7"}))
    assert any("upside down" in note for note in report.notes)
    (tmp_path / "right.csv").write_text(VOTES)
    _, report = import_corpus(
        "table", tmp_path / "right.csv", tmp_path / "right", options=Options(columns={"scale": "1-7"})
    )
    assert not any("upside down" in note for note in report.notes)


def test_a_lost_vote_is_our_fault_and_a_traceback():
    gathered = Gatherer(LABEL_SETS["msp9"])
    gathered.utterance("u")
    gathered.vote("u", "Angry", file="f", rater="r")
    gathered.count_in(1)
    with pytest.raises(AssertionError, match="1 unaccounted for"):
        gathered.finish(release="a release", licence="none")
    assert Imported.__post_init__


def test_what_a_reader_does_not_take_is_refused(table, tmp_path):
    with pytest.raises(OptionError, match="takes no --modality; it takes"):
        import_corpus("table", table, tmp_path / "c", options=Options(modality="face"))
    with pytest.raises(OptionError, match="unknown reader 'crema'; expected one of msp-podcast"):
        import_corpus("crema", table, tmp_path / "c")
    with pytest.raises(OptionError, match=r"--audio .*nowhere is no folder"):
        import_corpus("table", table, tmp_path / "c", options=Options(audio=tmp_path / "nowhere"))
    with pytest.raises(OptionError, match="unknown split"):
        import_corpus("table", table, tmp_path / "c", split="random")
    with pytest.raises(CorpusError, match="nothing is there"):
        import_corpus("iemocap", tmp_path / "nowhere", tmp_path / "c")


@pytest.mark.parametrize("name", [name for name in READERS if name not in ("table",)])
def test_a_folder_of_another_corpus_is_refused_by_every_reader(name, table, tmp_path):
    with pytest.raises((CorpusError, OptionError)) as caught:
        load_reader(name).read(table.parent, Options())
    assert len(str(caught.value)) > 20


def test_every_reader_has_a_page_with_its_command():
    for name in READERS:
        reader = load_reader(name)
        assert reader.name == name
        assert f"serann corpus import {name}" in reader.page
        assert reader.labels in LABEL_SETS or reader.labels
        assert "icence" in reader.page


@pytest.mark.parametrize("name", ["iemocap", "msp-podcast", "esd", "crema-d"])
def test_a_refusal_lists_what_was_looked_for_and_counts_no_problems(name, table):
    with pytest.raises(CorpusError) as caught:
        load_reader(name).read(table.parent, Options())
    said = str(caught.value)
    assert f"is no {name} release that serann knows (found votes.csv); it looked for" in said
    assert "problems" not in said


def test_a_label_that_nothing_becomes_is_named(tmp_path):
    clips = tmp_path / "crema" / "processedResults"
    clips.mkdir(parents=True)
    header = '"","A","D","F","H","N","S","fileName","numResponses","agreement","emoVote"\n'
    (clips / "tabulatedVotes.csv").write_text(header + '"100001",2,1,1,0,3,0,"1001_IEO_ANG_HI",7,0.43,"N"\n')
    source, eight, four = tmp_path / "crema", LABEL_SETS["msp8"], LABEL_SETS["iemocap4"]
    _, report = import_corpus("crema-d", source, tmp_path / "c", labels=eight, split="none")
    assert "no label of the release becomes contempt, surprise: nobody could vote for it" in report.notes
    _, report = import_corpus("crema-d", source, tmp_path / "d", labels=four, split="none")
    assert not any("becomes" in note for note in report.notes)


def test_distributions_name_their_corpus():
    with pytest.raises(OptionError, match="name a corpus"):
        run("distributions")


def run(*arguments):
    return CliRunner().invoke(app, ["corpus", *map(str, arguments)], catch_exceptions=False)


def test_the_commands(table, tmp_path):
    out = tmp_path / "corpus"
    found = run("import", "table", table, "--columns", "scale=1-7", "--alias", "anger=angry", "-o", out, "--json")
    assert found.exit_code == 0
    said = json.loads(found.stdout)
    assert said["votes_in"] == said["votes_kept"] + said["votes_in_problems"] == 37
    assert open_corpus(out).votes.num_rows == 36
    assert "msp-podcast" in run("readers").stdout
    assert "tabulatedVotes" in run("readers", "crema-d").stdout
    listed = json.loads(run("distributions", "--policies", "--json").stdout)
    assert {"policy", "about", "source"} == set(listed[0])
    written = tmp_path / "d.parquet"
    summary = json.loads(run("distributions", out, "--policy", "plurality", "-o", written, "--json").stdout)
    assert summary["utterances"] + sum(summary["left_out"].values()) == 12
    assert pq.read_table(written).num_rows == summary["utterances"]
