"""`serann fuse`: run a strategy over a divided corpus and its runs, and write the fused corpus whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ...data.corpus import Corpus, absolute_audio, corpus_fingerprint, refuse_sounds, require_division, write_corpus
from ...data.files import new_directory, refuse_existing, write_json
from ...data.fused import DISTRIBUTIONS_FILE, FUSION_FILE, Fused, FusionInfo, open_fused
from ...data.labels import LabelSet
from ...data.tables import DISTRIBUTIONS, distribution_column, write_table
from ..run.run import Run
from .accounts import FusionReport, figures, with_files
from .dime import balance, paper
from .dime.paper import NewUtterance, Plan, Progress, mix_distributions
from .dime.sounds import with_new_rows, write_sounds
from .evidence import Blend, Evidence, gather, remarks
from .options import FusionOptions
from .proxy import Source
from .strategies import STRATEGIES

# --------------------
# A fusion before it is written: its distributions, its plan of new utterances, and what `fusion.json` says of them.

SOFTWARE = ("serann", "numpy", "scipy", "pyarrow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """All of a fusion but its files; `blend.parameters` are those of the strategy that gave the distributions."""

    corpus: Corpus
    sources: Sequence[Source]
    options: FusionOptions
    evidence: Evidence
    blend: Blend
    plan: Plan | None

    @property
    def items(self) -> Sequence[NewUtterance]:
        """The new utterances."""
        return self.plan.items if self.plan else ()

    @property
    def defined(self) -> np.ndarray:
        """Mask [U] of the utterances that have a distribution."""
        return np.asarray(~np.isnan(self.blend.p).any(axis=1))


def distributions_table(fusion: Fusion) -> pa.Table:
    """Every utterance that has a distribution, then every new one: its parents' p and effective votes, mixed."""
    evidence, blend, items = fusion.evidence, fusion.blend, fusion.items
    defined = np.flatnonzero(fusion.defined)
    first, second, alpha = _parents(items)
    votes = blend.effective_votes
    effective = np.concatenate([votes[defined], votes[first] + alpha * (votes[second] - votes[first])])
    return pa.table(
        {
            "utterance_id": [evidence.ids[i] for i in defined] + [item.utterance_id for item in items],
            "p": distribution_column(np.concatenate([blend.p[defined], new_distributions(blend, items)])),
            "effective_votes": pa.array(effective, mask=np.isnan(effective)),
            "source": [str(blend.source[i]) for i in defined] + ["dime-aug"] * len(items),
        }
    )


def describe(fusion: Fusion) -> FusionInfo:
    """Compose `fusion.json`."""
    corpus, evidence, blend, plan, options = (
        getattr(fusion, name) for name in ("corpus", "evidence", "blend", "plan", "options")
    )
    return FusionInfo(
        strategy=options.strategy,
        blend=options.blend if plan else None,
        formula=f"{blend.formula}; then {plan.formula}" if plan else blend.formula,
        parameters=_parameters(fusion),
        corpus={
            "name": corpus.name,
            "path": str(corpus.path.resolve()),
            "fingerprint": corpus_fingerprint(corpus),
            "simulated": corpus.info.simulated,
        },
        runs=[_described_source(source, i, evidence) for i, source in enumerate(fusion.sources)],
        division=require_division(corpus).model_dump(),
        seed=evidence.seed,
        counts=_counts(fusion),
        shares=class_shares(fusion),
        warnings=[*remarks(evidence), *blend.warnings, *(plan.warnings if plan else ())],
        failures=list(plan.failures) if plan else [],
        software=_software(augment=plan is not None),
    )


def _parameters(fusion: Fusion) -> dict[str, Any]:
    if fusion.plan is None:
        return fusion.blend.parameters
    options = fusion.options
    made = {"form": options.dime, **options.of_dime, "seed": options.seed, **fusion.plan.details}
    return {"blend": fusion.blend.parameters, "dime-aug": made}


def class_shares(fusion: Fusion) -> dict[str, dict[str, float]]:
    """Shares of the labels in the train split: of the seen votes, of the fused mass (the mean of p), and, with new
    utterances, of the dominant labels before and of mass and dominant labels after."""
    evidence, blend, plan = fusion.evidence, fusion.blend, fusion.plan
    train = evidence.train & fusion.defined
    shares = {"seen_votes": evidence.seen.sum(axis=0), "fused": blend.p[train].sum(axis=0)}
    if plan is not None:
        new = new_distributions(blend, plan.items)
        shares |= {
            "dominant": plan.sizes,
            "augmented": shares["fused"] + new.sum(axis=0),
            "augmented_dominant": plan.sizes + np.bincount(new.argmax(axis=1), minlength=len(plan.sizes)),
        }
    return {name: _named_shares(evidence.labels, mass) for name, mass in shares.items() if mass.sum() > 0}


def new_distributions(blend: Blend, items: Sequence[NewUtterance]) -> np.ndarray:
    """The mixed distributions [N, K] of the new utterances."""
    first, second, alpha = _parents(items)
    return mix_distributions(blend.p[first], blend.p[second], alpha)


