"""Attribute ratings: each point of the scale scored exactly, the mean as the value, one question for each judge."""

import numpy as np
import pytest
from fixtures.present import present
from fixtures.small_models import make_checkpoint, naive_answer_logp
from serann.annotator.engines.base import NOT_A_NUMBER, EngineSpec, Scores
from serann.annotator.engines.scripted import ScriptedEngine, loudness_and_text
from serann.annotator.engines.transformers import TransformersEngine
from serann.annotator.listener import Draw, ask, panel_for
from serann.annotator.models.families import load_model
from serann.annotator.panel.attributes import RATING_SCORES, attributes_for, rating_score_table, rating_table
from serann.annotator.panel.few_shot import listening_panel
from serann.annotator.panel.panel import ListeningPanel
from serann.data.corpus import open_corpus
from serann.data.errors import OptionError, PromptError
from serann.data.labels import label_set
from serann.data.tables import RATINGS, read_table, write_table
from serann.prompts import Panel, list_panels, load_panel

DEMO6 = label_set("demo6")
WAVES = [np.full(800, level, dtype=np.float32) for level in (0.1, 0.2)]


def listening(panel="crossed"):
    return ListeningPanel(panel if isinstance(panel, Panel) else load_panel(panel), DEMO6)


def scripted(script=loudness_and_text):
    return ScriptedEngine(EngineSpec("scripted", "scripted"), script=script)


def peaked(wave, question):
    """Half of the mass, three quarters of it on the last point and a quarter on the first."""
    p = np.full(len(question.answers), 1e-12)
    p[0], p[-1] = 0.125, 0.375
    return np.log(p)


def test_questions_name_the_scales_ends_and_points():
    attributes = attributes_for(listening(), scale=(1, 5))
    first = present(attributes.questions("hello")[0])
    assert first.answers == ("1", "2", "3", "4", "5")
    assert first.text == (
        "Consider the voice and the words together. From 1, very negative, to 5, very positive: how does the speaker "
        "feel? Answer with one of: 1, 2, 3, 4, 5."
    )
    assert first.system == load_panel("crossed").question.system  # so that the audio can be shared
    assert attributes.scale == (1.0, 5.0)
    assert attributes_for(listening()).points == (1, 2, 3, 4, 5, 6, 7)
    assert attributes.identity != attributes_for(listening()).identity


def test_listeners_that_differ_in_order_or_temperature_are_one_judge():
    assert len(attributes_for(listening("crossed")).judges) == 5
    assert len(attributes_for(listening("letters")).judges) == 1
    assert len(attributes_for(listening("personas")).judges) == 7
    assert len(attributes_for(listening("letters")).questions(None)) == 3


def test_every_panel_that_comes_with_serann_can_be_asked():
    for name in list_panels():
        attributes = attributes_for(listening_panel(load_panel(name), open_corpus("demo")))
        asked = [present(question) for question in attributes.questions("hello")]
        assert len(asked) == 3 * len(attributes.judges)
        assert len({question.text for question in asked}) == len(asked)


def test_values_are_means_at_the_listeners_temperature():
    panel = listening()
    attributes = attributes_for(panel, scale=(1, 7), dimensions=("valence",))
    questions = [panel.questions("x")]
    rated = [attributes.questions("x")]
    found = ask(scripted(peaked), "exact", WAVES[:1], questions, panel=panel, attributes=attributes, rated=rated)[0]
    assert found.logp is not None
    ratings = attributes.ratings(found.judged)
    assert len(ratings) == len(panel.listeners)
    for listener, (name, dimension, value, p, log_mass) in zip(panel.listeners, ratings, strict=True):
        assert (name, dimension) == (listener.listener, "valence")
        assert np.exp(present(log_mass)) == pytest.approx(0.5)
        odds = 3 ** (1 / listener.temperature)
        assert value == pytest.approx((1 + 7 * odds) / (1 + odds), abs=1e-3)
        assert sum(p) == pytest.approx(1)
        assert len(p) == 7


