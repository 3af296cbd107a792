"""Who is asked, what, and how: the options of a run, and everything that is loaded for it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypedDict

from ...data.corpus import Corpus, open_corpus
from ...data.errors import OptionError
from ...prompts.loader import load_panel
from ..engines.base import Engine, EngineSpec, make_engine
from ..listener import MODES, panel_for
from ..panel.attributes import Attributes, attributes_for
from ..panel.controls import check_control, controlled
from ..panel.few_shot import listening_panel
from ..panel.panel import ListeningPanel
from ..sounds.hearing import Duration, check_duration, duration_for, duration_identity
from .identity import run_identity, run_info
from .place import Info


class Asked(TypedDict, total=False):
    """The keyword arguments that `annotate` and `plan_annotation` share; `Asking` has their meaning and defaults."""

    panel: str | Path
    votes: int
    engine: str | Engine
    mode: str
    reason: bool
    attributes: Sequence[str]
    limit: int | None
    seed: int
    revision: str | None
    device: str
    dtype: str
    batch_size: int | None
    max_seconds: float | None
    too_long: str
    control: str | None


@dataclass(frozen=True, slots=True)
class Asking:
    """What a run is asked to do.

    - `model`: a short name, a checkpoint folder or a hub id; `revision`, `device` and `dtype` of it, by `engine` (a
      name, or an engine that is running already and stays so).
    - `panel`: a listener panel by name, or a `.toml` file.
    - `votes` an utterance, dealt over the listeners. 0 in mode `exact` gives the distributions alone.
    - `mode`: `exact` scores every label; `sample` writes texts and reads a label from each (with `reason`, after a
      reasoning); `verbalized` asks for the distribution in words.
    - `attributes`: which of valence, arousal and dominance are rated besides.
    - `limit`: the first so many utterances (None: all). `seed`: of all chance.
    - `batch_size`: utterances a batch at most (None: by a budget of sound).
    - `max_seconds` of an utterance at most are heard at once (None: what the model hears). A longer one is refused, a
      failure, if `too_long` is `reject`; of `truncate` the first `max_seconds` are heard; for `windows` its d seconds
      are cut into ceil(d / `max_seconds`) equal windows, every listener is asked about each, and P(answer) is the mean
      over windows, weighted by their duration. Windows go with mode `exact` alone.
    - `control`: what is heard instead of the utterances' own sounds, to learn whether the model listens (`controls`;
      None: nothing).

    Raises `OptionError` for what cannot be asked.
    """

    model: str
    panel: str | Path = "crossed"
    votes: int = 20
    engine: str | Engine = "transformers"
    mode: str = "exact"
    reason: bool = False
    attributes: Sequence[str] = ()
    limit: int | None = None
    seed: int = 0
    revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int | None = None
    max_seconds: float | None = None
    too_long: str = "reject"
    control: str | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise OptionError(f"unknown mode '{self.mode}'; expected one of {', '.join(MODES)}")
        if self.votes < 0:
            raise OptionError(f"{self.votes} votes; expected 0 (scores alone) or more")
        if self.votes == 0 and self.mode != "exact":
            raise OptionError(f"0 votes in mode {self.mode}, where every vote is an answer; expected 1 or more")
        if self.limit is not None and self.limit < 1:
            raise OptionError(f"a limit of {self.limit} utterances; expected at least 1")
        if self.batch_size is not None and self.batch_size < 1:
            raise OptionError(f"a batch of {self.batch_size} utterances; expected at least 1")
        check_duration(self.max_seconds, self.too_long, self.mode)
        check_control(self.control)


class Ready(NamedTuple):
    """Everything loaded. `info` is the `run.json` that a new run would have."""

    asking: Asking
    corpus: Corpus
    listening: ListeningPanel
    attributes: Attributes | None
    engine: Engine
    info: Info
    duration: Duration


@contextmanager
def loaded(corpus: Corpus | str | Path, asking: Asking) -> Iterator[Ready]:
    """Open the corpus, load panel and model, and close the engine at the end (unless the caller brought it)."""
    corpus = corpus if isinstance(corpus, Corpus) else open_corpus(corpus)
    listening = listening_panel(panel_for(load_panel(asking.panel), asking.mode, reason=asking.reason), corpus)
    corpus, listening = controlled(corpus, listening, asking.control)
    rated = None
    if asking.attributes:
        rated = attributes_for(listening, scale=corpus.info.scale, dimensions=asking.attributes)
    with running_engine(asking) as engine:
        duration = duration_for(asking.max_seconds, asking.too_long, engine.max_seconds)
        identity = run_identity(
            corpus,
            listening,
            {"engine": engine_name(asking.engine), **engine.identity},
            mode=asking.mode,
            seed=asking.seed,
            attributes=rated,
            duration=duration_identity(duration, engine.max_seconds),
            control=asking.control,
        )
        info = run_info(identity, listening, votes=asking.votes, limit=asking.limit, attributes=rated)
        yield Ready(asking, corpus, listening, rated, engine, info, duration)


@contextmanager
def running_engine(asking: Asking) -> Iterator[Engine]:
    """The engine that is asked; one that is started here is closed here."""
    if not isinstance(asking.engine, str):
        yield asking.engine
        return
    engine = make_engine(EngineSpec(asking.engine, asking.model, asking.revision, asking.device, asking.dtype))
    try:
        yield engine
    finally:
        engine.close()


def engine_name(engine: str | Engine) -> str:
    """What a run's identity calls an engine."""
    return engine if isinstance(engine, str) else type(engine).__name__
