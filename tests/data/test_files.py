"""Files and directories are there in full, or not at all."""

import errno
import os
from pathlib import Path

import pytest
from serann.data.errors import OutputError, SerannError
from serann.data.files import atomic_file, fingerprint, new_directory, read_json, write_json


def test_a_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "x.json"
    with pytest.raises(RuntimeError), atomic_file(path) as partial:
        partial.write_text("half")
        assert not path.exists()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    write_json(path, {"a": 1})
    write_json(path, {"a": 2})
    assert read_json(path, what="thing") == {"a": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_directory_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "d"
    with pytest.raises(RuntimeError), new_directory(path, what="corpus") as partial:
        (partial / "a").touch()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with new_directory(path, what="corpus") as partial:
        (partial / "a").touch()
    with pytest.raises(OutputError, match="exists already, so no corpus was written there"):
        new_directory(path, what="corpus").__enter__()
    with pytest.raises(OutputError, match="is nothing that serann wrote"):
        new_directory(path, what="corpus", overwrite=True).__enter__()
    (path / "corpus.json").touch()
    with new_directory(path, what="corpus", overwrite=True) as partial:
        (partial / "b").touch()
    assert [p.name for p in path.iterdir()] == ["b"]
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EROFS, "choose an output that you may write to"),
        (errno.ENOSPC, "the disk is full: free some space there"),
        (errno.EDQUOT, "the quota is full: free some space there"),
        (errno.EFBIG, "the system lets no file grow so large there: raise that limit"),
    ],
)
def test_a_read_only_or_full_disk_is_one_sentence(tmp_path, monkeypatch, number, advice):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OutputError, match=f"cannot be written: {os.strerror(number)}; {advice}"):
        write_json(tmp_path / "x.json", {})
    with pytest.raises(OutputError, match=advice), new_directory(tmp_path / "d", what="run"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="needs a place that even root may not write to")
def test_a_place_that_refuses_writing():
    with pytest.raises(OutputError, match=r"/sys/serann\.json cannot be written"):
        write_json("/sys/serann.json", {})


def test_json_that_is_none_is_said(tmp_path):
    with pytest.raises(SerannError, match="no run description at"):
        read_json(tmp_path / "run.json", what="run description")
    (tmp_path / "run.json").write_text("[1]")
    with pytest.raises(SerannError, match="expected a JSON object, found a list"):
        read_json(tmp_path / "run.json", what="run description")


def test_equal_objects_have_equal_fingerprints():
    assert fingerprint({"a": 1, "b": [2, None]}) == fingerprint({"b": [2, None], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 1.5})
