"""Ways of getting an utterance's answer distribution out of a model, and what they are compared with.

Each arm takes what a batch needs before the model starts (features, token ids) and does the model's work alone. The
stock arms are transformers' own forward and generate; the matrix products are the same in every arm (`matrix_kernels`),
unless an arm is said to be stock.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from ...prompts.loader import Rendered
from ..models.families import AudioLanguageModel, Features
from ..models.label_tree import LabelTree, build_tree
from ..models.matrix_kernels import OneDnnLinear
from ..models.packed_prompt import Branch, Group, PackedRow, answer_logp, pack_groups
from ..models.trimming import trimmed

DRAWS = 20


class Batch(NamedTuple):
    """Clips with their features; `groups` is the panel that is asked, `question` its first listener's text."""

    waves: list[np.ndarray]
    features: Features
    groups: tuple[Group, ...]
    question: Rendered


@dataclass(frozen=True)
class Asked:
    """A panel's questions for one model."""

    alm: AudioLanguageModel
    questions: Sequence[Rendered]

    def tree(self) -> LabelTree:
        return build_tree(self.questions[0].answers, self.alm.tokens, self.alm.turn_ends())

    def batch(self, waves: Sequence[np.ndarray]) -> Batch:
        tree = self.tree()
        branches = [Branch(self.alm.chat(q.system, q.text).suffix, tree) for q in self.questions]
        return Batch(list(waves), self.alm.features(waves), pack_groups(branches), self.questions[0])

    def answer_tokens(self) -> int:
        """Tokens of a sampled answer here: the labels' mean, rounded up, and the turn's end.

        (Up, for twenty draws are done when the longest of them is.)
        """
        answers = self.questions[0].answers
        return math.ceil(np.mean([len(self.alm.tokens(answer)) for answer in answers])) + 1


def exact(alm: AudioLanguageModel, batch: Batch) -> list[list[torch.Tensor]]:
    """serann's: every answer's probability, for all listeners of the panel."""
    prefix = alm.chat(batch.question.system, batch.question.text).prefix
    rows = [PackedRow(np.array(alm.with_audio(prefix, [n])), batch.groups) for n in batch.features.audio_tokens]
    return answer_logp(alm, batch.features, rows)


def bare_prefill(alm: AudioLanguageModel, batch: Batch) -> torch.Tensor:
    """The least any method must do: the trimmed prompt of the first listener once, and one next-token distribution."""
    out = _prefill(alm, batch, use_cache=False)
    return alm.model.lm_head(out.last_hidden_state[:, -1]).log_softmax(-1)


def shared_prefill(alm: AudioLanguageModel, batch: Batch, *, tokens: int) -> torch.Tensor:
    """Sampling from one trimmed prefill: its cache is repeated for `DRAWS` answers of `tokens` tokens each."""
    out = _prefill(alm, batch, use_cache=True)
    cache, hidden = out.past_key_values, out.last_hidden_state[:, -1]
    cache.batch_repeat_interleave(DRAWS)
    mask, _ = _prompt(alm, batch)
    mask = mask.repeat_interleave(DRAWS, dim=0)
    logits = alm.model.lm_head(hidden).repeat_interleave(DRAWS, dim=0)
    chosen = [torch.multinomial(logits.softmax(-1), 1)]
    for _ in range(tokens - 1):
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        out = alm.model.model(
            input_ids=chosen[-1],
            attention_mask=mask,
            position_ids=mask.sum(-1, keepdim=True) - 1,
            past_key_values=cache,
            use_cache=True,
        )
        chosen.append(torch.multinomial(alm.model.lm_head(out.last_hidden_state[:, -1]).softmax(-1), 1))
    return torch.cat(chosen, dim=1)


def generate_inputs(alm: AudioLanguageModel, batch: Batch) -> dict[str, Any]:
    """What transformers' processor makes for `generate`: every clip padded to its window of 30 s."""
    prefix, suffix = alm.chat(batch.question.system, batch.question.text)
    text = alm.processor.tokenizer.decode([*prefix, *suffix])
    made = alm.processor(
        text=[text] * len(batch.waves),
        audio=list(batch.waves),
        sampling_rate=alm.sample_rate,
        return_tensors="pt",
        padding=True,
        padding_side="left",
    ).to(alm.model.device)
    if "input_features" in made:
        made["input_features"] = made["input_features"].to(alm.model.dtype)
    return dict(made)


def generate(alm: AudioLanguageModel, inputs: dict[str, Any], *, tokens: int) -> torch.Tensor:
    """transformers' `generate(num_return_sequences=20)`; a random model ends no turn, so `tokens` tokens per answer."""
    return alm.model.generate(
        **inputs,
        do_sample=True,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        num_return_sequences=DRAWS,
        min_new_tokens=tokens,
        max_new_tokens=tokens,
        pad_token_id=alm.turn_ends()[0],
    )


def encode(alm: AudioLanguageModel, features: Features) -> torch.Tensor:
    """transformers' audio tower over the whole window of every clip: the reference of valid-frame encoding."""
    window = 2 * alm.model.config.audio_config.max_source_positions
    mel = torch.nn.functional.pad(features.input_features, (0, window - features.input_features.shape[-1]))
    return alm.model.model.audio_tower(mel.to(alm.model.device, alm.model.dtype)).last_hidden_state


def _prompt(alm: AudioLanguageModel, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention mask and token ids of the first listener's prompts, padded on the left."""
    prefix, suffix = alm.chat(batch.question.system, batch.question.text)
    prompts = [[*alm.with_audio(prefix, [n]), *suffix] for n in batch.features.audio_tokens]
    longest = max(map(len, prompts))
    ids = torch.full((len(prompts), longest), alm.turn_ends()[0])
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    return mask.to(alm.model.device), ids.to(alm.model.device)


def _prefill(alm: AudioLanguageModel, batch: Batch, *, use_cache: bool) -> Any:
    mask, ids = _prompt(alm, batch)
    with trimmed(alm.model, batch.features.input_features.shape[-1]):
        return alm.model.model(
            input_ids=ids,
            attention_mask=mask,
            input_features=batch.features.input_features.to(alm.model.device),
            feature_attention_mask=batch.features.mask.to(alm.model.device),
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            use_cache=use_cache,
        )


@contextmanager
def stock_products(model: Any) -> Iterator[None]:
    """Within the context the model multiplies as torch does by itself."""
    fast: list[Any] = [module for module in model.modules() if type(module) is OneDnnLinear]
    for module in fast:
        module.__class__ = torch.nn.Linear
    try:
        yield
    finally:
        for module in fast:
            module.__class__ = OneDnnLinear
