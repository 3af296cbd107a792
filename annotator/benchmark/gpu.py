"""The same questions on a GPU: a random model of Qwen2-Audio-7B's shape in bfloat16, its batch size found by search."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ...data.errors import ModelError
from ..models.families import FAMILIES, AudioLanguageModel
from ..models.log_mel import encoder_frames
from . import arms
from .checkpoint import SIZES, make_model, make_processor, make_tokenizer
from .setting import haste, noise, questions, setting

Say = Callable[[str], None]
# The batch is doubled while it fits and still gains this much.
WORTHWHILE = 1.05
LARGEST = 512


def benchmark_gpu(*, device: str, quick: bool, say: Say) -> dict[str, Any]:
    """Utterances a second of exact scoring, of a bare prefill and of generate with 20 sequences, and what bounds them.

    `matmul_share`: the multiplications of the exact pass (2 for each weight and token) a second, over what one large
    matrix product of the same type reaches on this device. `memory_gb`: the most that torch held in the search's best
    batch. The batch sizes that were tried are all listed.
    """
    if not torch.cuda.is_available():
        raise ModelError(f"device {device} was asked for, but torch sees no CUDA device; use --device cpu")
    with (
        torch.cuda.device(device),
        torch.inference_mode(),
        torch.random.fork_rng(devices=[torch.cuda.current_device()]),
    ):
        torch.manual_seed(0)
        size = "tiny" if quick else "7b"
        say(f"making a random model of the size {size}")
        alm = gpu_model(size, device)
        say("the matrix product's ceiling")
        ceiling = matmul_ceiling(device)
        say("searching the batch size")
        one, panel = arms.Asked(alm, questions(1)), arms.Asked(alm, questions(8))
        tried = search_batch(alm, one, say)
        best = max(tried, key=lambda trial: trial["utterances_per_second"])
        batch = one.batch(_clips(alm, best["batch"]))
        padded = arms.generate_inputs(alm, one.batch(_clips(alm, 1)))
        single = one.batch(_clips(alm, 1))
        say("prefills, panel, generate")
        tokens = one.answer_tokens()
        eight = panel.batch(_clips(alm, max(1, best["batch"] // 4)))
        seconds = {
            "exact_b1": timed(lambda: arms.exact(alm, single)),
            "bare_prefill_b1": timed(lambda: arms.bare_prefill(alm, single)),
            "exact": timed(lambda: arms.exact(alm, batch)),
            "bare_prefill": timed(lambda: arms.bare_prefill(alm, batch)),
            "panel_8": timed(lambda: arms.exact(alm, eight)) * len(batch.waves) / len(eight.waves),
            "shared_prefill_20_b1": timed(lambda: arms.shared_prefill(alm, single, tokens=tokens)),
            "generate_20_b1": timed(lambda: arms.generate(alm, padded, tokens=tokens), repeats=3),
        }
        work = operations(alm, batch)
    count = len(batch.waves)
    return {
        "ratios": {
            "generate_20": seconds["generate_20_b1"] * count / seconds["exact"],
            "shared_prefill_20": seconds["shared_prefill_20_b1"] / seconds["exact_b1"],
            "bare_prefill_b1": seconds["exact_b1"] / seconds["bare_prefill_b1"],
            f"bare_prefill_b{count}": seconds["exact"] / seconds["bare_prefill"],
            "panel_8": seconds["panel_8"] / seconds["exact"],
        },
        "utterances_per_second": {
            "exact": count / seconds["exact"],
            "bare_prefill": count / seconds["bare_prefill"],
            "generate_20": 1 / seconds["generate_20_b1"],
        },
        "matmul_share": work / seconds["exact"] / ceiling,
        "matmul_ceiling_tflops": ceiling / 1e12,
        "memory_gb": best["memory_gb"],
        "batch_search": tried,
        "seconds": seconds,
        "setting": {
            **setting(alm, size),
            "device": torch.cuda.get_device_name(device),
            "clips": "3 to 6 s",
            "batch": count,
            **haste(quick),
        },
    }


def gpu_model(size: str, device: str) -> AudioLanguageModel:
    """A random bfloat16 model of this size on the device."""
    tokenizer = make_tokenizer()
    model = make_model(SIZES[size], tokenizer, device=device, dtype=torch.bfloat16)
    identity = {"model": f"random-{size}", "weights": "random", "dtype": "bfloat16"}
    return AudioLanguageModel(f"random-{size}", FAMILIES["qwen2_audio"], model, make_processor(tokenizer), identity)


def search_batch(alm: AudioLanguageModel, asked: arms.Asked, say: Say) -> list[dict[str, Any]]:
    """Double the batch until it does not fit or gains less than a twentieth; every size tried, with its rate."""
    tried: list[dict[str, Any]] = []
    size = 1
    while size <= LARGEST:
        batch = asked.batch(_clips(alm, size))
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        try:
            seconds = timed(lambda batch=batch: arms.exact(alm, batch), repeats=5)
        except torch.cuda.OutOfMemoryError:
            say(f"{size} utterances do not fit")
            break
        rate, memory = size / seconds, torch.cuda.max_memory_allocated() / 2**30
        say(f"{size} utterances: {rate:.1f} a second, {memory:.1f} GiB")
        tried.append({"batch": size, "utterances_per_second": rate, "memory_gb": memory})
        if len(tried) > 1 and rate < WORTHWHILE * tried[-2]["utterances_per_second"]:
            break
        size *= 2
    if not tried:
        raise ModelError("not even one utterance fits into the memory of the device")
    return tried


def operations(alm: AudioLanguageModel, batch: arms.Batch) -> float:
    """Multiplications and additions of the exact pass in its linear layers (attention's own products not counted)."""
    audio, text, head = alm.model.model.audio_tower, alm.model.model.language_model, alm.model.lm_head
    frames = sum(encoder_frames(int(n)) for n in batch.features.mask.sum(-1))
    prefix = len(alm.chat(batch.question.system, batch.question.text).prefix) - 1
    reads = len(batch.waves) * sum(len(group.reads) for group in batch.groups)
    tokens = sum(batch.features.audio_tokens) + len(batch.waves) * (prefix + sum(map(len, batch.groups)))
    last = _weights(text.layers[-1])
    keys = sum(_weights(m) for m in (text.layers[-1].self_attn.k_proj, text.layers[-1].self_attn.v_proj))
    return 2.0 * (
        frames * _weights(audio.layers)
        + tokens * (_weights(text.layers) - last + keys)
        + reads * (last - keys + head.weight.numel())
    )


def _weights(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.ndim > 1)


def matmul_ceiling(device: str, *, size: int = 8192) -> float:
    """Operations a second of one large bfloat16 matrix product."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 / timed(lambda: a @ b, repeats=20)


def timed(call: Callable[[], Any], *, repeats: int = 9) -> float:
    """Median seconds of a call, the device's work included; the first two calls warm up."""
    found = []
    for repeat in range(repeats + 2):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        if repeat >= 2:
            found.append(time.perf_counter() - start)
    return statistics.median(found)


def _clips(alm: AudioLanguageModel, count: int) -> list[np.ndarray]:
    """Clips of similar length, as the planned batches of a run are."""
    return noise(np.linspace(4.3, 4.7, count).tolist(), sample_rate=alm.sample_rate)
