"""MSP-Podcast, releases 1.0 to 2.0: each rater's emotions and attributes, as the release's own files give them.

Files. SOURCE is the release's folder (or its folder of labels). Labels lie in Labels/, labels/ or label/, or in SOURCE
itself; sounds in Audios/ (or Audio/), texts in Transcripts/*.txt.
  1.0 to 1.5     labels.txt alone: a line for the utterance, then a line per rater
  1.6            labels_concensus.csv or .json (spelt so), labels_detailed.csv with a column Workers, or its .json
  1.7 to 1.9     labels_concensus.csv, labels_detailed.csv with the columns FileName and EmoDetail (one packed string)
  1.10 to 1.12   labels_consensus.csv, labels_detailed.csv as before; the challenge pack of November 2024 is the same
                 with Train and Development alone
  2.0            labels_consensus.csv, labels_detailed.csv with a column WorkerID; where that file is absent,
                 labels_detailed_aggregated.csv with a count of answers an emotion
The release is told from these files and their columns, and said. The detailed file is preferred to labels.txt, and that
to the aggregated counts. Without any of them the corpus has no votes; without a consensus file the utterances are
those of the detailed one, and have neither split nor speaker.

What becomes what. Label set msp9: neutral happy angry sad fear disgust contempt surprise other.
  primary emotion      a vote of rank primary; "Other-<words>" is other, the words kept in the column text
  secondary emotions   a vote of rank secondary each. Their sixteen words fold into the nine labels as in arXiv
                       2606.27536 (excited, amused: happy; annoyed, frustrated: angry; depressed, disappointed,
                       concerned: sad), the word kept in text. The paper does not name confused: it becomes other
                       here (--alias confused=sad says otherwise). "Dissapointed" is read, and written, as
                       Disappointed. The primary emotion is usually repeated among them and stays there: merging
                       the two ranks is a vote policy's business.
  any other word       other, the word kept in text
  EmoAct EmoVal EmoDom ratings of arousal, valence and dominance, 1 to 7; NaN is an absence
  aggregated counts    anonymous votes of rank primary; num_other_annotations is taken for other (its name says so;
                       the release's own description of it is unconfirmed)
  EmoClass             consensus (A angry, S sad, H happy, U surprise, F fear, D disgust, C contempt, N neutral,
                       O other); X, no agreement, is null. The letter itself is in consensus_code. It is never a vote.
  consensus EmoAct ... columns consensus_arousal, consensus_valence, consensus_dominance (means over the raters)
  Split_Set            train, development (Validation in older releases), test1, test2, test3
  SpkrID, Gender       speaker ("Unknown" is null), gender (female, male or null)
Releases 1.0 to 1.5 have splits and speakers in Partition.txt and Speaker_ids.txt, whose layout is unconfirmed: a line
is used where it names a .wav file beside a split or a speaker between semicolons.

Traps. Secondary emotions are a quoted list: lines are never split at commas. The secondary field of a packed answer may
be absent. A line that cannot be read, a rater's second equal vote, and an answer about an utterance that the consensus
file does not list are problems, with the number of votes in them; an answer whose words hold a line end is two lines
that cannot be read. Test3's labels are hidden: its utterances are not in
the consensus file. The sound of MSP-PODCAST_1909_1017 is missing from 2.0.

Options. --audio FOLDER where the sounds are elsewhere; --alias WORD=LABEL for a word of the detailed file.
Licence. MSP-Podcast academic licence; not redistributable.

    serann corpus import msp-podcast MSP-PODCAST-Publish-1.12 -o msp
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from ..errors import LabelError, few
from ..labels import LABEL_SETS
from ..tables import PROBLEMS, RATINGS, VOTES, from_rows, validate
from .base import Imported, Options, Reader, refuse, sound_folder, votes_of
from .msp import (
    Answers,
    consensus_utterances,
    named_utterances,
    read_detailed_json,
    read_labels_txt,
    read_packed,
    read_table,
    read_wide,
    with_audio,
    with_partition,
    with_transcripts,
)
from .msp_labels import SCALE, Detailed, open_counts, read_aggregated, take_in
from .tables.sheets import read_lines

LABELS = LABEL_SETS["msp9"]
LICENCE = "MSP-Podcast academic licence; not redistributable"
CONSENSUS = ("labels_consensus.csv", "labels_concensus.csv", "labels_consensus.json", "labels_concensus.json")
DETAILED = ("labels_detailed.csv", "labels_detailed.json", "labels.txt", "labels_detailed_aggregated.csv")
LOOKED_FOR = (
    "1.0 to 1.5: labels.txt",
    "1.6 to 1.9: labels_concensus.csv or .json (spelt so), labels_detailed.csv or .json",
    "1.10 to 2.0: labels_consensus.csv, labels_detailed.csv",
    "2.0 without raters: labels_detailed_aggregated.csv",
    "each in SOURCE, or in Labels/, labels/ or label/ in it",
)
LAYOUTS = {
    "packed": "labels_detailed.csv must have the columns FileName and EmoDetail (1.7 to 1.12)",
    "wide": "or FileName, Workers (1.6) or WorkerID (2.0), EmoClass_Major, EmoClass_Second, EmoAct, EmoVal, EmoDom",
}


class Files(NamedTuple):
    """Where the release's files are; null where one is not there."""

    root: Path
    consensus: Path | None
    detailed: Path | None


