"""Information of the design's factors: by hand, by naive loops, in gaps, with sampled votes; and what cues carry."""

import dataclasses
import itertools
import json
import math
import shutil

import numpy as np
import pyarrow as pa
import pytest
from fixtures.pages import html
from fixtures.present import present
from fixtures.scripted_runs import corpus_of, run_scripted
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy
from serann.annotator.audit.information import (
    alone_and_given,
    crossing_with,
    factors,
    information,
    weights_alone,
    without_sampling_noise,
)
from serann.annotator.audit.result import plain
from serann.annotator.audit.sensitivity import section
from serann.annotator.engines.base import EngineSpec
from serann.annotator.engines.scripted import ScriptedEngine
from serann.annotator.panel.panel import ListeningPanel
from serann.annotator.report.audit_sections import sensitivity_section
from serann.annotator.report.audit_words import sensitivity_in_words
from serann.annotator.run.run import open_run, panel_distribution
from serann.data.corpus import take
from serann.data.errors import RunError
from serann.data.files import read_json, write_json
from serann.data.labels import LABEL_SETS
from serann.data.seeds import rng_from
from serann.data.tables import LISTENERS, from_rows, write_table
from serann.prompts.loader import load_panel

ALL = np.ones(4, dtype=bool)
TWO_BY_TWO, _ = factors({"focus": ["a", "a", "b", "b"], "order": ["x", "y", "x", "y"]})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_of(tmp_path_factory.mktemp("corpora") / "simulated", 24)


def test_two_by_two_by_hand():
    # Cells ax, ay, bx, by answer "1" with p = 1, 1, 0, .5. Focus: levels 1 and .25, mean .625:
    # H(.625) - (H(1) + H(.25)) / 2 = .954434 - .405639 = .548795. Order: levels .5 and .75, mean .625:
    # .954434 - (1 + .811278) / 2 = .048795. All four: .954434 - (0 + 0 + 0 + 1) / 4 = .704434.
    p = np.array([[[1.0, 0], [1, 0], [0, 1], [0.5, 0.5]]])
    focus, order = (alone_and_given(p, f, crossing_with(f, TWO_BY_TWO), ALL) for f in TWO_BY_TWO)
    assert focus[0] == pytest.approx([0.548795], abs=1e-6)
    assert order[0] == pytest.approx([0.048795], abs=1e-6)
    assert information(p, np.eye(4)) == pytest.approx([0.704434], abs=1e-6)
    # Given the order: x has 1 and 0, one bit; y has 1 and .5: H(.75) - 1/2 = .311278. Given the focus: a has 1 and 1,
    # no bit; b has 0 and .5: .311278.
    assert focus[1] == pytest.approx([(1 + 0.311278) / 2], abs=1e-6)
    assert order[1] == pytest.approx([0.311278 / 2], abs=1e-6)


