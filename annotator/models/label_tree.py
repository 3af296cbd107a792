"""Every way a model may answer, as one token tree: its probability is exact, and costs one pass.

An answer is a surface form (the word as it is or capitalised, with or without a full stop) followed by one token that
ends the turn. The forms share their first tokens, so they are laid out as a tree whose inner nodes are fed to the
model once; then

    P(answer) = sum over forms f and turn ends e of  prod_i P(f_i | prompt, f_<i) * P(e | prompt, f)

is the probability that a sampled answer is one of these forms, in the tokenizer's own tokenisation of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...data.errors import LabelError
from ..panel.parsing import surface_forms

if TYPE_CHECKING:
    import torch

ROOT = -1


@dataclass(frozen=True, slots=True, eq=False)
class LabelTree:
    """The answers' token tree. N inner nodes are fed to the model; E edges are read from its predictions.

    `tokens`, `parents`, `depths` [N]: each node's token, its parent (`ROOT` for a first token), its depth from 0.
    `visible` [N, N]: which nodes each node attends to (its ancestors and itself).
    `edge_nodes`, `edge_tokens` [E]: the node that predicts, and the token predicted.
    `paths` [F, D]: the edges of each form with its turn end, padded with E. `owners` [F]: the form's answer.
    """

    answers: tuple[str, ...]
    tokens: np.ndarray
    parents: np.ndarray
    depths: np.ndarray
    visible: np.ndarray
    edge_nodes: np.ndarray
    edge_tokens: np.ndarray
    paths: np.ndarray
    owners: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)

    def answer_logp(self, edge_logp: "torch.Tensor") -> "torch.Tensor":
        """Log-probability of each answer, not normalised, [..., A], from those of the edges, [..., E]."""
        import torch

        padded = torch.cat([edge_logp, edge_logp.new_zeros(*edge_logp.shape[:-1], 1)], dim=-1)
        forms = padded[..., torch.as_tensor(self.paths, device=edge_logp.device)].sum(-1)
        owners = torch.as_tensor(self.owners, device=edge_logp.device)
        return torch.stack([forms[..., owners == a].logsumexp(-1) for a in range(len(self.answers))], dim=-1)


def build_tree(answers: Sequence[str], tokens: Callable[[str], Sequence[int]], ends: Sequence[int]) -> LabelTree:
    """The tree of all `answers`; `tokens` is the tokenizer, `ends` the ids of every token that ends a turn.

    Raises `LabelError` if two answers have a form in common, for then their probabilities cannot be told apart.
    """
    forms = _form_tokens(answers, tokens)
    nodes: dict[tuple[int, ...], int] = {}
    edges: dict[tuple[int, int], int] = {}
    paths: list[list[int]] = []
    owners: list[int] = []
    for form, owner in forms.items():
        node, path = ROOT, []
        for depth, token in enumerate(form):
            path.append(edges.setdefault((node, token), len(edges)))
            node = nodes.setdefault(form[: depth + 1], len(nodes))
        for end in ends:
            paths.append([*path, edges.setdefault((node, end), len(edges))])
            owners.append(owner)
    return _layout(tuple(answers), list(nodes), list(edges), paths, owners)


def _form_tokens(answers: Sequence[str], tokens: Callable[[str], Sequence[int]]) -> dict[tuple[int, ...], int]:
    forms: dict[tuple[int, ...], int] = {}
    for index, answer in enumerate(answers):
        for form in surface_forms(answer):
            ids = tuple(tokens(form))
            if not ids:
                raise LabelError(f"label '{answer}' has no tokens in this model's vocabulary; choose another name")
            other = forms.setdefault(ids, index)
            if other != index:
                raise LabelError(
                    f"labels '{answers[other]}' and '{answer}' are both answered by '{form}'; rename one of them"
                )
    return forms


def _layout(
    answers: tuple[str, ...],
    nodes: list[tuple[int, ...]],
    edges: list[tuple[int, int]],
    paths: list[list[int]],
    owners: list[int],
) -> LabelTree:
    place = {node: i for i, node in enumerate(nodes)}
    visible = np.zeros((len(nodes), len(nodes)), dtype=bool)
    for i, node in enumerate(nodes):
        visible[i, [place[node[: d + 1]] for d in range(len(node))]] = True
    deepest = max(map(len, paths))
    return LabelTree(
        answers=answers,
        tokens=np.array([node[-1] for node in nodes]),
        parents=np.array([place.get(node[:-1], ROOT) for node in nodes]),
        depths=np.array([len(node) - 1 for node in nodes]),
        visible=visible,
        edge_nodes=np.array([node for node, _ in edges]),
        edge_tokens=np.array([token for _, token in edges]),
        paths=np.array([path + [len(edges)] * (deepest - len(path)) for path in paths]),
        owners=np.array(owners),
    )