def test_silence_and_broken_numbers():
    panel = listening()
    attributes = attributes_for(panel)
    asked = attributes.questions(None)
    assert sum(question is None for question in asked) == 3  # words only, and no transcript
    found = ask(
        scripted(), "exact", WAVES, [panel.questions(None)] * 2, panel=panel, attributes=attributes,
        rated=[asked, attributes.questions("x")],
    )  # fmt: skip
    ratings = [attributes.ratings(answered.judged) for answered in found]
    assert [len(own) for own in ratings] == [3 * 16, 3 * 20]
    assert not {item[0] for item in ratings[0]} & {x.listener for x in panel.listeners if x.focus == "words"}
    rows = np.log(np.full((len(asked), 7), 0.1))
    rows[0] = np.nan
    assert attributes.judged(Scores(rows), asked) is None

    def broken(wave, question):
        return np.full(len(question.answers), np.nan if "positive" in question.text else -2.0)

    found = ask(
        scripted(broken), "exact", WAVES[:1], [panel.questions("x")], panel=panel, attributes=attributes,
        rated=[attributes.questions("x")],
    )  # fmt: skip
    assert found[0].failure == NOT_A_NUMBER
    assert found[0].logp is None


def test_emotion_and_attributes_are_one_pass(tmp_path):
    """One pass, though the label set and the scale differ in length; the numbers are those of two passes."""
    panel = listening("letters")
    engine = scripted()
    for scale in ((1, 5), (1, 9)):
        attributes = attributes_for(panel, scale=scale)
        engine.batches.clear()
        asked, rated = [panel.questions("x")] * 2, [attributes.questions("x")] * 2
        found = ask(engine, "exact", WAVES, asked, panel=panel, attributes=attributes, rated=rated)
        assert engine.batches == [2]
        alone = ask(scripted(), "exact", WAVES, asked, panel=panel)
        for one, other in zip(found, alone, strict=True):
            np.testing.assert_array_equal(one.logp, other.logp)
            assert {len(item.logp) for item in one.judged} == {scale[1]}
        # Emotion was answered before, and only the attributes are still open.
        late = ask(scripted(), "exact", WAVES, [[None] * 4] * 2, panel=panel, attributes=attributes, rated=rated)
        assert [present(answered.logp).shape for answered in late] == [(4, 6)] * 2
        assert [answered.judged for answered in late] == [answered.judged for answered in found]
    path = make_checkpoint(tmp_path / "small")
    real = TransformersEngine(EngineSpec("transformers", str(path), device="cpu"))
    waves = [(0.1 * np.random.default_rng(n).normal(size=n)).astype(np.float32) for n in (7000, 12000)]
    clips = [real.frontend(wave) for wave in waves]
    asked = [panel.questions("x")] * 2
    own = attributes.questions("x")
    both = ask(real, "exact", clips, asked, panel=panel, attributes=attributes, rated=[own] * 2)
    emotion = ask(real, "exact", clips, asked, panel=panel)
    for one, other, clip in zip(both, emotion, clips, strict=True):
        np.testing.assert_allclose(present(one.logp), present(other.logp), atol=1e-5)
        ratings = attributes.ratings(present(attributes.judged(real.score([clip], [own])[0], own)))
        np.testing.assert_allclose([r[2] for r in attributes.ratings(one.judged)], [r[2] for r in ratings], atol=1e-4)


def test_a_few_shot_panel_is_asked_about_attributes_without_its_examples():
    panel, engine = listening_panel(load_panel("few-shot"), open_corpus("demo")), scripted()
    example, attributes = sorted(panel.example_ids)[0], attributes_for(panel)
    found = ask(
        engine, "exact", WAVES, [panel.questions("x")] * 2, panel=panel, ids=[example, "another"],
        attributes=attributes, rated=[attributes.questions("x")] * 2,
    )  # fmt: skip
    assert engine.batches == [1, 2]
    assert [len(attributes.ratings(answered.judged)) for answered in found] == [12, 12]
    assert np.isnan(present(found[0].logp)).all()


def test_ratings_go_with_every_mode():
    panel = ListeningPanel(panel_for(load_panel("crossed"), "sample"), DEMO6)
    attributes = attributes_for(panel)
    found = ask(
        scripted(), "sample", WAVES[:1], [panel.questions("x")], panel=panel, ids=["a"], draws=[[Draw(0, 0)]],
        attributes=attributes, rated=[attributes.questions("x")],
    )  # fmt: skip
    assert len(found[0].answers) == 1
    assert len(attributes.ratings(found[0].judged)) == 60