def naive(p, codes, others) -> tuple[float, float]:
    """Alone and given the others, of one utterance: p by cell (None: not there)."""
    levels = sorted(set(codes))
    cells = {}
    for place, answer in enumerate(p):
        if answer is not None:
            cells.setdefault(tuple(o[place] for o in others), {}).setdefault(codes[place], []).append(answer)
    means = {key: {level: np.mean(own, axis=0) for level, own in block.items()} for key, block in cells.items()}

    def bits(of):
        return scipy_entropy(np.mean(of, axis=0), base=2) - np.mean([scipy_entropy(q, base=2) for q in of])

    complete = [block for block in means.values() if len(block) == len(levels)]
    alone = bits([np.mean([b[level] for b in complete], axis=0) for level in levels]) if complete else math.nan
    given = [bits(list(block.values())) for block in means.values() if len(block) > 1]
    return float(alone), float(np.mean(given)) if given else math.nan


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 2)] * 3, st.booleans()), min_size=2, max_size=14),
    st.integers(2, 5),
    st.integers(0, 2**31),
)
def test_any_design_is_the_naive_loop_and_within_its_bounds(cells, labels, seed):
    rng = np.random.default_rng(seed)
    names = ("one", "two", "three")
    every, _ = factors({name: [str(c[i]) for c in cells] for i, name in enumerate(names)})
    p = rng.dirichlet(np.full(labels, 0.3), (2, len(cells)))
    there = np.array([c[3] for c in cells])
    shown = np.where(there[None, :, None], p, 0)
    for factor in every:
        others = crossing_with(factor, every)
        alone, given_others = alone_and_given(shown, factor, others, there)
        for u in range(2):
            answers = [p[u, r] if there[r] else None for r in range(len(cells))]
            expected = naive(answers, factor.codes.tolist(), [o.codes.tolist() for o in others])
            np.testing.assert_allclose((alone[u], given_others[u]), expected, atol=1e-9)
            most = math.log2(len(factor.levels)) + 1e-9
            assert all(math.isnan(x) or 0 <= x <= most for x in (alone[u], given_others[u]))
        same = np.where(there[None, :, None], p[:, :1], 0)
        nothing = alone_and_given(same, factor, others, there)
        assert np.nan_to_num(nothing).max() < 1e-12


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31))
def test_in_a_crossed_design_parts_add_to_no_more_than_the_whole(seed):
    cells = list(itertools.product("ab", "xyz", "12"))
    every, _ = factors({str(i): [c[i] for c in cells] for i in range(3)})
    p = np.random.default_rng(seed).dirichlet(np.full(4, 0.4), (3, len(cells)))
    there = np.ones(len(cells), dtype=bool)
    found = [alone_and_given(p, f, crossing_with(f, every), there) for f in every]
    whole = information(p, np.eye(len(cells)))
    assert (sum(alone for alone, _ in found) <= whole + 1e-12).all()
    for alone, given_others in found:
        assert (alone <= given_others + 1e-12).all()
        assert (given_others <= whole + 1e-12).all()


def test_what_is_nested_or_alike_is_not_held_fixed():
    every, constant = factors(
        {"question": ["q1", "q2", "q3", "q4"], "language": ["en", "en", "de", "de"], "focus": ["v"] * 4}
    )
    assert constant == ["focus"]
    assert [f.name for f in every] == ["question", "language"]
    assert all(not crossing_with(f, every) for f in every)
    joined, _ = factors({"question": ["q1", "q1", "q2"], "language": ["en", "en", "de"]})
    assert [f.name for f in joined] == ["question and language"]


def test_confounded_levels_say_nothing_alone():
    # b is never asked in order x, a never in y: what differs may be either.
    every, _ = factors({"focus": ["a", "a", "b", "b", "c"], "order": ["x", "z", "y", "z", "x"]})
    assert weights_alone(every[0], [every[1]], np.ones(5, dtype=bool)) is None
    p = np.random.default_rng(0).dirichlet(np.ones(3), (1, 5))
    alone, given_others = alone_and_given(p, every[0], [every[1]], np.ones(5, dtype=bool))
    assert np.isnan(alone).all()
    assert given_others[0] > 0  # in z, a met b; in x, a met c


def test_sampling_noise_is_taken_off():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(4, 1.0), 20000)
    counts = rng.multinomial(20, p)
    cells = np.stack([p, counts / 20], axis=1)
    votes = np.tile([np.inf, 20.0], (len(p), 1))
    plain, mended = information(cells, np.eye(2)).mean(), without_sampling_noise(cells, votes, np.eye(2)).mean()
    assert plain > 0.02  # nothing differs but the noise of 20 votes
    assert abs(mended) < 0.1 * plain
    other = rng.dirichlet(np.full(4, 1.0), 20000)
    true = information(np.stack([other, p], axis=1), np.eye(2)).mean()
    assert without_sampling_noise(np.stack([other, counts / 20], axis=1), votes, np.eye(2)).mean() == pytest.approx(
        true, abs=0.1 * plain
    )
    exact = np.full((len(p), 2), np.inf)
    np.testing.assert_array_equal(without_sampling_noise(cells, exact, np.eye(2)), information(cells, np.eye(2)))
    assert np.isnan(without_sampling_noise(cells, np.where(np.isinf(votes), votes, 1.0), np.eye(2))).all()


