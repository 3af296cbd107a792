"""Rater reliability against plain loops, exhaustive deals of the votes, and raters whose habits are known."""

from itertools import permutations

import numpy as np
import pytest
from fixtures.simulated import RATERS, simulated_corpus
from serann.data.corpus import write_corpus
from serann.data.labels import LABEL_SETS
from serann.data.scores.agreement import single_answers
from serann.data.scores.intervals import holm
from serann.data.scores.reliability import _sums, rater_reliability, reliability_summary
from serann.data.tables import UTTERANCES, VOTES, from_rows

FOUR = LABEL_SETS["iemocap4"]


def written(path, votes, labels=FOUR):
    ids = sorted({row["utterance_id"] for row in votes})
    return write_corpus(
        path,
        name="small",
        labels=labels,
        utterances=from_rows([{"utterance_id": u} for u in ids], UTTERANCES),
        votes=from_rows(votes, VOTES, labels=labels),
        licence="CC0-1.0",
        provenance={},
    )


def votes_of(table):
    """Votes from a text of columns u, rater letters and label letters, as `u0: a=n b=s`."""
    letters = {label[0]: label for label in FOUR}
    rows = []
    for line in table.strip().splitlines():
        utterance, cast = line.split(":")
        rows += [
            {"utterance_id": utterance.strip(), "rater_id": pair[0].replace("-", "") or None, "label": letters[pair[2]]}
            for pair in cast.split()
        ]
    return rows


SMALL = """
u0: a=n b=n c=s
u1: a=s b=n c=s -=s
u2: a=h b=h
u3: a=n b=s c=n -=n
u4: a=h
u5: a=a b=s c=a
"""


def others_of(corpus, rater):
    """(own label, the others' labels) of each utterance on which others voted, in order."""
    by_utterance = {}
    for row in corpus.votes.to_pylist():
        by_utterance.setdefault(row["utterance_id"], []).append((row["rater_id"], row["label"]))
    found = []
    for votes in by_utterance.values():
        own = [label for r, label in votes if r == rater]
        if own and len(votes) > 1:
            rest = [label for r, label in votes if r != rater]
            found.append((own[0], rest))
    return found


@pytest.mark.parametrize("rater", ["a", "b", "c"])
def test_figures_are_those_of_loops_and_of_all_deals(tmp_path, rater):
    corpus = written(tmp_path / "c", votes_of(SMALL))
    pairs = others_of(corpus, rater)
    row = next(r for r in rater_reliability(corpus).to_pylist() if r["rater_id"] == rater)
    share = np.array([[rest.count(own) / len(rest) for own, _ in pairs] for _, rest in pairs])
    deals = [np.mean([share[j, k] for j, k in enumerate(deal)]) for deal in permutations(range(len(pairs)))]
    assert row["compared"] == len(pairs)
    assert row["agreement"] == pytest.approx(np.diag(share).mean())
    assert row["chance"] == pytest.approx(share.mean()) == pytest.approx(np.mean(deals))
    among = [np.mean([x == y for x, y in permutations(rest, 2)]) for _, rest in pairs if len(rest) > 1]
    assert row["others"] == pytest.approx(np.mean(among))
    answers = single_answers(corpus)
    sums = _sums(answers, len(corpus.ids), 4)
    assert sums.variance[answers.raters.index(rater)] == pytest.approx(np.var(deals))


def test_counts_and_the_most_used_label(tmp_path):
    rows = {r["rater_id"]: r for r in rater_reliability(written(tmp_path / "c", votes_of(SMALL))).to_pylist()}
    assert list(rows) == ["a", "b", "c"]
    assert (rows["a"]["votes"], rows["a"]["compared"]) == (6, 5)
    assert (rows["b"]["top_label"], rows["b"]["top_share"]) == ("neutral", 0.4)
    assert rows["a"]["flag"] is None


def test_the_spammer_is_flagged_and_good_raters_are_not(tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "c", utterances=300)
    flags = {r["rater_id"]: r["flag"] for r in rater_reliability(corpus).to_pylist()}
    assert flags == {rater: "one label" if rater == "spammer-0" else None for rater in RATERS}


