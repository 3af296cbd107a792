"""Engines that answer in words: what is wanted of them, what they give back, and how a transformers model does it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from ...data.errors import ModelError
from ...prompts.loader import Rendered
from .base import NOT_A_NUMBER, Reason, shown_texts
from .memory import if_it_fits, in_halves

if TYPE_CHECKING:
    from ..models.families import AudioLanguageModel, ChatParts
    from ..models.log_mel import LogMel


class Request(NamedTuple):
    """One text that is wanted: a question, the sampling temperature (0 is greedy), and where its chance comes from.

    `chances` [max_new_tokens] are uniform in [0, 1): token t is the one at quantile `chances[t]` of the model's
    distribution at that temperature, tokens in the vocabulary's order, nothing cut off (no top-p, top-k, penalty). So
    a text depends on its own numbers alone, not on its company.
    """

    question: Rendered
    temperature: float
    chances: np.ndarray


class Generated(NamedTuple):
    """A text without its turn end; not `ended` if it was cut at the most tokens allowed."""

    text: str
    ended: bool


@runtime_checkable
class Generator(Protocol):
    """What an engine has to have, beyond `Engine`, for the modes `sample` and `verbalized`."""

    def generate(
        self, sounds: Sequence[Any], requests: Sequence[Sequence[Request]], *, max_new_tokens: int
    ) -> Sequence[Sequence[Generated | Reason]]:
        """Write a text for each request: the b-th sound (as `Engine.frontend` made it) is asked the b-th list of them.

        At least one request a sound. Where there is no text, as of a server that refuses, stands the reason.
        """
        ...


def generate_texts(
    alm: "AudioLanguageModel",
    chat: "Callable[..., ChatParts]",
    clips: "Sequence[Sequence[LogMel]]",
    requests: Sequence[Sequence[Request]],
    *,
    max_new_tokens: int,
    rows_at_once: int | None = None,
) -> list[list[Generated | Reason]]:
    """`Generator.generate` for a model of transformers; `chat` lays a question out (`AudioLanguageModel.chat`).

    `clips[b]` are all sounds of the b-th utterance's prompt: those of the examples first, its own last.
    Where memory does not suffice, utterances are halved, then the texts under way; the texts stay what they are.
    `ModelError` if a single text does not fit.
    """

    def ask(part: slice, rows: int | None = rows_at_once) -> list[list[Generated | Reason]]:
        return _generate(alm, chat, clips[part], requests[part], max_new_tokens, rows)

    def alone(i: int) -> list[list[Generated | Reason]]:
        rows = min(len(requests[i]), rows_at_once or len(requests[i])) // 2
        while rows:
            found = if_it_fits(lambda rows=rows: ask(slice(i, i + 1), rows))
            if found is not None:
                return found
            rows //= 2
        seconds = clips[i][-1].samples / alm.sample_rate
        raise ModelError(f"one text on {seconds:.1f} s of sound does not fit into the memory")

    return in_halves(ask, len(clips), alone=alone)


def _generate(
    alm: "AudioLanguageModel",
    chat: "Callable[..., ChatParts]",
    clips: "Sequence[Sequence[LogMel]]",
    requests: Sequence[Sequence[Request]],
    max_new_tokens: int,
    rows_at_once: int | None,
) -> list[list[Generated | Reason]]:
    from ..models.sampling import Wanted, decode

    features = alm.together([clip for own in clips for clip in own])
    counts, prefixes, wanted = iter(features.audio_tokens), [], []
    for asked, own in zip(requests, clips, strict=True):
        parts = [chat(item.question.system, item.question.text, shown_texts(item.question)) for item in asked]
        if len({part.prefix for part in parts}) > 1:
            raise ModelError("the listeners of one panel must share the system prompt, so that they share the audio")
        prefixes.append(alm.with_audio(parts[0].prefix, [next(counts) for _ in own]))
        wanted.append(
            [Wanted(part.suffix, item.temperature, item.chances) for part, item in zip(parts, asked, strict=True)]
        )
    written = decode(alm, features, prefixes, wanted, max_new_tokens=max_new_tokens, rows_at_once=rows_at_once)
    decoded = alm.processor.tokenizer.decode
    return [
        [
            NOT_A_NUMBER if tokens is None else Generated(decoded(list(tokens), skip_special_tokens=True), ended)
            for tokens, ended in texts
        ]
        for texts in written
    ]
