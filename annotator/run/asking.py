"""Who is asked, what, and how: everything that is loaded for a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import NamedTuple

from ...data.corpus import Corpus, as_corpus
from ...prompts.loader import load_panel
from ..engines.base import Engine, EngineSpec, make_engine
from ..listener import check_engine, panel_for
from ..panel.attributes import Attributes, attributes_for
from ..panel.controls import controlled
from ..panel.few_shot import listening_panel
from ..panel.panel import ListeningPanel
from ..sounds.hearing import Duration, duration_for, duration_identity
from .identity import run_identity, run_info
from .options import AnnotateOptions
from .place import Info


class Ready(NamedTuple):
    """Everything loaded. `info` is the `run.json` that a new run would have."""

    asking: AnnotateOptions
    corpus: Corpus
    listening: ListeningPanel
    attributes: Attributes | None
    engine: Engine
    info: Info
    duration: Duration


@contextmanager
def loaded(corpus: Corpus | str | PathLike[str], model: str, asking: AnnotateOptions) -> Iterator[Ready]:
    """Open the corpus, load panel and model, and close the engine at the end (unless the caller brought it)."""
    corpus = as_corpus(corpus)
    corpus.require_root()
    listening = listening_panel(panel_for(load_panel(asking.panel), asking.mode, reason=asking.reason), corpus)
    corpus, listening = controlled(corpus, listening, asking.control)
    rated = None
    if asking.attributes:
        rated = attributes_for(listening, scale=corpus.info.scale, dimensions=asking.attributes)
    with running_engine(model, asking) as engine:
        check_engine(engine, asking.mode, rates=rated is not None)
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
def running_engine(model: str, asking: AnnotateOptions) -> Iterator[Engine]:
    """The engine that is asked; one that is started here is closed here."""
    if not isinstance(asking.engine, str):
        yield asking.engine
        return
    engine = make_engine(EngineSpec(asking.engine, model, asking.revision, asking.device, asking.dtype))
    try:
        yield engine
    finally:
        engine.close()


def engine_name(engine: str | Engine) -> str:
    """What a run's identity calls an engine."""
    return engine if isinstance(engine, str) else type(engine).__name__
