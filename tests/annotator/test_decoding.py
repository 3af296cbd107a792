"""Sounds made ready ahead of the model: the same in threads and processes, whatever dies or cannot be read."""

import os
import shutil
import time

import numpy as np
import pytest
from fixtures.present import present
from fixtures.scripted_runs import break_reading, corpus_of, run_scripted, scripted, tables_of
from fixtures.small_models import make_checkpoint
from serann.annotator.models.families import load_model
from serann.annotator.models.log_mel import LogMelFrontEnd, stacked
from serann.annotator.run.annotate import annotate
from serann.annotator.sounds import decoding
from serann.annotator.sounds.decoding import Decoders
from serann.annotator.sounds.hearing import Job, hear, unchanged
from serann.data.audio import load_audio
from serann.data.errors import RunError
from transformers import WhisperFeatureExtractor


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_of(tmp_path_factory.mktemp("corpora") / "simulated", 6)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("models") / "small")


def jobs_of(corpus, *rows):
    return [Job(f"u{i}", str(corpus.audio_path(i)), None, None, 16000, 30.0) for i in rows]


def found_by(frontend, jobs, *, workers=1, processes=True):
    with Decoders(frontend, workers=workers, processes=processes) as decoders:
        ((key, heard),) = decoders.heard([("a batch", jobs)])
    assert key == "a batch"
    return heard


@pytest.mark.parametrize(
    "options",
    [
        {"feature_size": 128},
        {"feature_size": 80, "chunk_length": 4},
        {"feature_size": 128, "chunk_length": 4, "n_fft": 1024},  # a window longer than the usual margin
    ],
)
def test_a_clips_frames_are_those_of_the_full_window_in_any_company(options):
    """Bit for bit, also where the padding of a batch begins: silence is clamped by each clip's own loudest point."""
    extractor = WhisperFeatureExtractor(**options)
    frontend, window = LogMelFrontEnd(extractor, extractor.nb_max_frames), extractor.n_samples
    rng = np.random.default_rng(0)
    lengths = (1600, 1601, 15999, 40000, window - 700, window)
    waves = [(level * rng.normal(size=n)).astype(np.float32) for n in lengths for level in (1e-4, 0.3)]
    waves += [np.zeros(5000, dtype=np.float32), np.concatenate([waves[1], np.zeros(9000, dtype=np.float32)])]
    expected = extractor(waves, sampling_rate=16000, return_attention_mask=True, return_tensors="np")
    prepared = [frontend(wave) for wave in waves]
    for part in (prepared, prepared[:6], prepared[::-1]):
        mel, mask = stacked(part)
        rows = [next(i for i, clip in enumerate(prepared) if clip is own) for own in part]
        frames = mel.shape[2]
        assert frames == max(clip.mel.shape[1] for clip in part)
        np.testing.assert_array_equal(mel, expected["input_features"][rows, :, :frames])
        np.testing.assert_array_equal(mask, expected["attention_mask"][rows, :frames])
    assert [clip.valid for clip in prepared] == expected["attention_mask"].sum(axis=1).tolist()
    assert prepared[0].mel.shape[1] < extractor.nb_max_frames / 10
    assert {clip.mel.dtype for clip in prepared} == {np.dtype("float32")}


def test_processes_prepare_the_same_as_threads(corpus, checkpoint, monkeypatch):
    """While a worker has not loaded the front end, the thread here does its part, and then no more."""
    frontend, jobs = load_model(str(checkpoint), device="cpu").frontend, jobs_of(corpus, *range(6))
    ours = [hear(job, frontend) for job in jobs]
    assert [item.seconds for item in ours] == [len(load_audio(present(job.path))) / 16000 for job in jobs]
    assert_same(found_by(frontend, jobs, workers=2, processes=False), ours)
    here, real = [], decoding.prepare
    monkeypatch.setattr(decoding, "prepare", lambda *given: here.append(given) or real(*given))
    monkeypatch.setattr(decoding, "LOAD_AFTER", 4)
    with Decoders(frontend, workers=1, processes=True) as decoders:
        ((_, first),) = decoders.heard([(0, jobs[:4])])
        assert_same(first, ours[:4])
        assert len(here) == 4
        clock = time.monotonic()
        while here and time.monotonic() < clock + 60:
            here.clear()
            ((_, later),) = decoders.heard([(0, jobs)])
            assert_same(later, ours)
    assert not here


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.prepared.mel, other.prepared.mel)
        assert one.prepared[1:] == other.prepared[1:]
        assert one[:1] + one[2:] == other[:1] + other[2:]


def test_runs_in_processes_give_the_same_tables(corpus, checkpoint, tmp_path, monkeypatch):
    straight = tables_of(run_scripted(corpus, tmp_path / "straight").path)
    of_model = tables_of(annotate(corpus, str(checkpoint), out=tmp_path / "model", device="cpu").path)
    monkeypatch.setattr("serann.annotator.run.session.MANY", 1)
    assert tables_of(run_scripted(corpus, tmp_path / "run").path) == straight
    assert tables_of(annotate(corpus, str(checkpoint), out=tmp_path / "again", device="cpu").path) == of_model


def test_a_decoder_that_dies_costs_one_utterance(corpus, checkpoint, tmp_path, monkeypatch):
    """Reading one file kills the process, as a crash in a decoder does; the next has the front end again."""
    deadly = shutil.copy(corpus.audio_path(0), tmp_path / "deadly.wav")
    break_reading(tmp_path, monkeypatch, "if name.endswith('deadly.wav'): os._exit(11)")
    frontend, (first, _, last) = load_model(str(checkpoint), device="cpu").frontend, jobs_of(corpus, 1, 0, 2)
    heard = found_by(frontend, [first, first._replace(utterance="deadly", path=str(deadly)), last])
    assert [item.failure is None for item in heard] == [True, False, True]
    assert heard[1].failure == f"{deadly}: the decoder died on it (exit status 11)"
    for item, job in zip(heard[::2], (first, last), strict=True):
        np.testing.assert_array_equal(item.prepared.mel, hear(job, frontend).prepared.mel)


