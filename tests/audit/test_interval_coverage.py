"""How often the intervals that an audit prints hold what they are about, on simulated corpora.

The estimand is the statistic at these vote counts in the population of speakers, with nuisances fitted alike: of 24,000
speakers, the constant cross-fitted in corpora of the same size, the human mixture that reads single votes that of one
other corpus. A worth has fits of each corpus's own, and so has its estimand: where the corpora's mean losses cross.
Measured coverage: BENCHMARKS.md, "Coverage of intervals".

    python -m pytest -m slow -s tests/audit/test_interval_coverage.py
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fixtures.simulated_speakers import Heard, reference_of, run_of, simulated_speakers, softmax, together
from serann.annotator.audit import baselines, panel_agreement, saturation, variants
from serann.annotator.audit.alignment import notes
from serann.annotator.audit.baselines import People
from serann.annotator.audit.calibration import calibrations
from serann.annotator.audit.effective_votes import Crossing, HumanCurve, crossing
from serann.annotator.audit.noninferiority import non_inferiority, vote_scores
from serann.annotator.audit.panel_agreement import independent_listeners
from serann.annotator.audit.scorer import Scorer
from serann.annotator.proxies import Panel
from serann.annotator.report.audit_words import notes_in_words
from serann.data.scores.intervals import Interval, Replicates
from serann.data.scores.proper_scores import sq_unbiased
from serann.data.vote_models.dirichlet_mixture import DirichletMixture, fit_dirichlet_mixture

POPULATION = 24_000
# Saturation and worth, whose fits take longest, have 1,000 corpora. The others have 2,000, for .5 % of binomial error:
# of the first 1,000 of thirty speakers, two figures of 50 were at .928 and .929.
CORPORA, SATURATION_CORPORA, WORTH_CORPORA = 2000, 1000, 1000
SATURATED_AT = 6
# An error of calibration is a sum of absolute values: finite corpora have a larger one than the population, so the
# estimand is its expectation in corpora of that many speakers. A small one is noise folded at 0, which the jackknife
# does not know of: its interval is too wide and holds that more than 97 times of 100. A large one ("overconfident")
# covers as others do, the population's own.
OF_FINITE_CORPORA = ("ece_10", "ece_5", "distribution_ece_10")
FOLDED = ("ece_10", "ece_5")


@pytest.fixture(scope="module")
def mixture():
    """What an audit fits to people for single votes and does not fit again in resamples, here to another corpus."""
    pilot = simulated_speakers(300, 10**6)
    return fit_dirichlet_mixture(pilot.scored + pilot.other, components=4, steps=100)


@pytest.fixture(autouse=True)
def same_fit_once(monkeypatch):
    """Five figures of a saturation fit ask for the same fits one after another: kept, they are made once."""
    fit, kept = saturation.fit_saturating, {}

    def once(x, y):
        key = (np.shape(y), np.asarray(y).tobytes())
        if key not in kept:
            while len(kept) > 3:
                kept.pop(next(iter(kept)))
            kept[key] = fit(x, y)
        return kept[key]

    monkeypatch.setattr(saturation, "fit_saturating", once)


def intervals(heard: Heard, name: str, mixture: DirichletMixture, constant: np.ndarray | None = None) -> dict:
    """Everything with `value`, `low` and `high` that an audit says of a panel, by the code that makes an audit."""
    ref = reference_of(heard, name)
    scorer, people = Scorer([ref], level=0.95), People(dict.fromkeys(range(5), mixture), ref.folds, 0)
    constant = baselines.constant(ref) if constant is None else constant
    panel, run = Panel("p", heard.q, np.zeros_like(heard.q)), run_of(heard, ref.ids)
    sq, sq_constant = sq_unbiased(heard.q, heard.scored), sq_unbiased(constant, heard.scored)
    found = {row.metric: row for row in [*scorer.table(heard.q), *variants.variants(scorer, heard.q)]}
    found |= {f"constant {row.metric}": row for row in scorer.table(constant)[:2]}
    found |= {"gap": scorer.gap(sq, sq_constant), "over_constant": scorer.mean(sq_constant - sq)}
    sharp = softmax(2.5 * np.log(heard.q))
    found |= {f"overconfident {row.metric}": row for row in variants.variants(scorer, sharp) if "ece" in row.metric}
    one = non_inferiority(scorer, panel, vote_scores(scorer, people), constant)
    found |= {f"one vote, {part}": getattr(one, part) for part in ("difference", "above_margin", "below_margin")}
    pools = panel_agreement.section(scorer, run, "p")
    for pool in (pools.humans, pools.synthetic):
        found |= {f"{pool.of} {name}": interval for name, interval in pool.coefficients.items()}
    found |= {"kappa_x": pools.kappa_x, "normalised_kappa_x": pools.normalised_kappa_x}
    kish = independent_listeners(run, ref)
    assert kish is not None
    return found | {"listeners' correlation": kish.correlation, "independent_listeners": kish.independent_listeners}


def placed(heard: Heard, name: str) -> dict[str, tuple[np.ndarray, np.ndarray, Replicates | None]]:
    """The panel on the human curve, by each score: sums [G, 2 + N] of both by speaker, rows [G] and replicates."""
    ref = reference_of(heard, name)
    people, scorer = baselines.fit_people(ref), Scorer([ref], level=0.95)
    panel = Panel("p", heard.q, np.zeros_like(heard.q))
    corpus: Any = SimpleNamespace(utterances=pa.table({"utterance_id": ref.ids}))
    curve = HumanCurve(scorer, people, baselines.curve_predictions(ref, people), corpus)
    place = curve.place(calibrations(panel, ref))
    return {score: curve.overall(score, place) for score in place.sums[0]}


def worth_covers(speakers: int, times: int) -> dict[str, tuple[float, float, float]]:
    """How often the interval of a worth holds the estimand, which the mean losses of all those corpora give."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray, Replicates | None]]] = {}
    for corpus in range(times):
        for score, one in placed(simulated_speakers(speakers, 10**7 + corpus), f"{speakers}-{corpus}").items():
            found.setdefault(score, []).append(one)
    covered = {}
    for score, each in found.items():
        # of few speakers' utterances four fifths may have a fourth vote, and the curve a fifth point: it is cut
        shortest = min(sums.shape[1] for sums, *_ in each)
        each = [(sums[:, :shortest], rows, _cut(again, shortest)) for sums, rows, again in each]
        sums, rows = (np.sum([one[i].sum(axis=0) for one in each], axis=0) for i in (0, 1))  # pyright: ignore[reportAttributeAccessIssue]
        target = crossing(sums[None, 0], sums[None, 1:], rows[None], confidence=0.95).value
        found_rows = [crossing(s[:, 0], s[:, 1:], n, confidence=0.95, again=again) for s, n, again in each]
        covered |= sides({f"effective_votes {score}": [side(row, target) for row in found_rows]}, speakers)
    return covered