def test_one_vote_left_out_by_hand():
    # 2 votes, one for each label, beside an exact (1, 0): I = H(.75) - 1/2 = .311278; without either vote the cell is
    # (0, 1) or (1, 0): 1 or 0 bits, mean .5. Jackknife: .311278 + (2 - 1)(.311278 - .5) = .122556.
    p = np.array([[[1.0, 0], [0.5, 0.5]]])
    assert without_sampling_noise(p, np.array([[np.inf, 2.0]]), np.eye(2)) == pytest.approx([0.122556], abs=1e-6)


class Prejudiced(ScriptedEngine):
    """Answers by what the question says of the speaker: a woman is called sadder, an accent changes nothing."""

    def __init__(self, moved=0.4):
        super().__init__(EngineSpec("scripted", "scripted"), script=self.answer)
        self.moved = moved

    def answer(self, wave, question):
        p = np.full(len(question.answers), 0.5 / (len(question.answers) - 1))
        p[0] = 0.5
        if "woman" in question.text:
            p[0], p[3] = p[0] - self.moved, p[3] + self.moved
        return np.log(p)


def test_a_cue_carries_what_was_put_into_it(corpus, tmp_path):
    run = run_scripted(corpus, tmp_path / "run", engine=Prejudiced(), panel="identity-cues", votes=0)
    found = section([run], corpus)
    by_name = {f.factor: f for f in found.factors}
    assert by_name.keys() == {"persona", "gender cue", "accent cue"}
    plain = np.array([0.5] + [0.1] * 5)
    moved = np.array([0.1, 0.1, 0.1, 0.5, 0.1, 0.1])  # a third of the listeners are told of a woman
    mean = (2 * plain + moved) / 3
    expected = scipy_entropy(mean, base=2) - (2 * scipy_entropy(plain, base=2) + scipy_entropy(moved, base=2)) / 3
    assert by_name["gender cue"].bits.value == pytest.approx(expected, abs=1e-6)
    assert sorted(by_name["gender cue"].levels) == ["man", "none", "woman"]
    assert sorted(by_name["accent cue"].levels) == ["indian", "none", "southern"]
    assert by_name["accent cue"].bits.value == pytest.approx(0, abs=1e-6)
    assert present(by_name["gender cue"].share).value == pytest.approx(1, abs=1e-5)
    assert by_name["persona"].bits.value == pytest.approx(present(found.total).value)
    assert by_name["gender cue"].bits.groups == 3  # the corpus's speakers
    assert "gender cue" in sensitivity_in_words(found)
    fair = section([run_scripted(corpus, tmp_path / "fair", engine=Prejudiced(0), panel="identity-cues")], corpus)
    assert max(f.bits.value for f in fair.factors) < 1e-6


def test_the_panel_of_cues_renders():
    panel = ListeningPanel(load_panel("identity-cues"), LABEL_SETS["demo6"])
    texts = [present(question).text for question in panel.questions(None)]
    assert len(set(texts)) == 9
    assert sum("woman" in text for text in texts) == 3
    assert sum("Indian accent" in text for text in texts) == 3
    assert len({text[text.index("Consider") :] for text in texts}) == 1  # nothing else differs


