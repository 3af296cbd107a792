"""Texts become labels and distributions by a strict reading or a documented ladder, or are no answer, with a reason."""

import json
import string

import numpy as np
import pytest
from fixtures.present import present
from hypothesis import given, settings
from hypothesis import strategies as st
from serann.annotator.panel.parsing import AnswerReader, read_shares, surface_forms
from serann.data.labels import LABEL_SETS, LabelSet
from serann.prompts import load_question

DEMO6, MSP9 = LABEL_SETS["demo6"], LABEL_SETS["msp9"]
WORDS = AnswerReader(DEMO6, DEMO6.labels, "label")
NINE = AnswerReader(MSP9, MSP9.labels, "label")
REASONED = AnswerReader(DEMO6, DEMO6.labels, "reason")
# demo6 is neutral happy angry sad fear surprise: here F means neutral and A surprise.
LETTERS = AnswerReader(DEMO6, tuple("FEDCBA"), "letter")
GERMAN = AnswerReader(DEMO6, tuple(load_question("emotion-de").words[label] for label in DEMO6), "label")

TABLE = [
    (WORDS, "happy", "happy", "strict"),
    (WORDS, " Happy.\n", "happy", "strict"),
    (WORDS, "HAPPY!", "happy", "spelling"),
    (WORDS, "**Happy**", "happy", "spelling"),
    (WORDS, "“happy”", "happy", "spelling"),
    (WORDS, "Happiness", "happy", "spelling"),
    (WORDS, "neu", "neutral", "spelling"),
    (WORDS, "neutral  state", "neutral", "spelling"),
    (WORDS, '{"emotion": "happy"}', "happy", "json"),
    (WORDS, '```json\n{"emotion": "Anger", "reason": "it sounds sad"}\n```', "angry", "json"),
    (WORDS, "Answer: sad", "sad", "marked"),
    (WORDS, "It could be anger or joy.\n\n**Answer:** sad", "sad", "marked"),
    (WORDS, "The final answer is: joy", "happy", "marked"),
    (WORDS, "The word is 'sad', although one may hear anger.", "sad", "quoted"),
    (WORDS, "The emotion expressed is **fear**, and not quite surprise.", "fear", "quoted"),
    (WORDS, "The emotion is happy.", "happy", "named"),
    (WORDS, "emotion = fear", "fear", "named"),
    (WORDS, "The speaker sounds afraid, I fear.", "fear", "named"),
    (WORDS, "At first I heard anger, and some fear.\nsad", "sad", "last line"),
    (WORDS, "It might be anger or fear.\nSo I say it is sadness.", "sad", "last line"),
    (WORDS, "Angry\n\nThe speaker is loud, not sad.", "angry", "first line"),
    (WORDS, "**Sad**\nThere is joy in the words. The voice does not share it.", "sad", "quoted"),
    (WORDS, "happy\nor sad or angry\nIn short: happy", "happy", "first line"),
    (NINE, "Other.", "other", "strict"),
    (NINE, "On the other hand, happy", "happy", "named"),
    (REASONED, "The voice trembles.\nAnswer: Fear.", "fear", "strict"),
    (REASONED, "Sad? No: the voice is bright. Answer: happy", "happy", "marked"),
    (REASONED, "The voice is bright, so happy.", "happy", "named"),
    (LETTERS, "A", "surprise", "strict"),
    (LETTERS, "b.", "fear", "spelling"),
    (LETTERS, "(A)", "surprise", "spelling"),
    (LETTERS, "A. surprise", "surprise", "spelling"),
    (LETTERS, "Option B", "fear", "spelling"),
    (LETTERS, "E) happiness", "happy", "spelling"),
    (LETTERS, "surprise", "surprise", "spelling"),
    (LETTERS, "The answer is (A)", "surprise", "named"),
    (LETTERS, "I would go with option C because it is sad.", "sad", "named"),
    (LETTERS, "A happy voice", "happy", "named"),
    (LETTERS, "Answer: D", "angry", "marked"),
    (GERMAN, "Ärger", "angry", "strict"),
    (GERMAN, "ärger.", "angry", "spelling"),
    (GERMAN, "Ich höre Trauer in der Stimme.\nAntwort: Trauer", "sad", "marked"),
    (GERMAN, "angry", "angry", "spelling"),
]


