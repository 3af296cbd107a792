"""The benchmark runs and says what it measured; what it measures is not asserted, for machines differ."""

import contextlib
import json

import pytest
import torch
import typer
from serann.annotator.benchmark import arms
from serann.annotator.benchmark import gpu as benchmark_gpu
from serann.annotator.benchmark.annotating import AIMS, MEANINGS, benchmark_annotate
from serann.annotator.benchmark.checkpoint import LABELS, make_tokenizer
from serann.annotator.benchmark.setting import noise, questions
from serann.annotator.cli.benchmark import annotate
from serann.annotator.models.families import AudioLanguageModel
from serann.data.errors import ModelError, OptionError
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

RATIOS = {
    "generate_20",
    "shared_prefill_20",
    "bare_prefill_b1",
    "bare_prefill_b8",
    "panel_8",
    "padded_3s",
    "end_to_end",
}


def test_benchmark_as_one_json_document():
    app = typer.Typer()
    app.command("annotate")(annotate)
    threads, shown = torch.get_num_threads(), CliRunner().invoke(app, ["--quick", "--json"])
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert set(found["ratios"]) == set(AIMS) == set(MEANINGS) == RATIOS
    assert all(value > 0 for value in found["ratios"].values())
    assert set(found["setting"]["tokens_a_label"]) == set(LABELS)
    assert found["setting"]["labels"] == 9
    assert found["setting"]["note"].startswith("--quick is no measure: ")
    assert found["setting"]["tree_nodes"] == 44
    assert torch.get_num_threads() == threads


def test_the_tokenizer_is_an_ordinary_one():
    tokenizer = make_tokenizer()
    counts = [len(tokenizer(form)["input_ids"]) for label in LABELS for form in (label, label.capitalize())]
    assert set(counts) == {1, 2}
    text = questions(1)[0].text
    assert len(tokenizer(text)["input_ids"]) < 1.5 * len(text.split()) + text.count(",")


def test_eight_listeners_are_eight_questions():
    assert len({question.text for question in questions(8)}) == 8


def test_devices_are_checked():
    with pytest.raises(OptionError, match="unknown device 'tpu'; expected cpu, cuda or cuda:N"):
        benchmark_annotate(device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="torch sees no CUDA device; use --device cpu"):
            benchmark_annotate(device="cuda")


@pytest.fixture(scope="module")
def tiny() -> AudioLanguageModel:
    return benchmark_gpu.gpu_model("tiny", "cpu")


def test_operations_are_those_of_the_linear_layers(tiny):
    batch = arms.Asked(tiny, questions(8)).batch(noise([1.0, 1.3], sample_rate=16000))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        arms.exact(tiny, batch)
    counts = {str(op): count for op, count in counter.get_flop_counts()["Global"].items()}
    expected = sum(count for op, count in counts.items() if op in ("aten.mm", "aten.addmm"))
    # The projector (2 * 32 * 32 for each audio token) is left out of the sum, and padding of the reads is not counted.
    assert benchmark_gpu.operations(tiny, batch) == pytest.approx(expected, rel=0.03)


def test_the_gpus_benchmark_runs(monkeypatch):
    """On a CPU, with what only a GPU has put aside: its steps and its result."""
    for name, value in {
        "is_available": lambda: True,
        "device": lambda _: contextlib.nullcontext(),
        "current_device": lambda: 0,
        "empty_cache": lambda: None,
        "synchronize": lambda: None,
        "reset_peak_memory_stats": lambda: None,
        "max_memory_allocated": lambda: 2**30,
        "get_device_name": lambda _: "none",
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.random, "fork_rng", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(benchmark_gpu, "LARGEST", 4)
    monkeypatch.setattr(benchmark_gpu, "matmul_ceiling", lambda _: 1e12)
    monkeypatch.setattr(benchmark_gpu, "timed", lambda call, repeats=1: call() is not None or 1.0)
    state = torch.get_rng_state()
    found = benchmark_gpu.benchmark_gpu(device="cpu", quick=True, say=lambda _: None)
    torch.set_rng_state(state)
    assert found["memory_gb"] == 1.0
    assert [trial["batch"] for trial in found["batch_search"]] == [1, 2, 4]
    assert set(found["utterances_per_second"]) == {"exact", "bare_prefill", "generate_20"}
    assert {"generate_20", "shared_prefill_20", "bare_prefill_b1", "panel_8"} < set(found["ratios"])
