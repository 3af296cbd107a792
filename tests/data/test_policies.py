"""Vote policies: by hand, and against a naive loop; label maps that lose no vote."""

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serann.data.errors import OptionError
from serann.data.importing import map_votes
from serann.data.labels import LABEL_SETS, LabelSet, map_labels
from serann.data.policies import OUTSIDE, POLICIES, distributions
from serann.data.tables import UTTERANCES, VOTES, from_rows, validate

ABC = LabelSet("abc", ("a", "b", "c"))


def votes_of(rows, labels=ABC):
    """Rows of (utterance, rater, label, rank, weight, text); the last three may be left out."""
    names = ("utterance_id", "rater_id", "label", "rank", "weight", "text")
    defaults = ("", None, None, "primary", 1.0, None)
    table, count = [], defaultdict(int)
    for row in rows:
        full: dict[str, Any] = dict(zip(names, (*row, *defaults[len(row) :]), strict=True))
        key = (full["utterance_id"], full["rater_id"], full["rank"], full["label"])
        full["draw"] = count[key] if full["rater_id"] is not None else 0
        count[key] += 1
        if full["label"] is None:
            full["reason"] = f"{OUTSIDE}: x"
        table.append(full)
    return from_rows(table, VOTES, labels=labels)


def p_of(rows, policy, **rules):
    return distributions(votes_of(rows), ["u"], ABC, policy=policy, **rules).p[0]


RATERS = [
    ("u", "r1", "a"),
    ("u", "r1", "a", "secondary"),
    ("u", "r1", "b", "secondary"),
    ("u", "r2", "a"),
    ("u", "r3", "b"),
    ("u", "r3", "c", "secondary"),
    ("u", "r3", "a", "secondary"),
]


def test_primary_is_the_frequency_of_primary_votes():
    np.testing.assert_allclose(p_of(RATERS, "primary"), [2 / 3, 1 / 3, 0])


def test_merged_shares_each_raters_mass_and_leaves_the_repeated_primary_out():
    # r1: a is the primary again, so b has the whole mass; r3: c and a one half each.
    secondary = np.array([0.5, 1, 0.5]) / 2
    np.testing.assert_allclose(p_of(RATERS, "merged"), 0.9 * np.array([2, 1, 0]) / 3 + 0.1 * secondary)
    np.testing.assert_allclose(p_of(RATERS, "merged", alpha=0.8), 0.8 * np.array([2, 1, 0]) / 3 + 0.2 * secondary)


def test_a_folded_word_is_no_repetition_of_the_primary():
    rows = [("u", "r1", "a"), ("u", "r1", "a", "secondary", 1.0, "annoyed"), ("u", "r1", "b", "secondary")]
    np.testing.assert_allclose(p_of(rows, "merged"), [0.9 + 0.05, 0.05, 0])


def test_without_secondary_votes_merged_is_primary():
    np.testing.assert_allclose(p_of([("u", "r1", "a"), ("u", None, "b")], "merged"), [0.5, 0.5, 0])


def test_mentions_count_a_raters_label_once_and_all_inclusive_each_row():
    np.testing.assert_allclose(p_of(RATERS, "mentions"), np.array([3, 2, 1]) / 6)
    np.testing.assert_allclose(p_of(RATERS, "all-inclusive"), np.array([4, 2, 1]) / 7)


def test_plurality_and_majority_with_their_ties():
    tie = [("u", None, "a"), ("u", None, "b")]
    found = distributions(votes_of(tie), ["u"], ABC, policy="plurality")
    assert np.isnan(found.p).all()
    assert found.reasons[0] == "no plurality"
    np.testing.assert_allclose(p_of(tie, "plurality", ties="split"), [0.5, 0.5, 0])
    assert distributions(votes_of(tie), ["u"], ABC, policy="majority").reasons[0] == "no majority"
    np.testing.assert_allclose(p_of([*tie, ("u", None, "a")], "majority"), [1, 0, 0])
    assert distributions(votes_of([*tie, ("u", None, "a"), ("u", None, "c")]), ["u"], ABC, policy="majority").reasons[0]


def test_thirds_of_a_vote_tie():
    rows = [("u", "r1", label, "primary", 1 / 3) for label in "abc"] + [("u", "r2", "a", "primary", 0.2)]
    rows += [("u", f"r{i}", label, "primary", 0.1) for label in "bc" for i in (3, 4)]
    np.testing.assert_allclose(p_of(rows, "plurality", ties="split"), [1 / 3, 1 / 3, 1 / 3])


