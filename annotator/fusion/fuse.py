"""`serann fuse`: run a strategy over a divided corpus and its runs, and write the fused corpus whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ...data.corpus import Corpus, absolute_audio, corpus_fingerprint, require_division, write_corpus
from ...data.errors import OptionError, OutputError
from ...data.files import new_directory, refuse_existing, write_json
from ...data.fused import DISTRIBUTIONS_FILE, FUSION_FILE, Fused, FusionInfo, open_fused
from ...data.labels import LabelSet
from ...data.tables import DISTRIBUTIONS, distribution_column, write_table
from ..runs import Run
from . import balance, dime_aug
from .augmented import with_new_rows, write_sounds
from .dime_aug import NewUtterance, Plan, Progress, mix_distributions
from .evidence import Blend, Evidence, gather, remarks
from .strategies import AUGMENTATIONS, DEFAULT, STRATEGIES

SOFTWARE = ("serann", "numpy", "scipy", "pyarrow")


def fuse(
    corpus: Corpus,
    runs: Sequence[Run] = (),
    *,
    strategy: str = DEFAULT,
    out: str | Path,
    blend: str = DEFAULT,
    dime: str = "serann",
    rho: float = 0.3,
    beta: float | None = None,
    concatenate: bool = False,
    neighbours: int = 3,
    true_neighbours: bool = False,
    strength: float | None = None,
    opinion: str = "linear",
    weight: float | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Fused:
    """Fuse the seen human votes of `corpus` with `runs` and write the fused corpus at `out`.

    With `strategy="dime-aug"`, `blend` names the strategy that gives the distributions, and new train utterances are
    made to balance their labels (`dime`; `rho`; `beta` and `concatenate`: serann; `neighbours`: paper). `strength`
    fixes empirical Bayes' alpha, `opinion` and `weight` are the form of the opinion pool and the proxy's weight in it.

    Raises OutputError for an existing `out` without `overwrite`; CorpusError for an undivided corpus, absent votes or a
    single train speaker; RunError, LabelError for runs that do not fit; OptionError for options out of range.
    """
    out = Path(out)
    augment = strategy in AUGMENTATIONS
    chosen = _check_options(strategy, blend, dime, strength)
    options = _dime_options(dime, rho, beta, concatenate, neighbours, true_neighbours) if augment else {}
    refuse_existing(out, what="fused corpus", overwrite=overwrite)
    refuse_inputs(out, [corpus.path, *(run.path for run in runs)])
    evidence = gather(corpus, runs, seed=seed, strength=strength, opinion=opinion, weight=weight)
    blended = STRATEGIES[chosen](evidence)
    plan = None
    if augment:
        planned = balance.plan if dime == "serann" else dime_aug.plan
        plan = planned(corpus, blended.p, **options, seed=seed, progress=progress)
        made = {"form": dime, **options, "seed": seed, **plan.details}
        blended = blended._replace(parameters={"blend": blended.parameters, "dime-aug": made})
    info = describe(corpus, runs, evidence, blended, plan, strategy=strategy, blend=chosen)
    with new_directory(out, what="fused corpus", overwrite=overwrite) as partial:
        rows = _write_sounds(corpus, plan, partial, progress)
        _write(partial, corpus, evidence, blended, plan, rows, info)
    return open_fused(out)


def _check_options(strategy: str, blend: str, dime: str, strength: float | None) -> str:
    """The strategy that gives the distributions; OptionError for unknown names and a strength that is not above 0."""
    names = [*STRATEGIES, *AUGMENTATIONS]
    if strategy not in names:
        raise OptionError(f"unknown strategy '{strategy}'; expected one of {', '.join(names)}")
    if strength is not None and not 0 < strength < np.inf:
        raise OptionError(f"strength is {strength:g}; expected a number of votes above 0 (--strength 2)")
    if strategy not in AUGMENTATIONS:
        return strategy
    if blend not in STRATEGIES:
        raise OptionError(f"unknown blend '{blend}'; {strategy} first blends by one of {', '.join(STRATEGIES)}")
    forms = AUGMENTATIONS[strategy]
    if dime not in forms:
        raise OptionError(f"unknown form '{dime}' of {strategy}; expected one of {', '.join(forms)}")
    return blend


def _dime_options(
    dime: str, rho: float, beta: float | None, concatenate: bool, neighbours: int, true_neighbours: bool
) -> dict[str, Any]:
    """The options of the form `dime`, checked; OptionError for one that belongs to the other form."""
    if dime == "paper":
        if beta is not None or concatenate:
            raise OptionError("--beta and --concatenate belong to --dime serann; the published procedure has neither")
        dime_aug.check_options(rho=rho, neighbours=neighbours, true_neighbours=true_neighbours)
        return {"rho": rho, "neighbours": neighbours, "true_neighbours": true_neighbours}
    if true_neighbours or neighbours != 3:
        raise OptionError(
            "--neighbours and --true-neighbours belong to --dime paper; --dime serann mixes no two sounds"
        )
    balance.check_options(rho=rho, beta=beta)
    return {"rho": rho, "beta": beta, "concatenate": concatenate}


def refuse_inputs(out: Path, inputs: Sequence[Path]) -> None:
    """Raise OutputError where writing `out` would replace an input, or a folder that holds one."""
    for path in inputs:
        if out.resolve() in (path.resolve(), *path.resolve().parents):
            raise OutputError(f"{out} holds the input {path}, which would be lost; choose another output")


def _write_sounds(corpus: Corpus, plan: Plan | None, partial: Path, progress: Progress | None) -> list[dict[str, Any]]:
    if plan is None:
        return []
    report = dime_aug.counter(progress, plan.described + len(plan.items), start=plan.described)
    return write_sounds(corpus, plan.items, partial, report=report)


def _write(
    partial: Path,
    corpus: Corpus,
    evidence: Evidence,
    blended: Blend,
    plan: Plan | None,
    rows: list[dict[str, Any]],
    info: FusionInfo,
) -> None:
    """Fill `partial`, under whose audio/ the new sounds lie already, with the rest of the fused corpus."""
    tables = partial / ".tables"
    table = distributions_table(evidence, blended, plan.items if plan else ())

    def further_files(directory: Path) -> None:
        write_table(table, directory / DISTRIBUTIONS_FILE, DISTRIBUTIONS, labels=corpus.labels)
        write_json(directory / FUSION_FILE, info.model_dump(mode="json"))

    write_corpus(
        tables,
        name=corpus.info.name,
        labels=corpus.labels,
        utterances=with_new_rows(corpus, rows) if plan else absolute_audio(corpus),
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


def distributions_table(evidence: Evidence, blended: Blend, items: Sequence[NewUtterance]) -> pa.Table:
    """Every utterance that has a distribution, then every new one: its parents' p and effective votes, mixed."""
    defined = np.flatnonzero(~np.isnan(blended.p).any(axis=1))
    first, second, alpha = _parents(items)
    votes = blended.effective_votes
    effective = np.concatenate([votes[defined], votes[first] + alpha * (votes[second] - votes[first])])
    return pa.table(
        {
            "utterance_id": [evidence.ids[i] for i in defined] + [item.utterance_id for item in items],
            "p": distribution_column(np.concatenate([blended.p[defined], new_distributions(blended, items)])),
            "effective_votes": pa.array(effective, mask=np.isnan(effective)),
            "source": [str(blended.source[i]) for i in defined] + ["dime-aug"] * len(items),
        }
    )