@pytest.mark.parametrize(("reader", "text", "label", "rung"), TABLE, ids=[repr(row[1]) for row in TABLE])
def test_answers_that_are_read(reader, text, label, rung):
    assert reader.label(text) == (label, rung, None)


NO_ANSWERS = [
    (WORDS, "", "the answer is empty"),
    (WORDS, " \n", "the answer is empty"),
    (WORDS, "I cannot tell.", "it names no label"),
    (WORDS, "unhappy", "it names no label"),
    (WORDS, "happy or sad", "it names 2 labels: happy, sad"),
    (WORDS, "sad/happy", "it names 2 labels: happy, sad"),
    (WORDS, "not happy", "it denies a label: happy"),
    (WORDS, "It isn't angry", "it denies a label: angry"),
    (WORDS, "She is not really very happy but sad", "it denies a label: happy"),
    (WORDS, "Neither happy nor sad", "it denies a label: happy, sad"),
    (WORDS, "I hear joy.\nAnswer: happy or sad", "it names 2 labels: happy, sad"),
    (WORDS, '{"emotion": "happy"} {"emotion": "sad"}', "it names 2 labels: happy, sad"),
    (WORDS, '{"happy": 0.5, "sad": 0.5}', "it names 2 labels: happy, sad"),
    (WORDS, "happy\nsad", "it names 2 labels: happy, sad"),
    (WORDS, "happy\nThough one may also hear fear.", "it names 2 labels: happy, fear"),
    (WORDS, "a", "it names no label"),
    (NINE, "no other emotion", "it names no label"),
    (NINE, "I am con on this", "it names no label"),
    (LETTERS, "A. happy", "it names 2 labels: happy, surprise"),
    (LETTERS, "A or B", "it names no label"),
    (LETTERS, "G", "it names no label"),
    (GERMAN, "keine Freude", "it denies a label: happy"),
]


@pytest.mark.parametrize(("reader", "text", "reason"), NO_ANSWERS, ids=[repr(row[1]) for row in NO_ANSWERS])
def test_texts_that_are_no_answer_say_why(reader, text, reason):
    assert reader.label(text) == (None, None, reason)


def test_reasoning_that_was_cut_is_no_answer_though_it_names_a_label():
    text = "The voice is bright, which could be happy"
    assert REASONED.label(text, ended=False).reason == "the text was cut before its answer"
    assert WORDS.label(text, ended=False).label == "happy"


label_sets = st.sampled_from(sorted(LABEL_SETS.values(), key=lambda item: item.name))


@given(label_sets, st.data())
def test_every_surface_form_of_exact_mode_is_read_strictly(labels, data):
    reader = AnswerReader(labels, labels.labels, "label")
    label = data.draw(st.sampled_from(labels.labels))
    form = data.draw(st.sampled_from(surface_forms(label)))
    assert reader.label(form) == (label, "strict", None)


@given(st.text(max_size=200))
def test_any_text_is_read_without_error_and_never_guessed(text):
    for reader in (WORDS, LETTERS, REASONED, GERMAN):
        found = reader.label(text)
        assert (found.label is None) == (found.reason is not None) == (found.rung is None)
        assert found.label is None or found.label in DEMO6


@given(st.text(alphabet=st.characters(whitelist_categories=["Nd", "Po", "Zs", "Sm"]), max_size=60))
def test_a_text_without_words_names_nothing(text):
    assert WORDS.label(text).label is None


@given(st.sets(st.sampled_from(DEMO6.labels), min_size=2, max_size=4), st.sampled_from([" and ", ", ", " or ", "\n"]))
def test_several_labels_are_no_answer_unless_the_last_line_decides(labels, between):
    found = WORDS.label(between.join(f"it is {label}" for label in sorted(labels)))
    if between == "\n":
        assert found.label == sorted(labels)[-1]
    else:
        assert found.reason == f"it names {len(labels)} labels: {', '.join(x for x in DEMO6 if x in labels)}"


@given(st.sampled_from(DEMO6.labels), st.text(alphabet=string.punctuation.replace("'", "") + " ", max_size=4))
def test_punctuation_around_a_label_changes_nothing(label, around):
    assert WORDS.label(around + label.upper() + around[::-1]).label == label


def test_spellings_of_a_corpus_of_its_own():
    labels = LabelSet("mine", ("warm", "cold"), {"cosy": "warm"})
    reader = AnswerReader(labels, labels.labels, "label")
    assert reader.label("The voice is cosy").label == "warm"
    assert reader.label("happy").reason == "it names no label"


