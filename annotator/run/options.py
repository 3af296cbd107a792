"""The options of `annotate`: what a run is asked to do, and how a session goes about it. Each is declared once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from ...data.errors import OptionError
from ...data.options import CommandOptions, check_choices, option

# The registries are imported when they are asked for: commands are listed without the libraries behind them.


def _engines() -> Iterable[str]:
    from ..engines.base import ENGINES

    return ENGINES


def _modes() -> Iterable[str]:
    from ..listener import MODES

    return MODES


def _too_long() -> Iterable[str]:
    from ...data.audio import TOO_LONG

    return TOO_LONG


def _controls() -> Iterable[str]:
    from ..panel.controls import CONTROLS

    return CONTROLS


class AnnotateOptions(CommandOptions):
    """What a run is asked to do: its numbers rest on it.

    `engine` is a name, or an engine that is running already and stays so. `limit` None: all utterances. `max_seconds`
    None: what the model hears; a longer utterance is refused, a failure, if `too_long` is `reject`; of `truncate` the
    first `max_seconds` are heard; for `windows` its d seconds are cut into ceil(d / `max_seconds`) equal windows, every
    listener is asked about each, and P(answer) is the mean over windows, weighted by their duration. Windows go with
    mode `exact` alone. 0 votes in mode `exact` give the distributions alone.

    Raises OptionError for what cannot be asked.

    >>> AnnotateOptions(votes=8).mode
    'exact'
    """

    engine: Any = option("transformers", "What runs the model: {choices}.", choices=_engines)
    panel: str | Path = option("crossed", "A listener panel by name (serann panels), or a .toml file.")
    votes: int = option(20, "Votes per utterance, dealt over the listeners (0: scores alone).")
    mode: str = option("exact", "How answers are read off: {choices}.", choices=_modes)
    reason: bool = option(False, "Mode sample: a short reasoning before the answer.")
    attributes: Sequence[str] = option((), "Rate these as well: valence,arousal,dominance (or a part of it).")
    limit: int | None = option(None, "Annotate the first N utterances only.")
    seed: int = option(0, "Seed of the votes.")
    revision: str | None = option(None, "Revision of a model from the hub.")
    device: str = option("auto", "auto, cpu, cuda or cuda:N.")
    dtype: str = option("auto", "auto (bfloat16 on a GPU, float32 on a CPU) or its name.")
    batch_size: int | None = option(None, "Most utterances per batch (default: by a budget of sound).")
    max_seconds: float | None = option(
        None, "Most seconds of an utterance that are heard at once (default: the model's)."
    )
    too_long: str = option(
        "reject", "What is done with longer ones: {choices} (windows: their answers averaged).", choices=_too_long
    )
    control: str | None = option(None, "Hear something else instead: {choices}.", choices=_controls)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        from ..sounds.hearing import check_duration

        check_duration(self.max_seconds, self.too_long, self.mode)
        check_choices(self)
        if self.votes < 0:
            raise OptionError(f"{self.votes} votes; expected 0 (scores alone) or more")
        if self.votes == 0 and self.mode != "exact":
            raise OptionError(f"0 votes in mode {self.mode}, where every vote is an answer; expected 1 or more")
        if self.limit is not None and self.limit < 1:
            raise OptionError(f"a limit of {self.limit} utterances; expected at least 1")
        if self.batch_size is not None and self.batch_size < 1:
            raise OptionError(f"a batch of {self.batch_size} utterances; expected at least 1")
        return self


class SessionOptions(CommandOptions):
    """How a session goes about a run: no number rests on it."""

    workers: int = option(2, "Decoders that read sounds ahead.")
    max_hours: float | None = option(None, "Stop after so many hours; the same call goes on.")
    selfcheck: bool | None = option(
        None, "Check the answers (default: above 1,000 utterances).", flags="--selfcheck/--no-selfcheck"
    )
    overwrite: bool = option(False, "Replace a run that is there.")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.workers < 1:
            raise OptionError(f"{self.workers} workers to decode sounds; expected at least 1")
        if self.max_hours is not None and not self.max_hours > 0:
            raise OptionError(f"{self.max_hours:g} hours at most; expected more than 0")
        return self
