"""One synthetic vote against one more human vote: by a loop over votes, on simulated panels, and on real ones."""

import os
from dataclasses import replace

import numpy as np
import pytest
from fixtures.present import present
from fixtures.real_panels import GOOD, as_corpus, crema
from fixtures.simulated import biased, shuffled, simulated_corpus, simulated_run
from serann.annotator.audit import audit, baselines
from serann.annotator.audit.noninferiority import non_inferiority, vote_scores
from serann.annotator.audit.scorer import Scorer, build_reference
from serann.annotator.proxies import line_up
from serann.annotator.report.audit_page import vote_table
from serann.annotator.report.audit_words import answers
from serann.annotator.run.run import open_run
from serann.data.errors import OptionError
from serann.data.holdout import divide_votes, write_division
from serann.data.votes import count_votes, split_counts


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    place = tmp_path_factory.mktemp("votes")
    corpus, truth = simulated_corpus(place / "corpus", utterances=1200, speakers=24, raters=GOOD)
    marginal = np.tile(truth.mean(axis=0), (1200, 1))
    mode = 0.97 * np.eye(6)[truth.argmax(axis=1)] + 0.005
    made = {
        "true": truth,
        "mode": mode,
        "biased": biased(truth),
        "deaf": shuffled(truth),
        "marginal": marginal,
    }
    runs = {
        name: open_run(simulated_run(place / name, corpus, q, listeners=1, spread=0.0, votes=1))
        for name, q in made.items()
    }
    ref = build_reference(corpus)
    scorer = Scorer([ref.redrawn(draw) for draw in range(4)], level=0.95)
    people = baselines.fit_people(ref)
    constant = scorer.each(baselines.constant)
    panels = dict(zip(runs, line_up(list(runs.values()), corpus, "audit", ids=ref.ids, m=ref.m), strict=True))
    return corpus, scorer, people, constant, panels


def compared(world, name, **options):
    _, scorer, people, constant, panels = world
    return non_inferiority(scorer, panels[name], vote_scores(scorer, people), constant, **options)


def test_the_figures_are_those_of_a_loop_over_single_votes(world):
    _, scorer, people, constant, panels = world
    found = compared(world, "biased")
    synthetic, human, none = [], [], []
    size = len(scorer.reference.ids)
    beliefs = {  # of each fold: log p after one vote, for each label that it may be for
        fold: [np.log(fit.posterior_mean(vote[None])[0]) for vote in np.eye(6)] for fold, fit in people.fits.items()
    }
    for d, draw in enumerate(scorer.draws):
        for u in range(size):
            after = beliefs[int(draw.folds[u])]
            remaining = np.repeat(np.arange(6), draw.scored[u].astype(int))
            others = np.repeat(np.arange(6), draw.other[u].astype(int))
            human.append(np.mean([[after[v][w] for w in remaining] for v in others]))
            q = panels["biased"].q[u]
            synthetic.append(sum(q[v] * np.mean([after[v][w] for w in remaining]) for v in range(6)))
            none.append(np.mean([np.log(constant[d * size + u][w]) for w in remaining]))
        if d == 0:
            first = np.mean(human)
    assert found.human.value == pytest.approx(np.mean(human), abs=1e-9)
    assert found.synthetic.value == pytest.approx(np.mean(synthetic), abs=1e-9)
    assert found.constant.value == pytest.approx(np.mean(none), abs=1e-9)
    assert found.difference.value == pytest.approx(np.mean(synthetic) - np.mean(human), abs=1e-9)
    assert found.margin == pytest.approx(0.1 * (np.mean(human) - np.mean(none)), abs=1e-9)
    assert found.above_margin.value == pytest.approx(found.difference.value + found.margin, abs=1e-9)
    assert found.below_margin.value == pytest.approx(found.margin - found.difference.value, abs=1e-9)
    assert first != pytest.approx(np.mean(human), abs=1e-9)


def test_who_votes_as_people_do_is_not_inferior_and_equivalent(world):
    found = compared(world, "true")
    assert found.non_inferior
    assert found.equivalent
    assert abs(found.difference.value) < 0.3 * found.margin
    assert found.human.method == "jackknife-t"


def test_a_biased_a_deaf_and_a_constant_voter_are_inferior(world):
    for name in ("biased", "deaf", "marginal"):
        found = compared(world, name)
        assert found.non_inferior is False, name
        assert found.equivalent is False, name
        assert found.above_margin.high < 0, name


