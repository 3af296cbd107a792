"""How fast exact scoring is, in ratios to what else could be done with the same model on the same machine."""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...data.corpus import Corpus, write_corpus
from ...data.errors import OptionError
from ...data.labels import LABEL_SETS
from ...data.tables import UTTERANCES, VOTES, from_rows
from ..engines.base import EngineSpec
from ..engines.transformers import TransformersEngine
from ..models.families import AudioLanguageModel, Features, load_model
from ..models.packed_prompt import PackedRow
from ..models.ragged_pass import encode_audio
from . import arms
from .checkpoint import make_checkpoint
from .setting import haste, noise, questions, setting

Say = Callable[[str], None]
# What a ratio should reach, and whether it is a least or a most.
AIMS: dict[str, tuple[str, float]] = {
    "generate_20": ("at least", 60),
    "shared_prefill_20": ("at least", 1.4),
    "bare_prefill_b1": ("at most", 1.3),
    "bare_prefill_b8": ("at most", 1.15),
    "panel_8": ("at most", 3),
    "padded_3s": ("at least", 5),
    "end_to_end": ("at most", 1.1),
}
MEANINGS = {
    "generate_20": "time of generate(num_return_sequences=20), clips padded to 30 s, over that of one exact listener",
    "shared_prefill_20": "time of 20 answers sampled from one trimmed prefill, over that of one exact listener",
    "bare_prefill_b1": "time of one exact listener over that of the bare trimmed prefill, one utterance",
    "bare_prefill_b8": "the same, batches of eight utterances of similar length",
    "panel_8": "time of eight listeners (four focuses, two orders of the labels) over that of one, one utterance",
    "padded_3s": "time of transformers' encoder on 30 s windows over that of the valid frames, clips of 3 s",
    "end_to_end": "wall time of annotate (sounds from disk, features, ledger, tables) over its model's own time",
}


def benchmark_annotate(*, device: str = "cpu", quick: bool = False, say: Say = lambda _: None) -> dict[str, Any]:
    """Measure exact scoring on a random checkpoint that is made for it, in a temporary folder.

    On a CPU: a mid-size model, one thread, arms interleaved, medians; `quick` takes a tiny one and few repeats, to see
    that it runs. On a GPU: see `benchmark_gpu`. Raises `OptionError` for another device.
    """
    if device.startswith("cuda"):
        from .gpu import benchmark_gpu

        return benchmark_gpu(device=device, quick=quick, say=say)
    if device != "cpu":
        raise OptionError(f"unknown device '{device}'; expected cpu, cuda or cuda:N")
    with tempfile.TemporaryDirectory() as folder, one_thread():
        say("making a random checkpoint")
        size = "tiny" if quick else "mid"
        checkpoint = make_checkpoint(Path(folder) / "model", size=size)
        alm = load_model(str(checkpoint), device="cpu", dtype="float32")
        seconds = _cpu_seconds(alm, quick=quick, say=say)
        say("end to end")
        whole = _end_to_end(Path(folder), checkpoint, utterances=6 if quick else 24, repeats=1 if quick else 3)
    one = seconds["exact_b1"]
    ratios = {
        "generate_20": seconds["generate_20"] / one,
        "shared_prefill_20": seconds["shared_prefill_20"] / one,
        "bare_prefill_b1": one / seconds["bare_prefill_b1"],
        "bare_prefill_b8": seconds["exact_b8"] / seconds["bare_prefill_b8"],
        "panel_8": seconds["panel_8"] / one,
        "padded_3s": seconds["padded_3s"] / seconds["valid_3s"],
        "end_to_end": whole["wall"] / whole["model"],
    }
    stock = {
        "generate_20": seconds["stock_generate_20"] / one,
        "bare_prefill_b1": one / seconds["stock_bare_prefill_b1"],
        "bare_prefill_b8": seconds["exact_b8"] / seconds["stock_bare_prefill_b8"],
    }
    return {
        "ratios": ratios,
        "aims": {name: f"{word} {value:g}" for name, (word, value) in AIMS.items()},
        "meanings": MEANINGS,
        "stock_ratios": stock,
        "seconds": {**seconds, "end_to_end_wall": whole["wall"], "end_to_end_model": whole["model"]},
        "setting": {**setting(alm, size), "threads": 1, "clips": "3 to 6 s", **haste(quick)},
    }


