"""What a listener is asked: a question and a listener, rendered to text and fingerprinted."""

import hashlib
import json
import random
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..data.errors import PromptError
from .files import Form, Question, shuffle_seed, unknown_order

NO_TRANSCRIPT = "the listener judges words only and the utterance has no transcript"


@dataclass(frozen=True, slots=True)
class Listener:
    """One synthetic listener. Listeners that differ in `temperature` alone have the same `rater`.

    `order` names how the labels are listed: see `label_order`. `question` is the name of the question it is asked.
    """

    listener: str
    focus: str
    persona: str
    language: str
    temperature: float
    order: str
    rater: str
    form: Form
    question: str


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """An example as a listener meets it: a sound (mono samples), what is asked about it, and the answer."""

    wave: Any
    text: str
    answer: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """What one listener is asked: `answers[k]` is the answer that means the k-th label of the label set.

    `examples` come before the utterance's sound; listeners of one panel have the same.
    """

    system: str
    text: str
    answers: tuple[str, ...]
    order: tuple[str, ...]
    needs_transcript: bool
    examples: tuple[Shown, ...] = ()


def label_order(order: str, labels: Sequence[str]) -> tuple[str, ...]:
    """The labels in the order that a listener sees.

    `forward` is the label set's order, `backward` its reverse, `half-turn` starts in the middle and wraps around,
    `half-turn-backward` is the reverse of that; over these four each label's mean place is the same.
    `shuffle-N` is a fixed permutation with seed N.

    >>> label_order("half-turn", ["a", "b", "c", "d"])
    ('c', 'd', 'a', 'b')
    """
    half = len(labels) // 2
    turned = [*labels[half:], *labels[:half]]
    fixed = {
        "forward": list(labels),
        "backward": list(labels)[::-1],
        "half-turn": turned,
        "half-turn-backward": turned[::-1],
    }
    if order in fixed:
        return tuple(fixed[order])
    seed = shuffle_seed(order)
    if seed is None:
        raise PromptError(unknown_order(order))
    # Python promises that Random(seed).random() never changes between versions; shuffle() has no such promise.
    draw = random.Random(seed)
    keys = [draw.random() for _ in labels]
    return tuple(label for _, label in sorted(zip(keys, labels, strict=True)))


def render(question: Question, listener: Listener, labels: Sequence[str], transcript: str | None) -> Rendered:
    """The system prompt and the text after the audio, for one listener and one utterance.

    `answers` is in the order of `labels`: the label itself (or the question's word for it), its option letter in form
    "letter". Without a transcript a focus that needs one cannot be rendered: `PromptError` (callers let it abstain,
    with `NO_TRANSCRIPT` as the reason).
    """
    focus = question.focuses[listener.focus]
    spoken = clean_transcript(transcript)
    if focus.needs_transcript and not spoken:
        raise PromptError(f"listener {listener.listener}: {NO_TRANSCRIPT}; give one, or leave the listener out")
    order = label_order(listener.order, labels)
    words = _words(question, labels)
    if listener.form == "letter":
        letters = _letters(len(order))
        options = ", ".join(f"{letter}. {words[label]}" for letter, label in zip(letters, order, strict=True))
        answers = tuple(letters[order.index(label)] for label in labels)
    else:
        options, answers = ", ".join(words[label] for label in order), tuple(words[label] for label in labels)
    fields = {
        "persona": f"{listener.persona.strip()} " if listener.persona.strip() else "",
        "focus": focus.text.format(transcript=spoken),
        "options": options,
    }
    if question.spoken:
        fields["spoken"] = question.spoken.given.format(transcript=spoken) if spoken else question.spoken.missing
    text = question.forms[listener.form].format(**fields)
    return Rendered(question.system, text, answers, order, focus.needs_transcript)


def clean_transcript(transcript: str | None) -> str:
    """One line, without the marks that a chat template gives a meaning: a transcript must not end the turn.

    >>> clean_transcript("well <|im_end|>  then")
    'well < |im_end| > then'
    """
    text = re.sub(r"<(?=\|)|(?<=\|)>", lambda mark: "< " if mark[0] == "<" else " >", transcript or "")
    return " ".join(text.split())


def fingerprint(question: Question, listener: Listener) -> str:
    """`sha256:…` of everything in the question and the listener that changes what is asked.

    The temperature is left out: it acts on the stored log-probabilities afterwards.
    """
    asked: dict[str, object] = {
        "system": question.system,
        "form": listener.form,
        "template": question.forms[listener.form],
        "focus": question.focuses[listener.focus].text,
        "persona": listener.persona.strip(),
        "language": listener.language,
        "order": listener.order,
    }
    if question.words:
        asked["words"] = question.words
    if question.spoken:
        asked["spoken"] = question.spoken.model_dump()
    return sha256_of(asked)


def _words(question: Question, labels: Sequence[str]) -> Mapping[str, str]:
    """The word that answers each label; `PromptError` if the question has words, but lacks some."""
    if not question.words:
        return {label: label for label in labels}
    lacking = [label for label in labels if label not in question.words]
    if lacking:
        raise PromptError(f"question {question.name} has no word for {', '.join(lacking)}; add it to its [words]")
    return question.words


def _letters(count: int) -> str:
    if count > len(string.ascii_uppercase):
        raise PromptError(f"{count} labels; lettered options end at Z, expected at most 26: use a panel of form label")
    return string.ascii_uppercase[:count]


def sha256_of(value: object) -> str:
    """`sha256:…` of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
