"""The reference engine: a model loaded by transformers on this machine, scored exactly."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch

from ...data.errors import ModelError
from ...prompts.loader import Rendered, Shown
from ..models.families import Features, load_model
from ..models.label_tree import LabelTree, build_tree
from ..models.log_mel import LogMel, LogMelFrontEnd, audio_tokens
from ..models.packed_prompt import Branch, PackedRow, answer_logp, pack_groups
from .base import EngineSpec, Reason, Scores, examples_of, shown_texts
from .generation import Generated, Request, generate_texts
from .memory import CpuMemory, CudaMemory, Memory, in_halves

# Below this many parameters a batch is too little work to share: the embedded checkpoint scored 34 utterances per
# second with one thread, and 5 with two threads on two cores that other processes were using as well.
SMALL_MODEL = 20_000_000


class TransformersEngine:
    """Exact answer probabilities of one model: one packed pass per batch, halved where memory does not suffice."""

    def __init__(self, spec: EngineSpec):
        self._alm = load_model(spec.model, revision=spec.revision, device=spec.device, dtype=spec.dtype)
        self.frontend: LogMelFrontEnd = self._alm.frontend
        self._ends = self._alm.turn_ends()
        self._threads = 1 if self._alm.model.num_parameters() < SMALL_MODEL else None
        # A panel asks every utterance the same few texts; only those with a transcript differ.
        self._chat = lru_cache(maxsize=4096)(self._alm.chat)
        self._tree = lru_cache(maxsize=256)(self._build_tree)
        self._groups = lru_cache(maxsize=256)(pack_groups)
        # A panel shows every utterance the same examples.
        self._prepared = lru_cache(maxsize=256)(self._prepare)

    @property
    def identity(self) -> Mapping[str, str]:
        return self._alm.identity

    @property
    def sample_rate(self) -> int:
        return self._alm.sample_rate

    @property
    def max_seconds(self) -> float:
        return self._alm.max_seconds

    @property
    def device(self) -> str:
        device = self._alm.model.device
        return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)

    @property
    def memory(self) -> Memory:
        device = self._alm.model.device
        return CudaMemory(device) if device.type == "cuda" else CpuMemory()

    def score(self, sounds: Sequence[LogMel], questions: Sequence[Sequence[Rendered | None]]) -> list[Scores]:
        """Score a batch; see `Scorer`. `ModelError` if a single utterance does not fit into memory."""

        def ask(part: slice) -> list[Scores]:
            return self.score_at_once(sounds[part], questions[part])

        def alone(i: int) -> list[Scores]:
            raise ModelError(
                f"{sounds[i].samples / self.sample_rate:.1f} s of sound with {len(questions[i])} questions do not fit "
                f"into the memory of {self.device}; use a panel with fewer raters"
            )

        return in_halves(ask, len(sounds), alone=alone)

    def score_at_once(self, sounds: Sequence[LogMel], questions: Sequence[Sequence[Rendered | None]]) -> list[Scores]:
        """`score` without halving; see `Halving`."""
        with torch.inference_mode(), _threads(self._threads):
            return self._score(sounds, questions)

    def generate(
        self, sounds: Sequence[LogMel], requests: Sequence[Sequence[Request]], *, max_new_tokens: int
    ) -> list[list[Generated | Reason]]:
        """Write texts; see `Generator`. `ModelError` if a single text does not fit into memory."""
        clips = self._clips(sounds, [[request.question for request in asked] for asked in requests])
        with torch.inference_mode(), _threads(self._threads):
            return generate_texts(self._alm, self._chat, clips, requests, max_new_tokens=max_new_tokens)

    def count_tokens(self, seconds: float, questions: Sequence[Rendered]) -> int:
        """Tokens that the model is fed to hear so many seconds and answer all `questions`."""
        if not questions:
            return 0
        rate, hop = self.sample_rate, self._alm.processor.feature_extractor.hop_length
        clips = [seconds * rate, *(len(shown.wave) for shown in examples_of(questions))]
        audio = [max(1, audio_tokens(int(samples) // hop)) for samples in clips]
        asked = [
            (self._chat(q.system, q.text, shown_texts(q)), self._tree(tuple(sorted(q.answers)))) for q in questions
        ]
        prefix = len(asked[0][0].prefix) - len(audio) + sum(audio)
        return prefix + sum(len(parts.suffix) + len(tree) for parts, tree in asked)

    def close(self) -> None:
        if self._alm.model.device.type == "cuda":
            torch.cuda.empty_cache()

    def _prepare(self, shown: Shown) -> LogMel:
        return self.frontend(shown.wave)

    def _clips(self, sounds: Sequence[LogMel], questions: Sequence[Sequence[Rendered | None]]) -> list[list[LogMel]]:
        """All sounds of each prompt, in its order: the examples', then the utterance's own."""
        return [[*map(self._prepared, examples_of(asked)), own] for own, asked in zip(sounds, questions, strict=True)]

    def _score(self, sounds: Sequence[LogMel], questions: Sequence[Sequence[Rendered | None]]) -> list[Scores]:
        clips = self._clips(sounds, questions)
        features = self._alm.together([clip for own in clips for clip in own])
        counts = iter(features.audio_tokens)
        rows = [self._row(asked, [next(counts) for _ in own]) for asked, own in zip(questions, clips, strict=True)]
        found = self._answers(features, rows)
        return [self._scores(asked, logp) for asked, logp in zip(questions, found, strict=True)]

    def _answers(self, features: Features, rows: Sequence[PackedRow]) -> list[list[torch.Tensor]]:
        """The model's own work; all else around it is preparation."""
        return answer_logp(self._alm, features, rows)

    def _row(self, questions: Sequence[Rendered | None], audio_tokens: Sequence[int]) -> PackedRow:
        asked = [
            (self._chat(q.system, q.text, shown_texts(q)), self._tree(tuple(sorted(q.answers))))
            for q in questions
            if q is not None
        ]
        prefixes = {parts.prefix for parts, _ in asked}
        if len(prefixes) > 1:
            raise ModelError("the listeners of one panel must share the system prompt, so that they share the audio")
        branches = tuple(Branch(parts.suffix, tree) for parts, tree in asked)
        return PackedRow(np.array(self._alm.with_audio(asked[0][0].prefix, audio_tokens)), self._groups(branches))

    def _build_tree(self, answers: tuple[str, ...]) -> LabelTree:
        return build_tree(answers, self._alm.tokens, self._ends)

    def _scores(self, questions: Sequence[Rendered | None], logp: Sequence[torch.Tensor]) -> Scores:
        """Put each branch's answers into label-set order, NaN rows where nothing was asked."""
        widest = max(len(q.answers) for q in questions if q is not None)
        found, rows = iter(logp), np.full((len(questions), widest), np.nan)
        for i, question in enumerate(questions):
            if question is not None:
                place = {answer: k for k, answer in enumerate(sorted(question.answers))}
                rows[i, : len(place)] = next(found).cpu().numpy()[[place[answer] for answer in question.answers]]
        return Scores(rows)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Let torch use `count` threads on the CPU (None: as it is set), and put the setting back."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
