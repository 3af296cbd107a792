"""From a release's own files to a corpus: read, account for every vote, map labels, divide into splits, write."""

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from .arrow import pc
from .audio import sound_seconds
from .corpus import Corpus, write_corpus
from .errors import CorpusError, OptionError
from .files import refuse_inputs
from .labels import LabelMap, LabelSet, map_labels
from .policies import OUTSIDE
from .readers import Imported, Options, load_reader
from .readers.base import votes_of
from .sound_paths import below
from .splits import split_tables
from .tables import PROBLEMS, write_table

# --------------------
# A corpus's votes in another label set, with how many of them each merge and each drop touched.


class Mapped(NamedTuple):
    """Tables in the target set, and a row for each source label: its target (None: dropped), its votes, its kind.

    `kind` is `kept`, `merged` (several labels, or another name) or `dropped`.
    """

    utterances: pa.Table
    votes: pa.Table
    report: list[dict[str, Any]]


def map_votes(utterances: pa.Table, votes: pa.Table, to: LabelMap) -> Mapped:
    """Map labels of votes, and intended and consensus labels of utterances.

    A vote without a target abstains from then on, the reason saying what it was; so nothing is lost, and rules that
    leave such utterances out can see it. A label that merges into another keeps its own word in `text`. Two votes of
    one rater that fall together are numbered by `draw`.
    """
    counts = {row["values"]: row["counts"] for row in pc.value_counts(votes["label"]).to_pylist()}
    report = [_row(label, target, to, counts.get(label, 0)) for label, target in to.to.items()]
    old = votes["label"]
    new = _mapped(old, to)
    fell = pc.and_(pc.is_valid(old), pc.is_null(new))
    reason = pc.binary_join_element_wise(pa.scalar(OUTSIDE), old, ": ")
    renamed = pc.and_(pc.is_null(votes["text"]), pc.fill_null(pc.not_equal(old, new), False))
    votes = _with(votes, "reason", pc.if_else(fell, reason, votes["reason"]))
    votes = _with(votes, "text", pc.if_else(renamed, old, votes["text"]))
    votes = _with(votes, "label", new)
    utterances = _with(utterances, "intended", _mapped(utterances["intended"], to, keep=True))
    utterances = _with(utterances, "consensus", _mapped(utterances["consensus"], to, keep=True))
    return Mapped(utterances, _numbered(votes), report)


def _row(label: str, target: str | None, to: LabelMap, votes: int) -> dict[str, Any]:
    kind = "dropped" if target is None else "merged" if target in to.merges or target != label else "kept"
    return {"label": label, "target": target, "votes": int(votes), "kind": kind}


def _mapped(column: pa.ChunkedArray, to: LabelMap, *, keep: bool = False) -> pa.ChunkedArray:
    """The column in the target set; what is no label of the source stays where `keep` says so."""
    place = pc.index_in(column, value_set=pa.array(list(to.to)))
    found = pc.take(pa.array(list(to.to.values()), pa.string()), place)
    return pc.if_else(pc.is_null(place), column, found) if keep else found


def _with(table: pa.Table, name: str, column: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)


def _numbered(votes: pa.Table) -> pa.Table:
    """Number a rater's votes of one utterance, rank and label, so that each row has a key of its own."""
    key = ["utterance_id", "rater_id", "rank", "label"]
    counts = votes.filter(pc.is_valid(votes["rater_id"])).group_by(key).aggregate([([], "count_all")])
    if not counts.num_rows or pc.max(counts["count_all"]).as_py() == 1:
        return votes
    seen: dict[tuple[Any, ...], int] = {}
    draws = []
    for row in zip(*(votes[name].to_pylist() for name in (*key, "draw")), strict=True):
        if row[1] is None:
            draws.append(row[4])
            continue
        draws.append(seen.get(row[:4], 0))
        seen[row[:4]] = draws[-1] + 1
    return _with(votes, "draw", pa.array(draws, pa.int32()))


# --------------------
# Is a scale of arousal the right way up? Angry speech is the more active one in every corpus that we know.

# Fewer votes than this for either label tell nothing.
LEAST_VOTES = 10