def _cut(again: Replicates | None, columns: int) -> Replicates:
    assert again is not None
    return replace(again, means=again.means[:, :columns])


def saturated(heard: Heard, name: str, *_: object) -> dict:
    """The fits to both curves of saturation, and how much of their fall the shuffled panel has."""
    panel, found = Panel("p", heard.q, np.zeros_like(heard.q)), {}
    for curve in saturation.section(Scorer([reference_of(heard, name)], level=0.95), panel, most=SATURATED_AT).curves:
        name = f"saturation of {curve.score}"
        found |= {f"{name}, {part}": getattr(curve.fit, part) for part in ("level", "drop", "b", "rate", "crossing")}
        if curve.how == "sampled":
            found[f"{name}, shuffled_share"] = curve.shuffled_share
    return found


def corpora(speakers: int, size: int) -> list[Heard]:
    """The population, as corpora of so many speakers each."""
    return [simulated_speakers(speakers, 2 * 10**6 + i) for i in range(-(-size // speakers))]


def population(speakers: int, mixture: DirichletMixture, size: int = POPULATION) -> dict[str, float]:
    """The estimands: the statistics of many corpora of so many speakers taken as one."""
    parts = corpora(speakers, size)
    references = [reference_of(part, f"part-{i}") for i, part in enumerate(parts)]
    constant = np.concatenate([baselines.constant(ref) for ref in references])
    whole = {name: row.value for name, row in intervals(together(parts, 40), "all", mixture, constant).items()}
    errors: dict[str, list[float]] = {name: [] for name in OF_FINITE_CORPORA}
    for part, ref in zip(parts, references, strict=True):
        for row in variants.variants(Scorer([ref], level=0.95), part.q):
            if row.metric in errors:
                errors[row.metric].append(row.value)
    return whole | {name: float(np.mean(values)) for name, values in errors.items()}


def coverage(
    speakers: int, times: int, target: dict[str, float], make: Callable[[Heard, str], dict]
) -> dict[str, tuple[float, float, float]]:
    """For each interval: how often it holds the estimand, lies below it and above it; none at all is no cover."""
    found: dict[str, list[tuple[bool, bool, bool]]] = {}
    for corpus in range(times):
        for name, row in make(simulated_speakers(speakers, corpus), f"{speakers}-{corpus}").items():
            found.setdefault(name, []).append(side(row, target[name]))
    return sides(found, speakers)


def side(row: Interval | Crossing, at: float) -> tuple[bool, bool, bool]:
    """Whether an interval holds the estimand, lies below it, above it."""
    by = 1e-6 * abs(at)  # what is arithmetic (1/n has one rate) has no width but a float's
    return row.low - by <= at <= row.high + by, row.high + by < at, row.low - by > at


def sides(found: dict[str, list[tuple[bool, bool, bool]]], speakers: int) -> dict[str, tuple[float, float, float]]:
    for name, each in found.items():
        print(f"| {name} | {speakers} | " + " | ".join(f"{side:.3f}" for side in np.mean(each, axis=0)) + " |")
    return {name: tuple(np.mean(each, axis=0)) for name, each in found.items()}


def outside(found: dict[str, tuple[float, float, float]]) -> dict[str, float]:
    return {name: sides[0] for name, sides in found.items() if not 0.93 <= sides[0] <= 0.97}


def test_jackknife_below_sixty_speakers_and_a_warning_below_ten():
    methods = {}
    for speakers in (2, 9, 10, 59, 60):
        heard = simulated_speakers(speakers, 0)
        ref = reference_of(heard, "u")
        methods[speakers] = {row.method for row in Scorer([ref], level=0.95).table(heard.q)}
        warned = [note for note in notes(ref, np.zeros(len(ref.ids), dtype=int), [], []) if note.code == "few speakers"]
        assert len(warned) == (speakers < 10)
        assert all(f"ten speakers ({speakers}):" in note for note in notes_in_words(warned))
    assert methods[9] == methods[10] == methods[59] == {"jackknife-t"}
    assert not any("jackknife" in method for method in methods[60])


def test_every_interval_is_there_and_holds_its_estimand_mostly(mixture):
    """A smoke test: eight corpora of ten speakers, a small population."""
    found = coverage(10, 8, population(10, mixture, size=800), lambda heard, name: intervals(heard, name, mixture))
    curves = {name: row.value for name, row in saturated(together(corpora(10, 800), 40), "all").items()}
    found |= coverage(10, 8, curves, saturated)
    found |= worth_covers(10, 8)
    assert len(found) == 55
    assert np.mean([sides[0] for name, sides in found.items()]) > 0.85


@pytest.mark.slow
@pytest.mark.parametrize("speakers", [10, 30, 90])
def test_intervals_cover(speakers, mixture):
    whole = population(speakers, mixture)
    found = coverage(speakers, CORPORA, whole, lambda heard, name: intervals(heard, name, mixture))
    assert all(found.pop(name)[0] > 0.97 for name in FOLDED)
    assert outside(found) == {}


@pytest.mark.slow
@pytest.mark.parametrize("speakers", [10, 30, 90])
def test_intervals_of_saturation_cover(speakers):
    whole = saturated(together(corpora(speakers, POPULATION), 40), "all")
    found = coverage(speakers, SATURATION_CORPORA, {name: row.value for name, row in whole.items()}, saturated)
    # The expected squared error falls as 1/n whatever the panel: rate and crossing are arithmetic, no estimates.
    for part in ("rate", "crossing"):
        assert found.pop(f"saturation of sq_unbiased, {part}")[0] == 1
    assert outside(found) == {}


@pytest.mark.slow
@pytest.mark.parametrize("speakers", [10, 30, 90])
def test_intervals_of_worth_cover_with_fits_of_their_own(speakers):
    assert outside(worth_covers(speakers, WORTH_CORPORA)) == {}
