"""`serann benchmark fusion`: which fusion helps, by how much and for whom, on a corpus with enough human votes.

Some votes of every utterance are kept as the human votes one could afford (`seen`), `heldout` others are scored
against, and a proxy (a run, or another human panel) is fused with the former by every strategy. Draws are seeded by
utterance and nested in `seen`; the utterances are those with heldout + max(seen) votes, the same for all. Every
strategy meets the same votes; differences from the human mixture are paired, with intervals over speakers.

Beside the proxy as given, every strategy meets it spoilt in ways that must do no harm:

    shuffled          every utterance gets another's answers: right on average, deaf
    mode-collapsed    every answer becomes its likeliest label, without doubt
    class-collapsed   the proxy's second commonest label is always called its commonest
    one gender only   good for one gender, shuffled for everybody else

A row holds three scores by strategy and stratum. Every score of every stratum is a ratio of sums over utterances and
seeds, and its interval comes from resampling speakers: so only sums by speaker are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ...data.corpus import Corpus
from ...data.errors import CorpusError, OptionError, SerannError
from ...data.labels import LabelSet
from ...data.scores.divergences import jsd_bits
from ...data.scores.intervals import by_sums, mean_of
from ...data.scores.proper_scores import log_score, sq_unbiased, unbiased_ambiguity
from ...data.seeds import rng_from, uniforms
from ..ballots import Ballots, read_ballots
from ..proxies import Panel, Source, folder_names, line_up
from .auto import THIRDS, plurality
from .base import Models
from .evidence import Evidence
from .human_mixture import NAME as BASE
from .strategies import STRATEGIES, ask, blends

SCORES = ("sq_unbiased", "log_score", "jsd_bits")
PLACE = ("proxy", "seen", "strategy", "stratum")
KEYS = (*PLACE, *SCORES, "low", "high")
# A vote for a label that was given no chance costs ln of this, and not infinity: raw and pooled frequencies would have
# no mean otherwise.
LEAST_CHANCE = 1e-9
NOTES = (
    "low and high bound the difference in sq_unbiased from human-mixture (strategy minus human-mixture, below 0 is "
    "better): 95 %, paired, over speakers; 'differences' holds it, and those in the other scores, row by row",
    f"log_score is per vote and in nats; a chance below {LEAST_CHANCE:g} counts as that, for raw and pooled "
    "frequencies give zeros",
    "ambiguity is 1 - sum h(h-1) / (m(m-1)) of the votes that are not scored; its thirds are of equal size",
)

Say = Callable[[str], None]

# --------------------
# The proxies.


def of_rows(proxy: Panel, rows: np.ndarray) -> Panel:
    """The proxy of some utterances (places [R] in the corpus)."""
    place = np.full(len(proxy.q), -1)
    place[rows] = np.arange(len(rows))

    def ballots() -> Ballots:
        assert proxy.ballots is not None
        cast = proxy.ballots()
        there = place[cast.row] >= 0
        return Ballots(place[cast.row[there]], cast.rater[there], cast.label[there])

    return replace(proxy, q=proxy.q[rows], drawn=proxy.drawn[rows], ballots=ballots)


def stressed(proxy: Panel, genders: np.ndarray, seed: int) -> dict[str, Panel]:
    """The spoilt proxies by name; the one for one gender only where two or more genders are known."""
    order = rng_from("shuffled proxy", seed).permutation(len(proxy.q))
    found = {
        "shuffled": _moved(proxy, lambda rows: rows[order]),
        "mode-collapsed": _moved(proxy, _to_mode),
        "class-collapsed": _moved(proxy, lambda rows: _merged(rows, proxy.q)),
    }
    known = sorted({str(g) for g in genders if g is not None})
    if len(known) > 1:
        good = np.array([g is not None and str(g) == known[0] for g in genders])
        found[f"{known[0]} only"] = _moved(proxy, lambda rows: np.where(good[:, None], rows, rows[order]))
    return {
        f"{proxy.name}, {name}": replace(changed, name=f"{proxy.name}, {name}", ballots=None)
        for name, changed in found.items()
    }


def _moved(proxy: Panel, change: Callable[[np.ndarray], np.ndarray]) -> Panel:
    return replace(proxy, q=change(proxy.q), drawn=change(proxy.drawn))


def _to_mode(rows: np.ndarray) -> np.ndarray:
    """All mass on the likeliest label (the first of equals); NaN rows stay."""
    total = rows.sum(axis=1, keepdims=True)
    return np.where(np.isnan(total), np.nan, np.eye(rows.shape[1])[np.nan_to_num(rows).argmax(axis=1)] * total)


def _merged(rows: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The second commonest label's mass given to the commonest, common as the proxy's mean distribution has it."""
    second, first = np.argsort(np.nanmean(p, axis=0), kind="stable")[-2:]
    changed = rows.copy()
    changed[:, first] += changed[:, second]
    changed[:, second] = 0.0
    return changed


