"""kill -9 at random moments, for real; then the same call again: the tables are those of a run that was left alone."""

import collections
import json
import mmap
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from fixtures.present import present
from fixtures.scripted_runs import corpus_of, run_scripted, tables_of
from fixtures.small_models import make_checkpoint
from serann.annotator.engines.base import EngineSpec, make_engine
from serann.annotator.run.annotate import annotate
from serann.annotator.run.segments import WAITING, read_segments
from serann.data.corpus import open_corpus

TESTS = str(Path(__file__).parents[1])

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and kill -9")
BATCH = 2
UTTERANCES = 24
RATERS = 5
# What a run does one after the other, and the share of the kills that aim at each; where one landed the disk tells.
PHASES = {"before the first unit": 0.2, "between units": 0.4, "the tables": 0.2, "the commit": 0.2}
# Runs that may end before their kill, for each kill that landed: a moment that was missed is aimed at again.
MISSES = 10


class Logging:
    """An engine that writes down what it is asked: one line per sound and question; `calls` is seen by the killer."""

    def __init__(self, engine, log, calls):
        self._engine, self._log, self._calls = engine, log, calls

    def __getattr__(self, name):
        found = getattr(self._engine, name)
        return self._logged(found) if name == "score_at_once" else found

    def score(self, sounds, questions):
        return self._logged(self._engine.score)(sounds, questions)

    def _logged(self, score):
        def logged(sounds, questions):
            self._calls[0] += 1  # first, or a kill behind the log would leave a batch uncounted
            with open(self._log, "a") as log:
                for sound, asked in zip(sounds, questions, strict=True):
                    samples = getattr(sound, "mel", sound)
                    for question in asked:
                        if question is not None:
                            log.write(json.dumps([samples.size, float(np.abs(samples).sum()), question.text]) + "\n")
            time.sleep(0.004)
            return score(sounds, questions)

        return logged


def nurse(corpus, spec):
    """Load everything once and fork a process for each run that is ordered on stdin: a start costs milliseconds."""
    opened, engine = open_corpus(corpus), make_engine(EngineSpec(*spec, device="cpu"))
    calls = mmap.mmap(-1, 1)  # shared with the children
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        calls[0] = 0
        clock = time.perf_counter()
        child = os.fork()
        if child == 0:
            live(opened, spec[1], order, Logging(engine, order["log"], calls))
        status, seen = watch(child, order, calls, clock)
        print(json.dumps({"status": status, "calls": calls[0], "seen": seen}), flush=True)


def live(corpus, model, order, engine):
    """One run, on a disk slow enough for moments in the midst of its writing to be found."""
    os.fsync, os.replace = slowed(os.fsync), slowed(os.replace)
    try:
        annotate(corpus, model, out=order["out"], engine=engine, batch_size=BATCH, votes=20)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def slowed(call):
    def slow(*args, **options):
        time.sleep(0.001)
        return call(*args, **options)

    return slow


def watch(child, order, calls, clock):
    """Wait for the child, or for its moment and kill it: its exit status, and when each event was first seen."""
    state = os.path.join(order["out"], ".ledger")
    signs = {"tables": os.path.join(state, "staged"), "commit": os.path.join(state, "commit.json")}
    seen = {"start": 0.0}
    while True:
        now = time.perf_counter() - clock
        for event in [f"call {i}" for i in range(calls[0])] + [e for e, sign in signs.items() if os.path.exists(sign)]:
            seen.setdefault(event, now)
        if order["event"] in seen:
            time.sleep(order["delay"])
            os.kill(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1], seen
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status, {**seen, "end": time.perf_counter() - clock}
        time.sleep(0.0002)


class Outcome(NamedTuple):
    """How a process ended (9: killed), how many batches it asked, and when it did what."""

    status: int
    calls: int
    seen: dict[str, float]


class Nursery:
    def __init__(self, corpus, spec):
        code = "import sys; sys.path[:0] = {!r}; from test_kill import nurse; nurse({!r}, {!r})"
        call = [sys.executable, "-c", code.format([TESTS, os.path.dirname(__file__)], str(corpus), spec)]
        self.process = subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.orders, self.outcomes = present(self.process.stdin), present(self.process.stdout)
        assert self.outcomes.readline() == "ready\n"

    def run(self, out, log, event=None, delay=0.0):
        """Run `annotate` in a process of its own, killed `delay` seconds after an event, if one is named."""
        order = {"out": str(out), "log": str(log), "event": event, "delay": delay}
        self.orders.write(json.dumps(order) + "\n")
        self.orders.flush()
        return Outcome(**json.loads(self.outcomes.readline()))

    def close(self):
        self.orders.close()
        self.outcomes.close()
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


def phase_of(run):
    """What the run was doing, by what lies on the disk; None once its commit is through: it only had to end."""
    if (run / ".ledger" / "commit.json").exists():
        return "the commit"
    if (run / "failures.parquet").exists() and not (run / "segments").exists():
        return None
    if (run / ".ledger" / "staged").exists():
        return "the tables"
    return "between units" if units_of(run) else "before the first unit"