def find(source: Path) -> Files:
    """The release's files; CorpusError listing what was looked for where there are none."""
    folders = [source]
    if source.is_dir():
        folders += sorted(f for f in source.iterdir() if f.is_dir() and f.name.casefold() in {"labels", "label"})
    for folder in folders:
        consensus, detailed = (_first(folder, names) for names in (CONSENSUS, DETAILED))
        if consensus or detailed:
            inside = folder is source and source.name.casefold() in {"labels", "label"}
            return Files(source.parent if inside else source, consensus, detailed)
    raise refuse("msp-podcast", source, LOOKED_FOR)


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read(source: Path, options: Options) -> Imported:
    """Read a release of MSP-Podcast; the page of this module says what becomes what."""
    files = find(source)
    aliases = _aliases(options.aliases)
    problems, notes = [from_rows([], PROBLEMS)], []
    utterances = None
    if files.consensus is not None:
        table, lines, odd = read_table(files.consensus)
        utterances, told, said = consensus_utterances(table, lines, file=files.consensus.name, labels=LABELS)
        problems += [odd, told]
        notes += said
    layout, detailed, utterances, told = _answers(files, utterances, aliases, notes)
    problems += told
    utterances = _with_media(utterances, files, options, notes)
    votes, ratings = VOTES.schema().empty_table(), None
    if detailed is None:
        notes.append("no detailed file: the corpus has no votes, and its consensus labels are none")
    else:
        votes = validate(detailed.votes, VOTES, labels=LABELS)
        ratings = validate(detailed.ratings, RATINGS) if detailed.ratings.num_rows else None
        problems.append(detailed.problems)
    unread = sum(map(votes_of, told))
    return Imported(
        release=_release(files, layout, utterances),
        labels=LABELS,
        utterances=utterances,
        votes=votes,
        votes_in=unread + (detailed.votes_in if detailed else 0),
        licence=LICENCE,
        ratings=ratings,
        scale=SCALE if ratings is not None else None,
        problems=pa.concat_tables(problems),
        notes=tuple(notes),
        files=tuple(path.name for path in (files.consensus, files.detailed) if path is not None),
    )


def _aliases(given: Mapping[str, str]) -> dict[str, str]:
    strange = sorted({label for label in given.values() if label not in LABELS})
    if strange:
        raise LabelError(f"--alias names {', '.join(strange)}; expected one of {', '.join(LABELS)}")
    return {text.strip().casefold(): label for text, label in given.items()}


