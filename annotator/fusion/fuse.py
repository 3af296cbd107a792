"""`serann fuse`: run a strategy over a divided corpus and its runs, and write the fused corpus whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from ...data.corpus import Corpus, as_corpus, refuse_sounds, write_corpus
from ...data.files import new_directory, refuse_existing, write_json
from ...data.fused import DISTRIBUTIONS_FILE, FUSION_FILE, Fused, FusionInfo, open_fused
from ...data.sound_paths import absolute_audio, elsewhere
from ...data.tables import DISTRIBUTIONS, write_table
from ..proxies import Source, as_panels
from .accounts import FusionReport, figures, with_files
from .base import Models, Progress
from .describe import Fusion, describe, distributions_table
from .dime.plan import counter
from .dime.sounds import with_new_rows, write_sounds
from .evidence import gather
from .strategies import DEFAULT, STRATEGIES, ask

REPORT_FILE = "report.html"
# Makes the page of a report, of the corpus that was fused and of the new one (None where no utterances are new).
Page = Callable[[FusionReport, Corpus, Corpus | None], str]


def fuse(
    corpus: Corpus | str | PathLike[str],
    runs: Source | str | PathLike[str] | Sequence[Source | str | PathLike[str]] = (),
    *,
    strategy: str = DEFAULT,
    out: str | Path,
    seed: int = 0,
    overwrite: bool = False,
    page: Page | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Fused:
    """Fuse the seen human votes of `corpus` with `runs` (or other human panels) and write the fused corpus at `out`.

    `options` are those of the strategy, and of the one that it goes on from. The figures of its report lie in it,
    `report.json`, and `report.html` where `page` makes one of them (`report.fusion_page.render` does).

    Raises OutputError for an existing `out` without `overwrite`; CorpusError for an undivided corpus, absent votes or a
    single train speaker; RunError, LabelError for runs that do not fit; OptionError for options out of range.
    """
    out, corpus, runs = Path(out), as_corpus(corpus), as_panels(runs, "fuse")
    ask(strategy, options)
    inputs = [corpus.path, *(run.path for run in runs)]
    refuse_existing(out, what="fused corpus", overwrite=overwrite, inputs=inputs)
    refuse_sounds(out, absolute_audio(corpus))
    fusion = prepare(corpus, runs, strategy, seed=seed, progress=progress, **options)
    info = describe(fusion)
    report = figures(fusion, info)
    with new_directory(out, what="fused corpus", overwrite=overwrite) as partial:
        rows = _write_sounds(fusion, partial, progress)
        _write(partial, fusion, info, rows)
        _write_report(with_files(report, rows, partial), partial, corpus, page)
    return open_fused(out)


def preview(
    corpus: Corpus,
    runs: Sequence[Source] = (),
    *,
    strategy: str = DEFAULT,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> tuple[FusionInfo, FusionReport]:
    """What `fuse` would write into `fusion.json` and its report; nothing is written. Raises what `fuse` raises."""
    fusion = prepare(corpus, runs, strategy, seed=seed, progress=progress, **options)
    info = describe(fusion)
    return info, figures(fusion, info, guess_bytes=True)


def prepare(
    corpus: Corpus,
    runs: Sequence[Source],
    strategy: str = DEFAULT,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Fusion:
    """Gather the evidence, fit the strategy, and blend, utterances to be added planned."""
    asked = ask(strategy, options)
    evidence = gather(corpus, runs, seed=seed)
    asked.strategy.refuse(evidence)
    fitted = asked.strategy.fit(evidence, asked.options, Models(STRATEGIES, progress=progress))
    return Fusion(
        corpus=corpus,
        sources=tuple(runs),
        strategy=asked.strategy,
        evidence=evidence,
        fitted=fitted,
        blend=fitted.blend(evidence),
    )


def _write_sounds(fusion: Fusion, partial: Path, progress: Progress | None) -> list[dict[str, Any]]:
    plan = fusion.blend.new
    if plan is None:
        return []
    report = counter(progress, plan.described + len(plan.items), start=plan.described)
    return write_sounds(fusion.corpus, plan.items, partial, max_seconds=plan.max_seconds, report=report)


def _write(partial: Path, fusion: Fusion, info: FusionInfo, rows: list[dict[str, Any]]) -> None:
    """Fill `partial`, under whose audio/ the new sounds lie already, with the rest of the fused corpus."""
    corpus, tables = fusion.corpus, partial / ".tables"
    utterances, audio_root = with_new_rows(corpus, rows) if fusion.blend.new else elsewhere(corpus)
    table = distributions_table(fusion)

    def further_files(directory: Path) -> None:
        write_table(table, directory / DISTRIBUTIONS_FILE, DISTRIBUTIONS, labels=corpus.labels)
        write_json(directory / FUSION_FILE, info.model_dump(mode="json"))

    write_corpus(
        tables,
        name=corpus.info.name,
        labels=corpus.labels,
        utterances=utterances,
        audio_root=audio_root,
        votes=corpus.votes,
        ratings=corpus.ratings,
        licence=corpus.info.licence,
        provenance={**corpus.info.provenance, "fused": {"strategy": info.strategy, "corpus": info.corpus}},
        simulated=corpus.info.simulated,
        scale=corpus.info.scale,
        division=corpus.info.division,
        extra=further_files,
    )
    for file in tables.iterdir():
        file.rename(partial / file.name)
    tables.rmdir()


def _write_report(report: FusionReport, partial: Path, corpus: Corpus, page: Page | None) -> None:
    write_json((partial / REPORT_FILE).with_suffix(".json"), report.to_json())
    if page is not None:
        new = open_fused(partial).corpus if report.added is not None else None
        (partial / REPORT_FILE).write_text(page(report, corpus, new), encoding="utf-8")
