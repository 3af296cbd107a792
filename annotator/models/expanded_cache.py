"""The fallback for models that cannot take a packed mask: the prefix's cache, expanded to one row per label form.

Three ordinary forwards with a cache: the prefixes; for each group of questions the text all its answers share; for
each leaf of its token tree the rest. Slower, for every row repeats its prefix's cache, but nothing is asked of the
model's layers.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from .families import AudioLanguageModel, Features
from .label_tree import ROOT
from .trimming import trimmed

if TYPE_CHECKING:
    from .packed_prompt import Group, PackedRow


class _Pass(NamedTuple):
    """The cache so far with its mask [rows, seen]; positions continue at `lengths` [rows]."""

    cache: Any
    mask: torch.Tensor
    lengths: np.ndarray

    def rows(self, index: Sequence[int]) -> "_Pass":
        chosen = torch.as_tensor(np.asarray(index), device=self.mask.device)
        self.cache.batch_select_indices(chosen)
        return _Pass(self.cache, self.mask[chosen], self.lengths[np.asarray(index)])


def expanded_hidden(
    alm: AudioLanguageModel, features: Features, rows: "Sequence[PackedRow]", *, padding_side: str = "right"
) -> torch.Tensor:
    """Last hidden states where the groups of all rows are read, in their order: [R, H]."""
    from transformers import DynamicCache

    groups = [group for row in rows for group in row.groups]
    owners = [b for b, row in enumerate(rows) for _ in row.groups]
    empty = torch.zeros(len(rows), 0, dtype=torch.long, device=alm.model.device)
    before = _Pass(DynamicCache(), empty, np.zeros(len(rows), dtype=np.int64))
    audio = {"input_features": features.input_features.to(alm.model.device)}
    audio["feature_attention_mask"] = features.mask.to(alm.model.device)
    with trimmed(alm.model, features.input_features.shape[-1]):
        _, after = _forward(alm, before, [row.prefix for row in rows], padding_side, **audio)
    stems = [_stem(group) for group in groups]
    shared, after = _forward(
        alm, after.rows(owners), [g.tokens[:n] for g, n in zip(groups, stems, strict=True)], padding_side
    )
    leaves = [(g, path) for g, group in enumerate(groups) for path in _leaf_paths(group, stems[g])]
    tails, _ = _forward(
        alm, after.rows([g for g, _ in leaves]), [groups[g].tokens[path] for g, path in leaves], padding_side
    )
    found = [dict(enumerate(own)) for own in shared]
    for (g, path), own in zip(leaves, tails, strict=True):
        found[g].update(zip(path, own, strict=True))
    return torch.stack([found[g][int(node)] for g, group in enumerate(groups) for node in group.reads])


def _stem(group: "Group") -> int:
    """How many nodes come before the first branching, each the only child of the one before it; at least one."""
    children = np.bincount(group.parents[group.parents != ROOT], minlength=len(group))
    return 1 + next(i for i, count in enumerate(children) if count != 1)


def _leaf_paths(group: "Group", stem: int) -> list[list[int]]:
    """The nodes from behind the stem to each leaf."""
    inner = set(group.parents.tolist())
    paths = []
    for leaf in range(stem, len(group)):
        path, node = [], leaf
        while leaf not in inner and node >= stem:
            path.append(node)
            node = int(group.parents[node])
        if path:
            paths.append(path[::-1])
    return paths


def _forward(
    alm: AudioLanguageModel, before: _Pass, tokens: Sequence[np.ndarray], padding_side: str, **audio: torch.Tensor
) -> tuple[list[torch.Tensor], _Pass]:
    """Feed each row its tokens after what its cache holds; hidden states of each row's tokens, and the new cache."""
    longest = max(map(len, tokens))
    real = np.arange(longest) < np.array([len(own) for own in tokens])[:, None]
    if padding_side == "left":
        real = real[:, ::-1].copy()
    ids = np.full(real.shape, _filler(alm), dtype=np.int64)
    ids[real] = np.concatenate(tokens)
    positions = before.lengths[:, None] + np.maximum(real.cumsum(axis=1) - 1, 0)
    device = alm.model.device
    mask = torch.cat([before.mask, torch.from_numpy(real).long().to(device)], dim=1)
    out = alm.model.model(
        input_ids=torch.from_numpy(ids).to(device),
        attention_mask=mask,
        position_ids=torch.from_numpy(positions).to(device),
        past_key_values=before.cache,
        use_cache=True,
        **audio,
    )
    keep = torch.from_numpy(real).to(device)
    states = [own[kept] for own, kept in zip(out.last_hidden_state, keep, strict=True)]
    return states, _Pass(out.past_key_values, mask, before.lengths + real.sum(axis=1))


def _filler(alm: AudioLanguageModel) -> int:
    """A token for padding; any will do but the audio token, which would claim audio features."""
    return next(i for i in (*alm.turn_ends(), 0, 1) if i != alm.audio_token_id)