# --------------------
# The rows.


def scores_of(p: np.ndarray, held: np.ndarray) -> np.ndarray:
    """The three scores of each utterance [U, 3]; NaN rows where there is no distribution."""
    floored = np.maximum(p, LEAST_CHANCE)
    return np.column_stack([sq_unbiased(p, held), log_score(floored, held), jsd_bits(p, held)])


def strata_of(
    seen: np.ndarray, not_scored: np.ndarray, genders: np.ndarray, labels: LabelSet
) -> Iterator[tuple[str, np.ndarray]]:
    """Strata by name with their masks [U]: all, gender, plurality of the seen votes (`seen:tied` where several tie),
    third of the ambiguity of the votes that are not scored (1 - sum h(h-1) / (m(m-1)))."""
    yield "all", np.ones(len(seen), bool)
    for gender in sorted({str(g) for g in genders if g is not None}):
        yield f"gender:{gender}", np.array([g is not None and str(g) == gender for g in genders])
    most = plurality(seen)
    single = most.sum(axis=1) == 1
    for c, label in enumerate(labels):
        yield f"seen:{label}", most[:, c] & single
    yield "seen:tied", ~single
    ambiguity = unbiased_ambiguity(not_scored)
    third = np.searchsorted(np.nanquantile(ambiguity, [1 / 3, 2 / 3]), ambiguity)
    for i, name in enumerate(THIRDS):
        yield f"ambiguity:{name}", np.isfinite(ambiguity) & (third == i)


class Sums:
    """Sums by speaker of scores and of their differences from the human mixture, over seeds."""

    def __init__(self, speakers: np.ndarray):
        self.names, self.code = np.unique(speakers, return_inverse=True)
        self.totals: dict[tuple[str, str], np.ndarray] = {}

    def add(self, strategy: str, scores: np.ndarray, base: np.ndarray, strata: Mapping[str, np.ndarray]) -> None:
        """Add one seed's scores [U, 3] beside those of the human mixture [U, 3]."""
        defined = np.isfinite(scores).all(axis=1) & np.isfinite(base).all(axis=1)
        columns = np.column_stack([np.ones(len(scores)), scores, scores - base])
        for name, mask in strata.items():
            kept = mask & defined
            sums = [np.bincount(self.code[kept], column[kept], len(self.names)) for column in columns.T]
            key = strategy, name
            self.totals[key] = self.totals.get(key, 0) + np.stack(sums, axis=1)

    def rows(self, proxy: str, seen: int, seeds: int) -> Iterator[dict[str, Any]]:
        """One row a strategy and stratum; `low` and `high` bound the difference in sq_unbiased from the human mixture,
        those of the other two scores are named after them."""
        for (strategy, stratum), totals in self.totals.items():
            totals = totals[totals[:, 0] > 0]
            if not len(totals):
                continue
            row: dict[str, Any] = {"proxy": proxy, "seen": seen, "strategy": strategy, "stratum": stratum}
            whole = totals.sum(axis=0)
            row |= {name: float(whole[1 + i] / whole[0]) for i, name in enumerate(SCORES)}
            for i, (name, prefix) in enumerate(zip(SCORES, ("", "log_", "jsd_"), strict=True)):
                gain = by_sums(totals[:, [4 + i, 0]], mean_of)
                row[f"{name}_difference"] = gain.value
                row[f"{prefix}low"], row[f"{prefix}high"] = _number(gain.low), _number(gain.high)
            yield row | {"utterances": round(float(whole[0]) / seeds, 1), "speakers": len(totals)}