def _answers(
    files: Files, utterances: pa.Table | None, aliases: Mapping[str, str], notes: list[str]
) -> tuple[str, Detailed | None, pa.Table, list[pa.Table]]:
    """The layout of the detailed file, what is in it, the utterances (its own without a consensus file), problems."""
    path = files.detailed
    if path is None:
        assert utterances is not None  # `find` found one or the other
        return "none", None, utterances, []
    if path.name == "labels_detailed_aggregated.csv":
        counts = open_counts(path)
        if utterances is None:
            utterances = _of_detailed(counts.table, notes)
        return "aggregated", read_aggregated(counts, _ids(utterances), labels=LABELS, aliases=aliases), utterances, []
    told: list[pa.Table] = []
    if path.name == "labels.txt":
        layout = "text"
        answers, headings, lines = read_labels_txt(path)
        if utterances is None:
            utterances, odd, _ = consensus_utterances(headings, lines, file=path.name, labels=LABELS)
            utterances, said = with_partition(utterances, files.root)
            told.append(odd)
            notes += said
    else:
        layout, answers = _detailed(path)
        if utterances is None:
            utterances = _of_detailed(answers.table.rename_columns({"utterance": "FileName"}), notes)
    known = _ids(utterances)
    found = take_in(answers.table, answers.lines, known, file=path.name, labels=LABELS, aliases=aliases)
    return layout, found, utterances, [*told, answers.problems]


def _ids(utterances: pa.Table) -> pa.Array:
    return utterances["utterance_id"].combine_chunks()


def _of_detailed(table: pa.Table, notes: list[str]) -> pa.Table:
    notes.append("no consensus file: the utterances have no split, speaker or published label")
    return named_utterances(table["FileName"])


def _detailed(path: Path) -> tuple[str, Answers]:
    """The layout of labels_detailed.csv or .json, and the answers in it; CorpusError for one that is not known."""
    if path.suffix == ".json":
        return "json", read_detailed_json(path)
    header, lines = read_lines(path)
    if {"FileName", "EmoDetail"} <= set(header):
        return "packed", read_packed(path, header, lines)
    if {"FileName", "EmoClass_Major"} <= set(header) and {"Workers", "WorkerID"} & set(header):
        return "2.0" if "WorkerID" in header else "1.6", read_wide(path, header, lines)
    found = f"{path.name} with the columns {few(header, 20)}"
    raise refuse("msp-podcast", path, tuple(LAYOUTS.values()), found)


def _release(files: Files, layout: str, utterances: pa.Table) -> str:
    old = files.consensus is not None and "concensus" in files.consensus.name
    if layout == "text" and files.consensus is None:
        return "MSP-Podcast 1.0 to 1.5 (labels.txt alone)"
    if layout in {"1.6", "json"}:
        return f"MSP-Podcast 1.6 ({files.detailed.name if files.detailed else ''})"
    if layout in {"2.0", "aggregated"}:
        return "MSP-Podcast 2.0 (" + ("a row per rater)" if layout == "2.0" else "counts without raters)")
    if old:
        return "MSP-Podcast 1.7 to 1.9 (concensus, packed answers)" if layout == "packed" else "MSP-Podcast 1.6 to 1.9"
    splits = set(utterances["split"].to_pylist())
    if layout == "packed" and splits == {"train", "development"}:
        return "MSP-Podcast 1.10 to 1.12, Train and Development alone: the challenge pack of November 2024"
    return "MSP-Podcast 1.10 to 1.12 (packed answers)" if layout == "packed" else "MSP-Podcast 1.10 or later"


def _with_media(utterances: pa.Table, files: Files, options: Options, notes: list[str]) -> pa.Table:
    there = _folder(files.root, {"audios", "audio"})
    audio = sound_folder(options, *([there] if there else []))
    if audio is None:
        notes.append("no folder of sounds (Audios/): audio is null; name it with --audio, or add it and import again")
    return with_transcripts(with_audio(utterances, audio), _folder(files.root, {"transcripts"}))


def _folder(root: Path, names: set[str]) -> Path | None:
    if not root.is_dir():
        return None
    return next((entry for entry in sorted(root.iterdir()) if entry.is_dir() and entry.name.casefold() in names), None)


READER = Reader(
    name="msp-podcast",
    about="MSP-Podcast 1.0 to 2.0: each rater's primary and secondary emotions, and attributes from 1 to 7",
    labels=LABELS.name,
    read=read,
    page=__doc__ or "",
    options=("audio", "aliases"),
)