def describe(
    corpus: Corpus,
    runs: Sequence[Run],
    evidence: Evidence,
    blended: Blend,
    plan: Plan | None,
    *,
    strategy: str,
    blend: str,
) -> FusionInfo:
    """Compose `fusion.json`."""
    warnings = [*remarks(evidence), *blended.warnings, *(plan.warnings if plan else ())]
    return FusionInfo(
        strategy=strategy,
        blend=blend if plan else None,
        formula=f"{blended.formula}; then {plan.formula}" if plan else blended.formula,
        parameters=blended.parameters,
        corpus={
            "name": corpus.name,
            "path": str(corpus.path.resolve()),
            "fingerprint": corpus_fingerprint(corpus),
            "simulated": corpus.info.simulated,
        },
        runs=[_described_run(run, i, evidence) for i, run in enumerate(runs)],
        division=require_division(corpus).model_dump(),
        seed=evidence.seed,
        counts=_counts(evidence, blended, plan),
        shares=class_shares(evidence, blended, plan),
        warnings=warnings,
        failures=list(plan.failures) if plan else [],
        software=_software(augment=plan is not None),
    )


def class_shares(evidence: Evidence, blended: Blend, plan: Plan | None) -> dict[str, dict[str, float]]:
    """Shares of the labels in the train split: of the seen votes, of the fused mass (the mean of p), and, with new
    utterances, of the dominant labels before and of mass and dominant labels after."""
    train = evidence.train & ~np.isnan(blended.p).any(axis=1)
    shares = {"seen_votes": evidence.seen.sum(axis=0), "fused": blended.p[train].sum(axis=0)}
    if plan is not None:
        new = new_distributions(blended, plan.items)
        shares |= {
            "dominant": plan.sizes,
            "augmented": shares["fused"] + new.sum(axis=0),
            "augmented_dominant": plan.sizes + np.bincount(new.argmax(axis=1), minlength=len(plan.sizes)),
        }
    return {name: _named_shares(evidence.labels, mass) for name, mass in shares.items() if mass.sum() > 0}


def new_distributions(blended: Blend, items: Sequence[NewUtterance]) -> np.ndarray:
    """The mixed distributions [N, K] of the new utterances."""
    first, second, alpha = _parents(items)
    return mix_distributions(blended.p[first], blended.p[second], alpha)


def _parents(items: Sequence[NewUtterance]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    first, second = (np.array([getattr(item, side) for item in items], dtype=int) for side in ("first", "second"))
    return first, second, np.array([item.alpha for item in items])


def _named_shares(labels: LabelSet, mass: np.ndarray) -> dict[str, float]:
    return dict(zip(labels, (mass / mass.sum()).tolist(), strict=True))


def _counts(evidence: Evidence, blended: Blend, plan: Plan | None) -> dict[str, int]:
    defined = ~np.isnan(blended.p).any(axis=1)
    sources = {str(s) for s in blended.source[defined]}
    return {
        "utterances": len(evidence.ids),
        "train": int(evidence.train.sum()),
        "seen_votes": round(float(evidence.seen.sum())),
        "defined": int(defined.sum()),
        **{f"from {source}": int((blended.source == source).sum()) for source in sorted(sources)},
        "new": len(plan.items) if plan else 0,
    }


def _described_run(run: Run, place: int, evidence: Evidence) -> dict[str, Any]:
    """Name and content of a run as it was used: the hash of its distributions and votes, lined up with the corpus."""
    used = evidence.runs[place]
    content = hashlib.sha256("\x00".join(evidence.ids).encode())
    for array in (used.p, used.drawn):
        content.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return {"name": used.name, "path": str(run.path.resolve()), "fingerprint": f"sha256:{content.hexdigest()}"}


def _software(*, augment: bool) -> dict[str, str]:
    found = {}
    for name in (*SOFTWARE, "librosa", "soundfile") if augment else SOFTWARE:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
