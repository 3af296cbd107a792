"""Library calls leave the process as they found it, and give the numbers of the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.scripted_runs import corpus_of
from fixtures.simulated import simulated_corpus
from fixtures.small_encoders import make_encoder_checkpoint
from fixtures.small_models import make_checkpoint
from serann.annotator.fusion import fuse
from serann.annotator.run.annotate import annotate

HERE = Path(__file__).parent
# What a user's program may have set, and what serann's calls must find again.
SNAPSHOT = """
import contextlib, ctypes, json, locale, logging, os, random, signal, sys, warnings
import numpy as np, scipy.stats, torch, transformers, accelerate, huggingface_hub.utils, datasets
from accelerate.state import AcceleratorState, GradientState, PartialState

folder = sys.argv[1]
torch.set_num_threads(3)
torch.manual_seed(5); np.random.seed(6); random.seed(7)
warnings.filterwarnings("error", message="a filter of the user's")
logging.getLogger("transformers").setLevel(logging.ERROR)
huggingface_hub.utils.disable_progress_bars()
own = accelerate.Accelerator(cpu=True, mixed_precision="bf16")
told = []
real = ctypes.CDLL
class Library:
    def __init__(self, *given, **named): self._real = real(*given, **named)
    def __getattr__(self, name):
        if name == "mallopt": told.append(name)
        return getattr(self._real, name)
ctypes.CDLL = Library

def state():
    loggers = logging.root.manager.loggerDict
    return {
        "threads": [torch.get_num_threads(), torch.get_num_interop_threads()],
        "torch": [
            torch.get_default_dtype(), torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
            torch.backends.mkldnn.enabled, torch.backends.mkldnn.deterministic,
            torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision(),
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark, torch.get_default_device(),
        ],
        "torch generator": torch.get_rng_state().tolist(),
        "numpy generator": np.random.get_state()[1].tolist(),
        "python generator": random.getstate(),
        "environment": dict(os.environ),
        "warnings": [list(map(str, warnings.filters)), warnings.showwarning is SHOW],
        "levels": {n: l.level for n, l in loggers.items() if isinstance(l, logging.Logger) and n in KNOWN},
        "root level": [logging.root.level, len(logging.root.handlers), logging.root.manager.disable],
        "numpy errors": np.geterr(),
        "signals": [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)],
        "bars": [transformers.utils.logging.is_progress_bar_enabled(),
                 huggingface_hub.utils.are_progress_bars_disabled(), datasets.is_progress_bar_enabled()],
        "verbosity": [transformers.utils.logging.get_verbosity(), datasets.utils.logging.get_verbosity()],
        "accelerate": [own.mixed_precision, str(own.device), *(str(dict(s._shared_state)) for s in
                       (AcceleratorState, PartialState, GradientState))],
        "linear": torch.nn.Linear.forward.__qualname__ + torch.nn.Linear.forward.__module__,
        "path": list(sys.path), "argv": list(sys.argv), "folder": os.getcwd(), "locale": locale.getlocale(),
        "streams": [sys.stdout is OUT, sys.stderr is ERR, sys.excepthook is HOOK],
        "allocator": list(told),
    }

SHOW, OUT, ERR, HOOK = warnings.showwarning, sys.stdout, sys.stderr, sys.excepthook
KNOWN = set(logging.root.manager.loggerDict)
"""
CALLS = """
from serann.annotator.listening import listener
from serann.annotator.run.annotate import annotate, plan_annotation
from serann.data.corpus import open_corpus
from serann.trainer import compare, evaluate, predict, train

corpus, model, encoder = f"{folder}/corpus", f"{folder}/small", f"{folder}/encoder"
quick = {"model": encoder, "from_scratch": True, "epochs": 1, "batch_seconds": 3.0, "device": "cpu"}
simulated = open_corpus(f"{folder}/simulated")
sound = str(simulated.audio_path(0))

def listening():
    with listener(model, "letters", "demo6", device="cpu") as heard:
        heard.listen(sound)