def test_a_decoder_that_is_killed_once_costs_nothing(corpus, tmp_path, monkeypatch):
    once = tmp_path / "once"
    first = f"name.endswith('.wav') and not os.path.exists({str(once)!r})"
    break_reading(tmp_path, monkeypatch, f"if {first}: os.mkdir({str(once)!r}); os.kill(os.getpid(), 9)")
    heard = found_by(unchanged, jobs_of(corpus, 0, 1, 2))
    assert once.exists()
    assert [item.failure for item in heard] == [None] * 3


class Refusing:
    """A front end that takes short sounds alone."""

    def __init__(self, most):
        self.most = most

    def __call__(self, wave):
        if len(wave) > self.most:
            raise ValueError(f"{len(wave)} samples\nand more")
        return wave


def test_a_sound_that_the_front_end_refuses_is_one_failure(corpus, tmp_path):
    lengths = [len(load_audio(present(job.path))) for job in jobs_of(corpus, *range(6))]
    engine = scripted()
    engine.frontend = Refusing(max(lengths) - 1)
    run = run_scripted(corpus, tmp_path / "run", engine=engine)
    longest = f"u{int(np.argmax(lengths)):03d}"
    assert run.failures["utterance_id"].to_pylist() == [longest]
    told = run.failures["reason"][0].as_py()
    assert told == f"the model's front end cannot take this sound (ValueError: {max(lengths)} samples)"


def from_a_script(wave):
    """No other process finds the folder of the tests, nor what a script defines."""
    return wave, os.getpid()


@pytest.mark.parametrize("frontend", [from_a_script, lambda wave: (wave, os.getpid())])
def test_a_front_end_that_no_other_process_knows_stays_here(corpus, monkeypatch, frontend):
    monkeypatch.setattr(decoding, "LOAD_AFTER", 0)
    with Decoders(frontend, workers=2, processes=True) as decoders:
        for _ in range(10):
            ((_, heard),) = decoders.heard([(0, jobs_of(corpus, 0, 1, 2))])
            assert [item.prepared[1] for item in heard] == [os.getpid()] * 3


def test_a_process_that_cannot_start_says_so(corpus, monkeypatch):
    monkeypatch.setattr(decoding.sys, "executable", "/nowhere/python")
    with pytest.raises(RunError, match=r"no process can be started to decode sounds .*nowhere.*; try --workers 1"):
        found_by(unchanged, jobs_of(corpus, 0, 1))


@pytest.mark.parametrize(
    ("code", "told"),
    [("import no_such_module", "exit status 1: ModuleNotFoundError: No module named 'no_such_module'"),
     ("import os; os._exit(7)", "exit status 7")],
)  # fmt: skip
def test_workers_that_cannot_start_are_one_error_and_no_utterances_fault(corpus, tmp_path, monkeypatch, code, told):
    """As where the package is not to be found by another process, or a broken sitecustomize ends it."""
    if "no_such" in code:
        code = f"import os, sys, traceback\ntry: {code}\nexcept ImportError: traceback.print_exc(); os._exit(1)"
    guarded = f"import sys\nif 'decoding' in ' '.join(sys.orig_argv):\n    exec({code!r})\n"
    (tmp_path / "sitecustomize.py").write_text(guarded)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    with pytest.raises(RunError) as caught:
        found_by(unchanged, jobs_of(corpus, *range(6)), workers=2)
    assert f"the processes that decode sounds end before they begin ({told}); see that this works: " in str(
        caught.value
    )
    assert str(caught.value).endswith("-m serann --version")
    monkeypatch.setattr("serann.annotator.run.session.MANY", 1)
    with pytest.raises(RunError, match=r"end before they begin .*; 6 of 6 utterances remain"):
        run_scripted(corpus, tmp_path / "run")
    monkeypatch.undo()
    assert run_scripted(corpus, tmp_path / "run").failures.num_rows == 0


def test_decoders_that_die_on_everything_are_one_error(corpus, tmp_path, monkeypatch):
    break_reading(tmp_path, monkeypatch, "if name.endswith('.wav'): os._exit(11)")
    monkeypatch.setattr(decoding, "MOST_DEADLY", 3)
    with pytest.raises(RunError, match=r"the decoders died on 3 sounds in a row \(exit status 11\), so it is hardly"):
        found_by(unchanged, jobs_of(corpus, *range(6)))


def test_only_so_many_batches_are_ahead(corpus):
    begun = []

    def noted(wave):
        begun.append(len(wave))
        return wave

    with Decoders(noted, workers=1, ahead=2) as decoders:
        coming = decoders.heard((i, jobs_of(corpus, i % 6)) for i in range(20))
        for done in range(1, 6):
            next(coming)
            time.sleep(0.05)
            assert done <= len(begun) <= done + 2
        coming.close()
    assert len(begun) <= 5 + 2


def test_workers_start_once_for_all_batches_of_a_run(corpus, monkeypatch):
    started, real = [], decoding._process
    monkeypatch.setattr(decoding, "_process", lambda: started.append(real()) or started[-1])
    with Decoders(unchanged, workers=2, processes=True) as decoders:
        for _ in range(3):
            assert len(list(decoders.heard([(0, jobs_of(corpus, 0, 1)), (1, jobs_of(corpus, 2))]))) == 2
        assert len(started) == 2
    assert [worker.poll() is not None for worker in started] == [True, True]
