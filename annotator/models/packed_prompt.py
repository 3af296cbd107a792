"""One utterance, all its listeners: the audio's prefix, then every listener's text with its label tree, computed once.

    prefix (system, audio) | text 1, tree 1 | text 2, tree 2 | …

Each text sees the prefix and itself, each tree node the prefix, its own text and its ancestors; positions continue
from the prefix in every branch. So the prefix is computed once for the whole panel, and every branch is what it would
be alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from .expanded_cache import expanded_hidden
from .families import AudioLanguageModel, Features
from .label_tree import ROOT, LabelTree
from .matrix_kernels import linear
from .ragged_pass import packs, ragged_hidden

# Listeners whose texts begin with this many common tokens share them. A shared token saves its way through every layer,
# but two listeners in one group are masked from each other in a square of attention: with a width of 512 that costs
# about as much as four tokens, with larger ones less.
SHARED_TOKENS = 8
# Logits held at once: at most so many rows, by as many words as fill these bytes. On a CPU the head's weights are then
# read from memory once for all rows, and the logits stay in the cache: for 360 rows of a 32,000-word vocabulary 60 ms
# with 2,800 words at a time, 76 ms with 98 rows of all words.
LOGIT_BYTES = {"cpu": 4 << 20, "cuda": 640 << 20}
LOGIT_ROWS = 1024


class Branch(NamedTuple):
    """One listener's question after the shared prefix."""

    suffix: Sequence[int]
    tree: LabelTree


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Branches as one token tree of N nodes, in which texts that begin alike share their beginning.

    `tokens`, `parents`, `depths` [N]: as in a label tree, the texts included. `visible` [N, N]: which nodes each
    attends to. `reads` [R]: the nodes whose predictions are read. `branches`: their places in the panel; for each,
    `edges` [E] is the place in `reads` that predicts each edge of its tree.
    """

    tokens: np.ndarray
    parents: np.ndarray
    depths: np.ndarray
    visible: np.ndarray
    reads: np.ndarray
    branches: tuple[int, ...]
    edges: tuple[np.ndarray, ...]
    trees: tuple[LabelTree, ...]

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, slots=True, eq=False)
class PackedRow:
    """One utterance: its prefix's token ids [P] (audio tokens repeated already) and the groups that follow it."""

    prefix: np.ndarray
    groups: tuple[Group, ...]

    @property
    def branches(self) -> int:
        return sum(len(group.branches) for group in self.groups)


def pack_row(prefix: Sequence[int], branches: Sequence[Branch]) -> PackedRow:
    """Lay out one utterance's prefix and its branches."""
    return PackedRow(np.asarray(prefix, dtype=np.int64), pack_groups(branches))


def pack_groups(branches: Sequence[Branch]) -> tuple[Group, ...]:
    """What follows the prefix: the same for every utterance that is asked the same, so it is worth keeping."""
    gathered: list[list[int]] = []
    for place, branch in enumerate(branches):
        for members in gathered:
            if _common(branch.suffix, branches[members[0]].suffix) >= SHARED_TOKENS:
                members.append(place)
                break
        else:
            gathered.append([place])
    return tuple(_group(members, [branches[i] for i in members]) for members in gathered)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _group(members: Sequence[int], branches: Sequence[Branch]) -> Group:
    nodes: dict[tuple[int, int], int] = {}  # (parent, token) to node
    read: dict[int, int] = {}  # node to its place among those that are read
    edges = []
    for suffix, tree in branches:
        last = ROOT
        for token in suffix:
            last = nodes.setdefault((last, token), len(nodes))
        # Place -1, the root of the label tree, is the text's last token.
        places = {ROOT: last}
        for i, (parent, token) in enumerate(zip(tree.parents.tolist(), tree.tokens.tolist(), strict=True)):
            places[i] = nodes.setdefault((places[parent], token), len(nodes))
        edges.append(np.array([read.setdefault(places[i], len(read)) for i in tree.edge_nodes.tolist()]))
    parents = np.array([parent for parent, _ in nodes])
    visible, depths = np.eye(len(nodes), dtype=bool), np.zeros(len(nodes), dtype=np.int64)
    for i, parent in enumerate(parents):
        if parent != ROOT:
            visible[i] |= visible[parent]
            depths[i] = depths[parent] + 1
    tokens = np.array([token for _, token in nodes], dtype=np.int64)
    trees = tuple(branch.tree for branch in branches)
    return Group(tokens, parents, depths, visible, np.array(list(read)), tuple(members), tuple(edges), trees)


