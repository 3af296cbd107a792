"""Utterances a second in training: `serann train`'s loop against the same model in Hugging Face's `Trainer`.

    python tests/benchmarks/train.py [--json] [--device cuda] [--rounds 3] [--only tuned|frozen|shapes]

Both arms hear the same files, compute the same loss of the same network (same batch size and precision), and neither
validates nor saves. `Trainer` has its defaults: batches drawn at random, padded to their longest. Utterances last 1 to
15 s (log-normal around 5 s, as podcast segments do); arms alternate, and medians are printed.

    tuned    one epoch of the whole network: on a CPU a small WavLM, on a GPU one of base-plus's shape; at least 1.5
    frozen   ten epochs of a TC-GRU head over a frozen encoder of base-plus's shape, hearing it included; at least 5.
             Trainer's ten epochs are five times its measured two: each costs the same
    shapes   GPU only: base-plus and large, random weights, bf16: utterances per second, peak memory, and the share of
             what a large matrix product reaches on the same device

On a machine that others use, the ratio of processor seconds is the steadier one. Exit code 1 if a ratio of seconds is
below its mark.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import soundfile
import torch
from fixtures.simulated import simulated_corpus
from serann.annotator.fusion import fuse
from serann.data.corpus import open_corpus
from serann.data.fused import open_fused
from serann.trainer import loop
from serann.trainer.dataset import Sounds, pad
from serann.trainer.network.losses import Target, dimensional_loss, kl
from serann.trainer.options import DEFAULTS, check_options
from serann.trainer.preparing import Training, own_state, prepare

MARKS = {"tuned": 1.5, "frozen": 5.0}
SMALL = {
    "hidden_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 768,
    "conv_dim": (64,) * 7,
}
LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
}


def write_corpus(path: Path, utterances: int) -> Path:
    """A fused corpus whose train split has so many utterances of 1 to 15 s of noise."""
    simulated_corpus(path / "corpus", utterances=-(-utterances * 10 // 6), speakers=10, audio=True)
    rng = np.random.default_rng(0)
    table = pyarrow.parquet.read_table(path / "corpus" / "utterances.parquet")
    seconds = np.clip(np.exp(rng.normal(np.log(5), 0.5, len(table))), 1, 15)
    for name, length in zip(table["audio"].to_pylist(), seconds, strict=True):
        noise = 0.1 * rng.standard_normal(int(16000 * length))
        soundfile.write(path / "corpus" / name, noise, 16000, subtype="PCM_16")
    at = table.column_names.index("duration")
    table = table.set_column(at, table.field("duration"), pa.array(seconds, table["duration"].type))
    pyarrow.parquet.write_table(table, path / "corpus" / "utterances.parquet")
    fuse(open_corpus(path / "corpus"), [], strategy="human", out=path / "fused")
    return path / "fused"


def write_config(path: Path, fields: dict) -> str:
    from transformers import WavLMConfig

    WavLMConfig(**fields).save_pretrained(path)
    return str(path)


def make(fused: Path, model: str, device: str, **options) -> Training:
    """A training of our own, ready to begin; Trainer's arm takes its network from another."""
    chosen = check_options({**DEFAULTS[False], "model": model, "from_scratch": True, "perturb": False, **options})
    with own_state():
        out = Path(tempfile.mkdtemp(dir=fused.parent)) / "model"
        return prepare(open_fused(fused), chosen, out, device=device, workers=0, overwrite=False)[0]


def ours(training: Training, epochs: int) -> np.ndarray:
    """Seconds, and processor seconds, of hearing once, where the encoder is frozen, and of so many epochs."""
    begun = now(training)
    with own_state():
        loop._hear_once(training, None, None)
        for epoch in range(epochs):
            loop._train_epoch(training, epoch, [], lambda done: None, save_minutes=1e9)
    return now(training) - begun


class Learner(torch.nn.Module):
    """The network with its loss, as Trainer wants it."""

    def __init__(self, training: Training):
        super().__init__()
        self.network, self.training_of = training.network, training
        self.weights = torch.ones(len(training.info.dimensions))

    def forward(self, waveforms, lengths, p, ratings):
        output = self.network(waveforms, lengths)
        target = Target(p, p, ratings, torch.ones(p.shape[1]))
        dimensional = dimensional_loss("ccc", output.ratings, None, ratings, self.weights.to(ratings.device))
        return {"loss": kl(output.logits, target).mean() + 0.3 * dimensional, "logits": output.logits}


class Files(torch.utils.data.Dataset):
    """The train split's sounds and targets, one by one."""

    def __init__(self, training: Training):
        self.training, self.sounds = training, Sounds(training.examples.corpus, shortest=400)

    def __len__(self) -> int:
        return len(self.training.examples)

    def __getitem__(self, place: int) -> dict:
        examples = self.training.examples
        sound = self.sounds.read(int(examples.rows[place]))
        return {"sound": sound, "p": examples.targets[place], "ratings": examples.ratings[place]}


def stack(items: list[dict]) -> dict:
    waveforms, lengths = pad([item["sound"] for item in items])
    rest = {
        name: torch.tensor(np.stack([item[name] for item in items]), dtype=torch.float32) for name in ("p", "ratings")
    }
    return {"waveforms": waveforms, "lengths": lengths, **rest}


