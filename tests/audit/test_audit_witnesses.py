"""Every figure of a whole audit, worked out once more vote by vote in plain Python, to 1e-9."""

import math
from collections import Counter
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from fixtures.simulated import biased, simulated_corpus, simulated_run
from scipy import stats
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq, isotonic_regression, root
from scipy.spatial import distance
from scipy.special import betaln, digamma, gammaln
from serann.annotator.audit import audit, baselines, calibration, variants
from serann.annotator.audit.saturation import fit_saturating
from serann.annotator.audit.scorer import Scorer, build_reference
from serann.annotator.proxies import line_up
from serann.annotator.run.run import open_run
from serann.data.scores.scoring import THIRDS, strata_thirds

DRAWS, M = 3, 4
GOOD = {f"good-{i}": 0.0 for i in range(9)}


class World:
    """An audit, and what it is of: the scored votes of every draw as lists of labels, and each system's predictions."""

    def __init__(self, place):
        self.corpus, truth = simulated_corpus(place / "corpus", utterances=90, speakers=6, raters=GOOD)
        self.run = open_run(simulated_run(place / "run", self.corpus, biased(truth, share=0.3), listeners=3, votes=6))
        self.found = audit(self.corpus, [self.run], draws=DRAWS)
        ref = build_reference(self.corpus)
        (panel,) = line_up([self.run], self.corpus, "audit", ids=ref.ids, m=ref.m)
        self.ref = ref.part(panel.covers)
        self.panel = panel.part(panel.covers, self.ref.folds)
        self.draws = [self.ref.redrawn(draw) for draw in range(DRAWS)]
        self.labels = range(len(self.ref.labels))
        self.votes = [ballots(row) for draw in self.draws for row in draw.scored]
        self.speakers = list(self.ref.groups) * DRAWS
        # stored in single precision, so that a row's sum is 1 to 1e-8 alone
        q = self.panel.q / self.panel.q.sum(axis=1, keepdims=True)
        self.q = [p for _ in self.draws for p in q.tolist()]
        self.constant = [p for draw in self.draws for p in baselines.constant(draw).tolist()]
        self.shuffled = [p for draw in self.draws for p in baselines.shuffled(q, draw).tolist()]


def ballots(counts):
    return [c for c, n in enumerate(counts) for _ in range(int(n))]


def share(votes, c):
    return votes.count(c) / len(votes)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("w"))


def mean(values):
    values = list(values)
    return math.fsum(values) / len(values)


# --- scores -----------------------------------------------------------------------------------------------------------


def agree(votes):
    pairs = list(permutations(votes, 2))
    return sum(a == b for a, b in pairs) / len(pairs)


def squared(p, votes):
    return sum(x * x for x in p) - 2 * mean(p[v] for v in votes) + agree(votes)


def frequencies(votes, labels):
    return [share(votes, c) for c in labels]


def jsd(p, y):
    return distance.jensenshannon(p, y) ** 2  # nats


def winners(p):
    return [c for c, x in enumerate(p) if x >= max(p) - 1e-12]


def shared_confusion(q, votes, labels):
    """Credit of (human label, predicted label): ties of either side share it."""
    table: Any = Counter()
    for p, ballot in zip(q, votes, strict=True):
        human, said = winners(frequencies(ballot, labels)), winners(p)
        for h in human:
            for s in said:
                table[h, s] += 1 / (len(human) * len(said))
    return table


def of_pluralities(q, votes, labels):
    table = shared_confusion(q, votes, labels)
    classes = [c for c in labels if any(c in winners(frequencies(ballot, labels)) for ballot in votes)]
    support = {c: sum(table[c, s] for s in labels) for c in classes}
    given = {c: sum(table[h, c] for h in labels) for c in classes}
    return {
        "accuracy": sum(table[c, c] for c in labels) / len(votes),
        "uar": mean(table[c, c] / support[c] for c in classes),
        "macro_f1": mean(2 * table[c, c] / (support[c] + given[c]) for c in classes),
    }


