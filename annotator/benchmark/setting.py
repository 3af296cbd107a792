"""What is measured with: a model, its questions, clips of noise; and how that is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np

from ...prompts.loader import Rendered, load_panel, render
from ..models.families import AudioLanguageModel
from . import arms
from .checkpoint import LABELS, SIZES

NO_MEASURE = (
    "--quick is no measure: a tiny model and few repeats show that the benchmark runs; starting up dominates its "
    "figures, which say nothing of the aims"
)


def haste(quick: bool) -> dict[str, Any]:
    """What is said of a quick benchmark beside its figures."""
    return {"quick": quick, "note": NO_MEASURE} if quick else {"quick": quick}


def setting(alm: AudioLanguageModel, size: str) -> dict[str, Any]:
    """What was measured with: sizes, tokens, versions."""
    asked = arms.Asked(alm, questions(1))
    tokens = {label: len(alm.tokens(label)) for label in LABELS}
    return {
        "model": f"random Qwen2-Audio, {size}",
        "audio_tower": dict(zip(("layers", "width", "heads", "mlp"), SIZES[size].audio, strict=True)),
        "text": dict(zip(("layers", "width", "heads", "key_heads", "mlp"), SIZES[size].text, strict=True)),
        "parameters": alm.model.num_parameters(),
        "vocabulary": SIZES[size].vocabulary,
        "dtype": str(alm.model.dtype).removeprefix("torch."),
        "labels": len(LABELS),
        "tokens_a_label": tokens,
        "mean_tokens_a_label": round(sum(tokens.values()) / len(tokens), 2),
        "tree_nodes": len(asked.tree()),
        "sampled_tokens_an_answer": asked.answer_tokens(),
        "sampled_answers": "a random model ends no turn: every answer has this many tokens, its turn's end included",
        "torch": version("torch"),
        "transformers": version("transformers"),
    }


def questions(listeners: int) -> list[Rendered]:
    """One listener's question, or eight: four focuses, each with the labels in two orders."""
    panel = load_panel("crossed")
    distinct = list({item.rater: item for item in panel.listeners}.values())[:4]
    asked = [replace(item, order=order) for item in distinct for order in ("forward", "backward")]
    return [render(panel.question, item, LABELS, "I did not expect to see you here.") for item in asked[:listeners]]


def noise(durations: Sequence[float], *, sample_rate: int) -> list[np.ndarray]:
    """Clips of these durations; what they hold does not matter to the time."""
    rng = np.random.default_rng(0)
    return [(0.1 * rng.standard_normal(round(s * sample_rate))).astype(np.float32) for s in durations]
