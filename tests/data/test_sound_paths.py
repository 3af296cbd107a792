"""Names of sounds and the audio root: what is opened, what a move keeps, and what is refused."""

import os
import shutil

import numpy as np
import pytest
import soundfile
from serann.data.audio import load_audio, sound_seconds, utterance_audio
from serann.data.corpus import corpus_fingerprint, open_corpus, write_corpus
from serann.data.errors import AudioError, CorpusError, OptionError, OutputError
from serann.data.exports import export_corpus
from serann.data.holdout import divide_votes, write_division
from serann.data.importing import import_corpus
from serann.data.labels import LABEL_SETS
from serann.data.quality import check_corpus
from serann.data.readers import Options
from serann.data.sound_paths import absolute_audio, elsewhere, relocate, stated_root, with_root
from serann.data.splits import split_corpus, write_split
from serann.data.summary import summarise
from serann.data.tables import UTTERANCES, VOTES, from_rows

LABELS = LABEL_SETS["demo6"]


def sounds_in(folder, names, *, level=0.1):
    for place, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        wave = level * np.sin(np.arange(4000 + 100 * place) * 0.1)
        soundfile.write(folder / name, wave.astype(np.float32), 16000)
    return folder


def corpus_naming(path, names, **more):
    """A corpus of an utterance a name, in the column `audio` as it stands."""
    rows = [
        {"utterance_id": f"u{i}", "audio": name, "speaker": f"s{i % 4}", "split": "train"}
        for i, name in enumerate(names)
    ]
    votes = [{"utterance_id": f"u{i}", "rater_id": f"r{r}", "label": "sad"} for i in range(len(names)) for r in "abc"]
    return write_corpus(
        path,
        name="named",
        labels=LABELS,
        utterances=from_rows(rows, UTTERANCES),
        votes=from_rows(votes, VOTES, labels=LABELS),
        licence="CC0",
        provenance={},
        **more,
    )


def names_of(corpus):
    return corpus.utterances["audio"].to_pylist()


# --------------------
# What a name leads to.


def test_a_relative_name_starts_at_the_root_and_one_with_a_dot_at_the_corpus(tmp_path):
    root = sounds_in(tmp_path / "sounds", ["a/u.wav"])
    corpus = corpus_naming(tmp_path / "c", ["a/u.wav", "./a/u.wav", str(root / "a/u.wav")], audio_root=root)
    again = open_corpus(corpus.path)
    assert again.info.audio_root == str(root)
    assert [again.audio_path(i) for i in range(3)] == [root / "a/u.wav", tmp_path / "c/a/u.wav", root / "a/u.wav"]
    assert len(utterance_audio(again, 0)) == 4000


def test_without_a_root_names_start_at_the_corpus(tmp_path):
    corpus = corpus_naming(tmp_path / "c", ["a.wav", "./b.wav", "file:///x/c.wav"])
    assert corpus.info.audio_root is None
    assert [str(corpus.audio_path(i)) for i in range(3)] == [f"{corpus.path}/a.wav", f"{corpus.path}/b.wav", "/x/c.wav"]


def test_a_root_inside_the_corpus_moves_with_it(tmp_path):
    sounds_in(tmp_path / "wavs", ["u.wav"])
    corpus = corpus_naming(
        tmp_path / "c",
        ["u.wav"],
        audio_root=tmp_path / "c" / "wavs",
        extra=lambda new: shutil.copytree(tmp_path / "wavs", new / "wavs"),
    )
    assert corpus.info.audio_root == "wavs"
    moved = open_corpus(shutil.move(corpus.path, tmp_path / "moved"))
    assert moved.audio_path(0).is_file()
    assert stated_root(tmp_path / "c", tmp_path / "c") is None