def naive_scores(q, votes, labels):
    y = [frequencies(ballot, labels) for ballot in votes]
    return {
        "sq_unbiased": mean(squared(p, ballot) for p, ballot in zip(q, votes, strict=True)),
        "log_score": mean(mean(math.log(p[v]) for v in ballot) for p, ballot in zip(q, votes, strict=True)),
        f"jsd_bits@{M}": mean(jsd(p, s) / math.log(2) for p, s in zip(q, y, strict=True)),
        f"bhattacharyya@{M}": mean(
            sum(math.sqrt(a * b) for a, b in zip(p, s, strict=True)) for p, s in zip(q, y, strict=True)
        ),
        f"total_variation@{M}": mean(distance.cityblock(p, s) / 2 for p, s in zip(q, y, strict=True)),
        **of_pluralities(q, votes, labels),
    }


@pytest.mark.parametrize("name", ["q", "constant", "shuffled"])
def test_the_scores_of_panel_constant_and_shuffle(world, name):
    kind = {"q": "panel"}.get(name, name)
    system = world.found.system(kind, None if kind == "constant" else "run")
    expected = naive_scores(getattr(world, name), world.votes, world.labels)
    assert {row.metric: row.value for row in system.scores} == pytest.approx(expected, abs=1e-9)


def test_the_curve_of_human_votes(world):
    """Raw: the shares of votes drawn for it. Smoothed: the mixture's posterior mean, class by class."""
    people = baselines.fit_people(world.ref)
    curve = {(point.kind, point.n): {row.metric: row.value for row in point.scores} for point in world.found.curve}
    assert max(n for _, n in curve) == 4
    for n in (1, 3):
        given = [ballots(row) for draw in world.draws for row in baselines.human_votes(draw, n)]
        rest = [ballots(row) for draw in world.draws for row in draw.other]
        assert all(not Counter(some) - Counter(whole) for some, whole in zip(given, rest, strict=True))
        smooth = [
            naive_posterior(people.fits[int(fold)], votes, world.labels)
            for fold, votes in zip(list(world.ref.folds) * DRAWS, given, strict=True)
        ]
        assert curve["smoothed", n] == pytest.approx(naive_scores(smooth, world.votes, world.labels), abs=1e-9)
        raw = naive_scores([np.maximum(frequencies(v, world.labels), 1e-300) for v in given], world.votes, world.labels)
        raw["log_score"] = -math.inf
        assert curve["raw", n] == pytest.approx(raw, abs=1e-9)


def naive_posterior(fit, votes, labels):
    """E p = sum_z r_z (x + alpha_z) / (n + A_z), r_z by the chances of the votes one after another."""
    weights, means = [], []
    for pi, alpha in zip(fit.pi.tolist(), fit.alpha.tolist(), strict=True):
        chance, seen = pi, list(alpha)
        for v in votes:
            chance *= seen[v] / sum(seen)
            seen[v] += 1
        weights.append(chance)
        means.append([x / sum(seen) for x in seen])
    return [sum(w * p[c] for w, p in zip(weights, means, strict=True)) / sum(weights) for c in labels]


def test_the_gap_and_what_is_gained_over_constant_and_shuffle(world):
    panel = world.found.panels[0]
    own, none, dealt = (
        mean(squared(p, v) for p, v in zip(q, world.votes, strict=True))
        for q in (world.q, world.constant, world.shuffled)
    )
    assert panel.gap.value == pytest.approx(100 * (none - own) / none, abs=1e-9)
    assert panel.over_constant.value == pytest.approx(none - own, abs=1e-9)
    assert panel.over_shuffled.value == pytest.approx(dealt - own, abs=1e-9)
    assert sorted(map(tuple, world.shuffled)) == sorted(map(tuple, world.q))


