"""`dime-aug --dime serann`: rare labels gain expected mass through new takes of utterances that are likely to be them.

    mass of a label      m_c = sum over train of p_uc: its expected number of utterances, not how often it is arg max
    target               T_c = rho max m, or by effective numbers T_c = m_c E(max m) / E(m_c),
                         E(n) = (1 - beta^n) / (1 - beta); deficit d_c = max(0, T_c - m_c)
    takes of parent u    x_u = clip(p_u . theta / SPREAD, 0, MOST);  theta_c in [-1, CEILING] for a label below its
                         target, such that sum_u x_u p_uc = d_c;  theta_c = -1 for every other label

theta is a price: a unit of mass that nobody needs costs 1, a unit that lacks earns theta_c, the n-th take of one
parent costs SPREAD n. x is the optimum of that bargain (a concave dual in K prices, linear in utterances, L-BFGS-B), so
pure and many parents come first, and no label is pushed beyond its target: where one passes it, its price has fallen
to -1 and it was carried along by others. A parent of which less than 1 / (1 + CEILING) is lacking is never used. Whole
takes come from x by systematic sampling along label and id. A soft p always carries other labels, so those at their
target grow too; the report gives every label's mass before, its target, and its mass after. Shares of the whole are
therefore flatter than they were, and not as flat as rho says.

A take is the parent's sound, a little perturbed (`sounds.py`), with the parent's speaker, words and fused p: one
voice, one distribution. We assume that so small a change moves no listener. `concatenate=True` joins two turns of one
speaker instead, with p weighted by their lengths: an assumption about listeners that nobody has tested, so off.

Differs from the published form (`paper.py`) in that it balances masses, not arg maxes, and mixes no two voices. The
effective number is Cui et al.'s (CVPR 2019), who weight a loss by 1 / E(n); T_c is what that weight asks for in
takes. The prices are ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from ....data.corpus import Corpus
from ....data.errors import AudioError, CorpusError, OptionError
from ....data.seeds import rng_from, seed_from
from .plan import NewUtterance, Plan, Progress, load_librosa, parent_sound, turn_seconds
from .sounds import draw_perturbation

FORMULA = (
    "new takes of single utterances, slightly perturbed, with their parent's p; x_u = clip(p_u . theta / "
    "spread, 0, most) takes of u, so that the expected mass sum_u p_uc of every label below its target reaches it"
)
SPREAD = 0.25
CEILING = 4.0
MOST = 10
# Expected mass (utterances) by which a label may miss its target before that is told.
SHORT_BY = 1.0


class Takes(NamedTuple):
    """Expected takes of each parent `x` [U] and the prices `theta` [K] that gave them."""

    x: np.ndarray
    theta: np.ndarray


def check_options(*, rho: float, beta: float | None = None) -> None:
    """Raise OptionError for rho outside (0, 1] and beta outside [0, 1)."""
    if not 0 < rho <= 1:
        raise OptionError(f"rho is {rho:g}; expected a share of the largest class, above 0 and at most 1 (--rho 0.3)")
    if beta is not None and not 0 <= beta < 1:
        raise OptionError(f"beta is {beta:g}; expected 0 or more and below 1 (--beta 0.999), the nearer to 1 the more")


def target_masses(masses: np.ndarray, *, rho: float = 0.3, beta: float | None = None) -> np.ndarray:
    """What the mass of each label [K] should at least be; by `beta` where given, else by `rho`. A label without any
    mass has no utterance to grow from: its target is 0.

    >>> target_masses(np.array([10.0, 2.0, 0.0]), rho=0.5)
    array([10.,  5.,  0.])
    """
    largest = masses.max(initial=0.0)
    if beta is None:
        wanted = np.maximum(masses, rho * largest)
    else:
        effective = -np.expm1(masses * np.log(beta)) if beta > 0 else np.ones_like(masses)
        top = effective.max(initial=0.0)
        wanted = masses * np.divide(top, effective, out=np.ones_like(masses), where=effective > 0)
    return np.where(masses > 0, wanted, 0.0)


def expected_takes(p: np.ndarray, deficit: np.ndarray, *, most: float = MOST) -> Takes:
    """Takes of each parent, real numbers, for distributions p [U, K] and missing masses [K]."""
    lacking = np.flatnonzero(deficit > 0)
    theta = np.full(len(deficit), -1.0)
    if not len(lacking) or not len(p):
        return Takes(np.zeros(len(p)), theta)

    def dual(prices: np.ndarray) -> tuple[float, np.ndarray]:
        full = np.full(len(deficit), -1.0)
        full[lacking] = prices
        z = p @ full / SPREAD
        x = np.clip(z, 0, most)
        bargain = SPREAD * float((x * z - x * x / 2).sum())
        return bargain - float(prices @ deficit[lacking]), p[:, lacking].T @ x - deficit[lacking]

    found = minimize(
        dual,
        np.ones(len(lacking)),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-1.0, CEILING)] * len(lacking),
        options={"maxiter": 500, "ftol": 1e-14, "gtol": 1e-6},
    )
    theta[lacking] = found.x
    return Takes(np.clip(p @ theta / SPREAD, 0, most), theta)


def whole_takes(x: np.ndarray, u: float) -> np.ndarray:
    """Whole numbers [U] by systematic sampling from the start u in [0, 1): each floor(x) or ceil(x), x expected.

    >>> whole_takes(np.array([0.5, 0.5, 2.0]), 0.5)
    array([1, 0, 2])
    """
    # sums of 0.1 or 1/3 end a hair below the whole number that is meant
    steps = np.floor(np.concatenate([[0.0], np.cumsum(x)]) + u + 1e-9)
    return np.diff(steps).astype(int)


def plan(
    corpus: Corpus,
    p: np.ndarray,
    *,
    rho: float = 0.3,
    beta: float | None = None,
    concatenate: bool = False,
    max_seconds: float = 30.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Plan:
    """Choose parents and perturbations for distributions `p` [U, K] (NaN where undefined), no sound being longer than
    `max_seconds`, parent or joined.

    The sounds of the chosen parents are read once; one that cannot be read is listed among the failures and the takes
    are chosen anew without it. A label that does not reach its target is a warning.
    """
    check_options(rho=rho, beta=beta)
    load_librosa("its perturbations")
    rows = candidates(corpus, p)
    masses = p[rows].sum(axis=0)
    target = target_masses(masses, rho=rho, beta=beta)
    takes, failures, read = readable_takes(corpus, p, rows, target - masses, max_seconds, seed, progress)
    items = new_takes(corpus, p, rows, takes, seed)
    if concatenate:
        items = joined(corpus, items, max_seconds, seed)
    sizes = np.bincount(p[rows].argmax(axis=1), minlength=p.shape[1])
    reached = masses + mass_of(items, p)
    return Plan(
        tuple(items),
        sizes,
        tuple(failures),
        _short(corpus, masses, target, reached, len(failures)),
        described=read,
        formula=FORMULA,
        details={
            name: dict(zip(corpus.labels, values.round(6).tolist(), strict=True))
            for name, values in (("mass", masses), ("target", target), ("reached", reached))
        },
    )


def candidates(corpus: Corpus, p: np.ndarray) -> np.ndarray:
    """Rows of the train utterances that have a distribution, by dominant label and id: whatever the order of rows."""
    usable = np.flatnonzero(corpus.in_split("train") & ~np.isnan(p).any(axis=1))
    ids = corpus.ids
    return np.array(sorted(usable.tolist(), key=lambda i: (int(p[i].argmax()), ids[i])), dtype=int)


def readable_takes(
    corpus: Corpus,
    p: np.ndarray,
    rows: np.ndarray,
    deficit: np.ndarray,
    max_seconds: float,
    seed: int,
    progress: Progress | None,
) -> tuple[np.ndarray, list[dict[str, str]], int]:
    """Whole takes of each of `rows`, of sounds that can be read; the failures; and how many sounds were read."""
    usable = np.ones(len(rows), dtype=bool)
    known: set[int] = set()
    failures: list[dict[str, str]] = []
    start = float(rng_from(seed, "dime-aug", "takes").random())
    while True:
        x = np.zeros(len(rows))
        x[usable] = expected_takes(p[rows[usable]], np.maximum(deficit, 0)).x
        takes = whole_takes(x, start)
        new = [k for k in np.flatnonzero(takes).tolist() if k not in known]
        total = len(known) + len(new) + int(takes.sum())
        before = len(failures)
        for k in new:
            known.add(k)
            try:
                parent_sound(corpus, int(rows[k]), max_seconds=max_seconds)
            except (AudioError, CorpusError) as error:
                usable[k] = False
                failures.append({"utterance_id": corpus.ids[rows[k]], "reason": str(error)})
            if progress is not None:
                progress(len(known), total)
        if len(failures) == before:
            return takes, failures, len(known)


def new_takes(corpus: Corpus, p: np.ndarray, rows: np.ndarray, takes: np.ndarray, seed: int) -> list[NewUtterance]:
    """An utterance for every take, numbered in the order of parents' ids; its seed depends on the parent and take."""
    ids, items = corpus.ids, []
    for k in sorted(np.flatnonzero(takes).tolist(), key=lambda k: ids[rows[k]]):
        parent = int(rows[k])
        for take in range(1, int(takes[k]) + 1):
            item_seed = seed_from(seed, "dime-aug", "take", ids[parent], take) >> 1
            stem = re.sub(r"[^A-Za-z0-9]+", "_", ids[parent])[:60]
            name = f"dime-aug-{len(items) + 1:06d}-{stem}-{take}"
            drawn = draw_perturbation(np.random.default_rng(item_seed))
            items.append(NewUtterance(name, int(p[parent].argmax()), parent, parent, 0.0, item_seed, drawn))
    return items