def arousal_doubts(votes: pa.Table, ratings: pa.Table | None, labels: LabelSet) -> list[str]:
    """A sentence if votes for angry come with less arousal than votes for neutral, else none.

    A vote's arousal is that of the same rater, else the utterance's mean over raters. The ratings are never changed: a
    release's own description may be wrong about its orientation (EMO-SUPERB's is, for MSP-IMPROV), so a reader decides.
    """
    if ratings is None or not {"angry", "neutral"} <= set(labels):
        return []
    human = pc.and_(pc.equal(ratings["dimension"], "arousal"), pc.equal(ratings["source"], "human"))
    rated = ratings.filter(human).select(["utterance_id", "rater_id", "value"])
    cast = votes.filter(pc.and_(pc.equal(votes["source"], "human"), pc.equal(votes["rank"], "primary")))
    cast = cast.select(["utterance_id", "rater_id", "label"]).filter(
        pc.is_in(cast["label"], pa.array(["angry", "neutral"]))
    )
    own = rated.group_by(["utterance_id", "rater_id"]).aggregate([("value", "mean")])
    mean = rated.group_by("utterance_id").aggregate([("value", "mean")]).rename_columns({"value_mean": "of_all"})
    found = cast.join(own, ["utterance_id", "rater_id"]).join(mean, "utterance_id")
    found = found.append_column("arousal", pc.coalesce(found["value_mean"], found["of_all"]))
    by_label = found.group_by("label").aggregate([("arousal", "mean"), ("arousal", "count")]).to_pylist()
    means = {row["label"]: row["arousal_mean"] for row in by_label if row["arousal_count"] >= LEAST_VOTES}
    if len(means) < 2 or means["angry"] >= means["neutral"]:
        return []
    return [
        f"arousal may be upside down: mean {means['angry']:.2f} with votes for angry, {means['neutral']:.2f} with "
        "votes for neutral; the ratings were left as they are, check the release's scale"
    ]


Progress = Callable[[int, int], None]
SPLITS = ("auto", "official", "speaker", "none")
# Headers are read by so many threads at once; each waits for the disk most of its time.
HEADER_THREADS = 8


class Report(NamedTuple):
    """What an import did: the numbers that account for every vote, and what the user should read."""

    reader: str
    release: str
    votes_in: int
    votes_kept: int
    votes_in_problems: int
    problems: int
    splits: str
    label_map: list[dict[str, Any]]
    notes: tuple[str, ...]


