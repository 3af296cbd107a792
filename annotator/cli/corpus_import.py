"""`serann corpus import` and `serann corpus readers`: bring the field's corpora."""

from pathlib import Path
from typing import Annotated

import typer

SHOWN_PROBLEMS = 5


def import_(
    reader: Annotated[str, typer.Argument(metavar="READER", help="See serann corpus readers.", show_default=False)],
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="The release's folder or file.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the corpus is written.", show_default=False)],
    labels: Annotated[
        str | None, typer.Option(help="Map the votes to this label set, say iemocap4 (a name, or labels by commas).")
    ] = None,
    alias: Annotated[list[str] | None, typer.Option(help="TEXT=LABEL: another spelling; may be repeated.")] = None,
    split: Annotated[
        str, typer.Option(help="official, speaker (disjoint, seeded), auto (official, else speaker) or none.")
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of a split of ours.")] = 0,
    audio: Annotated[Path | None, typer.Option(help="Where the sounds lie, if not in the release's own place.")] = None,
    copy_audio: Annotated[bool, typer.Option("--copy-audio", help="Copy the sounds into the corpus.")] = False,
    modality: Annotated[str | None, typer.Option(help="crema-d: voice, face or av; ravdess: speech or song.")] = None,
    rule: Annotated[str | None, typer.Option(help="How answers become votes, for readers that must be told.")] = None,
    filter: Annotated[str | None, typer.Option(help="crema-d's raw responses: official or none.")] = None,
    mapping: Annotated[Path | None, typer.Option(help="table, hf: a file that says what each column is.")] = None,
    columns: Annotated[
        list[str] | None, typer.Option(help="table, hf: FIELD=COLUMN, say label=emotion; may be repeated.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The corpus's name; by default the reader's.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Read a corpus's release into serann's tables: raters, secondary votes, attributes, speakers, official splits.

    Every vote of the files is kept or listed in problems.parquet, with the reason. An acted or published label never
    becomes a vote. Sounds are read where they lie.

    Example: serann corpus import crema-d CREMA-D --modality voice -o crema-voice
    """
    from ...data.importing import import_corpus
    from ...data.readers import Options
    from .console import note, print_json, print_table, progress

    options = Options(
        audio=audio,
        modality=modality,
        rule=rule,
        filter=filter,
        mapping=mapping,
        columns=pairs(columns, "--columns"),
        aliases=pairs(alias, "--alias"),
    )
    with progress("sounds") as step:
        corpus, report = import_corpus(
            reader,
            source,
            output,
            options=options,
            labels=_wanted(labels),
            name=name,
            split=split,
            seed=seed,
            copy_audio=copy_audio,
            overwrite=overwrite,
            progress=step,
        )
    if as_json:
        print_json({"corpus": str(corpus.path), **report._asdict(), "licence": corpus.info.licence})
        return
    note(f"{report.release}; written to {corpus.path}")
    facts = [
        ["utterances", len(corpus.ids)],
        ["votes in the files", report.votes_in],
        ["votes kept", report.votes_kept],
        ["votes listed in problems.parquet", report.votes_in_problems],
        ["ratings", corpus.ratings.num_rows if corpus.ratings is not None else 0],
        ["splits", report.splits],
        ["licence", corpus.info.licence],
    ]
    print_table("Import", ["what", "value"], facts)
    if report.label_map:
        rows = [[row["label"], row["target"] or "(dropped)", row["votes"], row["kind"]] for row in report.label_map]
        print_table(f"\nVotes in label set {corpus.labels.name}", ["label", "becomes", "votes", ""], rows)
    for sentence in report.notes:
        note(f"note: {sentence}")
    _warn_of_problems(corpus.path, report.problems)


def _warn_of_problems(path: Path, count: int) -> None:
    from ...data.tables import PROBLEMS, read_table
    from .console import note

    if not count:
        return
    note(f"warning: problems listed in {path / 'problems.parquet'}: {count}, first:")
    for row in read_table(path / "problems.parquet", PROBLEMS).slice(0, SHOWN_PROBLEMS).to_pylist():
        line = f":{row['line']}" if row["line"] is not None else ""
        note(f"  {row['file']}{line}: {row['reason']}")


def pairs(given: list[str] | None, option: str) -> dict[str, str]:
    """`NAME=VALUE` options as a mapping; `OptionError` for one without the sign."""
    from ...data.errors import OptionError

    found = {}
    for text in given or []:
        key, sign, value = text.partition("=")
        if not sign or not key.strip() or not value.strip():
            raise OptionError(f"{option} {text!r}: expected NAME=VALUE, say {option} anger=angry")
        found[key.strip()] = value.strip()
    return found


def _wanted(labels: str | None):
    from ...data.labels import LabelSet, label_set

    if labels is None:
        return None
    if "," in labels:
        return LabelSet("own", tuple(label.strip() for label in labels.split(",")))
    return label_set(labels)


def readers(
    name: Annotated[str | None, typer.Argument(help="A reader: its page.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the readers, or show one's page: what it expects, what becomes what, which traps it handles.

    Example: serann corpus readers crema-d
    """
    from ...data.importing import flag
    from ...data.readers import READERS, load_reader
    from .console import print_json, print_table

    if name is not None:
        reader = load_reader(name)
        if as_json:
            print_json({"name": reader.name, "about": reader.about, "options": reader.options, "page": reader.page})
        else:
            print(reader.page.strip())
        return
    found = [load_reader(key) for key in READERS]
    if as_json:
        print_json([{"name": r.name, "about": r.about, "labels": r.labels, "options": r.options} for r in found])
        return
    rows = [[r.name, r.about, ", ".join(map(flag, r.options))] for r in found]
    print_table("Readers (serann corpus import READER SOURCE -o CORPUS)", ["reader", "what", "options"], rows)
