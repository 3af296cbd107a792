"""paUAR and the spread of speakers' own UARs: against naive loops, exact binomials, and systems of known fairness."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from fixtures.simulated import simulated_reference
from scipy import stats
from serann.trainer.scoring.speakers import CLASSES, SUPPORT, by_speaker, null_uars, own_uar, recalls

sk = pytest.importorskip("sklearn.metrics")


def one_hot_reference(human, speakers, *, seed=0):
    """A reference whose plurality is `human` [U], spoken by `speakers` [U]."""
    ref, _ = simulated_reference(utterances=len(human), speakers=1, seed=seed)
    names = np.array(speakers, dtype=object)
    _, codes = np.unique(names.astype(str), return_inverse=True)
    return replace(ref, counts=np.eye(6)[human] * 3, speakers=names, codes=codes, groups=len(set(speakers)))


def test_pauar_equals_a_loop_with_scikit_learns_uar():
    rng = np.random.default_rng(0)
    speakers = [f"s{u % 12:02d}" for u in range(720)]
    human = rng.choice(6, 720, p=[0.4, 0.25, 0.15, 0.1, 0.07, 0.03])
    answer = np.where(rng.random(720) < 0.6, human, rng.choice(6, 720))
    ref = one_hot_reference(human, speakers)
    q = (np.eye(6)[answer] + 0.1) / 1.6
    found = by_speaker(q, ref)
    own = []
    for speaker in sorted(set(speakers)):
        mine = np.array([s == speaker for s in speakers])
        classes = [c for c in range(6) if (human[mine] == c).sum() >= SUPPORT]
        part = mine & np.isin(human, classes)
        own.append(sk.recall_score(human[part], answer[part], labels=classes, average="macro", zero_division=0))
    assert [row["uar"][0] for row in found["own"]] == pytest.approx(own, abs=1e-12)
    shares = {row["metric"]: row["value"] for row in found["shares"]}
    assert shares["pauar_50"] == np.mean(np.array(own) > 0.5)
    assert shares["pauar_75"] == np.mean(np.array(own) > 0.75)
    assert shares["pauar_50"] <= shares["pauar_50_2best"] <= shares["pauar_50_3best"]
    spread = found["distribution"][0]
    assert (spread["least"], spread["median"], spread["most"]) == pytest.approx((min(own), np.median(own), max(own)))
    assert found["least_support"] == SUPPORT
    assert found["least_classes"] == CLASSES


def test_a_uar_of_exactly_a_half_is_not_above():
    human = np.array([0, 0, 0, 1, 1, 1] * 2)
    ref = one_hot_reference(human, ["a"] * 6 + ["b"] * 6)
    found = by_speaker(np.tile([0.9, 0.02, 0.02, 0.02, 0.02, 0.02], (12, 1)), ref)
    assert [row["uar"][0] for row in found["own"]] == [0.5, 0.5]
    assert found["shares"][0]["value"] == 0


def test_own_uar_counts_supported_classes_alone():
    support = np.array([[10.0, 3, 2.5, 0], [10, 2, 0, 0]])
    hits = np.array([[8.0, 0, 2.5, 0], [8, 2, 0, 0]])
    np.testing.assert_allclose(own_uar(hits, support), [0.4, np.nan])
    np.testing.assert_allclose(own_uar(hits, support, 2), [(0.8 + 0 + 1) / 3, 0.9])


def test_the_nulls_are_exact_binomials():
    rng = np.random.default_rng(1)
    human = np.array([0] * 4 + [1] * 3)
    answer = np.concatenate([np.where(rng.random(7) < 0.7, human, 2) for _ in range(5)])
    ref = one_hot_reference(np.tile(human, 5), [f"s{i // 7}" for i in range(35)])
    q = (np.eye(6)[answer] + 0.1) / 1.6
    found = recalls(q, ref)
    able = np.ones(5, bool)
    drawn = null_uars(found, 1, 0, able, least=3, seed=0, draws=20_000)
    rates = {
        "equal": [np.mean(answer[np.tile(human, 5) == c] == c) for c in (0, 1)],
        "chance": [1 / 6, 1 / 6],
    }
    for name, (first, second) in rates.items():
        exact = sum(
            stats.binom.pmf(a, 4, first) * stats.binom.pmf(b, 3, second)
            for a, b in itertools.product(range(5), range(4))
            if (a / 4 + b / 3) / 2 > 0.5
        )
        assert (drawn[name] > 0.5).mean() == pytest.approx(exact, abs=0.005)


def test_a_tie_is_a_part_of_an_utterance_of_each():
    ref = one_hot_reference(np.array([0, 1, 0, 1]), ["a"] * 4)
    counts = ref.counts.copy()
    counts[0] = [2, 2, 0, 0, 0, 0]
    found = recalls(np.eye(6)[[0, 1, 0, 0]] * 0.9 + 0.1 / 6, replace(ref, counts=counts))
    np.testing.assert_allclose(found.support[0, :3], [1.5, 2.5, 0])
    np.testing.assert_allclose(found.hits[0, 0, :3], [1.5, 1, 0])
    assert found.tied[0, 0, 0] == 1  # one utterance whose plurality is label 0 alone
    assert found.tied[1, 0, 0] == found.tied[1, 0, 1] == 1


def test_an_equally_good_system_lies_within_its_null_and_an_unequal_one_does_not():
    rng = np.random.default_rng(3)
    speakers = np.repeat([f"s{i:02d}" for i in range(40)], 24)
    human = np.tile(np.repeat(np.arange(3), 8), 40)
    equal = rng.random(960) < 0.6
    fair = by_speaker(_answers(human, equal), one_hot_reference(human, list(speakers)))
    row = fair["shares"][0]
    assert row["equal"]["low"] <= row["value"] <= row["equal"]["high"]
    assert row["chance"]["value"] < 0.01
    spread = fair["distribution"][0]
    assert spread["sd"] == pytest.approx(spread["sd_if_equal"], rel=0.3)
    unequal = rng.random(960) < np.where(np.repeat(np.arange(40), 24) < 20, 0.9, 0.3)
    unfair = by_speaker(_answers(human, unequal), one_hot_reference(human, list(speakers)))
    row = unfair["shares"][0]
    assert row["value"] == pytest.approx(0.5, abs=0.05)
    # at a recall of .6 everywhere more than 12 of 24 would be hit for 79 % of the speakers
    assert row["equal"]["value"] == pytest.approx(stats.binom.sf(12, 24, 0.6), abs=0.02)
    assert row["equal"]["low"] > row["value"]
    assert unfair["distribution"][0]["sd"] > 2 * unfair["distribution"][0]["sd_if_equal"]


def _answers(human, right):
    return (np.eye(6)[np.where(right, human, (human + 1) % 3)] + 0.1) / 1.6


def test_unknown_speakers_and_unheard_utterances_are_no_speaker():
    human = np.tile([0, 0, 0, 1, 1, 1], 3)
    speakers = ["a"] * 6 + [None] * 6 + ["b"] * 6
    ref = one_hot_reference(human, ["a"] * 6 + ["none"] * 6 + ["b"] * 6)
    ref = replace(ref, speakers=np.array(speakers, dtype=object))
    q = (np.eye(6)[human] + 0.1) / 1.6
    q[12:14] = np.nan  # speaker b has one utterance of label 0 left
    found = by_speaker(q, ref)
    assert found["named"] == 2
    assert [row["speaker"] for row in found["own"]] == ["a"]
    none = by_speaker(q, ref, least=9)
    assert none["shares"] == []
    assert none["reason"] == "no named speaker has 9 utterances of each of 2 labels (human plurality)"