def parted(table: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of KEYS alone, and for each its place with all that is told of its difference from the human mixture."""
    rows = [{key: row[key] for key in KEYS} for row in table]
    differences = [{key: row[key] for key in row if key not in SCORES} for row in table]
    return rows, differences


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


# --------------------
# The experiment.


def benchmark_fusion(
    corpus: Corpus,
    proxies: Sequence[Source],
    *,
    seen: Sequence[int] = (2, 3, 5),
    heldout: int = 4,
    seeds: int = 5,
    strategies: Sequence[str] | None = None,
    stress: bool = True,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Fuse by every strategy and score: {"rows", "differences", "setting", "notes", "skipped"}.

    A row a proxy, number of seen votes, strategy and stratum, with the keys KEYS; differences in the same order. Slow
    strategies run on the proxies as given, with the first seed; those for which something is not installed are skipped.
    Raises OptionError for options out of range, CorpusError where no two speakers' utterances have enough votes.
    """
    arms = _check(seen, heldout, seeds, strategies)
    cast = read_ballots(corpus.votes, corpus.ids, corpus.labels, source="human")
    number = np.bincount(cast.row, minlength=len(corpus.ids))
    given = line_up(proxies, corpus, "fuse", names=folder_names(proxies))
    said = np.all([np.isfinite(proxy.q).all(axis=1) for proxy in given], axis=0) if given else number > 0
    rows = np.flatnonzero((number >= heldout + max(seen)) & said)
    _require_enough(corpus, rows, number, heldout + max(seen))
    table: list[dict[str, Any]] = []
    skipped = {} if strategies else {name: said for name in blends() if (said := STRATEGIES[name].missing())}
    experiment = _Experiment(corpus, rows, cast, heldout, seeds)
    for proxy in given:
        for k in seen:
            tried = experiment.proxies_of(proxy, stress)
            sums = {name: Sums(experiment.speakers) for name in tried}
            for seed in range(seeds):
                say(f"{proxy.name}, {k} seen votes, seed {seed + 1} of {seeds}")
                experiment.run(proxy, k, seed, arms, sums, skipped)
            for name, totals in sums.items():
                table.extend(totals.rows(name, k, seeds))
    setting = {
        "corpus": corpus.name,
        "simulated": corpus.info.simulated,
        "utterances": len(rows),
        "speakers": len(set(experiment.speakers)),
        "seen": list(seen),
        "heldout": heldout,
        "seeds": seeds,
        "scores": [*SCORES[:2], f"jsd_bits@{heldout}"],
    }
    rows, differences = parted(table)
    return {"rows": rows, "differences": differences, "setting": setting, "notes": list(NOTES), "skipped": skipped}


class Arm(NamedTuple):
    """A strategy in one of the forms that are compared, with its options."""

    name: str
    strategy: str
    options: Mapping[str, Any]

    @property
    def slow(self) -> bool:
        return STRATEGIES[self.strategy].slow

    @property
    def reads_runs(self) -> bool:
        return STRATEGIES[self.strategy].reads_runs

    def p(self, evidence: Evidence, models: Models) -> np.ndarray:
        """Its distributions [U, K]."""
        asked = ask(self.strategy, self.options)
        asked.strategy.refuse(evidence)
        return asked.strategy.fit(evidence, asked.options, models).blend(evidence).p


def arms_of(name: str) -> list[Arm]:
    """A strategy in every form that it names, or as it is."""
    forms = STRATEGIES[name].compared
    return [Arm(f"{name}, {form}", name, options) for form, options in forms.items()] or [Arm(name, name, {})]


class _Experiment:
    """The utterances that are scored, their votes, and what one seed does with them."""

    def __init__(self, corpus: Corpus, rows: np.ndarray, cast: Ballots, heldout: int, seeds: int):
        self.seeds = seeds
        self.rows, self.heldout, self.labels = rows, heldout, corpus.labels
        self.ids = tuple(corpus.ids[i] for i in rows)
        self.genders = corpus.column("gender")[rows]
        names = corpus.column("speaker")[rows]
        self.named = names
        self.speakers = np.array(
            [f"={s}" if s is not None else f"\x1f{i}" for s, i in zip(names, self.ids, strict=True)]
        )
        place = np.full(len(corpus.ids), -1)
        place[rows] = np.arange(len(rows))
        there = place[cast.row] >= 0
        self.cast = in_order(Ballots(place[cast.row[there]], cast.rater[there], cast.label[there]))

    def proxies_of(self, proxy: Panel, stress: bool, seed: int = 0) -> dict[str, Panel]:
        here = of_rows(proxy, self.rows)
        self.stress = stress
        return {proxy.name: here} | (stressed(here, self.genders, seed) if stress else {})

    def run(
        self,
        proxy: Panel,
        k: int,
        seed: int,
        arms: Sequence[Arm],
        sums: dict[str, Sums],
        skipped: dict[str, str],
    ) -> None:
        place = deal(self.cast, self.ids, seed, self.seeds)
        held = self.counts(place < self.heldout)
        kept = (place >= self.heldout) & (place < self.heldout + k)
        evidence = self.evidence(kept, seed)
        strata = dict(strata_of(evidence.seen, self.counts(place >= self.heldout), self.genders, self.labels))
        # strategies that look at no proxy give the same whatever the proxy
        models = Models(STRATEGIES)
        alone = {arm.name: scores_of(arm.p(evidence, models), held) for arm in arms if not arm.reads_runs}
        for name, spoilt in self.proxies_of(proxy, self.stress, seed).items():
            there, models = replace(evidence, runs=(spoilt,)), Models(STRATEGIES)
            for arm in arms:
                first = name == proxy.name and seed == 0
                if (arm.slow and not first) or f"{name}: {arm.name}" in skipped:
                    continue
                if arm.name in alone:
                    scores = alone[arm.name]
                else:
                    try:
                        scores = scores_of(arm.p(there, models), held)
                    except SerannError as error:
                        skipped[f"{name}: {arm.name}"] = str(error)
                        continue
                sums[name].add(arm.name, scores, alone[BASE], strata)

    def counts(self, mask: np.ndarray) -> np.ndarray:
        """Votes [U, K] of the ballots in a mask [N]."""
        found = np.zeros((len(self.ids), len(self.labels)))
        np.add.at(found, (self.cast.row[mask], self.cast.label[mask]), 1)
        return found

    def evidence(self, kept: np.ndarray, seed: int) -> Evidence:
        """All utterances as train, the kept ballots as their seen votes."""
        return Evidence(
            ids=self.ids,
            labels=self.labels,
            seen=self.counts(kept),
            train=np.ones(len(self.ids), bool),
            speakers=self.named,
            genders=self.genders,
            ballots=Ballots(*(column[kept] for column in self.cast)),
            seed=seed,
        )


def in_order(cast: Ballots) -> Ballots:
    """Ballots sorted by utterance, rater and label: the order of a file decides nothing."""
    rater = np.array(["" if r is None else f"={r}" for r in cast.rater])
    order = np.lexsort((cast.label, rater, cast.row))
    return Ballots(*(column[order] for column in cast))


def deal(cast: Ballots, ids: Sequence[str], seed: int, seeds: int) -> np.ndarray:
    """Each ballot's place [N] among its utterance's ballots, 0 first: the held-out ones, then the seen ones.

    A random order of an utterance's n ballots, dealt from n seed / seeds on, round and round: so over all seeds every
    vote is held out equally often, and the luck of the draw, which moves all strategies' scores together, evens out.
    """
    number = np.bincount(cast.row, minlength=len(ids))
    first = np.cumsum(number) - number
    slot = np.arange(len(cast.row)) - first[cast.row]
    key = uniforms(ids, int(number.max(initial=0)), "benchmark fusion")[cast.row, slot]
    order = np.lexsort((key, cast.row))
    place = np.empty(len(order), dtype=int)
    place[order] = np.arange(len(order)) - first[cast.row[order]]
    n = number[cast.row]
    return (place - n * seed // seeds) % n


def _check(seen: Sequence[int], heldout: int, seeds: int, strategies: Sequence[str] | None) -> list[Arm]:
    """The strategies to run, the human mixture first."""
    if not seen or min(seen) < 1:
        raise OptionError("seen is a list of numbers of votes from 2 on, as in --seen 2,3,5")
    if min(seen) == 1:
        raise OptionError(
            "strength not identifiable from single votes: with one seen vote per utterance nothing tells how much "
            "utterances differ or what a proxy is worth; compare from two seen votes on (--seen 2,3,5)"
        )
    if heldout < 2 or seeds < 1:
        raise OptionError(
            f"heldout is {heldout} and seeds {seeds}; expected two or more held-out votes (their squared error is "
            "unbiased from two on) and one seed or more"
        )
    unknown = [name for name in strategies or () if name not in blends()]
    if unknown:
        raise OptionError(f"unknown strategy '{unknown[0]}'; expected some of {', '.join(blends())}")
    chosen = list(strategies) if strategies else [name for name in blends() if not STRATEGIES[name].missing()]
    return [arm for name in [BASE, *(name for name in chosen if name != BASE)] for arm in arms_of(name)]


def _require_enough(corpus: Corpus, rows: np.ndarray, number: np.ndarray, needed: int) -> None:
    speakers = {s for s in corpus.column("speaker")[rows] if s is not None}
    if len(rows) < 2 or len(speakers) < 2:
        raise CorpusError(
            f"{corpus.path}: {len(rows)} utterances of {len(speakers)} speakers have the {needed} human votes and the "
            f"proxy that are needed (the most votes are {int(number.max(initial=0))}); expected utterances of two or "
            "more speakers: lower --seen or --heldout, or bring the single raters' votes"
        )