def _parents(items: Sequence[NewUtterance]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    first, second = (np.array([getattr(item, side) for item in items], dtype=int) for side in ("first", "second"))
    return first, second, np.array([item.alpha for item in items])


def _named_shares(labels: LabelSet, mass: np.ndarray) -> dict[str, float]:
    return dict(zip(labels, (mass / mass.sum()).tolist(), strict=True))


def _counts(fusion: Fusion) -> dict[str, int]:
    evidence, source = fusion.evidence, fusion.blend.source
    sources = {str(s) for s in source[fusion.defined]}
    return {
        "utterances": len(evidence.ids),
        "train": int(evidence.train.sum()),
        "seen_votes": round(float(evidence.seen.sum())),
        "defined": int(fusion.defined.sum()),
        **{f"from {name}": int((source == name).sum()) for name in sorted(sources)},
        "new": len(fusion.items),
    }


def _described_source(source: Source, place: int, evidence: Evidence) -> dict[str, Any]:
    """Name and content of a proxy as it was used: the hash of its distributions and votes, lined up with the corpus."""
    used = evidence.runs[place]
    content = hashlib.sha256("\x00".join(evidence.ids).encode())
    for array in (used.p, used.drawn):
        content.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return {
        "name": used.name,
        "kind": "run" if isinstance(source, Run) else "people",
        "path": str(source.path.resolve()),
        "fingerprint": f"sha256:{content.hexdigest()}",
    }


def _software(*, augment: bool) -> dict[str, str]:
    found = {}
    for name in (*SOFTWARE, "librosa", "soundfile") if augment else SOFTWARE:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


REPORT_FILE = "report.html"


def fuse(
    corpus: Corpus,
    runs: Sequence[Source] = (),
    *,
    out: str | Path,
    overwrite: bool = False,
    sounds: bool = True,
    progress: Progress | None = None,
    **options: Any,
) -> Fused:
    """Fuse the seen human votes of `corpus` with `runs` (or other human panels) and write the fused corpus at `out`.

    `options` are those of `FusionOptions`. Its report lies beside it, `report.html` (with sounds in it unless `sounds`
    is off) and its figures, `report.json`.

    Raises OutputError for an existing `out` without `overwrite`; CorpusError for an undivided corpus, absent votes or a
    single train speaker; RunError, LabelError for runs that do not fit; OptionError for options out of range.
    """
    out = Path(out)
    asked = FusionOptions(**options)
    asked.check()
    inputs = [corpus.path, *(run.path for run in runs)]
    refuse_existing(out, what="fused corpus", overwrite=overwrite, inputs=inputs)
    refuse_sounds(out, absolute_audio(corpus))
    fusion = prepare(corpus, runs, asked, progress=progress)
    info = describe(fusion)
    report = figures(fusion, info)
    with new_directory(out, what="fused corpus", overwrite=overwrite) as partial:
        rows = _write_sounds(fusion, partial, progress)
        _write(partial, fusion, info, rows)
        _write_report(with_files(report, rows, partial), partial, corpus, sounds)
    return open_fused(out)


def preview(
    corpus: Corpus, runs: Sequence[Source] = (), *, progress: Progress | None = None, **options: Any
) -> tuple[FusionInfo, FusionReport]:
    """What `fuse` would write into `fusion.json` and its report; nothing is written. Raises what `fuse` raises."""
    asked = FusionOptions(**options)
    asked.check()
    fusion = prepare(corpus, runs, asked, progress=progress)
    info = describe(fusion)
    return info, figures(fusion, info, guess_bytes=True)


def prepare(
    corpus: Corpus, runs: Sequence[Source], options: FusionOptions, *, progress: Progress | None = None
) -> Fusion:
    """Run the strategy and, for dime-aug, plan the new utterances."""
    evidence = gather(corpus, runs, **options.of_evidence)
    blend = STRATEGIES[options.gives_p](evidence)
    plan = None
    if options.augments:
        planned = balance.plan if options.dime == "serann" else paper.plan
        plan = planned(corpus, blend.p, **options.of_dime, seed=options.seed, progress=progress)
    return Fusion(corpus=corpus, sources=tuple(runs), options=options, evidence=evidence, blend=blend, plan=plan)


def _write_sounds(fusion: Fusion, partial: Path, progress: Progress | None) -> list[dict[str, Any]]:
    plan = fusion.plan
    if plan is None:
        return []
    report = paper.counter(progress, plan.described + len(plan.items), start=plan.described)
    longest = fusion.options.max_seconds
    return write_sounds(fusion.corpus, plan.items, partial, max_seconds=longest, report=report)


def _write(partial: Path, fusion: Fusion, info: FusionInfo, rows: list[dict[str, Any]]) -> None:
    """Fill `partial`, under whose audio/ the new sounds lie already, with the rest of the fused corpus."""
    corpus, tables = fusion.corpus, partial / ".tables"
    table = distributions_table(fusion)

    def further_files(directory: Path) -> None:
        write_table(table, directory / DISTRIBUTIONS_FILE, DISTRIBUTIONS, labels=corpus.labels)
        write_json(directory / FUSION_FILE, info.model_dump(mode="json"))

    write_corpus(
        tables,
        name=corpus.info.name,
        labels=corpus.labels,
        utterances=with_new_rows(corpus, rows) if fusion.plan else absolute_audio(corpus),
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


def _write_report(report: FusionReport, partial: Path, corpus: Corpus, sounds: bool) -> None:
    # The page is built from the audit's pieces, and the audit reads models from this package.
    from ..report.fusion_page import render

    new = open_fused(partial).corpus if report.added is not None else None
    page = render(report, corpus, new, sounds=sounds)
    (partial / REPORT_FILE).write_text(page, encoding="utf-8")
    write_json((partial / REPORT_FILE).with_suffix(".json"), report.to_json())