def test_the_jackknife_of_a_score_and_of_the_gap(world):
    row = world.found.system("panel", "run").score("sq_unbiased")
    own = np.array([squared(p, v) for p, v in zip(world.q, world.votes, strict=True)])
    none = np.array([squared(p, v) for p, v in zip(world.constant, world.votes, strict=True)])
    speaker = np.array(world.speakers)
    for found, left, told in (
        (row, lambda kept: own[kept].mean(), lambda x: x),
        (world.found.panels[0].gap, lambda kept: own[kept].sum() / none[kept].sum(), lambda x: 100 * (1 - x)),
    ):
        whole, without = left(speaker != ""), [left(speaker != s) for s in sorted(set(speaker))]

        def half(x):
            return stats.t.ppf(0.975, 5) * math.sqrt(5 / 6 * sum((one - mean(x)) ** 2 for one in x))

        # what is left is told from none, so that the interval is of its log
        assert whole - half(without) > 0
        by = half([math.log(x) for x in without])
        ends = sorted(told(whole * math.exp(sign * by)) for sign in (-1, 1))
        assert (found.low, found.high) == pytest.approx(tuple(ends), abs=1e-9)


# --- labels and thirds ------------------------------------------------------------------------------------------------


def test_each_label_against_the_rest_and_the_confusion_of_mass(world):
    y = [frequencies(ballot, world.labels) for ballot in world.votes]
    for c, row in enumerate(world.found.panels[0].labels):
        assert row.human == pytest.approx(mean(s[c] for s in y), abs=1e-9)
        assert row.panel.value == pytest.approx(mean(p[c] for p in world.q), abs=1e-9)
        assert row.bias.value == pytest.approx(mean(p[c] - s[c] for p, s in zip(world.q, y, strict=True)), abs=1e-9)
        for found, q in ((row.sq_unbiased, world.q), (row.sq_constant, world.constant)):
            errors = []
            for p, ballot in zip(q, world.votes, strict=True):
                hits = [v == c for v in ballot]
                both = mean(a and b for a, b in permutations(hits, 2))
                errors.append(p[c] ** 2 - 2 * p[c] * mean(hits) + both)
            assert found.value == pytest.approx(mean(errors), abs=1e-9)
    for c, line in enumerate(world.found.panels[0].confusion):
        cast = [p for p, ballot in zip(world.q, world.votes, strict=True) for v in ballot if v == c]
        assert line == pytest.approx([mean(p[k] for p in cast) for k in world.labels], abs=1e-9)


def test_the_thirds_by_ambiguity(world):
    thirds = np.concatenate([strata_thirds(draw.other, draw.ids, draw.seed) for draw in world.draws])
    for t, row in enumerate(world.found.panels[0].strata):
        at = np.flatnonzero(thirds == t)
        votes, q, none = ([x[i] for i in at] for x in (world.votes, world.q, world.constant))
        assert (row.third, row.utterances) == (THIRDS[t], round(len(at) / DRAWS))
        assert row.human_ambiguity.value == pytest.approx(mean(1 - agree(v) for v in votes), abs=1e-9)
        assert row.panel_ambiguity.value == pytest.approx(mean(1 - sum(x * x for x in p) for p in q), abs=1e-9)
        own, other = (sum(squared(p, v) for p, v in zip(x, votes, strict=True)) for x in (q, none))
        assert row.gap.value == pytest.approx(100 * (other - own) / other, abs=1e-9)
        scores = {r.metric: r.value for r in row.scores if r.metric not in ("uar", "macro_f1")}
        expected = naive_scores(q, votes, world.labels)
        assert scores == pytest.approx({name: expected[name] for name in scores}, abs=1e-9)


# --- variants ---------------------------------------------------------------------------------------------------------


def quadruples(votes):
    """Unbiased for (sum p^2)^2: the first two agree and the last two agree."""
    four = list(permutations(votes, 4))
    return sum(a == b and c == d for a, b, c, d in four) / len(four)


def naive_calibration(x, y, bins):
    total = 0.0
    for b in range(bins):
        inside = [i for i, p in enumerate(x) if (b / bins < p <= (b + 1) / bins) or (b == 0 and p == 0)]
        if inside:
            total += len(inside) / len(x) * abs(mean(x[i] for i in inside) - mean(y[i] for i in inside))
    return total


