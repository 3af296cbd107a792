"""kill -9 at random moments, for real; then the same call again: the tables are those of a run that was left alone."""

import collections
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from serann.annotator.segments import WAITING
from serann.data.corpus import open_corpus
from small_models import make_checkpoint
from test_annotate import corpus_of, run_scripted, tables_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and kill -9")
BATCH = 2
UTTERANCES = 24

# Has everything imported (and the model loaded), and forks a process for each run: a start costs milliseconds.
NURSERY = """
import json, os, signal, sys, time
sys.path.insert(0, {tests!r})
import numpy, pyarrow.parquet, soundfile
from serann.annotator.annotate import annotate
from serann.annotator.engines.base import EngineSpec, make_engine
from serann.annotator.engines.scripted import ScriptedEngine
from serann.data.corpus import open_corpus
from test_kill import Logging

corpus, spec = open_corpus({corpus!r}), EngineSpec(*{spec!r}, device="cpu")
engine = make_engine(spec)
print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        run = Logging(engine, order["log"])
        try:
            annotate(corpus, spec.model, out=order["out"], engine=run, batch_size={batch}, votes=20)
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    if order["after"] is not None:
        time.sleep(order["after"])
        os.kill(child, signal.SIGKILL)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Logging:
    """An engine that writes down what it is asked: one line a sound and question, synced with the call."""

    def __init__(self, engine, log):
        self._engine, self._log = engine, log

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def score(self, waves, questions):
        with open(self._log, "a") as log:
            for wave, asked in zip(waves, questions, strict=True):
                for question in asked:
                    if question is not None:
                        log.write(json.dumps([len(wave), float(np.abs(wave).sum()), question.text]) + "\n")
        time.sleep(0.004)
        return self._engine.score(waves, questions)


class Nursery:
    def __init__(self, corpus, spec):
        code = NURSERY.format(tests=os.path.dirname(__file__), corpus=str(corpus), spec=spec, batch=BATCH)
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout.readline() == "ready\n"

    def run(self, out, log, after=None):
        """Run `annotate` in a process of its own, killed after so many seconds; its exit status (9: killed)."""
        self.process.stdin.write(json.dumps({"out": str(out), "log": str(log), "after": after}) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """One sound cannot be decoded: failures have to come out the same too."""
    return corpus_of(tmp_path_factory.mktemp("corpora") / "simulated", UTTERANCES, break_audio=(5,)).path


@pytest.fixture(scope="module")
def scripted_nursery(corpus):
    nursery = Nursery(corpus, ("scripted", "scripted"))
    yield nursery
    nursery.close()


@pytest.fixture(scope="module")
def model_nursery(corpus, tmp_path_factory):
    checkpoint = make_checkpoint(tmp_path_factory.mktemp("models") / "small")
    nursery = Nursery(corpus, ("transformers", str(checkpoint)))
    yield nursery
    nursery.close()


def unfinished(run):
    """Whether there is anything left to do: after its commit a run only has to end."""
    state = run / ".ledger" / "commit.json"
    return not (run / "failures.parquet").exists() or (run / "segments").exists() or state.exists()


def kill_and_resume(nursery, tmp_path, trials, seed):
    straight = tmp_path / "straight"
    clock = time.perf_counter()
    assert nursery.run(straight, tmp_path / "straight.log") == 0
    whole = time.perf_counter() - clock
    expected = tables_of(straight)
    asked = collections.Counter((tmp_path / "straight.log").read_text().splitlines())
    assert set(asked.values()) == {1}
    rng = np.random.default_rng(seed)
    killed = 0
    for trial in range(trials):
        out, log = tmp_path / f"run{trial}", tmp_path / f"{trial}.log"
        # Most trials are killed once; every third is killed again while it resumes.
        for _ in range(1 + (trial % 3 == 2)):
            if not out.exists() or unfinished(out):
                clock = time.perf_counter()
                if nursery.run(out, log, after=float(rng.uniform(0, 0.95 * whole))) == signal.SIGKILL:
                    killed += 1
                else:  # the first run was slower, on a machine that had more to do
                    whole = min(whole, time.perf_counter() - clock)
        kills = 1 + (trial % 3 == 2)
        if not out.exists() or unfinished(out):
            assert nursery.run(out, log) == 0
        assert tables_of(out) == expected, f"trial {trial}"
        again = collections.Counter(log.read_text().splitlines())
        assert again.keys() == asked.keys()
        # In flight: the batch being asked, those waiting, and those being written.
        assert sum(again.values()) - len(again) <= kills * (1 + 2 * WAITING) * BATCH * 5
    return killed


def test_ten_kills(scripted_nursery, tmp_path):
    assert kill_and_resume(scripted_nursery, tmp_path, 10, seed=0) >= 3


def test_two_kills_of_a_model(model_nursery, tmp_path):
    assert kill_and_resume(model_nursery, tmp_path, 2, seed=1) >= 1


@pytest.mark.slow
def test_a_hundred_kills(scripted_nursery, tmp_path):
    assert kill_and_resume(scripted_nursery, tmp_path, 100, seed=2) >= 60


@pytest.mark.slow
def test_twenty_kills_of_a_model(model_nursery, tmp_path):
    assert kill_and_resume(model_nursery, tmp_path, 20, seed=3) >= 10


def test_two_runs_at_once(corpus, scripted_nursery, tmp_path):
    """The second refuses while the first is at work, and the first is not disturbed."""
    code = (
        "import sys, time; sys.path.insert(0, {tests!r})\n"
        "from test_annotate import run_scripted, scripted, loudness_and_text\n"
        "from serann.data.corpus import open_corpus\n"
        "def slow(wave, question):\n"
        "    print('asked', flush=True); time.sleep(0.02)\n"
        "    return loudness_and_text(wave, question)\n"
        "run_scripted(open_corpus({corpus!r}), {out!r}, engine=scripted(slow), batch_size=2)\n"
    ).format(tests=os.path.dirname(__file__), corpus=str(corpus), out=str(tmp_path / "run"))
    first = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    assert first.stdout.readline() == "asked\n"
    call = [str(corpus), "--model", "scripted", "--engine", "scripted", "-o", str(tmp_path / "run")]
    second = subprocess.run(
        [sys.executable, "-m", "serann.annotator.cli", "annotate", *call],
        capture_output=True,
        text=True,
    )
    assert second.returncode == 2
    assert "is being written by another serann annotate; wait for it to end" in second.stderr
    _, stderr = first.communicate()
    assert first.returncode == 0, stderr
    straight = run_scripted(open_corpus(corpus), tmp_path / "straight", batch_size=2)
    assert tables_of(tmp_path / "run") == tables_of(straight.path)