def simulated_votes(habits, *, utterances=150, seed=0):
    """Each utterance is heard by six of the raters; a habit makes a label of the truth and random numbers."""
    rng = np.random.default_rng(seed)
    rows = []
    for u in range(utterances):
        truth = rng.integers(4)
        for rater in rng.choice(list(habits), 6, replace=False):
            label = FOUR.labels[habits[rater](truth, rng)]
            rows.append({"utterance_id": f"u{u:03d}", "rater_id": str(rater), "label": label})
    return rows


def good(truth, rng):
    return truth if rng.random() < 0.7 else rng.integers(4)


def test_guessers_and_contrarians_are_told_from_good_raters(tmp_path):
    habits = {f"good-{i}": good for i in range(9)}
    habits |= {"guesser": lambda _, rng: rng.integers(4), "contrarian": lambda t, rng: (t + rng.integers(1, 4)) % 4}
    rows = {r["rater_id"]: r for r in rater_reliability(written(tmp_path / "c", simulated_votes(habits))).to_pylist()}
    assert {name: row["flag"] for name, row in rows.items() if row["flag"]} == {
        "guesser": "no better than chance",
        "contrarian": "below chance",
    }
    assert "less than by chance" in rows["contrarian"]["sentence"]
    assert "as by chance" in rows["guesser"]["sentence"]
    assert rows["good-0"]["agreement"] == pytest.approx(rows["good-0"]["others"], abs=0.15)


def test_one_label_is_no_wonder_where_nearly_all_say_it(tmp_path):
    habits = {f"r{i}": lambda _, rng: int(rng.random() < 0.02) for i in range(8)}
    rows = rater_reliability(written(tmp_path / "c", simulated_votes(habits, utterances=40))).to_pylist()
    assert max(row["top_share"] for row in rows) == 1.0
    assert [row["flag"] for row in rows] == [None] * 8


def test_good_raters_are_hardly_ever_flagged(tmp_path):
    """12 corpora of 12 good raters: at .01 a corpus and criterion, 3 x 12 x .01 = .36 flags are expected at most."""
    habits = {f"good-{i}": good for i in range(12)}
    flagged = 0
    for seed in range(12):
        corpus = written(tmp_path / f"c{seed}", simulated_votes(habits, utterances=80, seed=seed))
        flagged += 12 - rater_reliability(corpus)["flag"].null_count
    assert flagged <= 2


def test_few_votes_are_described_and_never_flagged(tmp_path):
    habits = {f"good-{i}": good for i in range(6)} | {"one": lambda _, __: 0}
    corpus = written(tmp_path / "c", simulated_votes(habits, utterances=15))
    assert rater_reliability(corpus)["flag"].null_count == 7
    assert "one label" in rater_reliability(corpus, least_votes=5)["flag"].to_pylist()


def test_holm_steps_down():
    # .05/3 = .0167, .05/2 = .025, .05/1: .01 and .02 fall, .06 does not; NaN and untested are none of the three
    p = np.array([0.06, np.nan, 0.02, 0.0001, 0.01])
    tested = np.array([1, 1, 1, 0, 1], bool)
    assert (holm(np.where(tested, p, np.nan)) <= 0.05).tolist() == [False, False, True, False, True]
    # the smallest does not fall, so none does
    assert not (holm(np.array([0.03, 0.04])) <= 0.05).any()


def test_summary_of_raters_and_of_none(tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "c", utterances=300)
    summary = reliability_summary(rater_reliability(corpus))
    assert (summary["raters"], summary["tested"], summary["flagged"]) == (11, 11, {"one label": 1})
    assert summary["agreement_by_chance"] < summary["agreement_with_others"]
    anonymous = written(tmp_path / "d", [{"utterance_id": "u0", "rater_id": None, "label": "sad"}] * 3)
    none = rater_reliability(anonymous)
    assert none.num_rows == 0
    assert reliability_summary(none)["agreement_with_others"] is None