def naive_variants(q, votes, labels):
    y = [frequencies(ballot, labels) for ballot in votes]
    pairs = list(zip(q, y, strict=True))
    nats = [jsd(p, s) for p, s in pairs]
    top = [sum(1 / (len(winners(p)) * len(winners(s))) for c in winners(p) if c in winners(s)) for p, s in pairs]
    by_class = [
        1 - sum((s[c] - p[c]) ** 2 for p, s in pairs) / sum((s[c] - mean(r[c] for r in y)) ** 2 for s in y)
        for c in labels
    ]
    varied = [(p, s) for p, s in pairs if max(s) - min(s) > 1e-12 and max(p) - min(p) > 1e-12]
    own, human = [1 - sum(x * x for x in p) for p in q], [1 - agree(v) for v in votes]
    covariance = mean(a * b for a, b in zip(own, human, strict=True)) - mean(own) * mean(human)
    true_spread = mean(quadruples(v) for v in votes) - mean(1 - a for a in human) ** 2
    return {
        f"jsd_bits@{M}": mean(nats) / math.log(2),
        f"jsd_nats@{M}": mean(nats),
        f"jsd_root@{M}": mean(math.sqrt(x) for x in nats),
        f"bhattacharyya@{M}": mean(sum(math.sqrt(a * b) for a, b in zip(p, s, strict=True)) for p, s in pairs),
        f"total_variation@{M}": mean(distance.cityblock(p, s) / 2 for p, s in pairs),
        f"hellinger@{M}": mean(distance.euclidean(np.sqrt(p), np.sqrt(s)) / math.sqrt(2) for p, s in pairs),
        f"manhattan@{M}": mean(distance.cityblock(p, s) for p, s in pairs),
        f"r2_by_class@{M}": mean(by_class),
        f"item_r2@{M}": mean(np.asarray(stats.pearsonr(p, s))[0] ** 2 for p, s in varied),
        "brier": mean(
            mean(sum((x - (c == v)) ** 2 for c, x in enumerate(p)) for v in ballot)
            for p, ballot in zip(q, votes, strict=True)
        ),
        "ece_10": naive_calibration([max(p) for p in q], top, 10),
        "ece_5": naive_calibration([max(p) for p in q], top, 5),
        "distribution_ece_10": sum(naive_calibration([p[c] for p in q], [s[c] for s in y], 10) for c in labels) / 2,
        f"ambiguity_correlation@{M}": np.corrcoef(own, human)[0, 1],
        "ambiguity_correlation_true": covariance / math.sqrt(np.var(own) * true_spread),
        "ambiguity_bias": mean(own) - mean(human),
    }


def test_the_variants_stand_between_constant_shuffle_curve_and_floor(world):
    names = [table.name for table in world.found.sections["variants"].systems]
    assert names == [
        *("run", "constant", "run, shuffled", "4 human votes, raw", "4 human votes, smoothed", "perfect prediction")
    ]
    assert len({tuple(row.metric for row in table.scores) for table in world.found.sections["variants"].systems}) == 1
    curve = {f"{p.n} human votes, {p.kind}": {r.metric: r.value for r in p.scores} for p in world.found.curve}
    for table in world.found.sections["variants"].systems[3:5]:
        found = {row.metric: row.value for row in table.scores}
        for name in ("jsd_bits@4", "bhattacharyya@4", "total_variation@4"):
            assert found[name] == pytest.approx(curve[table.name][name], abs=1e-9)
    raw = {row.metric: row.value for row in world.found.sections["variants"].systems[3].scores}
    given = [ballots(row) for draw in world.draws for row in baselines.human_votes(draw, 4)]
    own = mean(1 - agree(v) for v in given) - mean(1 - agree(v) for v in world.votes)
    assert raw["ambiguity_bias"] == pytest.approx(own, abs=1e-9)


@pytest.mark.parametrize("name", ["run", "run, shuffled", "constant"])
def test_every_variant_of_every_system(world, name):
    q = {"run": world.q, "run, shuffled": world.shuffled, "constant": world.constant}[name]
    (table,) = (table for table in world.found.sections["variants"].systems if table.name == name)
    found = {row.metric: row.value for row in table.scores}
    assert found == pytest.approx(naive_variants(q, world.votes, world.labels), abs=1e-9)


# --- the floor --------------------------------------------------------------------------------------------------------