def test_utterances_are_left_out_with_a_reason():
    rows = [("u", "r1", "a"), ("u", "r2", None), ("v", "r1", "a"), ("w", "r1", "b"), ("w", "r2", "b")]
    found = distributions(votes_of(rows), ["u", "v", "w", "none"], ABC, outside="leave-out", min_votes=2)
    assert list(found.reasons) == ["a vote outside the label set", "too few votes", None, "no votes"]
    assert np.isnan(found.p[:2]).all()
    np.testing.assert_array_equal(found.votes, [0, 0, 2, 0])


def test_wrong_rules_are_refused():
    table = votes_of(RATERS)
    for rules, words in [
        ({"policy": "best"}, "primary, merged"),
        ({"policy": "merged", "alpha": 1.5}, "alpha"),
        ({"ties": "first"}, "leave-out, split"),
        ({"outside": "drop"}, "ignore or leave-out"),
        ({"min_votes": 0}, "1 or more"),
    ]:
        with pytest.raises(OptionError, match=words):
            distributions(table, ["u"], ABC, **rules)


def naive(rows, utterance, policy, alpha):
    """The definition, rater by rater, in dictionaries."""
    p, s, named = defaultdict(float), defaultdict(float), []
    raters = {(r[1] if r[1] is not None else f"anonymous {i}") for i, r in enumerate(rows) if r[0] == utterance}
    for rater in raters:
        own = [
            r
            for i, r in enumerate(rows)
            if r[0] == utterance and (r[1] if r[1] is not None else f"anonymous {i}") == rater
        ]
        primary = [r[2] for r in own if len(r) < 4 or r[3] == "primary"]
        for label in primary:
            p[label] += 1
        secondary = [r[2] for r in own if len(r) > 3 and r[3] == "secondary" and r[2] not in primary]
        for label in secondary:
            s[label] += 1 / len(secondary)
        named += sorted({r[2] for r in own}) if policy == "mentions" else [r[2] for r in own]
    if policy in ("mentions", "all-inclusive"):
        return np.array([named.count(k) for k in "abc"]) / len(named) if named else np.full(3, np.nan)
    if not p:
        return np.full(3, np.nan)
    first = np.array([p[k] for k in "abc"]) / sum(p.values())
    if policy == "primary" or not s:
        return first
    return alpha * first + (1 - alpha) * np.array([s[k] for k in "abc"]) / sum(s.values())


@st.composite
def ballots(draw):
    rows = []
    for utterance in "uv":
        for rater in draw(st.lists(st.sampled_from(["r1", "r2", "r3", None]), unique=True, max_size=4)):
            rows.append((utterance, rater, draw(st.sampled_from("abc"))))
            if rater is not None:
                seconds = draw(st.lists(st.sampled_from("abc"), unique=True, max_size=3))
                rows += [(utterance, rater, label, "secondary") for label in seconds]
    return draw(st.permutations(rows))


@settings(max_examples=60, deadline=None)
@given(rows=ballots(), policy=st.sampled_from(["primary", "merged", "mentions", "all-inclusive"]), alpha=st.just(0.8))
def test_policies_equal_the_naive_loop(rows, policy, alpha):
    found = distributions(votes_of(rows), ["u", "v"], ABC, policy=policy, alpha=alpha).p
    expected = np.array([naive(rows, utterance, policy, alpha) for utterance in "uv"])
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_every_policy_says_what_it_does_and_where_it_is_from():
    assert all(policy.about and policy.source for policy in POLICIES.values())


def test_a_label_map_reports_every_vote_and_loses_none():
    labels = LABEL_SETS["iemocap10"]
    rows = [("u", "r1", "excited"), ("u", "r1", "happy"), ("u", "r2", "fear"), ("u", None, "sad")]
    utterances = from_rows([{"utterance_id": "u", "intended": "excited", "consensus": "zzz"}], UTTERANCES)
    mapped = map_votes(utterances, votes_of(rows, labels), map_labels(labels, LABEL_SETS["iemocap4"]))
    votes = validate(mapped.votes, VOTES, labels=LABEL_SETS["iemocap4"])
    assert votes["label"].to_pylist() == ["happy", "happy", None, "sad"]
    assert votes["reason"].to_pylist()[2] == f"{OUTSIDE}: fear"
    assert votes["text"].to_pylist() == ["excited", None, None, None]
    assert sorted(votes["draw"].to_pylist()) == [0, 0, 0, 1]
    assert mapped.utterances["intended"].to_pylist() == ["happy"]
    assert mapped.utterances["consensus"].to_pylist() == ["zzz"]
    by_label = {row["label"]: row for row in mapped.report}
    assert by_label["excited"] == {"label": "excited", "target": "happy", "votes": 1, "kind": "merged"}
    assert by_label["fear"]["kind"] == "dropped"
    assert sum(row["votes"] for row in mapped.report) == 4
    found = distributions(votes, ["u"], LABEL_SETS["iemocap4"], outside="leave-out")
    assert found.reasons[0] == "a vote outside the label set"