SHARES = [
    ('{"neutral": 0, "happy": 40, "angry": 0, "sad": 60, "fear": 0, "surprise": 0}', [0, 0.4, 0, 0.6, 0, 0]),
    ('Here it is:\n```json\n{"Happy": "40%", "sadness": 60}\n```', [0, 0.4, 0, 0.6, 0, 0]),
    ('{"happy": 0.4, "sad": 0.6}', [0, 0.4, 0, 0.6, 0, 0]),
    ('{"distribution": {"happy": 30, "sad": 70}, "note": "quiet"}', [0, 0.3, 0, 0.7, 0, 0]),
    ("happy: 40%\nsad: 60%", [0, 0.4, 0, 0.6, 0, 0]),
    ("1. **happy**: 40%\n2. **sad**: 60%\nTotal: 100%", [0, 0.4, 0, 0.6, 0, 0]),
    ("- happy - 40\n- sad - 60", [0, 0.4, 0, 0.6, 0, 0]),
    ("40% happy, 60 % sad", [0, 0.4, 0, 0.6, 0, 0]),
    ("happy (40%), sad (60%)", [0, 0.4, 0, 0.6, 0, 0]),
    ("happy 37,5 %; sad 62,5 %", [0, 0.375, 0, 0.625, 0, 0]),
    ("happy 33, sad 33, angry 33", [0, 1 / 3, 1 / 3, 1 / 3, 0, 0]),  # 99: rounded to whole percents
    ("happy: 100", [0, 1, 0, 0, 0, 0]),
]


@pytest.mark.parametrize(("text", "p"), SHARES, ids=[repr(row[0]) for row in SHARES])
def test_shares_that_are_read(text, p):
    found = read_shares(WORDS, text)
    assert found.reason is None
    np.testing.assert_allclose(present(found.p), p)


NO_SHARES = [
    ("", True, "the answer is empty"),
    ("happy", True, "the answer gives no shares"),
    ('{"happy": 4', False, "the text was cut before its end"),
    ("happy: 50%", True, "its shares sum to 50, not to 100"),
    ("happy: 50%\nsad: 54%", True, "its shares sum to 104, not to 100"),  # six labels: at most 3 off
    ('{"happy": 0, "sad": 0}', True, "its shares sum to 0, not to 100"),
    ('{"happy": -1, "sad": 101}', True, "the share of 'happy' is -1"),
    ('{"happy": NaN, "sad": 1}', True, "the share of 'happy' is nan"),
    ('{"happy": 40, "bored": 60}', True, "it gives a share to 'bored', which is no label"),
    ('{"happy": 40, "joy": 60}', True, "it gives 'happy' two different shares"),
    ("I think about 40% happy and 60% sad.", True, "its shares sum to 60, not to 100"),
]


@pytest.mark.parametrize(("text", "ended", "reason"), NO_SHARES, ids=[repr(row[0]) for row in NO_SHARES])
def test_shares_that_are_no_answer_say_why(text, ended, reason):
    assert read_shares(WORDS, text, ended=ended) == (None, reason)


@given(st.text(max_size=200), st.booleans())
def test_any_text_gives_a_distribution_or_a_reason(text, ended):
    found = read_shares(WORDS, text, ended=ended)
    assert (found.p is None) == (found.reason is not None)
    assert found.p is None or (abs(sum(found.p) - 1) < 1e-9 and min(found.p) >= 0)


@settings(max_examples=50)
@given(st.integers(0, 2**32), label_sets, st.sampled_from(["json", "lines", "fractions"]), st.randoms())
def test_whole_percents_of_any_distribution_are_read_back(seed, labels, form, shuffled):
    p = np.random.default_rng(seed).dirichlet(np.ones(len(labels)))
    written = [round(float(x), 2) if form == "fractions" else round(100 * x) for x in p]
    shares = dict(zip(labels, written, strict=True))
    names = list(shares)
    shuffled.shuffle(names)
    if form == "lines":
        text = "\n".join(f"{name}: {shares[name]} %" for name in names)
    else:
        text = json.dumps({name: shares[name] for name in names})
    found = read_shares(AnswerReader(labels, labels.labels, "label"), text)
    assert found.reason is None
    expected = np.array([shares[label] for label in labels], dtype=float)
    np.testing.assert_allclose(present(found.p), expected / expected.sum(), atol=1e-12)
