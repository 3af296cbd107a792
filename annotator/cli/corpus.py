"""`serann corpus holdout`: divide a corpus's votes."""

from pathlib import Path
from typing import Annotated, Any

import typer

CorpusArgument = Annotated[
    str, typer.Argument(metavar="CORPUS", help="A corpus directory, or 'demo'.", show_default=False)
]
AudioRoot = Annotated[
    Path | None,
    typer.Option(
        metavar="ROOT",
        help="The folder below which the sounds lie now; for good: serann corpus relocate.",
        show_default=False,
    ),
]


def holdout(
    corpus: CorpusArgument,
    seen: Annotated[int, typer.Option(help="Human votes of each train utterance that fusion and training may see.")],
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write a divided corpus there; without it, divide in place.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output, or an existing division.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Divide the human votes into seen and held-out ones, once.

    In the train split, K raters' votes per utterance are seen by fusion and training; every other human vote is only
    ever a reference.

    Example: serann corpus holdout demo --seen 2 --seed 0 -o divided
    """
    from ...data.corpus import open_corpus
    from ...data.holdout import divide_votes, remarks, write_division
    from .console import note, print_json, print_table

    opened = open_corpus(corpus)
    divided = write_division(opened, divide_votes(opened, seen=seen, seed=seed), output, overwrite=overwrite)
    rows, warnings = part_counts(divided), remarks(divided)
    for warning in warnings:
        note(f"warning: {warning}")
    if as_json:
        division = divided.info.division.model_dump() if divided.info.division else None
        print_json({"corpus": str(divided.path), "division": division, "votes": rows, "warnings": warnings})
        return
    print_table(
        f"Primary human votes of {divided.path}",
        ["split", "utterances", "seen", "held out"],
        [[row["split"], row["utterances"], row["seen"], row["heldout"]] for row in rows],
    )


def part_counts(corpus) -> list[dict]:
    """Utterances, and primary human votes of each part, by split."""
    from ...data.votes import count_votes

    seen, heldout = (count_votes(corpus.votes, corpus.ids, corpus.labels, part=part) for part in ("seen", "heldout"))
    splits = corpus.column("split")
    return [
        {
            "split": str(split),
            "utterances": int((splits == split).sum()),
            "seen": int(seen[splits == split].sum()),
            "heldout": int(heldout[splits == split].sum()),
        }
        for split in sorted(set(splits), key=str)
    ]


# --------------------
# `serann corpus import` and `serann corpus readers`: bring the field's corpora.

SHOWN_PROBLEMS = 5


def import_(
    reader: Annotated[
        str, typer.Argument(metavar="READER", help="{readers}; see serann corpus readers.", show_default=False)
    ],
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
    modality: Annotated[str | None, typer.Option(help="{modality}.")] = None,
    rule: Annotated[str | None, typer.Option(help="How answers become votes, for readers that must be told.")] = None,
    filter: Annotated[str | None, typer.Option(help="{filter}.")] = None,
    mapping: Annotated[Path | None, typer.Option(help="{mapping}: a file that says what each column is.")] = None,
    columns: Annotated[
        list[str] | None, typer.Option(help="{columns}: FIELD=COLUMN, say label=emotion; may be repeated.")
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
    from ...data.labels import as_label_set
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
            labels=None if labels is None else as_label_set(labels),
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


# --------------------
# `serann corpus check|info|split`: what is wrong with a corpus, what is in it, and a split that leaks no speaker.

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def check(
    corpus: CorpusArgument,
    sounds: Annotated[bool, typer.Option("--sounds/--no-sounds", help="Read every sound.")] = True,
    least_votes: Annotated[int, typer.Option(min=1, help="Fewer human votes than this are too few.")] = 2,
    max_seconds: Annotated[float, typer.Option(min=0.1, help="Longer sounds are too long.")] = 30.0,
    most: Annotated[int, typer.Option(min=0, help="Findings of a kind that are shown; --json gives all.")] = 5,
    audio_root: AudioRoot = None,
    as_json: AsJson = False,
) -> None:
    """Look for what is wrong with a corpus: sounds, duplicates, leaks across splits, raters, votes, ratings.

    Missing, broken, silent, too short or too long sounds, and sounds or speakers in several splits are errors, with
    exit code 1. Warnings are for you to judge.

    Example: serann corpus check demo
    """
    from ...data.corpus import open_corpus
    from ...data.quality import Limits, check_corpus
    from .console import note, print_json, print_table, progress

    opened = open_corpus(corpus, audio_root=audio_root)
    limits = Limits(max_seconds=max_seconds)
    with progress("sounds") as step:
        checked = check_corpus(opened, limits=limits, least_votes=least_votes, sounds=sounds, progress=step)
    rows = checked.findings.to_pylist()
    if as_json:
        print_json({"corpus": str(opened.path), "sounds": checked.sounds, "counts": checked.counts, "findings": rows})
    else:
        shown: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            shown.setdefault(row["kind"], []).append(row)
        table = [[r["severity"], r["kind"], r["sentence"]] for of in shown.values() for r in of[:most]]
        print_table(f"Findings in {opened.path}", ["severity", "kind", "what"], table)
        for kind, of in shown.items():
            if len(of) > most:
                note(f"… and {len(of) - most} more of kind {kind} (--most, or --json)")
        totals = {severity: sum(of.values()) for severity, of in checked.counts.items()}
        note(f"{totals['error']} errors, {totals['warning']} warnings; {checked.sounds} sounds were read")
    if checked.wrong:
        raise typer.Exit(1)


def info(corpus: CorpusArgument, audio_root: AudioRoot = None, as_json: AsJson = False) -> None:
    """Say what a corpus holds: utterances, hours, sounds, speakers, votes, label shares, agreement, raters, licence.

    Intervals are 95 %, by speaker where speakers are known; the column unit says by what.

    Example: serann corpus info demo
    """
    from ...data.corpus import open_corpus
    from ...data.summary import describe
    from .console import note, print_json, print_table

    opened = open_corpus(corpus, audio_root=audio_root)
    found = describe(opened)
    if as_json:
        print_json(found)
        return
    simulated = " (simulated)" if found["simulated"] else ""
    note(f"{opened.name}{simulated}: {opened.path}")
    facts = [[k.replace("_", " "), _fact(v)] for k, v in found.items() if not isinstance(v, dict | list)]
    facts += [["sounds", "; ".join(f"{number} {kind}" for kind, number in found["sounds"].items())]]
    print_table("Corpus", ["what", "value"], [row for row in facts if row[0] != "division"])
    splits = [[row["split"], row["utterances"], row["seen"], row["heldout"]] for row in part_counts(opened)]
    division = opened.info.division
    how = f"divided: seen {division.seen}, seed {division.seed}" if division else "not divided yet (corpus holdout)"
    print_table(f"\nSplits and primary human votes, {how}", ["split", "utterances", "seen", "held out"], splits)
    print_table("\nShares of primary human votes", ["label", "share"], list(found["label_shares"].items()))
    _print_stated(found["stated_labels"])
    _print_agreement(found)


def _print_stated(stated: dict[str, dict[str, int]]) -> None:
    from .console import print_table

    labels = list(dict.fromkeys(label for of in stated.values() for label in of))
    if labels:
        rows = [[label, *(of.get(label, 0) for of in stated.values())] for label in labels]
        print_table("\nLabels that the corpus states (utterances; no votes)", ["label", *stated], rows)


def _print_agreement(found: dict[str, Any]) -> None:
    from .console import print_table

    columns = ["of", "coefficient", "value", "low", "high", "unit", "units", "utterances"]
    rows = [[row[c].replace("_", " ") if c == "coefficient" else row[c] for c in columns] for row in found["agreement"]]
    print_table("\nAgreement of human raters (over utterances with two answers or more)", columns, rows)
    reliability = {**found["reliability"]}
    flagged = ", ".join(f"{n} {flag}" for flag, n in reliability.pop("flagged").items()) or "none"
    facts = [[k.replace("_", " "), _fact(v)] for k, v in reliability.items()]
    print_table("\nRaters", ["what", "value"], [*facts, ["suspicious (corpus check names them)", flagged]])


def _fact(value: object) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def split(
    corpus: CorpusArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the corpus is written.", show_default=False)],
    test: Annotated[float, typer.Option(help="Share of the utterances for test.")] = 0.2,
    development: Annotated[float, typer.Option(help="Share of the utterances for development.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output.")] = False,
    as_json: AsJson = False,
) -> None:
    """Divide a corpus into train, development and test so that no speaker is in two of them.

    Labels and ambiguity are spread evenly; utterances of unknown speakers go with their dialogue, or singly. Where a
    corpus has an official split, prefer that.

    Example: serann corpus split demo --test 0.2 --seed 1 -o demo-split
    """
    from ...data.corpus import open_corpus
    from ...data.splits import leaks, split_corpus, write_split
    from .console import note, print_json, print_table

    opened = open_corpus(corpus)
    divided = split_corpus(opened, test=test, development=development, seed=seed)
    written = write_split(opened, divided, output, overwrite=overwrite)
    found = leaks(written)
    if as_json:
        print_json({"corpus": str(written.path), "split": divided.report, "leaks": found})
        return
    report = divided.report
    rows = [[name, of["asked"], of["share"], of["utterances"], of["groups"]] for name, of in report["splits"].items()]
    title = f"Splits of {written.path} by {report['unit']}, stratified by {report['stratified_by']}, seed {seed}"
    print_table(title, ["split", "asked", "share", "utterances", "groups"], rows)
    for kind in sorted({leak["kind"] for leak in found}):
        of = [leak["value"] for leak in found if leak["kind"] == kind]
        note(f"warning: {len(of)} values of {kind} are in several splits, first {of[0]!r} (corpus check names them)")


# --------------------
# `serann corpus distributions` and `serann corpus export`: votes as distributions, and a corpus in others' formats.

PolicyOption = Annotated[str, typer.Option(help="Vote policy; serann corpus distributions --policies lists them.")]
AlphaOption = Annotated[float, typer.Option(help="Share of the primary votes in policy merged.")]


def distributions(
    corpus: Annotated[
        str | None, typer.Argument(metavar="CORPUS", help="A corpus directory, or 'demo'.", show_default=False)
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write them there, as Parquet.")] = None,
    policy: PolicyOption = "primary",
    alpha: AlphaOption = 0.9,
    ties: Annotated[str, typer.Option(help="Plurality's ties: leave-out or split.")] = "leave-out",
    outside: Annotated[str, typer.Option(help="Votes outside the label set: ignore, or leave-out the utterance.")] = (
        "ignore"
    ),
    min_votes: Annotated[int, typer.Option(help="Leave out utterances with fewer primary votes.")] = 1,
    policies: Annotated[bool, typer.Option("--policies", help="List the policies with their sources.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Turn the human votes into distributions by a named policy, and say which utterances are left out, and why.

    Example: serann corpus distributions demo --policy merged --alpha 0.9 -o merged.parquet
    """
    from ...data.corpus import open_corpus
    from ...data.errors import OptionError
    from ...data.policies import POLICIES, write_distributions
    from .console import note, print_json, print_table

    if policies:
        rows = [[p.name, p.about, p.source] for p in POLICIES.values()]
        if as_json:
            print_json([dict(zip(("policy", "about", "source"), row, strict=True)) for row in rows])
        else:
            print_table("Vote policies", ["policy", "what", "source"], rows)
        return
    if corpus is None:
        raise OptionError("name a corpus (a directory, or demo), or ask for the policies with --policies")
    summary = write_distributions(
        open_corpus(corpus),
        output,
        policy=policy,
        alpha=alpha,
        ties=ties,
        outside=outside,
        min_votes=min_votes,
        overwrite=overwrite,
    )
    if as_json:
        print_json(summary)
        return
    note(f"policy {policy}: {POLICIES[policy].about} ({POLICIES[policy].source})")
    if output is not None:
        note(f"written to {output}")
    print_table("Mean distribution", ["label", "share"], list(summary["shares"].items()))
    left = list(summary["left_out"].items())
    print_table("\nUtterances", ["what", "count"], [["with a distribution", summary["utterances"]], *left])


def export(
    corpus: CorpusArgument,
    kind: Annotated[str, typer.Argument(help="hf, emo-superb, audformat or label-studio.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where it is written.", show_default=False)],
    run: Annotated[Path | None, typer.Option(help="label-studio: a run whose votes become predictions.")] = None,
    policy: PolicyOption = "primary",
    copy_audio: Annotated[bool, typer.Option("--copy-audio", help="Copy the sounds instead of naming them.")] = False,
    audio_root: AudioRoot = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output.")] = False,
) -> None:
    """Write a corpus in another tool's format: a Hugging Face dataset with its card, EMO-SUPERB CSV, audformat, or
    Label Studio tasks with synthetic votes as predictions.

    Example: serann corpus export demo hf -o dataset
    """
    from ...data.corpus import open_corpus
    from ...data.exports import export_corpus
    from ..run.run import open_run
    from .console import note

    votes = open_run(run).votes if run is not None else None
    opened = open_corpus(corpus, audio_root=audio_root)
    found = export_corpus(opened, kind, output, run_votes=votes, policy=policy, copy=copy_audio, overwrite=overwrite)
    for sentence in found.notes:
        note(f"note: {sentence}")
    note(
        f"{found.utterances} utterances, {found.distributions} of them with a distribution, {found.human_votes} human "
        f"and {found.synthetic_votes} synthetic votes; written to {found.path}"
    )


# --------------------
# `serann corpus relocate`: the sounds are somewhere else now.


def relocate(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="A corpus directory.", show_default=False)],
    root: Annotated[
        str, typer.Argument(metavar="ROOT", help="The folder below which the sounds lie now.", show_default=False)
    ],
    former: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FOLDER",
            help="The part of absolute paths that ROOT stands for; found by itself where the sounds are there.",
            show_default=False,
        ),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Change the root even where sounds are missing; exit code 1.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Give a corpus another audio root, after looking whether every sound is there.

    A corpus of an earlier version, whose sounds have absolute paths, gets
    names relative to ROOT. Unless every sound is found, nothing is
    changed and those that are not there are counted. Works for fused
    corpora alike. Runs, fused corpora and models made before stay valid:
    neither paths nor the root are part of their fingerprints.

    Example: serann corpus relocate corpus /data/CREMA-D
    """
    from ...data.corpus import open_corpus
    from ...data.sound_paths import relocate as move
    from .console import note, print_json, print_table

    done = move(open_corpus(corpus), root, former=former, allow_missing=allow_missing)
    now = str(done.corpus.audio_root)
    if as_json:
        told = {"former_root": done.former, "kinds": done.kinds, "names_changed": done.renamed}
        print_json({"corpus": str(done.corpus.path), "audio_root": now, **told, "problems": done.problems})
    else:
        note(f"{done.corpus.path}: the audio root is {now} (before: {done.former}), {done.renamed} names were changed")
        print_table("Sounds", ["where", "utterances"], [[kind, number] for kind, number in done.kinds.items()])
        for problem in done.problems[:SHOWN_PROBLEMS]:
            note(f"{problem['utterance_id']}: {problem['sentence']}")
        if len(done.problems) > SHOWN_PROBLEMS:
            note(f"... and {len(done.problems) - SHOWN_PROBLEMS} more (--json)")
    if done.problems:
        raise typer.Exit(1)
