"""Annotate a corpus: every utterance, every listener of a panel, exact answer distributions and seeded votes."""

import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from ..data.corpus import Corpus, open_corpus
from ..data.errors import OptionError
from ..data.files import fingerprint, read_json, write_json
from ..prompts.loader import load_panel, panel_fingerprint
from .answering import MODES, panel_for
from .attributes import Attributes, attributes_for
from .compaction import read_results, write_tables
from .engines.base import Engine, EngineSpec, make_engine
from .few_shot import listening_panel
from .ledger import FORMAT, RUN_FILE, Info, Ledger, check_identity, check_place, remove_run
from .panel import ListeningPanel
from .planning import Estimate, Reading, estimate, find_budget, read_only
from .results import Results
from .runs import Run, open_run
from .selfcheck import FROM_UTTERANCES, SAMPLE, Monitor, canary_answers, check_batching, check_canaries
from .session import Options, Session, Status, Watch

Progress = Callable[[int, int], None]
ENVIRONMENT = "environment.json"


def annotate(
    corpus: Corpus | str | Path,
    model: str,
    *,
    out: str | Path,
    panel: str | Path = "crossed",
    votes: int = 20,
    engine: str | Engine = "transformers",
    mode: str = "exact",
    reason: bool = False,
    attributes: Sequence[str] = (),
    limit: int | None = None,
    seed: int = 0,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int | None = None,
    workers: int = 2,
    max_hours: float | None = None,
    selfcheck: bool | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Run:
    """Annotate the first `limit` utterances of a corpus (all, if None) into the run directory `out`.

    A run that is already there is continued if it has the same identity (corpus, labels, engine, model, weights,
    dtype, mode, seed, and a panel with all the run's listeners): what is answered is not asked again, failures are
    tried again, at most three times in all, and more utterances, votes or listeners extend it. An utterance whose sound
    has changed on disk is asked anew. What was planned and interrupted is finished first. After `max_hours` it stops,
    and the same call goes on.

    Mode `sample` writes texts and reads a label from each (with `reason`, after a reasoning), `verbalized` asks for the
    distribution in words; the texts are in `answers.parquet`. `attributes` (valence, arousal, dominance) are rated
    besides, on the corpus's scale, into `ratings.parquet`.

    The self-check (on by default above 1,000 utterances) compares batch with single answers on a sample, compares
    three fixed sounds with earlier sessions, and stops the run with `RunError` when answers are degenerate.

    `progress(done, total)` is called after each batch, and `watch(status)` with rate, remaining time and failures. One
    utterance that cannot be heard is one row of `Run.failures`; the rest goes on.
    Raises `OptionError`, `OutputError` (the place is taken, by what, and how it differs), `ModelError`, `PromptError`,
    `CorpusError`.
    """
    _check_options(votes, mode, limit, batch_size, max_hours)
    path = Path(out)
    replaces = overwrite and _is_run(path)
    if not replaces:
        check_place(path)
    asking = Asking(model, panel, engine, mode, reason, tuple(attributes), seed, revision, device, dtype)
    with prepared(corpus, asking) as ready:
        if replaces:
            remove_run(path)
        wanted = _run_info(ready.identity, ready.listening, votes, limit)
        ledger = Ledger(
            path,
            lambda former: _joined(path, former, wanted),
            labels=len(ready.corpus.labels),
            raters=[item.rater for item in ready.listening.raters],
            read=lambda results: read_results(path, ready.listening, results),
        )
        with ledger:
            options = Options(
                mode=mode,
                votes=ledger.info["votes"],
                seed=seed,
                batch_size=batch_size,
                workers=workers,
                max_hours=max_hours,
                attributes=ready.attributes,
            )
            watching = _watching(progress, watch)
            session = Session(ready.corpus, ready.listening, ready.engine, options, watch=watching)
            if selfcheck or (selfcheck is None and session.extent(ledger, limit) > FROM_UTTERANCES):
                session.monitor = Monitor()
                look_first(ledger, session, ready.listening, ready.engine, limit)
            session.batch_seconds = find_budget(session, ledger, limit)
            session.run(ledger, limit)
            compact(ledger, session, ready.listening, options)
    return open_run(path)


def plan_annotation(
    corpus: Corpus | str | Path,
    model: str,
    *,
    out: str | Path | None = None,
    panel: str | Path = "crossed",
    votes: int = 20,
    engine: str | Engine = "transformers",
    mode: str = "exact",
    reason: bool = False,
    attributes: Sequence[str] = (),
    limit: int | None = None,
    seed: int = 0,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int | None = None,
) -> Estimate:
    """What `annotate` with the same arguments would still have to do, and cost: measured on a few utterances.

    Writes nothing. If `out` is a run already, what it holds is not counted; it is refused if it is another run.
    """
    _check_options(votes, mode, limit, batch_size, None)
    asking = Asking(model, panel, engine, mode, reason, tuple(attributes), seed, revision, device, dtype)
    with prepared(corpus, asking) as ready:
        reading = Reading(Results(len(ready.listening.raters), len(ready.corpus.labels)))
        if out is not None:
            wanted = _run_info(ready.identity, ready.listening, votes, limit)
            reading = read_only(Path(out), wanted, ready.listening)
        options = Options(mode=mode, votes=votes, seed=seed, batch_size=batch_size, attributes=ready.attributes)
        session = Session(ready.corpus, ready.listening, ready.engine, options)
        session.batch_seconds = find_budget(session, reading, limit)
        return estimate(session, reading, limit)


class Asking(NamedTuple):
    """Who is asked, what, and how: all that makes a run's identity beside the corpus."""

    model: str
    panel: str | Path
    engine: str | Engine
    mode: str
    reason: bool
    attributes: tuple[str, ...]
    seed: int
    revision: str | None
    device: str
    dtype: str


class Ready(NamedTuple):
    """Everything loaded."""

    corpus: Corpus
    listening: ListeningPanel
    attributes: Attributes | None
    engine: Engine
    identity: dict[str, Any]


@contextmanager
def prepared(corpus: Corpus | str | Path, asking: Asking) -> Iterator[Ready]:
    """Open the corpus, load panel and model, and close the engine at the end (unless the caller brought it)."""
    corpus = corpus if isinstance(corpus, Corpus) else open_corpus(corpus)
    panel = panel_for(load_panel(asking.panel), asking.mode, reason=asking.reason)
    listening = listening_panel(panel, corpus)
    rated = None
    if asking.attributes:
        rated = attributes_for(listening, scale=corpus.info.scale, dimensions=asking.attributes)
    engine = asking.engine
    if isinstance(engine, str):
        running = make_engine(EngineSpec(engine, asking.model, asking.revision, asking.device, asking.dtype))
    else:
        running = engine
    try:
        identity = run_identity(
            corpus, listening, running, engine, mode=asking.mode, seed=asking.seed, attributes=rated
        )
        yield Ready(corpus, listening, rated, running, identity)
    finally:
        if isinstance(engine, str):
            running.close()


def look_first(ledger: Ledger, session: Session, listening: ListeningPanel, engine: Engine, limit: int | None) -> None:
    """The self-check before anything is asked: batch against single, and the canaries against earlier sessions."""
    ids, waves, questions = session.sample(ledger, limit, SAMPLE)
    if waves:
        check_batching(engine, waves, questions, ids)
    if not listening.examples:
        found = canary_answers(engine, listening)
        former = ledger.info.get("canaries", {})
        check_canaries(engine, found, former, ledger.info["versions"])
        ledger.note(canaries={**found, **former})


def compact(ledger: Ledger, session: Session, listening: ListeningPanel, options: Options) -> None:
    """Replace the run's tables by those of everything that is known now, unless they hold just that already."""
    info, silent = ledger.info, session.silent(ledger.info["limit"])
    holds = fingerprint({"votes": info["votes"], "run": info["run"], "silent": silent, "plans": info.get("plans", 0)})
    record = {**session.record(), **environment()}
    file = ledger.path / ENVIRONMENT
    former = read_json(file, what="environment record")["sessions"] if file.exists() else []
    if info.get("tables") == holds and not ledger.resumed and not session.changed:
        write_json(file, {"sessions": [*former, record]})
        return
    with ledger.commit(tables=holds) as staged:
        write_tables(
            staged,
            ledger.results,
            listening,
            votes=info["votes"],
            seed=options.seed,
            run=info["run"],
            mode=options.mode,
            silent=silent,
            attributes=options.attributes,
        )
        write_json(staged / ENVIRONMENT, {"sessions": [*former, record]})


def run_identity(
    corpus: Corpus,
    listening: ListeningPanel,
    running: Engine,
    engine: str | Engine,
    *,
    mode: str,
    seed: int,
    attributes: Attributes | None = None,
) -> dict[str, Any]:
    """What may not change while a run is continued: everything that decides its numbers, but no machine or time."""
    return {
        "corpus": corpus.name,
        "labels": list(corpus.labels.labels),
        "engine": engine if isinstance(engine, str) else type(engine).__name__,
        **running.identity,
        "mode": mode,
        "question": listening.panel.question.name,
        "panel": listening.panel.name,
        "panel_fingerprint": panel_fingerprint(listening.panel),
        "seed": seed,
        **(attributes.identity if attributes is not None else {}),
    }


def run_name(identity: Mapping[str, Any]) -> str:
    """The name that a run's votes carry: readable, and different for different identities."""
    digest = fingerprint(dict(identity)).removeprefix("sha256:")[:8]
    return f"{identity['model']}/{identity['panel']}/{digest}"


def _run_info(identity: Info, listening: ListeningPanel, votes: int, limit: int | None) -> Info:
    rows = listening.table().drop_columns(["panel"]).to_pylist()
    return {
        "format": FORMAT,
        "run": run_name(identity),
        "identity": identity,
        "votes": votes,
        "limit": limit,
        "labels": listening.labels.to_json(),
        "listeners": {row["listener"]: fingerprint(row) for row in rows},
        "versions": [],
    }


def _joined(path: Path, former: Info | None, wanted: Info) -> Info:
    """run.json of a run that is continued: more of everything, never less. `OutputError` if it is another run."""
    versions = engine_versions()
    if former is None:
        return {**wanted, "versions": [versions]}
    check_identity(path, former, wanted)
    first, second = former.get("limit"), wanted["limit"]
    known = former.get("versions", [])
    return {
        **former,
        **wanted,
        "votes": max(former["votes"], wanted["votes"]),
        "limit": None if first is None or second is None else max(first, second),
        "versions": known if versions in known else [*known, versions],
    }


def _watching(progress: Progress | None, watch: Watch | None) -> Watch:
    def both(status: Status) -> None:
        if progress is not None:
            progress(status.done, status.total)
        if watch is not None:
            watch(status)

    return both


def engine_versions() -> dict[str, str]:
    """Versions of what computes the answers: every answer of a run was given under one of those that run.json lists."""
    return _versions(("serann", "torch", "transformers"))


def environment() -> dict[str, Any]:
    """Software and hardware of this process."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "packages": _versions(("serann", "torch", "transformers", "numpy", "soundfile", "soxr", "pyarrow")),
    }


def _versions(names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _check_options(votes: int, mode: str, limit: int | None, batch_size: int | None, max_hours: float | None) -> None:
    if mode not in MODES:
        raise OptionError(f"unknown mode '{mode}'; expected one of {', '.join(MODES)}")
    if votes < 0:
        raise OptionError(f"{votes} votes; expected 0 (scores alone) or more")
    if limit is not None and limit < 1:
        raise OptionError(f"a limit of {limit} utterances; expected at least 1")
    if batch_size is not None and batch_size < 1:
        raise OptionError(f"a batch of {batch_size} utterances; expected at least 1")
    if max_hours is not None and not max_hours > 0:
        raise OptionError(f"{max_hours:g} hours at most; expected more than 0")


def _is_run(path: Path) -> bool:
    return (path / RUN_FILE).is_file()