def test_a_run_of_the_crossed_panel(corpus, tmp_path):
    run = run_scripted(corpus, tmp_path / "run")
    found = section([run], corpus)
    assert (found.listeners, [f.factor for f in found.factors]) == (5, ["focus"])
    assert found.factors[0].bits.value == pytest.approx(present(found.total).value)
    assert "persona" in found.not_varied
    rows = run.scores.to_pylist()
    per_utterance, tempered = [], []
    for utterance in corpus.ids:
        own = {row["listener"]: row for row in rows if row["utterance_id"] == utterance}
        cells = np.array([np.exp(row["logp"]) for name, row in own.items() if name.endswith("@1")], dtype=float)
        cells /= cells.sum(axis=1, keepdims=True)
        per_utterance.append(scipy_entropy(cells.mean(axis=0), base=2) - scipy_entropy(cells, base=2, axis=1).mean())
        for focus in {name.split("@")[0] for name in own}:
            hot = np.array([row["p"] for name, row in own.items() if name.split("@")[0] == focus], dtype=float)
            hot /= hot.sum(axis=1, keepdims=True)
            tempered.append(scipy_entropy(hot.mean(axis=0), base=2) - scipy_entropy(hot, base=2, axis=1).mean())
    assert present(found.total).value == pytest.approx(np.mean(per_utterance), abs=1e-6)
    assert present(found.temperature).value == pytest.approx(np.mean(tempered), abs=1e-6)
    assert found.temperatures == [0.5, 0.7, 1.0, 1.4]
    assert "temperature (not counted)" in html(sensitivity_section(found))
    json.dumps(plain(found), allow_nan=False)


def test_an_utterance_without_the_words_is_left_out_where_a_level_is_missing(tmp_path):
    corpus = corpus_of(tmp_path / "corpus", transcript=None)
    found = section([run_scripted(corpus, tmp_path / "run")], corpus)
    assert found.listeners == 4  # the one with the focus on words has never answered
    assert "words" not in found.factors[0].levels
    assert found.factors[0].skipped == 0
    place = corpus.utterances.column_names.index("transcript")
    said = pa.array([None, None, *["some words"] * 10], pa.string())
    some = dataclasses.replace(corpus, utterances=corpus.utterances.set_column(place, "transcript", said))
    found = section([run_scripted(some, tmp_path / "some")], some)
    assert found.listeners == 5
    assert (found.factors[0].utterances, found.factors[0].skipped) == (10, 2)
    assert present(found.total).rows == 12
    assert "10 (2 left out)" in html(sensitivity_section(found))


def test_one_listener_differs_from_nobody(corpus, tmp_path):
    panel = tmp_path / "alone.toml"
    panel.write_text(
        'name = "alone"\nquestion = "emotion"\nform = "label"\n[cross]\nfocus = ["voice"]\ntemperature = [1.0]\n'
    )
    found = section([run_scripted(corpus, tmp_path / "run", panel=panel)], corpus)
    assert (found.listeners, found.factors, found.reason) == (1, [], "no utterance has answers of two listeners")
    assert "not shown" in html(sensitivity_section(found))


def test_between_runs(corpus, tmp_path):
    exact = run_scripted(corpus, tmp_path / "exact", panel="letters", batch_size=4)
    again = run_scripted(corpus, tmp_path / "again", panel="letters", batch_size=8)
    sampled = run_scripted(corpus, tmp_path / "sampled", panel="letters", mode="sample", batch_size=8)
    deaf = run_scripted(corpus, tmp_path / "deaf", panel="letters", control="noise")
    found = section([exact, again, sampled, deaf], corpus)
    assert found.runs == ["exact", "again", "sampled"]
    by_name = {f.factor: f for f in found.between}
    assert by_name.keys() == {"mode", "batch size"}
    assert by_name["mode"].levels == ["exact", "sampled"]
    # Batch size 4 was never sampled: the two meet in exact alone, where they answer alike.
    assert by_name["batch size"].reason is None
    assert by_name["batch size"].bits.value == pytest.approx(0, abs=1e-9)
    assert by_name["mode"].share is None
    alone = section([exact], corpus)
    assert (alone.between, alone.between_reason) == ([], None)
    same = section([exact, run_scripted(corpus, tmp_path / "third", panel="letters", batch_size=4, seed=1)], corpus)
    assert "differ in nothing that is compared" in present(same.between_reason)
    other = section([exact, run_scripted(corpus, tmp_path / "crossed")], corpus)
    assert other.between_reason == "the runs ask different listeners"
    assert "different listeners" in html(sensitivity_section(other))
    texts = section([sampled], corpus)
    assert "its answers are texts" in present(texts.reason)