from serann.trainer.plan import plan
CALLS = {
    "plan": lambda: plan_annotation(corpus, model, device="cpu"),
    "annotate": lambda: annotate(corpus, model, out=f"{folder}/a-run", votes=3, device="cpu"),
    "annotate words": lambda: annotate(corpus, model, out=f"{folder}/more", mode="sample", votes=1, device="cpu"),
    "listen": listening,
    "train": lambda: train(f"{folder}/fused", out=f"{folder}/a-model", **quick),
    "train --plan": lambda: plan(f"{folder}/fused", **quick),
    "frozen": lambda: train(f"{folder}/fused", out=f"{folder}/frozen", **quick, frozen=True),
    "predict": lambda: predict(f"{folder}/a-model", simulated, out=f"{folder}/a-pred", device="cpu"),
    "evaluate": lambda: evaluate(f"{folder}/a-model", simulated, device="cpu"),
    "compare": lambda: compare([f"{folder}/a-model", f"{folder}/a-pred"], simulated, device="cpu"),
}
CALLS["plan"]()  # what a library does to the process when it is first imported is its own affair
found = {}
for name, call in CALLS.items():
    before = state()
    call()
    after = state()
    found[name] = {key: [str(before[key])[:300], str(after[key])[:300]] for key in before if before[key] != after[key]}
print(json.dumps(found))
"""


# The same as the commands below. Training comes first: torch.set_num_threads, whoever calls it, stops MKL from choosing
# threads by itself for the rest of the process, and a later training has other last digits.
NUMBERS = """
import sys
from serann.annotator.run.annotate import annotate
from serann.data.corpus import open_corpus
from serann.trainer import predict, train

folder = sys.argv[1]
quick = {"from_scratch": True, "epochs": 1, "batch_seconds": 3.0, "device": "cpu"}
train(f"{folder}/fused", model=f"{folder}/encoder", out=f"{folder}/python-model", **quick)
predict(f"{folder}/python-model", open_corpus(f"{folder}/simulated"), out=f"{folder}/python-pred", device="cpu")
annotate(f"{folder}/corpus", f"{folder}/small", out=f"{folder}/python-run", votes=3, device="cpu")
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A corpus with a small model that annotates it; a fused one with a tiny encoder to train on it."""
    path = tmp_path_factory.mktemp("state")
    corpus_of(path / "corpus", 4)
    make_checkpoint(path / "small")
    simulated, _ = simulated_corpus(path / "simulated", utterances=60, speakers=10, audio=True)
    fuse(simulated, [], strategy="human", out=path / "fused")
    make_encoder_checkpoint(path / "encoder", norm="layer")
    return path


def python(*words):
    """What a program says at its end; both kinds have as many threads."""
    paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_library_calls_leave_the_process_as_they_found_it(place):
    called = json.loads(python("-c", SNAPSHOT + CALLS, place).splitlines()[-1])
    assert len(called) == 10
    assert {name: left for name, left in called.items() if left} == {}


def test_python_and_the_command_line_give_the_same_numbers(place):
    python("-c", NUMBERS, place)
    asked = ["--model", place / "small", "--votes", 3, "--device", "cpu"]
    python("-m", "serann", "annotate", place / "corpus", *asked, "-o", place / "run")
    for name in ("scores", "votes", "listeners", "failures"):
        ours, theirs = (place / run / f"{name}.parquet" for run in ("python-run", "run"))
        assert ours.read_bytes() == theirs.read_bytes()
    quick = ["--model", place / "encoder", "--from-scratch", "--epochs", 1, "--batch-seconds", 3, "--device", "cpu"]
    python("-m", "serann", "train", place / "fused", *quick, "-o", place / "model")
    assert (place / "model/weights.safetensors").read_bytes() == (
        place / "python-model/weights.safetensors"
    ).read_bytes()
    python(
        "-m", "serann", "predict", place / "python-model", place / "simulated", "--device", "cpu", "-o", place / "pred"
    )
    ours, theirs = (place / one / "distributions.parquet" for one in ("python-pred", "pred"))
    assert ours.read_bytes() == theirs.read_bytes()


def test_a_number_does_not_depend_on_the_callers_threads(place, tmp_path):
    """The small model is asked with one thread, whatever the caller's program uses."""
    import torch

    before = torch.get_num_threads()
    runs = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            run = annotate(place / "corpus", str(place / "small"), out=tmp_path / str(threads), votes=1, device="cpu")
            runs.append((run.path / "scores.parquet").read_bytes())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert runs[0] == runs[1]