def median_seconds(
    calls: Mapping[str, Callable[[], Any]], *, repeats: int, clock: Callable[[], float], warm: bool = True
) -> dict[str, float]:
    """Median time of each call; the calls take turns, so that a slow minute of the machine is shared by all."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values() if warm else ():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            start = clock()
            call()
            found[name].append(clock() - start)
    return {name: statistics.median(times) for name, times in found.items()}


def _cpu_seconds(alm: AudioLanguageModel, *, quick: bool, say: Say) -> dict[str, float]:
    # Seconds of processor time: with one thread that is wall time without what other programs took meanwhile.
    clock, rate = time.process_time, alm.sample_rate
    one, eight = arms.Asked(alm, questions(1)), arms.Asked(alm, questions(8))
    durations = np.sort(np.random.default_rng(1).uniform(3, 6, 8 if quick else 24))
    single = one.batch(noise([4.5], sample_rate=rate))
    batches = [one.batch(noise(part.tolist(), sample_rate=rate)) for part in np.split(durations, len(durations) // 8)]
    panel = eight.batch(single.waves)
    short = alm.features(noise([3.0] * 4, sample_rate=rate))
    tokens = one.answer_tokens()
    padded = arms.generate_inputs(alm, single)
    calls: dict[str, Callable[[], Any]] = {
        "exact_b1": lambda: arms.exact(alm, single),
        "bare_prefill_b1": lambda: arms.bare_prefill(alm, single),
        "shared_prefill_20": lambda: arms.shared_prefill(alm, single, tokens=tokens),
        "panel_8": lambda: arms.exact(alm, panel),
        "exact_b8": lambda: [arms.exact(alm, batch) for batch in batches],
        "bare_prefill_b8": lambda: [arms.bare_prefill(alm, batch) for batch in batches],
        "padded_3s": lambda: arms.encode(alm, short),
        "valid_3s": lambda: encode_audio(alm, short),
    }
    with torch.inference_mode(), torch.random.fork_rng():
        torch.manual_seed(0)
        say("exact scoring against prefills")
        found = median_seconds(calls, repeats=1 if quick else 7, clock=clock)
        say("generate, 20 return sequences")
        slow = {"generate_20": lambda: arms.generate(alm, padded, tokens=tokens)}
        found |= median_seconds(slow, repeats=1 if quick else 3, clock=clock, warm=False)
        say("torch's own matrix products")
        with arms.stock_products(alm.model):
            found |= median_seconds({"stock_generate_20": slow["generate_20"]}, repeats=1, clock=clock, warm=False)
            again = {
                "stock_bare_prefill_b1": calls["bare_prefill_b1"],
                "stock_bare_prefill_b8": calls["bare_prefill_b8"],
            }
            found |= median_seconds(again, repeats=1 if quick else 3, clock=clock)
    return found


class _TimedEngine(TransformersEngine):
    """The engine, with the time of the model's own work."""

    seconds = 0.0

    def _answers(self, features: Features, rows: Sequence[PackedRow]) -> list[list[torch.Tensor]]:
        start = time.perf_counter()
        try:
            return super()._answers(features, rows)
        finally:
            self.seconds += time.perf_counter() - start


def _end_to_end(folder: Path, checkpoint: Path, *, utterances: int, repeats: int) -> dict[str, float]:
    """Medians of wall seconds of whole runs, from sound files to tables, and of the model's own seconds in them."""
    from ..run.annotate import annotate

    engine = _TimedEngine(EngineSpec("transformers", str(checkpoint), device="cpu", dtype="float32"))
    durations = np.random.default_rng(2).uniform(3, 6, utterances)
    corpus = _sound_corpus(
        folder / "corpus", noise(durations.tolist(), sample_rate=engine.sample_rate), engine.sample_rate
    )
    runs = []
    for run in range(repeats):
        engine.seconds, start = 0.0, time.perf_counter()
        annotate(corpus, str(checkpoint), out=folder / f"run-{run}", engine=engine, workers=1)
        runs.append((time.perf_counter() - start, engine.seconds))
    # By their ratio, so that both times are of one run.
    wall, model = sorted(runs, key=lambda pair: pair[0] / pair[1])[len(runs) // 2]
    return {"wall": wall, "model": model}


def _sound_corpus(path: Path, waves: Sequence[np.ndarray], sample_rate: int) -> Corpus:
    import soundfile

    names = [f"noise-{i:03d}" for i in range(len(waves))]

    def write_sounds(new: Path) -> None:
        (new / "audio").mkdir()
        for name, wave in zip(names, waves, strict=True):
            soundfile.write(new / "audio" / f"{name}.wav", wave, sample_rate)

    rows = [
        {
            "utterance_id": name,
            "audio": f"audio/{name}.wav",
            "duration": len(wave) / sample_rate,
            "speaker": "none",
            "split": "train",
            "transcript": "I did not expect to see you here.",
        }
        for name, wave in zip(names, waves, strict=True)
    ]
    return write_corpus(
        path,
        name="noise",
        labels=LABEL_SETS["msp9"],
        utterances=from_rows(rows, UTTERANCES),
        votes=from_rows([], VOTES, labels=LABEL_SETS["msp9"]),
        licence="CC0-1.0",
        provenance={"made_by": "serann benchmark annotate"},
        simulated=True,
        extra=write_sounds,
    )


@contextmanager
def one_thread():
    """Within the context torch computes with one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