def import_corpus(
    reader: str,
    source: str | Path,
    out: str | Path,
    *,
    options: Options | None = None,
    labels: LabelSet | None = None,
    name: str | None = None,
    split: str = "auto",
    seed: int = 0,
    copy_audio: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> tuple[Corpus, Report]:
    """Read a release with one of `READERS` and write it as a corpus; sounds are read in place, unless `copy_audio`.

    Their names are relative to an audio root that corpus.json states: `options.audio` or the release's folder,
    whichever holds all of them, else the deepest folder that does.
    `labels` is the target label set: votes that it has no place for abstain, with the reason. `split`: `official` or
    none at all, `speaker` (speaker-disjoint, seeded), `auto` (official where there is one, else speaker), `none`.
    What could not be taken in lies in `problems.parquet` beside the votes; corpus.json's provenance holds the report.
    Raises `OptionError`, `CorpusError` (what was looked for), `OutputError`.
    """
    refuse_inputs(Path(out), [source])
    options = options or Options()
    if labels is not None and "labels" in load_reader(reader).options:
        options = replace(options, labels=labels)  # it names labels freely, so these are its labels
    check_split(split)
    found = read_release(reader, Path(source), options)
    found, splits, report, notes = prepare_release(found, labels, split=split, seed=seed, progress=progress)
    utterances, audio_root, copy = found.utterances, None, None
    if copy_audio:
        utterances, copy = copies(utterances)
    else:
        utterances, audio_root = below(utterances, _roots(Path(source), options.audio))
    result = Report(
        reader,
        found.release,
        found.votes_in,
        found.votes.num_rows,
        votes_of(found.problems),
        found.problems.num_rows,
        splits,
        report,
        notes,
    )

    def extra(new: Path) -> None:
        write_table(found.problems, new / "problems.parquet", PROBLEMS)
        if found.extra is not None:
            found.extra(new)
        if copy is not None:
            copy(new)

    corpus = write_corpus(
        out,
        name=name or reader,
        labels=found.labels,
        utterances=utterances,
        votes=found.votes,
        ratings=found.ratings,
        licence=found.licence,
        provenance={
            "source": str(Path(source).resolve()),
            "files": list(found.files),
            "serann": version("serann"),
            "import": {**result._asdict(), "notes": list(notes)},
        },
        simulated=found.simulated,
        scale=found.scale,
        audio_root=audio_root,
        overwrite=overwrite,
        extra=extra,
    )
    return corpus, result


def _roots(source: Path, audio: Path | None) -> list[Path]:
    """Folders that may be the audio root, the best first."""
    release = source if source.is_dir() else source.parent
    return [folder.resolve() for folder in (audio, release) if folder is not None]


def check_split(split: str) -> None:
    """OptionError for a way of splitting that is none."""
    if split not in SPLITS:
        raise OptionError(f"unknown split {split!r}; expected one of {', '.join(SPLITS)}")


class Prepared(NamedTuple):
    """A release in the wanted labels, with durations and splits: of what kind these are, each label's row, notes."""

    imported: Imported
    splits: str
    label_map: list[dict[str, Any]]
    notes: tuple[str, ...]


def prepare_release(
    found: Imported, labels: LabelSet | None, *, split: str, seed: int, progress: Progress | None = None
) -> Prepared:
    """What `import_corpus` makes of what a reader read, before anything is written."""
    notes = [*found.notes, *arousal_doubts(found.votes, found.ratings, found.labels)]
    found, report, remark = relabelled(found, labels)
    notes += remark
    found = replace(found, utterances=with_durations(found.utterances, progress))
    utterances, splits, remark = with_splits(found, split, seed)
    return Prepared(replace(found, utterances=utterances), splits, report, (*notes, *remark))


def read_release(reader: str, source: Path, options: Options) -> Imported:
    """What the reader makes of a release; options that it does not take are refused by name."""
    chosen = load_reader(reader)
    given = [f.name for f in fields(Options) if getattr(options, f.name) not in (None, {})]
    strange = [name for name in given if name not in chosen.options]
    if strange:
        takes = ", ".join(map(flag, chosen.options)) or "none of these"
        raise OptionError(f"reader {reader} takes no {', '.join(map(flag, strange))}; it takes {takes}")
    if options.audio is not None and not options.audio.is_dir():
        raise OptionError(f"--audio {options.audio} is no folder; name the one that holds the sounds")
    if not source.exists():
        raise CorpusError(f"no {reader} corpus at {source}: nothing is there")
    return chosen.read(source, options)


def flag(option: str) -> str:
    """An option of a reader as the command line spells it."""
    return "--alias" if option == "aliases" else f"--{option}"


def relabelled(found: Imported, labels: LabelSet | None) -> tuple[Imported, list[dict[str, Any]], list[str]]:
    """The release in another label set, with a row for each of its own labels, and remarks."""
    if labels is None or labels.labels == found.labels.labels:
        return found, [], []
    to = map_labels(found.labels, labels)
    mapped = map_votes(found.utterances, found.votes, to)
    unreached = [label for label in labels if label not in to.to.values()]
    remarks = [f"no label of the release becomes {', '.join(unreached)}: nobody could vote for it"] if unreached else []
    return replace(found, utterances=mapped.utterances, votes=mapped.votes, labels=labels), mapped.report, remarks


def with_durations(utterances: pa.Table, progress: Progress | None = None) -> pa.Table:
    """Fill in the seconds of sounds whose headers can be read; others stay empty (`serann corpus check` says why)."""
    columns = ("audio", "start", "end", "duration")
    audio, starts, ends, seconds = (utterances[name].to_pylist() for name in columns)
    asked = [i for i, path in enumerate(audio) if seconds[i] is None and path is not None and "://" not in path]
    whole = {audio[i] for i in asked if ends[i] is None}
    known: dict[str, float | None] = {}
    with ThreadPoolExecutor(HEADER_THREADS) as pool:
        for path, found in zip(whole, pool.map(sound_seconds, whole), strict=True):
            known[path] = found
            if progress is not None:
                progress(len(known), len(whole))
    for i in asked:
        end = known[audio[i]] if ends[i] is None else ends[i]
        seconds[i] = None if end is None else end - (starts[i] or 0.0)
    return utterances.set_column(utterances.column_names.index("duration"), "duration", pa.array(seconds, pa.float64()))


def with_splits(found: Imported, split: str, seed: int) -> tuple[pa.Table, str, list[str]]:
    """The utterances with their splits, what kind they are, and remarks."""
    official = found.utterances["split"].null_count < found.utterances.num_rows
    if split == "none" or (split == "official" and not official):
        empty = pa.nulls(found.utterances.num_rows, pa.string())
        place = found.utterances.column_names.index("split")
        table = found.utterances if split == "official" else found.utterances.set_column(place, "split", empty)
        return table, "none", ["the release has no official split" if split == "official" else "no split was made"]
    if split == "official" or (split == "auto" and official):
        return found.utterances, "official", []
    try:
        made = split_tables(found.utterances, found.votes, found.labels, seed=seed)
        return made.utterances, f"speaker-disjoint (ours, seed {seed})", []
    except CorpusError as error:
        if split == "speaker":
            raise
        return found.utterances, "none", [f"no split was made: {error}"]


def copies(utterances: pa.Table) -> tuple[pa.Table, Callable[[Path], None]]:
    """The utterances with sounds under audio/, and what copies them there; remote and absent sounds stay as named."""
    paths = utterances["audio"].to_pylist()
    here = sorted({path for path in paths if path is not None and Path(path).is_absolute() and Path(path).is_file()})
    names = dict(zip(here, _distinct([Path(path).name for path in here]), strict=True))
    placed = [f"audio/{names[path]}" if path in names else path for path in paths]

    def copy(new: Path) -> None:
        (new / "audio").mkdir(exist_ok=True)
        for path, name in names.items():
            shutil.copyfile(path, new / "audio" / name)

    table = utterances.set_column(utterances.column_names.index("audio"), "audio", pa.array(placed, pa.string()))
    return table, copy


def _distinct(names: Sequence[str]) -> list[str]:
    """Names made distinct by a number before those that came before."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{seen[name]}-{name}")
    return found
