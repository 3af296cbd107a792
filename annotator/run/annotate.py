"""Annotate a corpus: every utterance, every listener of a panel, exact answer distributions and seeded votes."""

from os import PathLike
from pathlib import Path
from typing import Any

from ...data.corpus import Corpus
from ...data.files import fingerprint, refuse_inputs
from ...data.options import as_options, parted
from ..engines.memory import memory_in_a_sentence
from .asking import Ready, loaded
from .identity import joined
from .ledger import Ledger
from .options import AnnotateOptions, SessionOptions
from .place import check_free, check_place, engine_versions, is_run, record_session, remove_run
from .planning import Estimate, estimate, read_only
from .run import Run, open_run
from .selfcheck import (
    FROM_UTTERANCES,
    MOST_FAILURES,
    SAMPLE,
    WINDOW,
    Monitor,
    canary_answers,
    check_batching,
    check_canaries,
)
from .session import Progress, Session, Watch, watching
from .tables import read_results, write_tables


def annotate(
    corpus: Corpus | str | PathLike[str],
    model: str,
    options: AnnotateOptions | None = None,
    *,
    out: str | PathLike[str],
    progress: Progress | None = None,
    watch: Watch | None = None,
    **keywords: Any,
) -> Run:
    """Annotate a corpus into the run directory `out`.

    What is asked is told by `options`, or by `keywords` of its fields' names (or both: keywords win); those of
    `SessionOptions` (`workers`, `max_hours`, `selfcheck`, `overwrite`) are keywords, too.

    A run that is already there is continued if it has the same identity (corpus, labels, engine, model, weights, dtype,
    mode, seed, what is done with long utterances, control, and a panel with all the run's listeners): what is answered
    is not asked again, failures are tried again, at most three times in all, and more utterances, votes or listeners
    extend it. An utterance whose sound has changed on disk is asked anew, one whose transcript has by those who read
    it; one that left the corpus stays. What was planned and interrupted is finished first. After `max_hours`, or at
    Ctrl-C, it stops, and the same call goes on.

    Mode `sample` and `verbalized` keep every text in `answers.parquet`; `attributes` are in `ratings.parquet`.

    The self-check (on by default above 1,000 utterances) compares batch with single answers on a sample, compares
    three fixed sounds with earlier sessions, and stops the run with `RunError` when answers are degenerate. A model
    that fails on 100 utterances in a row (without self-check: 1,000) stops it as well.

    `workers` decode sounds ahead of the model. `progress(done, total)` is called after each batch, and `watch(status)`
    with rate, remaining time and failures. One utterance that cannot be heard is one row of `Run.failures`; the rest
    goes on.
    Raises `OptionError`, `OutputError` (the place is taken, by what, and how it differs), `ModelError`, `PromptError`,
    `CorpusError`.
    """
    asked, how = parted(keywords, SessionOptions)
    asking, path = as_options(AnnotateOptions, options, asked), Path(out)
    session_options = SessionOptions(**how)
    selfcheck = session_options.selfcheck
    replaces = session_options.overwrite and is_run(path)
    check_free(path, replaces=replaces)
    with memory_in_a_sentence(), loaded(corpus, model, asking) as ready:
        if replaces:
            refuse_inputs(path, [ready.corpus.path])
            remove_run(path)
        with opened_ledger(path, ready) as ledger:
            # What the run holds already stays: fewer votes than it has are no reason to take any away.
            ready = ready._replace(asking=asking.model_copy(update={"votes": ledger.info["votes"]}))
            session = Session(
                ready,
                workers=session_options.workers,
                max_hours=session_options.max_hours,
                most_failures=MOST_FAILURES if selfcheck is False else WINDOW,
                watch=watching(progress, watch),
            )
            session.forget_changed(ledger)
            checked = session.extent(ledger) > FROM_UTTERANCES if selfcheck is None else selfcheck
            monitor = look_first(ledger, session) if checked else None
            session.fit_batches(ledger)
            session.run(ledger, monitor=monitor)
            write_results(ledger, session)
    return open_run(path)


def plan_annotation(
    corpus: Corpus | str | PathLike[str],
    model: str,
    options: AnnotateOptions | None = None,
    *,
    out: str | PathLike[str] | None = None,
    max_hours: float | None = None,
    **asked: Any,
) -> Estimate:
    """What `annotate` with the same arguments would still have to do, and cost: measured on a few utterances.

    Writes nothing. If `out` is a run already, what it holds is not counted; it is refused if it is another run.
    """
    asking = as_options(AnnotateOptions, options, asked)
    max_hours = SessionOptions(max_hours=max_hours).max_hours
    if out is not None:
        check_place(Path(out))
    with memory_in_a_sentence(), loaded(corpus, model, asking) as ready:
        reading, session = read_only(None if out is None else Path(out), ready), Session(ready)
        session.forget_changed(reading)
        session.fit_batches(reading)
        return estimate(session, reading, max_hours=max_hours)


def opened_ledger(path: Path, ready: Ready) -> Ledger:
    """The ledger of a new run, or of the one at `path`, which is then continued."""
    return Ledger(
        path,
        lambda former: joined(path, former, ready.info, engine_versions()),
        labels=len(ready.corpus.labels),
        raters=[item.rater for item in ready.listening.raters],
        read=lambda results: read_results(path, ready.listening, results),
    )


def look_first(ledger: Ledger, session: Session) -> Monitor:
    """The self-check before anything is asked: batch against single, and the canaries against earlier sessions.

    Returns the monitor that looks on while everything is asked.
    """
    ids, sounds, questions = session.sample(ledger, SAMPLE)
    if sounds:
        check_batching(session.engine, sounds, questions, ids)
    if not session.ready.listening.examples:
        found = canary_answers(session.engine, session.ready.listening)
        former = ledger.info.get("canaries", {})
        check_canaries(session.engine, found, former, ledger.info["versions"])
        ledger.note(canaries={**found, **former})
    # Where nothing is left to be heard, answers that hardly differ are what is to be found out.
    return Monitor(may_agree=session.ready.asking.control not in (None, "other-voice"))


def write_results(ledger: Ledger, session: Session) -> None:
    """Replace the run's tables by those of everything that is known now, unless they hold just that already."""
    info, ready = ledger.info, session.ready
    record = {**session.record(), "cut_sounds": ledger.results.cut()}
    silent = session.questions.silent(info["limit"])
    parts = {"votes": info["votes"], "run": info["run"], "silent": silent, "plans": info.get("plans", 0)}
    holds = fingerprint({**parts, "labels": info["labels"]})
    if info.get("tables") == holds and not (ledger.resumed or session.changed or session.reworded):
        record_session(ledger.path, ledger.path, record)
        return
    with ledger.commit(tables=holds) as staged:
        write_tables(
            staged,
            ledger.results,
            ready.listening,
            votes=info["votes"],
            seed=ready.asking.seed,
            run=info["run"],
            mode=ready.asking.mode,
            silent=silent,
            attributes=ready.attributes,
        )
        record_session(ledger.path, staged, record)