def test_only_open_questions_are_asked_and_a_judge_speaks_for_all_its_listeners():
    panel, engine = listening(), scripted()
    attributes = attributes_for(panel, dimensions=("valence",))
    asked = attributes.questions("x")
    options = {"panel": panel, "attributes": attributes}
    whole = ask(engine, "exact", WAVES[:1], [[None] * 5], rated=[asked], **options)[0].judged
    engine.asked.clear()
    late = ask(engine, "exact", WAVES[:1], [[None] * 5], rated=[[None, *asked[1:3], None, None]], **options)[0].judged
    assert engine.asked == [present(question).text for question in asked[1:3]]
    assert late == whole[1:3]
    told = attributes.ratings(late)
    assert len(told) == 2 * 4  # four temperatures
    assert told == tuple(item for item in attributes.ratings(whole) if item.listener in {own.listener for own in told})


def test_tables(tmp_path):
    panel = listening()
    attributes = attributes_for(panel, scale=(1, 5))
    found = ask(
        scripted(), "exact", WAVES, [panel.questions("x")] * 2, panel=panel, attributes=attributes,
        rated=[attributes.questions("x")] * 2,
    )  # fmt: skip
    rated = [(name, attributes.ratings(answered.judged)) for name, answered in zip("ba", found, strict=True)]
    table = rating_table(rated)
    assert table.num_rows == 2 * 20 * 3
    assert table["utterance_id"].to_pylist() == sorted(table["utterance_id"].to_pylist())
    assert set(table["source"].to_pylist()) == {"synthetic"}
    write_table(table, tmp_path / "ratings.parquet", RATINGS, provenance={"scale": list(attributes.scale)})
    assert read_table(tmp_path / "ratings.parquet", RATINGS).num_rows == 120
    scores = rating_score_table(rated, attributes.points)
    write_table(scores, tmp_path / "scores.parquet", RATING_SCORES)
    row = read_table(tmp_path / "scores.parquet", RATING_SCORES).to_pylist()[0]
    value = {(r["utterance_id"], r["rater_id"], r["dimension"]): r["value"] for r in table.to_pylist()}
    key = row["utterance_id"], row["listener"], row["dimension"]
    assert np.dot(row["p"], row["points"]) == pytest.approx(value[key], abs=1e-5)


def test_points_are_scored_exactly_also_those_of_several_tokens(tmp_path):
    path = make_checkpoint(tmp_path / "small")
    alm = load_model(str(path), device="cpu")
    engine = TransformersEngine(EngineSpec("transformers", str(path), device="cpu"))
    panel = listening("letters")
    attributes = attributes_for(panel, scale=(8, 11), dimensions=("arousal",))
    asked = [present(question) for question in attributes.questions(None)]
    assert {len(alm.tokens(answer)) for answer in asked[0].answers} == {1, 2}
    clip = (0.1 * np.random.default_rng(0).normal(size=12000)).astype(np.float32)
    found = engine.score([engine.frontend(clip)], [asked])[0]
    expected = naive_answer_logp(alm, clip, asked[0].system, asked[0].text, asked[0].answers)
    np.testing.assert_allclose(found.answer_logp[0], expected, atol=1e-5)
    ratings = attributes.ratings(present(attributes.judged(found, asked)))
    p = np.exp(expected) / np.exp(expected).sum()
    assert [item.value for item in ratings] == pytest.approx([p @ [8, 9, 10, 11]] * 4, abs=1e-4)


def test_what_cannot_be_asked(monkeypatch):
    with pytest.raises(OptionError, match=r"a scale from 0\.5 to 5; attributes are asked on a scale of 2 to 21 whole"):
        attributes_for(listening(), scale=(0.5, 5))
    with pytest.raises(OptionError, match="a scale from 0 to 100"):
        attributes_for(listening(), scale=(0, 100))
    with pytest.raises(OptionError, match="unknown dimension 'loudness'; expected some of valence, arousal, dominance"):
        attributes_for(listening(), dimensions=("valence", "loudness"))
    with pytest.raises(OptionError, match="no dimension; expected some of valence"):
        attributes_for(listening(), dimensions=())
    monkeypatch.setattr("serann.annotator.panel.attributes.list_attributes", lambda: ["attributes"])
    with pytest.raises(PromptError, match="no attribute questions in language de, es, fr; there are en"):
        attributes_for(listening("languages"))