def test_a_name_that_climbs_out_of_the_root_is_this_utterance_s_failure(tmp_path):
    sounds_in(tmp_path, ["secret.wav", "sounds/u.wav", "sounds2/u.wav"])
    os.symlink(tmp_path / "secret.wav", tmp_path / "sounds" / "link.wav")
    os.symlink(tmp_path / "sounds2", tmp_path / "sounds" / "folder")
    os.symlink(tmp_path / "sounds" / "u.wav", tmp_path / "sounds" / "inside.wav")
    names = ["../secret.wav", "a/../../secret.wav", "..\\secret.wav", "link.wav", "folder/u.wav", "../sounds2/u.wav"]
    corpus = corpus_naming(tmp_path / "c", [*names, "u.wav", "inside.wav"], audio_root=tmp_path / "sounds")
    for i, name in enumerate(names):
        with pytest.raises(AudioError, match=r"out of the audio root .*sounds, and is not opened; name a folder"):
            utterance_audio(corpus, i)
        how = "is a link that leads" if name in ("link.wav", "folder/u.wav") else "leads"
        with pytest.raises(CorpusError, match=f" {how} to "):
            corpus.audio_path(i)
    assert all(len(utterance_audio(corpus, i)) for i in (6, 7))
    # Its sound is copied by no export, and told by a check.
    export_corpus(corpus, "hf", tmp_path / "hf", copy=True)
    assert b"link" not in b"".join(p.read_bytes() for p in (tmp_path / "hf" / "audio").glob("*") if p.is_file())
    kinds = [
        row["kind"] for row in check_corpus(corpus).findings.to_pylist() if "out of the audio root" in row["sentence"]
    ]
    assert kinds == ["missing audio"] * len(names)


def test_a_corpus_reached_by_a_link_has_its_sounds_inside(tmp_path):
    corpus_naming(tmp_path / "c", ["audio/u.wav"], extra=lambda new: sounds_in(new, ["audio/u.wav"]) and None)
    os.symlink(tmp_path / "c", tmp_path / "link")
    assert open_corpus(tmp_path / "link").audio_path(0).is_file()


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")  # to open it would wait for ever
    with pytest.raises(AudioError, match=r"pipe\.wav is a pipe or a device, expected a sound file"):
        load_audio(tmp_path / "pipe.wav")
    assert sound_seconds(tmp_path / "pipe.wav") is None
    corpus = corpus_naming(tmp_path / "c", ["pipe.wav"], audio_root=tmp_path)
    assert any("is a pipe" in row["sentence"] for row in check_corpus(corpus).findings.to_pylist())


def test_windows_separators_and_home_are_understood(tmp_path, monkeypatch):
    root = sounds_in(tmp_path / "sounds", ["a/u.wav"])
    monkeypatch.setenv("HOME", str(root))
    corpus = corpus_naming(tmp_path / "c", ["a\\u.wav", "~/a/u.wav", "C:\\data\\a\\u.wav"], audio_root="~")
    assert [corpus.audio_path(i).is_file() for i in range(2)] == [True, True]
    with pytest.raises(CorpusError, match=r"C:\\data\\a\\u\.wav is a path of another computer; say where"):
        corpus.audio_path(2)
    moved = with_root(corpus, root)
    assert moved.audio_path(2) == root / "a/u.wav"


# --------------------
# A root that is away, or another.


def test_an_absent_root_is_one_sentence_and_not_one_an_utterance(tmp_path):
    root = sounds_in(tmp_path / "sounds", [f"u{i}.wav" for i in range(5)])
    corpus = corpus_naming(tmp_path / "c", [f"u{i}.wav" for i in range(5)], audio_root=root)
    shutil.move(root, tmp_path / "server")
    away = open_corpus(corpus.path)
    with pytest.raises(
        CorpusError, match=r"the audio root .*sounds is not there.*--audio-root, .*serann corpus relocate"
    ):
        away.require_root()
    findings = [row["sentence"] for row in check_corpus(away).findings.to_pylist() if row["kind"] == "missing audio"]
    assert len(findings) == 1
    assert findings[0].startswith("5 of 5 utterances: the audio root")
    assert summarise(away)["audio_root"] == f"{root} (not there)"
    assert summarise(away)["sounds"] == {"below the audio root": 5}
    there = open_corpus(corpus.path, audio_root=tmp_path / "server")
    assert all(there.audio_path(i).is_file() for i in range(5))
    assert corpus_fingerprint(there) == corpus_fingerprint(away) == corpus_fingerprint(corpus)