def trainers(training: Training, epochs: int, device: str) -> np.ndarray:
    """Seconds, and processor seconds, of so many epochs in Hugging Face's Trainer."""
    from accelerate.state import AcceleratorState
    from transformers import Trainer, TrainingArguments

    AcceleratorState._reset_state(reset_partial_state=True)
    options = training.options
    arguments = TrainingArguments(
        output_dir=str(training.out),
        num_train_epochs=epochs,
        per_device_train_batch_size=options.batch_size or 1,
        bf16=options.precision == "bf16",
        use_cpu=device == "cpu",
        remove_unused_columns=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    trainer = Trainer(Learner(training), arguments, data_collator=stack, train_dataset=Files(training))
    begun = now(training)
    trainer.train()
    return now(training) - begun


def now(training: Training) -> np.ndarray:
    if training.accelerator.device.type == "cuda":
        torch.cuda.synchronize()
    return np.array([time.perf_counter(), time.process_time()])


def compared(fused: Path, model: str, device: str, *, rounds: int, **options) -> dict[str, float]:
    """Utterances a second of both arms, their ratio, and how much of each arm's batches is padding."""
    frozen = bool(options.get("frozen"))
    epochs, measured = (10, 2) if frozen else (1, 1)
    seconds: dict[str, list[np.ndarray]] = {"ours": [], "trainer": []}
    for _ in range(rounds):
        training = make(fused, model, device, **options)
        seconds["ours"].append(ours(training, epochs))
        training = make(fused, model, device, **options)
        seconds["trainer"].append(trainers(training, measured, device) * epochs / measured)
    heard = epochs * len(training.examples)
    found = {arm: round(heard / float(np.median([wall for wall, _ in took])), 3) for arm, took in seconds.items()}
    wall, processor = np.median(np.array(seconds["trainer"]) / np.array(seconds["ours"]), axis=0).round(2).tolist()
    return {
        "utterances": len(training.examples),
        **found,
        "ratio": wall,
        "ratio_of_processor_seconds": processor,
        "padding": padding(training),
    }


def padding(training: Training) -> float:
    """Share of our epoch's batches that is padding."""
    lengths, batches = training.examples.seconds, training.batches(0)
    return round(1 - float(lengths.sum() / sum(len(batch) * lengths[batch].max() for batch in batches)), 3)


def ceiling(device: str, size: int) -> float:
    """FLOP a second of a bf16 product of two square matrices."""
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    times = []
    for _ in range(8):
        if device == "cuda":
            torch.cuda.synchronize()
        begun = time.perf_counter()
        _ = a @ a
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    return 2 * size**3 / min(times)


def shape(fused: Path, model: str, device: str, *, rounds: int, batch_seconds: float) -> dict[str, float]:
    """One epoch of a random encoder in bf16: speed, memory, and the share of the device's ceiling."""
    from torch.utils.flop_counter import FlopCounterMode

    training = make(fused, model, device, precision="bf16", batch_seconds=batch_seconds)
    with FlopCounterMode(display=False) as counter:
        ours(training, 1)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    took = min(float(ours(training, 1)[0]) for _ in range(rounds))
    peak = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else 0.0
    rate = counter.get_total_flops() / took
    return {
        "batch_seconds": batch_seconds,
        "utterances_per_second": round(len(training.examples) / took, 1),
        "peak_gb": round(peak, 2),
        "tflops": round(rate / 1e12, 2),
        "share_of_ceiling": round(rate / ceiling(device, 8192 if device == "cuda" else 512), 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("tuned", "frozen", "shapes"))
    given = parser.parse_args()
    found = measure(given.device, rounds=given.rounds, only=given.only)
    text = json.dumps(found, indent=2) if given.json else "\n".join(f"{name}: {row}" for name, row in found.items())
    print(text)
    return int(any(row["ratio"] < MARKS[name] for name, row in found.items() if name in MARKS))


def measure(device: str, *, rounds: int, only: str | None) -> dict[str, dict[str, float]]:
    cuda, found = device == "cuda", {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        base, large = write_config(path / "base", {}), write_config(path / "large", LARGE)
        many = write_corpus(path / "many", 1000 if cuda else 120)
        if only in (None, "tuned"):
            model = base if cuda else write_config(path / "small", SMALL)
            options = {"batch_size": 32, "precision": "bf16"} if cuda else {"batch_size": 8}
            found["tuned"] = compared(many, model, device, rounds=rounds, batch_seconds=1e6, **options)
        if only in (None, "frozen"):
            few = many if cuda else write_corpus(path / "few", 16)
            options = {"batch_size": 32, "precision": "bf16"} if cuda else {"batch_size": 8}
            options |= {"frozen": True, "head": "tc-gru", "batch_seconds": 480.0 if cuda else 120.0}
            found["frozen"] = compared(few, base, device, rounds=rounds, **options)
        if only == "shapes" or (only is None and cuda):
            for name, model in {"base-plus": base, "large": large}.items():
                found[name] = shape(many, model, device, rounds=rounds, batch_seconds=480.0)
    return found


if __name__ == "__main__":
    sys.exit(main())
