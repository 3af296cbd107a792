"""What a lack of memory looks like, and that a run which meets one halves, stops with a sentence, and never hangs."""

import threading

import numpy as np
import pytest
from fixtures.scripted_runs import corpus_of, run_scripted, scripted
from serann.annotator.engines.base import EngineSpec
from serann.annotator.engines.memory import memory_in_a_sentence, out_of_memory
from serann.annotator.engines.scripted import ScriptedEngine
from serann.annotator.run import segments
from serann.annotator.run.segments import SegmentWriter
from serann.data.errors import ModelError, RunError
from serann.data.files import read_json


def caused(outer, inner, *, hidden=False):
    """An error that a library raised because of another one."""
    try:
        try:
            raise inner
        except BaseException as error:
            if hidden:
                raise outer from None
            raise outer from error
    except BaseException as error:
        return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (np.exceptions.AxisError("x"), False),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
            True,
        ),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("could not create a memory object"), True),
        (RuntimeError("can't start new thread"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("out of memory"), False),  # words count in the errors of torch alone
        (caused(ValueError("Unable to convert output"), MemoryError()), True),
        (caused(ValueError("x"), caused(TypeError("y"), RuntimeError("CUDA out of memory"))), True),
        (caused(ValueError("x"), MemoryError(), hidden=True), False),
        (caused(ModelError("the model was not found"), MemoryError()), False),
    ],
)
def test_what_is_a_lack_of_memory(error, expected):
    assert out_of_memory(error) is expected


def test_a_lack_of_memory_elsewhere_is_a_sentence():
    with (
        pytest.raises(RunError, match=r"memory of this machine ran out \(could not create a primitive\); finished utt"),
        memory_in_a_sentence(),
    ):
        raise RuntimeError("could not create a primitive\nat some place")
    with pytest.raises(KeyError), memory_in_a_sentence():
        raise KeyError("x")


def test_a_failed_attempt_is_forgotten_before_its_halves_are_asked(tmp_path):
    held = []

    class Attempt:
        """What an attempt computes, and how much of it is there at once."""

        def __enter__(self):
            held.append(1)
            return self

        def __exit__(self, *_):
            pass

        def __del__(self):
            held.pop()

    most = []

    class Hungry(ScriptedEngine):
        def score(self, sounds, questions):
            with Attempt() as attempt:  # a frame that an error's traceback keeps alive
                most.append(len(held))
                if len(sounds) > 1:
                    raise ValueError("Unable to convert output") from MemoryError()
                del attempt
                return super().score(sounds, questions)

    corpus = corpus_of(tmp_path / "corpus", 8)
    run = run_scripted(corpus, tmp_path / "run", engine=Hungry(EngineSpec("scripted", "scripted")), batch_size=8)
    assert len(run.ids) == 8
    assert max(most) == 1
    assert read_json(run.path / "environment.json", what="record")["sessions"][-1]["halvings"] == 7


def test_memory_that_runs_out_in_the_ledger_says_what_remains(tmp_path, monkeypatch):
    corpus = corpus_of(tmp_path / "corpus", 8)
    real = segments.encode

    def encode(record):
        if record.get("unit") == "1/2":
            raise MemoryError
        return real(record)

    with monkeypatch.context() as patched:
        patched.setattr(segments, "encode", encode)
        with pytest.raises(RunError, match=r"memory of this machine ran out .*; \d of 8 utterances remain"):
            run_scripted(corpus, tmp_path / "run", batch_size=2)
    assert len(run_scripted(corpus, tmp_path / "run", batch_size=2).ids) == 8


def test_nobody_waits_for_a_writer_that_died(tmp_path, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    monkeypatch.setattr(segments, "LOOK_UP", 0.05)
    writer = SegmentWriter(tmp_path / "segments", lambda entry: None)
    get = writer._queue.get

    def dying():
        get()
        raise RuntimeError("can't allocate lock")

    monkeypatch.setattr(writer._queue, "get", dying)
    writer.put({"unit": "1/0"}, None)
    with pytest.raises(RuntimeError, match="can't allocate lock"):
        writer.flush()
    with pytest.raises(RuntimeError, match="can't allocate lock"):
        for _ in range(20):
            writer.put({"unit": "1/1"}, None)
    writer.close()


def test_an_engine_that_holds_nothing_stops_the_run(tmp_path):
    corpus = corpus_of(tmp_path / "corpus", 110)

    def nothing(wave, question):
        raise MemoryError

    with pytest.raises(
        RunError, match=r"failed on 100 utterances in a row.* do not fit into the memory.* 110 utterances"
    ):
        run_scripted(corpus, tmp_path / "run", engine=scripted(nothing))
