"""Texts sampled from a model: an utterance's audio is computed once, each question once, then token by token.

    prefix (system, audio)            one row per utterance, cached
        text of a question            one row a distinct question of an utterance, on a copy of that cache
            answer, token by token    one row a wanted text, on a copy of that one

Top-p, top-k and penalties do not exist here: a text is a draw from the model's own distribution at its temperature.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from .families import AudioLanguageModel, Features
from .trimming import trimmed

# Bytes of cached keys and values that the rows of one pass may hold on a CPU; on a GPU, half of what is free.
CACHE_BYTES = 2 << 30


class Wanted(NamedTuple):
    """One text that is wanted of an utterance: token ids of the question, temperature (0 is greedy), uniforms [T]."""

    suffix: tuple[int, ...]
    temperature: float
    chances: np.ndarray


class Written(NamedTuple):
    """Token ids without the turn end, and whether there was one; `tokens` is None where the model gave NaN."""

    tokens: tuple[int, ...] | None
    ended: bool


class _Prefilled(NamedTuple):
    """A cache over N rows, which of its columns are real [N, C], tokens so far [N], and the next logits [N, V]."""

    cache: Any
    real: torch.Tensor
    lengths: torch.Tensor
    logits: torch.Tensor | None


def decode(
    alm: AudioLanguageModel,
    features: Features,
    prefixes: Sequence[Sequence[int]],
    wanted: Sequence[Sequence[Wanted]],
    *,
    max_new_tokens: int,
    rows_at_once: int | None = None,
) -> list[list[Written]]:
    """Write every wanted text. `prefixes` are the token ids up to the end of the audio, audio tokens repeated.

    At most `rows_at_once` texts are under way at a time (None: what the cache's budget allows).
    """
    flat = [(b, item) for b, items in enumerate(wanted) for item in items]
    # Texts of one question side by side, so that a part of them computes few questions.
    order = sorted(range(len(flat)), key=lambda i: (flat[i][0], flat[i][1].suffix))
    heard = _hear(alm, features, prefixes)
    longest = heard.real.shape[1] + max_new_tokens + max((len(item.suffix) for _, item in flat), default=0)
    step = rows_at_once or max(1, _budget(alm) // (longest * _token_bytes(heard.cache)))
    done: dict[int, Written] = {}
    for start in range(0, len(order), step):
        part = order[start : start + step]
        read, row = _read(alm, heard, [(flat[i][0], flat[i][1].suffix) for i in part])
        texts = _write(alm, _chosen(read, row), [flat[i][1] for i in part], max_new_tokens)
        done.update(zip(part, texts, strict=True))
    found = iter(range(len(flat)))
    return [[done[next(found)] for _ in items] for items in wanted]


def _hear(alm: AudioLanguageModel, features: Features, prefixes: Sequence[Sequence[int]]) -> _Prefilled:
    """The audio's prefix of each utterance, padded on the right."""
    device, width = alm.model.device, max(map(len, prefixes))
    lengths = torch.tensor([len(prefix) for prefix in prefixes])
    ids = torch.full((len(prefixes), width), alm.turn_ends()[0])
    for b, prefix in enumerate(prefixes):
        ids[b, : len(prefix)] = torch.tensor(prefix)
    real = torch.arange(width) < lengths[:, None]
    mask = real[:, None, :] & torch.ones(width, width, dtype=torch.bool).tril()
    mask |= torch.eye(width, dtype=torch.bool)  # padding attends to itself: a row without any key would be NaN
    with trimmed(alm.model, features.input_features.shape[-1]):
        out = alm.model.model(
            input_ids=ids.to(device),
            input_features=features.input_features.to(device),
            feature_attention_mask=features.mask.to(device),
            attention_mask=_attention(alm, mask),
            position_ids=torch.arange(width, device=device).expand(len(prefixes), -1),
            use_cache=True,
        )
    return _Prefilled(out.past_key_values, real.to(device), lengths.to(device), None)


def _read(
    alm: AudioLanguageModel, heard: _Prefilled, asked: Sequence[tuple[int, tuple[int, ...]]]
) -> tuple[_Prefilled, torch.Tensor]:
    """Each distinct (utterance, question) on its utterance's cache, padded on the left; and the row of each `asked`."""
    device = alm.model.device
    distinct = list(dict.fromkeys(asked))
    place = {question: i for i, question in enumerate(distinct)}
    start = _chosen(heard, torch.tensor([b for b, _ in distinct], device=device))
    width = max(len(suffix) for _, suffix in distinct)
    padding = torch.tensor([width - len(suffix) for _, suffix in distinct], device=device)
    ids = torch.tensor(
        [[alm.turn_ends()[0]] * (width - len(suffix)) + list(suffix) for _, suffix in distinct], device=device
    )
    columns = torch.arange(width, device=device)
    real = columns >= padding[:, None]
    own = real[:, None, :] & torch.ones(width, width, dtype=torch.bool, device=device).tril()
    own |= torch.eye(width, dtype=torch.bool, device=device)
    before = start.real[:, None, :].expand(-1, width, -1)
    out = alm.model.model.language_model(
        input_ids=ids,
        attention_mask=_attention(alm, torch.cat([before, own], dim=-1)),
        position_ids=(start.lengths[:, None] + columns - padding[:, None]).clamp(min=0),
        past_key_values=start.cache,
        use_cache=True,
    )
    logits = alm.model.lm_head(out.last_hidden_state[:, -1]).float()
    state = _Prefilled(
        out.past_key_values, torch.cat([start.real, real], dim=1), start.lengths + width - padding, logits
    )
    return state, torch.tensor([place[question] for question in asked], device=device)


def _write(alm: AudioLanguageModel, state: _Prefilled, wanted: Sequence[Wanted], limit: int) -> list[Written]:
    """Token by token until each text has ended, or has `limit` tokens. Rows that are done are dropped on the way."""
    device, ends = alm.model.device, set(alm.turn_ends())
    texts: list[list[int]] = [[] for _ in wanted]
    broken: set[int] = set()
    ended: set[int] = set()
    temperatures = np.array([item.temperature for item in wanted])
    alive = np.arange(len(wanted))
    for t in range(limit):
        chances = np.array([wanted[i].chances[t] for i in alive.tolist()])
        assert state.logits is not None
        tokens = pick_tokens(state.logits, temperatures[alive], chances)
        for i, token in zip(alive.tolist(), tokens.tolist(), strict=True):
            if token < 0:
                broken.add(i)
            elif token in ends:
                ended.add(i)
            else:
                texts[i].append(token)
        left = np.array([i not in broken and i not in ended for i in alive.tolist()])
        if not left.any() or t == limit - 1:
            break
        kept = torch.as_tensor(np.flatnonzero(left), device=device)
        state = _advance(alm, state if left.all() else _chosen(state, kept), tokens[kept])
        alive = alive[left]
    return [Written(None if i in broken else tuple(text), i in ended) for i, text in enumerate(texts)]


def _advance(alm: AudioLanguageModel, state: _Prefilled, tokens: torch.Tensor) -> _Prefilled:
    """Feed one token a row."""
    real = torch.cat([state.real, state.real.new_ones(len(tokens), 1)], dim=1)
    out = alm.model.model.language_model(
        input_ids=tokens[:, None],
        attention_mask=_attention(alm, real[:, None, :]),
        position_ids=state.lengths[:, None],
        past_key_values=state.cache,
        use_cache=True,
    )
    logits = alm.model.lm_head(out.last_hidden_state[:, -1]).float()
    return _Prefilled(out.past_key_values, real, state.lengths + 1, logits)


def pick_tokens(logits: torch.Tensor, temperatures: np.ndarray, chances: np.ndarray) -> torch.Tensor:
    """The token [N] at quantile `chances` [N] of softmax(logits / temperature), logits [N, V]; -1 where they are NaN.

    Temperature 0 takes the likeliest token, the first of equals.
    """
    heat = torch.as_tensor(temperatures, device=logits.device)[:, None]
    greedy = heat[:, 0] == 0
    p = (logits.double() / heat.where(heat > 0, 1.0)).softmax(-1)
    cumulative = p.cumsum(-1)
    # Scaled by the sum that was reached: rounding must not leave a chance beyond the last token.
    at = torch.as_tensor(chances, device=logits.device)[:, None] * cumulative[:, -1:]
    drawn = torch.searchsorted(cumulative, at, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
    tokens = torch.where(greedy, logits.argmax(-1), drawn)
    return tokens.masked_fill(logits.isnan().any(-1), -1)


def _chosen(state: _Prefilled, rows: torch.Tensor) -> _Prefilled:
    """A state of these rows (repeats allowed), on a cache of its own."""
    from transformers import DynamicCache

    cache = DynamicCache()
    for layer, (keys, values, *_) in enumerate(state.cache):
        cache.update(keys[rows], values[rows], layer)
    logits = None if state.logits is None else state.logits[rows]
    return _Prefilled(cache, state.real[rows], state.lengths[rows], logits)


def _attention(alm: AudioLanguageModel, mask: torch.Tensor) -> torch.Tensor:
    """A mask [N, Q, C] (true: may look) as the model's attention takes it."""
    mask = mask[:, None].to(alm.model.device)
    if alm.model.config.get_text_config()._attn_implementation != "eager":
        return mask
    dtype = alm.model.dtype
    return torch.zeros((), dtype=dtype, device=mask.device).where(mask, torch.finfo(dtype).min)


def _token_bytes(cache: Any) -> int:
    """Bytes that one token of one row takes in the cache."""
    return sum(
        part.element_size() * part.shape[1] * part.shape[3] for keys, values, *_ in cache for part in (keys, values)
    )


def _budget(alm: AudioLanguageModel) -> int:
    if alm.model.device.type != "cuda":
        return CACHE_BYTES
    return torch.cuda.mem_get_info(alm.model.device)[0] // 2