def posteriors(world):
    """The chance of each kind and its Dirichlet, (r, alpha_z + other votes), of every row of every draw."""
    people = baselines.fit_people(world.ref)
    for draw in world.draws:
        for fold, other in zip(draw.folds, draw.other, strict=True):
            fit, votes = people.fits[int(fold)], ballots(other)
            chances = []
            for pi, alpha in zip(fit.pi, fit.alpha, strict=True):
                seen = alpha.copy()
                for v in votes:
                    pi = pi * seen[v] / seen.sum()
                    seen[v] += 1
                chances.append(pi)
            yield [(r / sum(chances), alpha + other) for r, alpha in zip(chances, fit.alpha, strict=True)]


def test_the_floor_is_that_of_the_posterior_in_closed_form(world):
    """E ln p_c = psi(a_c) - psi(A) etc. under p ~ Dirichlet(a), votes ~ p; the audit has it by draws."""
    logs, coefficients, distances = [], [], []
    for kinds in posteriors(world):
        log, coefficient, apart = 0.0, 0.0, 0.0
        for r, a in kinds:
            total = a.sum()
            log += r * sum(x / total * (digamma(x + 1) - digamma(total + 1)) for x in a)
            by_label = [floor_of_label(x, total - x) for x in a]
            coefficient += r * sum(root for root, _ in by_label)
            apart += r * sum(one for _, one in by_label) / 2
        logs.append(log)
        coefficients.append(coefficient)
        distances.append(apart)
    perfect = {row.metric: row.value for row in world.found.system("perfect").scores}
    assert perfect["sq_unbiased"] == 0
    # 51 draws of 90 rows: standard errors of about .006, .002 and .002
    assert perfect["log_score"] == pytest.approx(mean(logs), abs=0.02)
    assert perfect[f"bhattacharyya@{M}"] == pytest.approx(mean(coefficients), abs=0.006)
    assert perfect[f"total_variation@{M}"] == pytest.approx(mean(distances), abs=0.006)


def test_the_ceiling_of_accuracy_uar_and_f1_is_that_of_the_posterior(world):
    """Of distributions and votes drawn from the posterior, pair of labels by pair of labels."""
    p, votes = variants.posterior_draw(Scorer(world.draws, level=0.95), baselines.fit_people(world.ref))
    assert (votes.sum(axis=1) == M).all()
    expected = of_pluralities(p.tolist(), [ballots(row) for row in votes], world.labels)
    found = {row.metric: row.value for row in world.found.system("perfect").scores}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    mass = np.array([sum(r * a / a.sum() for r, a in kinds) for kinds in posteriors(world)])
    np.testing.assert_allclose(p.mean(axis=0), mass.mean(axis=0), atol=0.03)


def floor_of_label(a, b):
    """E sqrt(p h/m) and E |p - h/m| of p ~ Beta(a, b), h ~ Binomial(m, p): sums over h of beta integrals."""
    root_mean, apart = 0.0, 0.0
    for h in range(M + 1):
        after, rest = a + h, b + M - h
        weight = math.comb(M, h) * math.exp(betaln(after, rest) - betaln(a, b))
        half = gammaln(after + 0.5) - gammaln(after) + gammaln(after + rest) - gammaln(after + rest + 0.5)
        root_mean += weight * math.sqrt(h / M) * math.exp(half)
        y, middle = h / M, after / (after + rest)
        below = stats.beta.cdf(y, after, rest), stats.beta.cdf(y, after + 1, rest)
        apart += weight * (2 * (y * below[0] - middle * below[1]) + middle - y)
    return root_mean, apart


# --- worth in votes ---------------------------------------------------------------------------------------------------


