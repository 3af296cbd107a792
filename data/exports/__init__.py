"""A corpus in other tools' formats: Hugging Face datasets, EMO-SUPERB label files, audformat, Label Studio."""

from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from ..corpus import Corpus, corpus_fingerprint
from ..errors import OptionError
from ..files import new_directory, write_json
from .content import Content, gather

# Name to the module here; imported when chosen. Each module has `write(folder, content)`, which returns remarks.
EXPORTS: dict[str, str] = {
    "hf": "hf_dataset",
    "emo-superb": "emo_superb",
    "audformat": "audformat",
    "label-studio": "label_studio",
}


class Exported(NamedTuple):
    """What was written where: utterances, those with a distribution, votes (human and synthetic), and remarks."""

    path: Path
    kind: str
    utterances: int
    distributions: int
    human_votes: int
    synthetic_votes: int
    notes: tuple[str, ...]


def export_corpus(
    corpus: Corpus,
    kind: str,
    out: str | Path,
    *,
    run_votes: pa.Table | None = None,
    policy: str = "primary",
    overwrite: bool = False,
    copy: bool = False,
) -> Exported:
    """Write the corpus as a folder in the format `kind` of `EXPORTS`.

    `run_votes` is a run's table of votes, which go out beside the human ones where the format can hold them. `policy`
    turns human votes into distributions (`data.policies`); utterances without any have none. Sounds are named by
    absolute path, unless `copy` puts them (or their windows) into the folder. `export.json` says what was made of what.
    Raises `OptionError` for an unknown kind or policy or a package that is not installed, `OutputError` for an existing
    `out` without `overwrite`, `CorpusError` for what the format cannot hold.
    """
    if kind not in EXPORTS:
        raise OptionError(f"unknown export {kind!r}; expected one of {', '.join(EXPORTS)}")
    content = gather(corpus, run_votes, policy=policy, copy=copy)
    writer = import_module(f".{EXPORTS[kind]}", __name__)
    asked = {"what": f"{kind} export", "kind": "corpus export", "overwrite": overwrite, "inputs": [corpus.path]}
    with new_directory(out, **asked) as partial:
        notes = (*content.notes, *writer.write(partial, content))
        done = _summary(Path(out), kind, content, notes)
        write_json(partial / "export.json", _described(corpus, policy, done))
    return done


def _described(corpus: Corpus, policy: str, done: Exported) -> dict[str, Any]:
    """What was made of what; the readers take the label set and the scale from it when the export comes back."""
    figures = {name: value for name, value in done._asdict().items() if name != "path"}
    return {
        "serann": version("serann"),
        "corpus": corpus.name,
        "fingerprint": corpus_fingerprint(corpus),
        "labels": corpus.labels.to_json(),
        "scale": corpus.info.scale,
        "licence": corpus.info.licence,
        "simulated": corpus.info.simulated,
        "policy": policy,
        **figures,
    }


def _summary(out: Path, kind: str, content: Content, notes: tuple[str, ...]) -> Exported:
    return Exported(
        out,
        kind,
        len(content.corpus.ids),
        int(content.has_distribution.sum()),
        content.corpus.votes.num_rows,
        content.synthetic.num_rows,
        notes,
    )


__all__ = ["EXPORTS", "Exported", "export_corpus"]