def units_of(run):
    """How many units are durable in the segments."""
    return sum("unit" in record for record in read_segments(run / "segments"))


def aim(phase, run, straight, rng):
    """A random moment of a phase: an event, and seconds after it, up to what the straight run took to its next one.

    A run that was killed before and has that phase behind it is killed while it resumes.
    """
    order, left = list(PHASES), UTTERANCES // BATCH - units_of(run)
    stands = order.index(phase_of(run) or order[0])
    event = "start"
    if phase == "between units" and stands <= 1 and left:
        event = f"call {rng.integers(left)}"
    elif phase in ("the tables", "the commit") and order.index(phase) > stands:
        event = phase.removeprefix("the ")
    following = min(moment for moment in straight.seen.values() if moment > straight.seen[event])
    return event, float(rng.uniform(0, following - straight.seen[event]))


def killed(nursery, run, log, straight, phases, rng):
    """Kill a run once in each of the phases, then let it end: where the kills landed, None for one that came too late.

    What had been answered durably is never asked again: only batches that were asked and are not on the disk.
    """
    landed, lost = [], 0
    for phase in phases:
        former = units_of(run)
        outcome = nursery.run(run, log, *aim(phase, run, straight, rng))
        landed.append(phase_of(run))
        if landed[-1] is None:
            break
        assert outcome.status == signal.SIGKILL
        if landed[-1] != "the commit":  # which may have dropped the segments already
            lost += outcome.calls - (units_of(run) - former)
    if landed[-1] is not None:
        assert nursery.run(run, log).status == 0
    # In flight: the batch being asked, those waiting, and those being written.
    assert lost <= len(landed) * (1 + 2 * WAITING)
    asked = collections.Counter(log.read_text().splitlines())
    assert sum(asked.values()) - len(asked) <= lost * BATCH * RATERS
    return landed


def kill_and_resume(nursery, tmp_path, kills, seed):
    """Kill until so many kills have landed in runs that were not finished: how many landed in each phase."""
    straight = nursery.run(tmp_path / "straight", tmp_path / "straight.log")
    assert straight.status == 0
    expected = tables_of(tmp_path / "straight")
    asked = collections.Counter((tmp_path / "straight.log").read_text().splitlines())
    assert set(asked.values()) == {1}
    rng = np.random.default_rng(seed)
    wanted = list(rng.choice(list(PHASES), kills, p=list(PHASES.values())))
    landed = collections.Counter()
    for trial in range(MISSES * kills):
        run, log = tmp_path / f"run{trial}", tmp_path / f"{trial}.log"
        # Most runs are killed once; every third is killed again while it resumes.
        phases = wanted[: 1 + (trial % 3 == 2)]
        found = killed(nursery, run, log, straight, phases, rng)
        assert tables_of(run) == expected, f"run {trial}, killed in {found}"
        assert set(log.read_text().splitlines()) == asked.keys()
        hits = [phase for phase in found if phase is not None]
        landed.update(hits)
        wanted = wanted[len(hits) :]
        if not wanted:
            return landed
    pytest.fail(f"{landed.total()} of {kills} kills landed in {MISSES * kills} runs: the others had ended before")


def test_ten_kills(scripted_nursery, tmp_path):
    assert kill_and_resume(scripted_nursery, tmp_path, 10, seed=0).total() == 10


def test_two_kills_of_a_model(model_nursery, tmp_path):
    assert kill_and_resume(model_nursery, tmp_path, 2, seed=1).total() == 2


@pytest.mark.slow
def test_a_hundred_kills(scripted_nursery, tmp_path):
    landed = kill_and_resume(scripted_nursery, tmp_path, 100, seed=2)
    assert landed.total() == 100
    assert all(landed[phase] >= 5 for phase in PHASES), landed


@pytest.mark.slow
def test_twenty_kills_of_a_model(model_nursery, tmp_path):
    assert kill_and_resume(model_nursery, tmp_path, 20, seed=3).total() == 20


def test_two_runs_at_once(corpus, scripted_nursery, tmp_path):
    """The second refuses while the first is at work, and the first is not disturbed."""
    code = (
        "import sys, time; sys.path.insert(0, {tests!r})\n"
        "from fixtures.scripted_runs import run_scripted, scripted, loudness_and_text\n"
        "from serann.data.corpus import open_corpus\n"
        "def slow(wave, question):\n"
        "    print('asked', flush=True); time.sleep(0.02)\n"
        "    return loudness_and_text(wave, question)\n"
        "run_scripted(open_corpus({corpus!r}), {out!r}, engine=scripted(slow), batch_size=2)\n"
    ).format(tests=TESTS, corpus=str(corpus), out=str(tmp_path / "run"))
    first = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    assert present(first.stdout).readline() == "asked\n"
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
