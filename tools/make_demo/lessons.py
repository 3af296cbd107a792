"""What the embedded checkpoint learns from: simulated utterances, the panels' questions, and the soft answers."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
import soundfile
from serann.annotator.models.families import AudioLanguageModel
from serann.annotator.models.label_tree import ROOT, LabelTree
from serann.annotator.models.log_mel import audio_tokens
from serann.annotator.models.packed_prompt import Branch, PackedRow, pack_row
from serann.prompts.loader import Listener, Panel, render

from .make_corpus import speak
from .plan import LABELS, Utterance, plan_corpus
from .raters import Rater
from .sentences import Sentence, sentences
from .synthesis import SAMPLE_RATE, Synthesiser, synthesiser
from .targets import focus_target

Progress = Callable[[int, int], None]
MARGIN_FRAMES = 4


class Clip(NamedTuple):
    """One simulated utterance as the model hears it: log-mel features [mels, frames] and how many frames hold sound."""

    utterance: Utterance
    mel: np.ndarray
    valid: int


@dataclass(frozen=True)
class Lesson:
    """A batch of B utterances with the questions on each, and the target distribution of each question [K]."""

    clips: tuple[Clip, ...]
    rows: tuple[PackedRow, ...]
    targets: tuple[np.ndarray, ...]


def lesson_sentences() -> tuple[Sentence, ...]:
    """The other set of sentences and every second one of the corpus's: half of the corpus's stay unheard."""
    return (*sentences("other"), *sentences("corpus")[::2])


def make_clips(
    extractor: Any, *, utterances: int, voices: int, seed: int, workers: int, progress: Progress | None = None
) -> list[Clip]:
    """Plan and speak `utterances` by the voices of the family `seed`, as features; nothing is written to disk."""
    plan = plan_corpus(utterances=utterances, voices=voices, seed=seed, sentences=lesson_sentences())
    clips = []
    # Spawned, not forked: the parent has used torch's threads, which do not survive a fork.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread)
    with synthesiser() as engine, pool:
        task = partial(_hear, engine=engine, extractor=extractor, seed=seed)
        for clip in pool.map(task, plan, chunksize=16):
            clips.append(clip)
            if progress:
                progress(len(clips), len(plan))
    return clips


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _hear(utterance: Utterance, *, engine: Synthesiser, extractor: Any, seed: int) -> Clip:
    """Through the same codec as the embedded corpus: what it does to the spectrum is part of what is learnt."""
    buffer = io.BytesIO()
    soundfile.write(buffer, speak(engine, utterance, seed=seed), SAMPLE_RATE, format="OGG", subtype="OPUS")
    buffer.seek(0)
    wave, _ = soundfile.read(buffer, dtype="float32")
    return Clip(utterance, *features(extractor, wave))


def features(extractor: Any, wave: np.ndarray) -> tuple[np.ndarray, int]:
    """Log-mel features (float16 [mels, frames], frames even, with a margin of silence), and how many are valid."""
    valid = -(-len(wave) // extractor.hop_length)
    frames = valid + MARGIN_FRAMES + valid % 2
    made = extractor(
        wave, sampling_rate=SAMPLE_RATE, padding="max_length", max_length=frames * extractor.hop_length,
        return_attention_mask=True, return_tensors="np",
    )  # fmt: skip
    return made["input_features"][0].astype(np.float16), int(made["attention_mask"][0].sum())


def answer_tree(answers: Sequence[str], tokens: Callable[[str], Sequence[int]], end: int) -> LabelTree:
    """The token tree of the one right spelling of each answer, ended by `end`: what the checkpoint is taught to say."""
    forms = [tuple(tokens(answer)) for answer in answers]
    nodes = list(dict.fromkeys(form[:depth] for form in forms for depth in range(1, len(form) + 1)))
    place = {(): ROOT, **{node: i for i, node in enumerate(nodes)}}
    steps = [[(place[form[:d]], (*form, end)[d]) for d in range(len(form) + 1)] for form in forms]
    edges = list(dict.fromkeys(edge for path in steps for edge in path))
    deepest = max(map(len, steps))
    visible = np.zeros((len(nodes), len(nodes)), dtype=bool)
    for i, node in enumerate(nodes):
        visible[i, [place[node[:d]] for d in range(1, len(node) + 1)]] = True
    return LabelTree(
        answers=tuple(answers),
        tokens=np.array([node[-1] for node in nodes]),
        parents=np.array([place[node[:-1]] for node in nodes]),
        depths=np.array([len(node) - 1 for node in nodes]),
        visible=visible,
        edge_nodes=np.array([node for node, _ in edges]),
        edge_tokens=np.array([token for _, token in edges]),
        paths=np.array([[edges.index(edge) for edge in path] + [len(edges)] * (deepest - len(path)) for path in steps]),
        owners=np.arange(len(forms)),
    )


class Teacher:
    """Asks the panels' questions: draws listeners for an utterance and lays out their questions and answers."""

    def __init__(self, alm: AudioLanguageModel, panels: Sequence[Panel], raters: Sequence[Rater]):
        self.alm = alm
        self.raters = tuple(raters)
        # Temperature changes nothing that is asked.
        self.panels = tuple(panel.name for panel in panels)
        self.asked = [(panel, listener) for panel in panels for listener in _distinct(panel.listeners)]
        self._target = lru_cache(maxsize=None)(self._target_of)
        self._branch = lru_cache(maxsize=20000)(self._branch_of)
        self._plans: dict[str, Utterance] = {}

    def lesson(self, clips: Sequence[Clip], *, questions: int, rng: np.random.Generator) -> Lesson:
        """A batch with `questions` of each panel's listeners on each clip."""
        rows, targets = [], []
        for clip in clips:
            asked = [pair for name in self.panels for pair in self._draw(name, questions, rng)]
            rows.append(self.row(clip, asked))
            targets += [self.target(listener.focus, clip.utterance) for _, listener in asked]
        return Lesson(tuple(clips), tuple(rows), tuple(targets))

    def _draw(self, panel: str, questions: int, rng: np.random.Generator) -> list[tuple[Panel, Listener]]:
        pairs = [pair for pair in self.asked if pair[0].name == panel]
        chosen = rng.choice(len(pairs), size=min(questions, len(pairs)), replace=False)
        return [pairs[i] for i in chosen]

    def row(self, clip: Clip, asked: Sequence[tuple[Panel, Listener]]) -> PackedRow:
        """One utterance with the questions of `asked`."""
        made = [self._question(panel, listener, clip.utterance) for panel, listener in asked]
        repeats = audio_tokens(clip.valid)
        prefix = [
            t for token in made[0][0] for t in ([token] * repeats if token == self.alm.audio_token_id else [token])
        ]
        return pack_row(prefix, [branch for _, branch in made])

    def target(self, focus: str, utterance: Utterance) -> np.ndarray:
        """The soft answer [K] of a listener of this focus."""
        self._plans[utterance.utterance_id] = utterance
        return self._target(focus, utterance.utterance_id)

    def _target_of(self, focus: str, utterance_id: str) -> np.ndarray:
        return focus_target(focus, self.raters, self._plans[utterance_id])

    def _question(self, panel: Panel, listener: Listener, utterance: Utterance) -> tuple[tuple[int, ...], Branch]:
        rendered = render(panel.question, listener, LABELS, utterance.sentence.text)
        return self._branch(rendered.system, rendered.text, rendered.answers)

    def _branch_of(self, system: str, text: str, answers: tuple[str, ...]) -> tuple[tuple[int, ...], Branch]:
        chat = self.alm.chat(system, text)
        return chat.prefix, Branch(chat.suffix, self._tree(answers))

    @cache  # noqa: B019 (one teacher a training)
    def _tree(self, answers: tuple[str, ...]) -> LabelTree:
        return answer_tree(answers, self.alm.tokens, self.alm.turn_ends()[0])


def _distinct(listeners: Sequence[Listener]) -> list[Listener]:
    return list({listener.rater: listener for listener in listeners}.values())


def batches(clips: Sequence[Clip], size: int, rng: np.random.Generator) -> list[list[Clip]]:
    """All clips in batches of similar length, in random order."""
    order = rng.permutation(len(clips))
    pools = [order[i : i + 16 * size] for i in range(0, len(order), 16 * size)]
    made = []
    for pool in pools:
        by_length = sorted(pool, key=lambda i: clips[i].valid)
        made += [[clips[i] for i in by_length[j : j + size]] for j in range(0, len(by_length), size)]
    return [made[i] for i in rng.permutation(len(made))]
