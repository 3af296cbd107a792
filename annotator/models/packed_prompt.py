"""One row per utterance: the audio's prefix, then every listener's text with its label tree, all in one forward pass.

    prefix (system, audio) | text 1 | tree 1 | text 2 | tree 2 | …

Each text sees the prefix and itself, each tree node the prefix, its own text and its ancestors; positions continue
from the prefix in every branch. So the prefix is computed once for the whole panel, and every branch is what it would
be alone. (One pass: no cache has to be kept, expanded or cropped.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import torch

from .families import AudioLanguageModel, Features
from .label_tree import LabelTree
from .trimming import trimmed

# Rows of logits held at once: 1,024 rows of a 156,000-word vocabulary in float32 are 640 MB.
LOGIT_ROWS = 1024


class Branch(NamedTuple):
    """One listener's question after the shared prefix."""

    suffix: Sequence[int]
    tree: LabelTree


@dataclass(frozen=True, slots=True)
class PackedRow:
    """One utterance of L tokens: ids and positions [L], mask [L, L], and where each branch's E edges are read."""

    ids: np.ndarray
    positions: np.ndarray
    mask: np.ndarray
    reads: tuple[np.ndarray, ...]
    trees: tuple[LabelTree, ...]


def pack_row(prefix: Sequence[int], branches: Sequence[Branch]) -> PackedRow:
    """Lay out one utterance's prefix (audio tokens repeated already) and its branches."""
    start = len(prefix)
    length = start + sum(len(branch.suffix) + len(branch.tree) for branch in branches)
    ids, positions = np.empty(length, dtype=np.int64), np.empty(length, dtype=np.int64)
    mask = np.zeros((length, length), dtype=bool)
    ids[:start], positions[:start] = prefix, np.arange(start)
    mask[:start, :start] = np.tri(start, dtype=bool)
    mask[start:, :start] = True
    reads, at = [], start
    for suffix, tree in branches:
        text, nodes = slice(at, at + len(suffix)), slice(at + len(suffix), at + len(suffix) + len(tree))
        ids[text], ids[nodes] = suffix, tree.tokens
        positions[text] = start + np.arange(len(suffix))
        positions[nodes] = start + len(suffix) + tree.depths
        mask[text, text] = np.tri(len(suffix), dtype=bool)
        mask[nodes, text] = True
        mask[nodes, nodes] = tree.visible
        # Node -1, the root, is predicted from the text's last token, which lies just before the nodes.
        reads.append(nodes.start + tree.edge_nodes)
        at = nodes.stop
    return PackedRow(ids, positions, mask, tuple(reads), tuple(branch.tree for branch in branches))


def answer_logp(
    alm: AudioLanguageModel,
    features: Features,
    rows: Sequence[PackedRow],
    *,
    padding_side: Literal["left", "right"] = "right",
) -> list[list[torch.Tensor]]:
    """Log-probability of every answer, [A] (float32, not normalised), for every branch of every utterance of a batch.

    One pass over B rows padded to the longest. Gradients flow if they are enabled; scoring runs in inference mode.
    """
    hidden, offsets = _hidden(alm, features, rows, padding_side)
    length = hidden.shape[1]
    reads = [
        read + b * length + offsets[b] for b, row in enumerate(rows) for read in row.reads
    ]  # flat index of the position that predicts each edge
    trees = [tree for row in rows for tree in row.trees]
    if not trees:
        return [[] for _ in rows]
    edges = _edge_logp(
        alm, hidden.flatten(0, 1), np.concatenate(reads), np.concatenate([tree.edge_tokens for tree in trees])
    )
    flat = _by_tree(trees, edges)
    counts = np.cumsum([0, *(len(row.trees) for row in rows)])
    return [flat[a:b] for a, b in pairwise(counts)]


def _hidden(
    alm: AudioLanguageModel, features: Features, rows: Sequence[PackedRow], padding_side: str
) -> tuple[torch.Tensor, list[int]]:
    """Last hidden states [B, L, H], and where each row starts in the padded batch."""
    device, length = alm.model.device, max(len(row.ids) for row in rows)
    offsets = [length - len(row.ids) if padding_side == "left" else 0 for row in rows]
    ids = np.full((len(rows), length), _filler(alm), dtype=np.int64)
    positions = np.zeros((len(rows), length), dtype=np.int64)
    # Padding attends to itself: a row of the mask without any key would be NaN, and NaN spreads even through weight 0.
    mask = np.repeat(np.eye(length, dtype=bool)[None], len(rows), axis=0)
    for b, (row, at) in enumerate(zip(rows, offsets, strict=True)):
        span = slice(at, at + len(row.ids))
        ids[b, span], positions[b, span], mask[b, span, span] = row.ids, row.positions, row.mask
    attention = torch.from_numpy(mask)[:, None].to(device)
    if alm.model.config.get_text_config()._attn_implementation == "eager":
        dtype = alm.model.dtype
        attention = torch.zeros((), dtype=dtype, device=device).where(attention, torch.finfo(dtype).min)
    with trimmed(alm.model, features.input_features.shape[-1]):
        out = alm.model.model(
            input_ids=torch.from_numpy(ids).to(device),
            input_features=features.input_features.to(device),
            feature_attention_mask=features.mask.to(device),
            attention_mask=attention,
            position_ids=torch.from_numpy(positions).to(device),
            use_cache=False,
        )
    return out.last_hidden_state, offsets


def _filler(alm: AudioLanguageModel) -> int:
    """A token for padding; any will do but the audio token, which would claim audio features."""
    return next(i for i in (*alm.turn_ends(), 0, 1) if i != alm.audio_token_id)


def _edge_logp(alm: AudioLanguageModel, hidden: torch.Tensor, reads: np.ndarray, tokens: np.ndarray) -> torch.Tensor:
    """log P(token | position) of every edge [E]; logits only where an edge starts, a block of positions at a time."""
    positions, edge_rows = np.unique(reads, return_inverse=True)
    order = np.argsort(edge_rows, kind="stable")
    bounds = np.searchsorted(edge_rows[order], np.arange(0, len(positions) + LOGIT_ROWS, LOGIT_ROWS))
    blocks = []
    for start, (a, b) in zip(range(0, len(positions), LOGIT_ROWS), pairwise(bounds), strict=False):
        rows = torch.as_tensor(positions[start : start + LOGIT_ROWS], device=hidden.device)
        logits = alm.model.lm_head(hidden[rows]).float()
        at = torch.as_tensor(edge_rows[order[a:b]] - start, device=hidden.device)
        token = torch.as_tensor(tokens[order[a:b]], device=hidden.device)
        blocks.append(logits[at, token] - logits.logsumexp(-1)[at])
    return torch.cat(blocks)[torch.as_tensor(np.argsort(order, kind="stable"), device=hidden.device)]


def _by_tree(trees: Sequence[LabelTree], edges: torch.Tensor) -> list[torch.Tensor]:
    """Answers' log-probabilities of each branch, branches with the same tree computed together."""
    bounds = np.cumsum([0, *(len(tree.edge_tokens) for tree in trees)])
    found: list[torch.Tensor] = [edges] * len(trees)
    for tree in {id(tree): tree for tree in trees}.values():
        members = [i for i, other in enumerate(trees) if other is tree]
        stacked = torch.stack([edges[bounds[i] : bounds[i + 1]] for i in members])
        for i, logp in zip(members, tree.answer_logp(stacked), strict=True):
            found[i] = logp
    return found