def test_a_root_may_be_relative_to_where_one_is_and_must_be_a_folder(tmp_path, monkeypatch):
    sounds_in(tmp_path / "sounds", ["u.wav"])
    corpus_naming(tmp_path / "c", ["u.wav"])
    monkeypatch.chdir(tmp_path)
    opened = open_corpus("c", audio_root="sounds")
    monkeypatch.chdir("/")
    assert opened.audio_root == tmp_path / "sounds"
    with pytest.raises(OptionError, match="the audio root nowhere is no folder; name the one below which"):
        open_corpus(tmp_path / "c", audio_root="nowhere")


FILES = ["Actor_01/a.wav", "Actor_01/b.wav", "Actor_02/c.wav"]


@pytest.mark.parametrize("old", ["/laptop/ravdess", "C:\\laptop\\ravdess"])
@pytest.mark.parametrize("above", ["", "ravdess"])
def test_absolute_paths_of_earlier_versions_become_relative(tmp_path, old, above):
    """Whether the new root stands for the folder that held them, or for one above it, is found by looking."""
    separator = "\\" if "\\" in old else "/"
    names = [old + separator + name.replace("/", separator) for name in FILES]
    corpus = corpus_naming(tmp_path / "c", names)
    sounds_in(tmp_path / "server" / above, FILES)
    before = corpus_fingerprint(corpus)
    done = relocate(corpus, tmp_path / "server")
    assert (done.renamed, done.kinds, done.problems) == (3, {"below the audio root": 3}, [])
    again = open_corpus(corpus.path)
    assert names_of(again) == [f"{above}/{name}".lstrip("/") for name in FILES]
    assert again.info.audio_root == str(tmp_path / "server")
    assert corpus_fingerprint(again) == before
    # The same for one command only.
    assert (
        open_corpus(corpus_naming(tmp_path / "d", names).path, audio_root=tmp_path / "server").audio_path(2).is_file()
    )


def test_a_root_deeper_than_the_common_folder_needs_from(tmp_path):
    corpus = corpus_naming(tmp_path / "c", [f"/laptop/x/{name}" for name in FILES])
    sounds_in(tmp_path / "server", FILES)
    with pytest.raises(OptionError, match=r"--from /other holds none of the sounds; they lie below /laptop/x: name"):
        relocate(corpus, tmp_path / "server", former="/other")
    done = relocate(corpus, tmp_path / "server", former="/laptop/x")
    assert names_of(done.corpus) == FILES
    with pytest.raises(OptionError, match="no sound of this corpus has an absolute path, so leave it out"):
        relocate(done.corpus, tmp_path / "server", former="/laptop/x")


def test_nothing_is_changed_while_a_sound_is_missing_unless_one_says_so(tmp_path):
    root = sounds_in(tmp_path / "sounds", FILES)
    corpus = corpus_naming(tmp_path / "c", [*FILES, None, "https://x/y.wav"], audio_root=root)
    server = sounds_in(tmp_path / "server", FILES[:1])
    os.symlink(root / FILES[1], server / FILES[1])
    before = {p.name: p.read_bytes() for p in corpus.path.iterdir()}
    said = (
        r"2 of 5 sounds cannot be read with the audio root .*server \(1 outside the audio root, 1 missing\), so nothing"
    )
    with pytest.raises(CorpusError, match=said) as error:
        relocate(corpus, server)
    assert "u2: " in str(error.value)
    assert "--allow-missing" in str(error.value)
    assert {p.name: p.read_bytes() for p in corpus.path.iterdir()} == before
    done = relocate(corpus, server, allow_missing=True)
    assert [problem["utterance_id"] for problem in done.problems] == ["u1", "u2"]
    assert done.kinds["no sound"] == done.kinds["remote"] == 1
    assert open_corpus(corpus.path).info.audio_root == str(server)


def test_a_root_that_is_one_folder_off_is_told(tmp_path):
    root = sounds_in(tmp_path / "sounds", FILES)
    corpus = corpus_naming(tmp_path / "c", FILES, audio_root=root)
    for wrong in (root / "Actor_01", tmp_path):
        with pytest.raises(CorpusError, match=f"they are found below {root}: name that one"):
            relocate(corpus, wrong)


