"""The reference engine: a model loaded by transformers on this machine, scored exactly."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch

from ...data.errors import ModelError
from ...prompts.loader import Rendered
from ..models.families import ChatParts, load_model
from ..models.label_tree import LabelTree, build_tree
from ..models.packed_prompt import Branch, PackedRow, answer_logp, pack_row
from .base import EngineSpec, Scores

# Below this many parameters a batch is too little work to share: the embedded checkpoint scored 34 utterances a second
# with one thread, and 5 with two threads on two cores that other processes were using as well.
SMALL_MODEL = 20_000_000


class TransformersEngine:
    """Exact answer probabilities of one model: one packed pass a batch, halved where memory does not suffice."""

    def __init__(self, spec: EngineSpec):
        self._alm = load_model(spec.model, revision=spec.revision, device=spec.device, dtype=spec.dtype)
        self._ends = self._alm.turn_ends()
        self._threads = 1 if self._alm.model.num_parameters() < SMALL_MODEL else None
        # A panel asks every utterance the same few texts; only those with a transcript differ.
        self._chat = lru_cache(maxsize=4096)(self._alm.chat)
        self._tree = lru_cache(maxsize=256)(self._build_tree)

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

    def score(self, waves: Sequence[np.ndarray], questions: Sequence[Sequence[Rendered | None]]) -> list[Scores]:
        """Score a batch; see `Engine`. `ModelError` if a single utterance does not fit into memory."""
        try:
            with torch.inference_mode(), _threads(self._threads):
                return self._score(waves, questions)
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(waves) == 1:
            raise ModelError(
                f"{len(waves[0]) / self.sample_rate:.1f} s of sound with {len(questions[0])} questions do not fit into "
                f"the memory of {self.device}; use a panel with fewer raters"
            )
        half = len(waves) // 2
        return [*self.score(waves[:half], questions[:half]), *self.score(waves[half:], questions[half:])]

    def close(self) -> None:
        if self._alm.model.device.type == "cuda":
            torch.cuda.empty_cache()

    def _score(self, waves: Sequence[np.ndarray], questions: Sequence[Sequence[Rendered | None]]) -> list[Scores]:
        features = self._alm.features(waves)
        rows = [self._row(asked, n) for asked, n in zip(questions, features.audio_tokens, strict=True)]
        found = answer_logp(self._alm, features, rows)
        return [self._scores(asked, logp) for asked, logp in zip(questions, found, strict=True)]

    def _row(self, questions: Sequence[Rendered | None], audio_tokens: int) -> PackedRow:
        asked = [
            (self._chat(q.system, q.text), self._tree(tuple(sorted(q.answers)))) for q in questions if q is not None
        ]
        prefixes = {parts.prefix for parts, _ in asked}
        if len(prefixes) > 1:
            raise ModelError("the listeners of one panel must share the system prompt, so that they share the audio")
        branches = [Branch(parts.suffix, tree) for parts, tree in asked]
        return pack_row(self._expand(asked[0][0], audio_tokens), branches)

    def _expand(self, parts: ChatParts, audio_tokens: int) -> list[int]:
        """The prefix with its one audio token repeated for every frame the encoder gives."""
        mark = self._alm.audio_token_id
        at = parts.prefix.index(mark)
        return [*parts.prefix[:at], *[mark] * audio_tokens, *parts.prefix[at + 1 :]]

    def _build_tree(self, answers: tuple[str, ...]) -> LabelTree:
        return build_tree(answers, self._alm.tokens, self._ends)

    def _scores(self, questions: Sequence[Rendered | None], logp: Sequence[torch.Tensor]) -> Scores:
        """Put each branch's answers into label-set order, NaN rows where nothing was asked."""
        labels = next(len(q.answers) for q in questions if q is not None)
        found, rows = iter(logp), np.full((len(questions), labels), np.nan)
        for i, question in enumerate(questions):
            if question is not None:
                place = {answer: k for k, answer in enumerate(sorted(question.answers))}
                rows[i] = next(found).cpu().numpy()[[place[answer] for answer in question.answers]]
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


def _out_of_memory(error: RuntimeError) -> bool:
    """A GPU's error has a class; the CPU allocator's has only its words."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error)