def test_who_always_says_what_most_say_passes_but_is_not_equivalent(world):
    """The limit that the report states: a single vote's test cannot see that many such votes have no spread."""
    found = compared(world, "mode")
    assert found.non_inferior
    assert found.equivalent is False


def test_the_margin_decides(world):
    assert compared(world, "biased", share=1.5).non_inferior
    strict = compared(world, "true", share=1e-6)
    assert not strict.equivalent
    assert strict.margin_share == 1e-6


def test_an_audit_takes_the_margin_it_is_given_and_states_it(tmp_path):
    corpus, truth = simulated_corpus(tmp_path / "c", utterances=240)
    run = open_run(simulated_run(tmp_path / "r", corpus, biased(truth), listeners=1, votes=1))
    found = {share: audit(corpus, [run], draws=1, margin=share) for share in (0.1, 0.99)}
    for share, result in found.items():
        row = result.panels[0].non_inferiority
        assert (row.margin_share, result.settings["margin"]) == (share, share)
        assert row.margin == pytest.approx(share * (row.human.value - row.constant.value), abs=1e-9)
        assert f"Margin: {100 * share:.0f} % of human" in vote_table(result).caption
    for wrong in (0, -0.1, 1, float("nan")):
        with pytest.raises(OptionError, match="the margin of non-inferiority is"):
            audit(corpus, [run], margin=wrong)
    with pytest.raises(OptionError, match="epsilon is 2"):
        audit(corpus, [run], epsilon=2)


def test_without_other_votes_nothing_is_said(world):
    corpus, _, people, _, panels = world
    ref = build_reference(corpus)
    bare = Scorer([replace(ref, other=0 * ref.other)], level=0.95)
    found = non_inferiority(bare, panels["true"], vote_scores(bare, people), bare.each(baselines.constant))
    assert found.non_inferior is None
    assert found.equivalent is None
    assert "no human vote is left" in present(found.reason)


def test_one_speaker_and_votes_that_tell_nothing_have_no_verdict(tmp_path):
    corpus, truth = simulated_corpus(tmp_path / "one", utterances=60, speakers=1, raters=GOOD)
    found = audit(corpus, [open_run(simulated_run(tmp_path / "r", corpus, truth))], draws=2)
    assert found.panels[0].non_inferiority.non_inferior is None
    assert "no interval can be given (one group)" in answers(found)[0]
    noise = np.full((120, 6), 1 / 6)
    corpus, _ = simulated_corpus(tmp_path / "noise", utterances=120, truth=noise, raters=GOOD)
    found = audit(corpus, [open_run(simulated_run(tmp_path / "n", corpus, noise))], draws=4)
    assert found.panels[0].non_inferiority.non_inferior is None
    assert "one more human vote itself is not told from a constant" in answers(found)[0]
    assert "not identifiable: the curve is flat" in answers(found)[0]


@pytest.mark.corpora
@pytest.mark.skipif("SERANN_CORPORA" not in os.environ, reason="SERANN_CORPORA does not name the real corpora")
def test_one_more_voice_vote_passes_and_face_shuffled_and_marginal_fail(tmp_path):
    voice = crema(tmp_path, "1", "voice")
    counts = count_votes(voice.votes, voice.ids, voice.labels)
    both = count_votes(crema(tmp_path, "3", "both").votes, voice.ids, voice.labels)
    one, rest = split_counts(counts, 1, voice.ids, "one more")
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(1, counts.sum(axis=0) / counts.sum(), size=len(counts))
    panels = {
        "one more": as_corpus(tmp_path, voice, one, "one more"),
        "face": crema(tmp_path, "2", "face"),
        "shuffled": as_corpus(tmp_path, voice, both[rng.permutation(len(both))], "shuffled"),
        "marginal": as_corpus(tmp_path, voice, drawn, "marginal"),
    }
    fewer = as_corpus(tmp_path, voice, rest, "fewer")
    found = audit(write_division(fewer, divide_votes(fewer, seen=3), None), list(panels.values()), draws=8)
    verdicts = {panel.name: panel.non_inferiority.non_inferior for panel in found.panels}
    assert verdicts == {"one more": True, "face": False, "shuffled": False, "marginal": False}
    assert found.panels[0].non_inferiority.equivalent
