"""Ctrl-C and SIGTERM, for real: a run stops at once, says what remains, and the same command goes on."""

import os
import re
import signal
import subprocess
import sys
import threading

import pytest
from fixtures.present import present
from fixtures.scripted_runs import corpus_of, tables_of
from serann.annotator.cli.console import stopped_in_a_sentence

UTTERANCES = 24

# The command line, with an engine that takes its time and says what it is asked.
SLOW = """
import sys, time
from serann.annotator.run import session
from serann.annotator.cli import main
from serann.annotator.engines.scripted import ScriptedEngine

class Slow(ScriptedEngine):
    def score(self, sounds, questions):
        print("asked", len(sounds), flush=True)
        time.sleep(0.05)
        return super().score(sounds, questions)

sys.modules["serann.annotator.engines.scripted"].ScriptedEngine = Slow
session.MANY = {many}
sys.argv = ["serann", *{arguments!r}]
main()
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_of(tmp_path_factory.mktemp("corpora") / "simulated", UTTERANCES)


def command(corpus, out, *, many=10**6):
    arguments = ["annotate", str(corpus.path), "--model", "scripted", "--engine", "scripted", "-o", str(out)]
    code = SLOW.format(many=many, arguments=[*arguments, "--batch-size", "2"])
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("number", "code", "many"),
    [
        (signal.SIGINT, 130, 10**6),
        (signal.SIGTERM, 143, 10**6),
        (signal.SIGTERM, 143, 1),  # with decoders in processes, which the signal reaches as well
    ],
)
def test_a_signal_stops_a_run_and_the_same_command_goes_on(corpus, tmp_path, number, code, many):
    first = command(corpus, tmp_path / "run", many=many)
    for _ in range(4):
        assert present(first.stdout).readline() == "asked 2\n"
    os.killpg(first.pid, number)
    asked, told = first.communicate()
    assert first.returncode == code, told
    (remaining,) = re.findall(
        r"^stopped: (\d+) of 24 utterances remain; what is finished is kept, and the same", told, re.M
    )
    assert "Traceback" not in told
    assert UTTERANCES - 2 * 4 <= int(remaining) <= UTTERANCES - 2 * 3 + 2 * asked.count("asked")
    second = command(corpus, tmp_path / "run")
    asked, told = second.communicate()
    assert second.returncode == 0, told
    assert sum(int(line.split()[1]) for line in asked.splitlines() if line.startswith("asked")) == int(remaining)
    straight = command(corpus, tmp_path / "straight")
    straight.communicate()
    assert tables_of(tmp_path / "run") == tables_of(tmp_path / "straight")


def test_a_signal_before_the_first_batch_leaves_nothing(corpus, tmp_path):
    process = command(corpus, tmp_path / "run")
    assert present(process.stdout).readline() == "asked 2\n"
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate()
    assert process.returncode == 143
    assert "stopped: 24 of 24 utterances remain" in told
    assert not (tmp_path / "run").exists()


def test_the_signals_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stopped_in_a_sentence():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_elsewhere_than_in_the_main_thread_signals_are_left_alone():
    done = []

    def work():
        with stopped_in_a_sentence():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