def test_the_worth_is_where_the_falling_curve_has_the_panels_loss(world):
    people = baselines.fit_people(world.ref)
    points = [baselines.curve_predictions(draw, people) for draw in world.draws]
    most = 4
    by_draw = [[q for kind, _, q in of if kind == "smoothed"] for of in points]
    smooth = [np.concatenate([of[n] for of in by_draw]) for n in range(most + 1)]
    candidates = calibration.calibrations(world.panel, world.ref)
    used = world.found.panels[0].effective_votes
    assert len(used.calibration) == 1
    own = np.concatenate([candidates[next(iter(used.calibration))].q] * DRAWS)
    kept = np.concatenate([draw.other.sum(axis=1) >= most for draw in world.draws])
    rows = {(row.where, row.part, row.score): row for row in used.rows}
    for where, part, score, loss in (
        ("overall", "all", "sq_unbiased", squared),
        ("overall", "all", "log_score", lambda p, v: -mean(math.log(p[x]) for x in v)),
        ("overall", "all", f"jsd_bits@{M}", lambda p, v: jsd(p, frequencies(v, world.labels)) / math.log(2)),
        *(
            ("label", label, "log_score", lambda p, v, c=c: -mean(math.log(p[c] if x == c else 1 - p[c]) for x in v))
            for c, label in enumerate(world.ref.labels)
        ),
    ):
        level, *curve = (
            mean(loss(p, v) for p, v, there in zip(q, world.votes, kept, strict=True) if there) for q in (own, *smooth)
        )
        falling = isotonic_regression(curve, increasing=False).x
        line = PchipInterpolator(range(most + 1), falling)
        if level >= falling[0]:
            expected = 0.0
        elif level <= falling[-1]:
            expected = most
        else:
            expected = brentq(lambda n, line=line, level=level: line(n) - level, 0, most, xtol=1e-14)
        row = rows[where, part, score]
        if not row.reason:
            assert row.value == pytest.approx(expected, abs=1e-9), (where, part, score)
    assert not rows["overall", "all", "log_score"].reason


# --- agreement --------------------------------------------------------------------------------------------------------


def test_alpha_ac1_and_kappa_of_people_vote_by_vote(world):
    items = [ballots(row) for row in world.ref.scored + world.ref.other]
    values = [v for item in items if len(item) > 1 for v in item]
    observed = sum(sum(a != b for a, b in permutations(item, 2)) / (len(item) - 1) for item in items if len(item) > 1)
    expected = sum(a != b for a, b in permutations(values, 2)) / (len(values) - 1)
    same = mean(agree(item) for item in items if len(item) > 1)
    pi = [mean(share(item, c) for item in items) for c in world.labels]
    chance = {"gwet_ac1": sum(x * (1 - x) for x in pi) / (len(pi) - 1), "fleiss_kappa": sum(x * x for x in pi)}
    wanted = {name: (same - by_chance) / (1 - by_chance) for name, by_chance in chance.items()}
    found = world.found.details[0].sections["agreement"].humans.coefficients
    assert {name: interval.value for name, interval in found.items()} == pytest.approx(
        {"krippendorff_alpha": 1 - observed / expected, **wanted}, abs=1e-9
    )


# --- saturation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_exponential_solves_the_normal_equations(seed):
    x = np.arange(1, 21.0)
    y = 0.3 + 0.2 * np.exp(-0.5 * x) + np.random.default_rng(seed).normal(0, 0.004, 20)
    fit = fit_saturating(x, y)

    def normal(at):
        e = np.exp(-at[2] * x)
        left = at[0] + at[1] * e - y
        return [left.sum(), (left * e).sum(), (left * at[1] * x * e).sum()]

    solved = root(normal, [float(fit.level) * 1.001, float(fit.b) * 0.999, float(fit.rate) * 1.001], tol=1e-15).x
    assert (float(fit.level), float(fit.b), float(fit.rate)) == pytest.approx(tuple(solved), abs=1e-9)
    assert float(fit.drop) == pytest.approx(y.max() - solved[0], abs=1e-9)


def test_the_saturation_curve_of_the_squared_error(world):
    """1 + sum p^2 (n - 1) of n votes' own pairs, over n: the expectation vote by vote."""
    curve = world.found.details[0].sections["saturation"].curves[0]
    for n, value in enumerate(curve.values, start=1):
        expected = []
        for p, v in zip(world.q, world.votes, strict=True):
            own = sum(x * x for x in p)
            expected.append((1 + (n - 1) * own) / n - 2 * mean(p[a] for a in v) + agree(v))
        assert value.value == pytest.approx(mean(expected), abs=1e-9)