def test_relocated_again_after_a_stop_between_the_files_it_comes_out_whole(tmp_path, monkeypatch):
    from serann.data import sound_paths

    own = "audio/new.wav"
    corpus = corpus_naming(
        tmp_path / "c", [*(f"/laptop/{name}" for name in FILES), own], extra=lambda new: sounds_in(new, [own]) and None
    )
    server = sounds_in(tmp_path / "server", FILES)
    with monkeypatch.context() as patch:
        patch.setattr(sound_paths, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            relocate(corpus, server)
    done = relocate(open_corpus(corpus.path), server)
    assert names_of(open_corpus(corpus.path)) == [*FILES, f"./{own}"]
    assert done.kinds == {"below the audio root": 3, "in the corpus's folder": 1}


# --------------------
# What is written from a corpus.


def test_divisions_and_splits_written_elsewhere_keep_names_and_root(tmp_path):
    names = [f"audio/u{i}.wav" for i in range(8)]
    corpus = corpus_naming(tmp_path / "c", names, extra=lambda new: sounds_in(new, names) and None)
    divided = write_division(corpus, divide_votes(corpus, seen=1), tmp_path / "divided")
    split = write_split(divided, split_corpus(divided), tmp_path / "split")
    for written in (divided, split):
        assert names_of(written) == names
        assert written.info.audio_root == str(corpus.path)
        assert all(written.audio_path(i).is_file() for i in range(8))
    with pytest.raises(OutputError, match=r"holds the sound .*u0\.wav, which would be lost"):
        write_division(divided, divide_votes(divided, seen=1), corpus.path, overwrite=True)


def test_a_corpus_s_own_sounds_are_named_by_absolute_path_elsewhere(tmp_path):
    root = sounds_in(tmp_path / "sounds", FILES)
    corpus = corpus_naming(tmp_path / "c", [*FILES, "./audio/new.flac"], audio_root=root)
    utterances, kept = elsewhere(corpus)
    assert kept == str(root)
    assert utterances["audio"].to_pylist() == [*FILES, str(corpus.path / "audio/new.flac")]
    assert absolute_audio(corpus)["audio"].to_pylist()[0] == str(root / FILES[0])


def test_imports_name_sounds_below_the_release_or_the_folder_that_was_named(tmp_path):
    release = sounds_in(tmp_path / "release", ["wavs/a.wav", "wavs/b.wav"])
    lines = "utterance_id,path,rater,label\na,wavs/a.wav,r1,sad\nb,wavs\\b.wav,r1,angry\n"
    (release / "votes.csv").write_text(lines)
    here, _ = import_corpus("table", release / "votes.csv", tmp_path / "here", split="none")
    assert sorted(names_of(here)) == ["wavs/a.wav", "wavs/b.wav"]
    assert here.info.audio_root == str(release)
    audio = Options(audio=release / "wavs")
    named, _ = import_corpus("table", release / "votes.csv", tmp_path / "named", split="none", options=audio)
    assert sorted(names_of(named)) == ["a.wav", "b.wav"]
    assert named.info.audio_root == str(release / "wavs")
    copied, _ = import_corpus("table", release / "votes.csv", tmp_path / "copied", split="none", copy_audio=True)
    assert sorted(names_of(copied)) == ["audio/a.wav", "audio/b.wav"]
    assert copied.info.audio_root is None
    assert all(corpus.audio_path(i).is_file() for corpus in (here, named, copied) for i in range(2))


def test_an_import_keeps_the_absolute_path_of_a_link_that_leads_out(tmp_path):
    sounds_in(tmp_path / "store", ["blob.wav"])
    release = sounds_in(tmp_path / "release", ["b.wav"])
    os.symlink(tmp_path / "store" / "blob.wav", release / "a.wav")
    (release / "votes.csv").write_text("utterance_id,path,rater,label\na,a.wav,r1,sad\nb,b.wav,r1,angry\n")
    corpus, _ = import_corpus("table", release / "votes.csv", tmp_path / "c", split="none")
    assert sorted(names_of(corpus)) == [str(release / "a.wav"), "b.wav"]
    assert all(len(utterance_audio(corpus, i)) for i in range(2))