def test_a_run_of_another_corpus_is_refused(corpus, tmp_path):
    run = run_scripted(corpus, tmp_path / "run", panel="letters")
    other = corpus_of(tmp_path / "other", name="other")
    with pytest.raises(RunError, match="is a run over the corpus 'simulated', not over 'other'"):
        section([run], other)
    part = take(corpus, np.arange(24) < 5)
    assert section([run], part).factors[0].utterances == 5


def test_seeds_decide_intervals_and_nothing_else(corpus, tmp_path):
    run = run_scripted(corpus, tmp_path / "run", panel="letters")
    first, second = (section([run], corpus, seed=seed) for seed in (0, int(rng_from("x").integers(99))))
    assert present(first.total).value == present(second.total).value


def saying(run, path, **identity):
    """The run copied, with other words about itself in its identity."""
    shutil.copytree(run.path, path)
    info = read_json(path / "run.json", what="run")
    info["identity"] |= identity
    write_json(path / "run.json", info)
    return open_run(path)


def test_engine_and_batch_size_are_crossed_between_runs(corpus, tmp_path):
    """Four runs, two engines by two batch sizes: one engine answers otherwise, batches change nothing."""
    runs = []
    for engine, answers in (("here", None), ("there", Prejudiced(0.3))):
        for batch in (4, 8):
            made = run_scripted(
                corpus, tmp_path / f"{engine}-{batch}", engine=answers, panel="identity-cues", votes=0, batch_size=batch
            )
            runs.append(saying(made, tmp_path / f"named-{engine}-{batch}", engine=engine))
    found = section(runs, corpus)
    by_name = {f.factor: f for f in found.between}
    assert by_name.keys() == {"engine", "batch size"}
    assert by_name["engine"].levels == ["here", "there"]
    assert sorted(by_name["batch size"].levels) == ["4", "8"]
    p = [panel_distribution(run, corpus.ids) for run in (runs[0], runs[2])]
    bits = scipy_entropy((p[0] + p[1]) / 2, base=2, axis=1) - sum(scipy_entropy(q, base=2, axis=1) for q in p) / 2
    assert by_name["engine"].bits.value == pytest.approx(bits.mean(), abs=1e-9)
    assert by_name["batch size"].bits.value == pytest.approx(0, abs=1e-9)
    assert by_name["engine"].bits.low > 0
    page = html(sensitivity_section(found))
    assert "Between 4 runs" in page
    assert "batch size" in page


def test_another_question_does_not_pass_for_another_engine(corpus, tmp_path):
    plain = run_scripted(corpus, tmp_path / "plain", panel="letters")
    other = saying(plain, tmp_path / "other", engine="there", question="another")
    (factor,) = section([plain, other], corpus).between
    assert factor.factor == "engine and question"
    rows = plain.listeners.to_pylist()
    again = saying(plain, tmp_path / "again", engine="there")
    table = from_rows([{**row, "prompt_fingerprint": "sha256:edited"} for row in rows], LISTENERS)
    write_table(table, again.path / "listeners.parquet", LISTENERS)
    (factor,) = section([plain, open_run(again.path)], corpus).between
    assert factor.factor == "engine and wording"


def test_reasoned_answers_are_a_mode_of_the_same_listeners(corpus, tmp_path):
    plain = run_scripted(corpus, tmp_path / "plain")
    reasoned = run_scripted(corpus, tmp_path / "reasoned", mode="sample", reason=True)
    stated = run_scripted(corpus, tmp_path / "stated", mode="verbalized")
    found = section([plain, reasoned, stated], corpus)
    assert found.between_reason is None
    assert [(f.factor, f.levels) for f in found.between] == [("mode", ["exact", "reasoned", "verbalised"])]


def test_runs_of_the_same_listeners_are_compared_beside_runs_of_others(corpus, tmp_path):
    first = run_scripted(corpus, tmp_path / "first", panel="letters", batch_size=4)
    cued = run_scripted(corpus, tmp_path / "cued", panel="identity-cues")
    second = run_scripted(corpus, tmp_path / "second", panel="letters", batch_size=8)
    found = section([first, cued, second], corpus)
    assert found.runs == ["first", "second"]
    assert [f.factor for f in found.between] == ["batch size"]
