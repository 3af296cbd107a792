"""Few-shot panels: which sounds are heard first as examples, with which labels, and that they are not asked about."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ...data.audio import load_audio, utterance_audio
from ...data.corpus import Corpus
from ...data.errors import AudioError, OptionError
from ...data.votes import count_votes
from ...prompts.files import ExampleEntry
from ...prompts.loader import Listener, Panel, Shown
from .panel import ListeningPanel


class _Example(NamedTuple):
    entry: ExampleEntry
    wave: np.ndarray


def listening_panel(panel: Panel, corpus: Corpus) -> ListeningPanel:
    """A panel over a corpus's labels, its examples (if it has any) chosen, loaded, and part of every question.

    Examples are of the train split, and those that the panel does not name are chosen by seen votes alone. The sounds
    and labels become part of the raters' names, so that other examples are other raters: answers never mix.
    Raises `OptionError` for an example that is not there or not of the train split, or a label without candidates;
    `AudioError` for a sound that cannot be heard.
    """
    entries = [*panel.examples, *choose_examples(corpus, panel.examples_per_label, but=panel.examples)]
    if not entries:
        return ListeningPanel(panel, corpus.labels)
    examples = [_Example(entry, _sound(panel, corpus, entry)) for entry in entries]
    question = panel.question
    words = [question.words.get(label, label) for label in corpus.labels]
    text = question.example.format(options=", ".join(words))
    shown = tuple(Shown(wave, text, words[corpus.labels.index(entry.label)]) for entry, wave in examples)
    mark = _digest(examples, text)
    listeners = tuple(_marked(item, mark) for item in panel.listeners)
    return ListeningPanel(
        replace(panel, listeners=listeners, examples=tuple(entries), examples_per_label=0),
        corpus.labels,
        examples=shown,
        example_ids=frozenset(entry.utterance for entry in entries if entry.utterance),
    )


def choose_examples(corpus: Corpus, per_label: int, *, but: Sequence[ExampleEntry] = ()) -> list[ExampleEntry]:
    """`per_label` utterances of each label from the train split, in the order of the labels.

    Those whose human raters agree most on the label come first, then those with more votes, then by id. Held-out votes
    are not looked at. `OptionError` if a label has too few utterances with a vote for it.
    """
    if not per_label:
        return []
    part = "seen" if corpus.info.division else None
    counts = count_votes(corpus.votes, corpus.ids, corpus.labels, part=part)
    totals = counts.sum(axis=1)
    taken = {entry.utterance for entry in but}
    free = corpus.in_split("train") & np.array([utterance not in taken for utterance in corpus.ids])
    chosen: list[ExampleEntry] = []
    for k, label in enumerate(corpus.labels):
        rows = [u for u in np.flatnonzero(free & (counts[:, k] > 0)).tolist() if counts[u].max() == counts[u, k]]
        rows.sort(key=lambda u: (-counts[u, k] / totals[u], -totals[u], corpus.ids[u]))
        if len(rows) < per_label:
            raise OptionError(
                f"corpus {corpus.name}: {len(rows)} utterances of the train split are mostly heard as '{label}', and "
                f"{per_label} are to be examples; name the examples in the panel file, or choose another panel"
            )
        chosen += [ExampleEntry(utterance=corpus.ids[u], label=label) for u in rows[:per_label]]
        free[rows[:per_label]] = False
    return chosen


def _sound(panel: Panel, corpus: Corpus, entry: ExampleEntry) -> np.ndarray:
    if entry.label not in corpus.labels:
        raise OptionError(
            f"panel {panel.name}: example label '{entry.label}'; expected one of {', '.join(corpus.labels)}"
        )
    if entry.audio:
        return load_audio(panel.folder / entry.audio)
    if entry.utterance not in corpus.ids:
        raise OptionError(f"panel {panel.name}: corpus {corpus.name} has no utterance '{entry.utterance}'")
    row = corpus.ids.index(entry.utterance)
    if not corpus.in_split("train")[row]:
        raise OptionError(
            f"panel {panel.name}: example '{entry.utterance}' is of the split '{corpus.column('split')[row]}'; "
            "expected one of the train split, for the others are evaluated on"
        )
    try:
        return utterance_audio(corpus, row)
    except AudioError as error:
        raise AudioError(f"example {entry.utterance}: {error}") from None


def _digest(examples: Sequence[_Example], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for entry, wave in examples:
        digest.update(f"\x1f{entry.label}\x1f".encode())
        digest.update(np.ascontiguousarray(wave, dtype="<f4").tobytes())
    return digest.hexdigest()[:6]


def _marked(listener: Listener, mark: str) -> Listener:
    rater = f"{listener.rater}/examples-{mark}"
    return replace(listener, rater=rater, listener=f"{rater}@{listener.temperature:g}")