def joined(corpus: Corpus, items: Sequence[NewUtterance], max_seconds: float, seed: int) -> list[NewUtterance]:
    """Each take followed by another planned parent of its speaker, where there is one and both fit into `max_seconds`;
    alpha is the second's share of the length."""
    speakers = corpus.column("speaker")
    parents = sorted({item.first for item in items}, key=lambda i: corpus.ids[i])
    seconds = {i: turn_seconds(corpus, i, longest=max_seconds) for i in parents}
    by_speaker: dict[object, list[int]] = {}
    for i in parents:
        if speakers[i] is not None:
            by_speaker.setdefault(speakers[i], []).append(i)
    found = []
    for item in items:
        own = seconds[item.first]
        # a slower take is longer by up to a twentieth
        fits = [
            j
            for j in by_speaker.get(speakers[item.first], [])
            if j != item.first and (own + seconds[j]) * 1.06 <= max_seconds
        ]
        if fits:
            j = fits[int(rng_from(seed, "dime-aug", "join", item.utterance_id).integers(len(fits)))]
            item = item._replace(second=j, alpha=seconds[j] / (own + seconds[j]))
        found.append(item)
    return found


def mass_of(items: Sequence[NewUtterance], p: np.ndarray) -> np.ndarray:
    """Expected mass [K] of the new utterances."""
    first, second = (np.array([getattr(item, side) for item in items], dtype=int) for side in ("first", "second"))
    alpha = np.array([item.alpha for item in items])[:, None]
    return (p[first] + alpha * (p[second] - p[first])).sum(axis=0)


def _short(corpus: Corpus, masses: np.ndarray, target: np.ndarray, reached: np.ndarray, unread: int) -> tuple[str, ...]:
    """A warning for each label that stays below its target, and one for labels nobody could be."""
    found = [
        f"'{label}' was to grow from an expected mass of {m:.1f} to {t:.1f} utterances and reaches {r:.1f}: a parent "
        f"gives {MOST} takes at most, and needs to be {1 / (1 + CEILING):.0%} of labels that lack"
        + (f"; parents whose sound cannot be read: {unread}" if unread else "")
        for label, m, t, r in zip(corpus.labels, masses, target, reached, strict=True)
        if r < t - SHORT_BY
    ]
    absent = [label for label, m in zip(corpus.labels, masses, strict=True) if not m > 0]
    if absent:
        found.append(f"no train utterance has any mass of {', '.join(absent)}, so there is nothing to grow from")
    return tuple(found)