def answer_logp(
    alm: AudioLanguageModel,
    features: Features,
    rows: Sequence[PackedRow],
    *,
    method: Literal["auto", "packed", "expanded"] = "auto",
    padding_side: Literal["left", "right"] = "right",
) -> list[list[torch.Tensor]]:
    """Log-probability of every answer, [A] (float32, not normalised), for every branch of every utterance of a batch.

    `method`: one packed pass where the model's layers allow it (`auto`), or the prefix's cache expanded to one row a
    form, which any model can do; both give the same numbers. `padding_side` is the expanded method's (a packed pass has
    no padding). Gradients flow if they are enabled; scoring runs in inference mode.
    """
    if not any(row.branches for row in rows):
        return [[] for _ in rows]
    if method == "packed" or (method == "auto" and packs(alm)):
        hidden = ragged_hidden(alm, features, rows)
    else:
        hidden = expanded_hidden(alm, features, rows, padding_side=padding_side)
    groups = [group for row in rows for group in row.groups]
    starts = accumulate((len(group.reads) for group in groups), initial=0)
    edge_rows = [edges + start for group, start in zip(groups, starts, strict=False) for edges in group.edges]
    trees = [tree for group in groups for tree in group.trees]
    tokens = np.concatenate([tree.edge_tokens for tree in trees])
    found = iter(_by_tree(trees, _edge_logp(alm, hidden, np.concatenate(edge_rows), tokens)))
    answers = []
    for row in rows:
        own = {branch: next(found) for group in row.groups for branch in group.branches}
        answers.append([own[branch] for branch in sorted(own)])
    return answers


def _edge_logp(alm: AudioLanguageModel, hidden: torch.Tensor, rows: np.ndarray, tokens: np.ndarray) -> torch.Tensor:
    """log P(token | row) of every edge [E] (float64, for sums along paths), from hidden states [R, H], in blocks."""
    order = np.argsort(rows, kind="stable")
    starts = range(0, len(hidden), LOGIT_ROWS)
    bounds = np.searchsorted(rows[order], [*starts, len(hidden)])
    blocks = [
        _block_logp(alm.model.lm_head, hidden[start : start + LOGIT_ROWS], rows[order[a:b]] - start, tokens[order[a:b]])
        for start, (a, b) in zip(starts, pairwise(bounds), strict=True)
    ]
    return torch.cat(blocks)[torch.as_tensor(np.argsort(order, kind="stable"), device=hidden.device)]


def _block_logp(head: Any, hidden: torch.Tensor, rows: np.ndarray, tokens: np.ndarray) -> torch.Tensor:
    """`_edge_logp` of one block of rows, a part of the vocabulary at a time: log sum exp of the parts' log sum exps."""
    device, vocabulary = hidden.device, len(head.weight)
    size = max(1, LOGIT_BYTES.get(device.type, LOGIT_BYTES["cuda"]) // (4 * len(hidden)))
    order = np.argsort(tokens, kind="stable")
    starts = range(0, vocabulary, size)
    bounds = np.searchsorted(tokens[order], [*starts, vocabulary])
    found, sums = [], []
    for start, (a, b) in zip(starts, pairwise(bounds), strict=True):
        logits = _logits(head, hidden, slice(start, start + size))
        places = torch.as_tensor(rows[order[a:b]], device=device)
        found.append(logits[places, torch.as_tensor(tokens[order[a:b]] - start, device=device)].double())
        # log_softmax is one kernel, logsumexp several: for any word, logit - log_softmax = log sum exp.
        sums.append(logits[:, 0].double() - torch.log_softmax(logits, dim=-1, dtype=torch.float32)[:, 0])
    total = torch.stack(sums).logsumexp(0)
    logp = torch.cat(found) - total[torch.as_tensor(rows[order], device=device)]
    return logp[torch.as_tensor(np.argsort(order, kind="stable"), device=device)]


def _logits(head: Any, hidden: torch.Tensor, words: slice) -> torch.Tensor:
    """The head's predictions for a part of the vocabulary."""
    bias = None if head.bias is None else head.bias[words]
    return linear(hidden, head.weight[words], bias)


def _by_tree(trees: Sequence[LabelTree], edges: torch.Tensor) -> list[torch.Tensor]:
    """Answers' log-probabilities of each branch, branches with the same tree computed together."""
    bounds = np.cumsum([0, *(len(tree.edge_tokens) for tree in trees)])
    found: list[torch.Tensor] = [edges] * len(trees)
    for tree in {id(tree): tree for tree in trees}.values():
        members = [i for i, other in enumerate(trees) if other is tree]
        stacked = torch.stack([edges[bounds[i] : bounds[i + 1]] for i in members])
        for i, logp in zip(members, tree.answer_logp(stacked).float(), strict=True):
            found[i] = logp
    return found
