"""EMO-SUPERB label files: the shares of each emotion, their smoothing undone, as the anonymous votes that give them.

Files. SOURCE is data/CORPUS of the toolkit, its Primary or Secondary folder, or one of the tables in there:
    data/CORPUS/Primary/labels_consensus_FOLD.csv      shares of the primary emotions
    data/CORPUS/Secondary/labels_consensus_FOLD.csv    shares of the secondary ones
    config.json                                        in the same folder or the one above; used where it is there
Columns: FileName (blank in some corpora), one an emotion, EmoAct, EmoVal, EmoDom, SpkrID, Gender, Split_Set. Each is
found by its name, never by its place. The corpus's name is told from the folder, CREMA-D has no attributes, and NNIME
no dominance.

What becomes what. The label set is the table's own: its emotion columns, in the order of config.json's emo_type where
that names the same ones.
  emotion columns   anonymous votes. Released values are smoothed: with K emotions and e = 0.05/(K-1), a share p
                    stands as q = p(1 - K e) + e. So p = (q - e)/(1 - K e), and the smallest denominator d at which
                    every n = p d is whole, to half a unit of the file's last decimal (1e-9 where it has nine or
                    more), gives n votes per label. Denominators are tried up to 100, or to where two shares could
                    no longer be told apart at that precision.
  missing share     where the shares of a row sum to less than one, somebody chose an emotion that the table does not
                    list: votes without a label, the reason said
  Secondary         the votes have rank secondary
  EmoAct ...        columns consensus_arousal, consensus_valence, consensus_dominance (means, not ratings)
  Split_Set         train, development, test
  SpkrID, Gender    speaker, gender

Traps.
  - The number of raters is not in the files. 2 of 4 and 1 of 2 are the same share; the votes are the smallest whole
    numbers, that is, at least so many were given. They are mentions where raters could name several emotions
    (IEMOCAP's shares contain quarters and fifths).
  - A table without smoothing (of other makers, or of serann corpus export emo-superb) is refused: it is read by the
    reader table, with --rule counts:num_votes or counts:N.
  - A row that no denominator gives is a problem of one vote or more; no votes are invented for it.
  - IEMOCAP: SpkrID is the session. It is kept as session, and speaker is null (--split speaker cannot be had; the
    folds are by session).
  - MSP-IMPROV: SpkrID is unique only with Gender; the speaker is F01, M01 and so on.
  - flip_aro in config.json is ignored: in the released MSP-IMPROV table high is active although it says to turn the
    scale. A doubt is noted where angry speech has no higher mean arousal than neutral speech.
  - CREMA-D's shares are of the unfiltered voice votes: more votes than the corpus's own tables count (reader crema-d).

Options. --rule "fold 1" (default), "fold 3", "secondary fold 2": which table is read. --audio FOLDER of the sounds.
Licence. The toolkit's label files carry none; each corpus's own terms hold. Read your copy, and do not pass it on.

    serann corpus import emo-superb EMO-SUPERB/data/IEMOCAP -o iemocap --rule "fold 1" --audio IEMOCAP/wav
"""

import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ..arrow import pc
from ..errors import CorpusError, OptionError, few
from ..labels import LabelSet
from ..tables import PROBLEMS, UTTERANCES, VOTES, from_rows, occurrence, validate
from .base import Imported, Options, Reader, refuse, sound_folder
from .msp import GENDERS, known_or_none, split_of
from .tables.sheets import Records, distinct, each, numbers, parse_records, read_lines, read_text, stems

# --------------------
# Which of EMO-SUPERB's tables is read: its corpus, whether of primary or secondary emotions, and its fold.

TABLE = re.compile(r"labels_consensus(?:_(?P<fold>.+))?\.csv")
RULE = re.compile(r"\s*(?P<kind>primary|secondary)?\s*(?:fold\s*(?P<fold>\S+))?\s*", re.IGNORECASE)
KINDS = ("Primary", "Secondary")
LOOKED_FOR = (
    "labels_consensus_FOLD.csv in SOURCE, or SOURCE as such a file",
    "Primary/labels_consensus_FOLD.csv or Secondary/labels_consensus_FOLD.csv in SOURCE",
)


class Chosen(NamedTuple):
    """The table that is read: its corpus, its kind (Primary or Secondary) and fold, and config.json's settings."""

    path: Path
    corpus: str
    kind: str
    fold: str
    config: dict[str, Any]


def choose(source: Path, rule: str | None) -> Chosen:
    """The table that SOURCE and `rule` name.

    Raises CorpusError where there is none, OptionError where the rule is none or names a table that is not there.
    """
    said = RULE.fullmatch(rule or "")
    if said is None:
        raise OptionError(f"rule {rule!r} names no table; expected 'fold 1', or 'secondary fold 2', or the like")
    if source.is_file():
        found, folder = TABLE.fullmatch(source.name), source.parent
        if found is None:
            raise refuse("emo-superb", source, LOOKED_FOR)
        tables = {found["fold"] or "": source}
    else:
        folder = _folder(source, said["kind"])
        matches = {path: TABLE.fullmatch(path.name) for path in sorted(folder.iterdir())}
        tables = {match["fold"] or "": path for path, match in matches.items() if match}
    kind = "Secondary" if folder.name.casefold() == "secondary" else "Primary"
    if said["kind"] and said["kind"].casefold() != kind.casefold():
        raise OptionError(f"rule {rule!r} asks for {said['kind']}, but {folder} holds {kind}; name the folder above it")
    fold = said["fold"] or ("1" if "1" in tables or len(tables) > 1 else next(iter(tables)))
    if fold not in tables:
        raise OptionError(f"no fold {fold} in {folder}; there is {', '.join(sorted(tables))}: --rule 'fold …' names it")
    above = folder.parent if folder.name.casefold() in {"primary", "secondary"} else folder
    return Chosen(tables[fold], above.resolve().name, kind, fold, _config(folder, above))


def _folder(source: Path, kind: str | None) -> Path:
    """The folder with tables: SOURCE, or the one of its two that is asked for (Primary unless it is not there)."""
    order = [kind.capitalize()] if kind else list(KINDS)
    for folder in (source, *(source / name for name in order)):
        if folder.is_dir() and any(TABLE.fullmatch(path.name) for path in folder.iterdir()):
            return folder
    raise refuse("emo-superb", source, LOOKED_FOR)


def _config(*folders: Path) -> dict[str, Any]:
    path = next((folder / "config.json" for folder in folders if (folder / "config.json").is_file()), None)
    if path is None:
        return {}
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{path}: no EMO-SUPERB configuration: it is no valid JSON ({error})") from None
    if not isinstance(found, dict):
        raise CorpusError(f"{path}: no EMO-SUPERB configuration: expected a JSON object")
    return found


def section(config: dict[str, Any], name: str) -> dict[str, Any]:
    """The settings of that name; empty where the configuration has none."""
    found = config.get(name)
    return found if isinstance(found, dict) else {}


# --------------------
# Label smoothing undone: from released shares of raters to the whole numbers of votes that give them.

# EMO-SUPERB's: the weight that each label receives is SMOOTHING / (K - 1), and q = p (1 - K e) + e.
SMOOTHING = 0.05
# More raters than any released utterance has.
MOST = 100
# What adding and dividing in double precision can lose, with room.
ROUNDING = 1e-9


class WholeVotes(NamedTuple):
    """Votes by row and label [U, K], the denominators [U] (0 where none gives the row), and how they were found."""

    counts: np.ndarray
    denominators: np.ndarray
    tolerance: float
    most: int


def precision(text: str) -> int:
    """How many decimals a number's text has.

    >>> precision("0.8125"), precision("1e-05"), precision("1.5e-3"), precision("1")
    (4, 5, 4, 0)
    """
    found = re.fullmatch(r"\s*[-+]?\d*\.?(\d*)(?:[eE]([-+]?\d{1,3}))?\s*", text)
    return max(0, len(found[1] if "." in text else "") - int(found[2] or 0)) if found else 0


def whole_votes(shares: np.ndarray, decimals: int) -> WholeVotes:
    """Find the fewest votes that give each row of smoothed shares [U, K], K at least 2.

    A row is given by d votes, n of them for a label, if |n/d (1 - K e) + e - q| is at most half a unit of the file's
    last decimal (or `ROUNDING`) for every label, and the n sum to d at most: what is lacking was said of no label.
    Denominators reach as far as two different shares of them still lie more than two tolerances apart. Rows with NaN
    have none.
    """
    labels = shares.shape[1]
    least = SMOOTHING / (labels - 1)
    scale = 1 - labels * least
    tolerance = max(0.5 * 10.0**-decimals, ROUNDING) + 1e-12
    most = int(min(MOST, np.sqrt(scale / (2 * tolerance))))
    counts = np.zeros(shares.shape, dtype=np.int64)
    denominators = np.zeros(len(shares), dtype=np.int64)
    open_rows = np.flatnonzero(np.isfinite(shares).all(axis=1) & (np.abs(shares) <= 2).all(axis=1))
    for d in range(1, most + 1):
        q = shares[open_rows]
        n = np.rint((q - least) / scale * d).astype(np.int64)
        fits = (np.abs(n / d * scale + least - q) <= tolerance).all(axis=1)
        fits &= (n >= 0).all(axis=1) & (n.sum(axis=1) <= d)
        counts[open_rows[fits]], denominators[open_rows[fits]] = n[fits], d
        open_rows = open_rows[~fits]
    return WholeVotes(counts, denominators, tolerance, most)


LICENCE = "the label files carry no licence: each corpus's own terms hold; not redistributable"
ATTRIBUTES = {"EmoAct": "consensus_arousal", "EmoVal": "consensus_valence", "EmoDom": "consensus_dominance"}
# num_votes is what serann's own export adds.
NOT_EMOTIONS = {"", "filename", "spkrid", "gender", "split_set", "num_votes", *(name.casefold() for name in ATTRIBUTES)}
OUTSIDE = "outside the label set: the row's shares sum to less than one"


def read(source: Path, options: Options) -> Imported:
    """Read one table of EMO-SUPERB; the page of this module says what becomes what."""
    chosen = choose(source, options.rule)
    header, lines = read_lines(chosen.path)
    names = _emotions(header, chosen)
    records = parse_records(header, lines)
    labels = LabelSet(f"emo-superb {chosen.corpus} {chosen.kind.lower()}", tuple(name.casefold() for name in names))
    shares, decimals = _shares(records.table, names)
    votes = whole_votes(shares, decimals)
    table, ids, kept, problems = _utterances(chosen, records, votes.denominators)
    _refuse_unsmoothed(chosen.path, shares, votes, "num_votes" in header)
    counts = np.where(kept[:, None], votes.counts, 0)
    told, table = _notes(chosen, votes.tolerance, votes.most, table, ids, counts, labels, options)
    outside = np.where(kept, votes.denominators - votes.counts.sum(axis=1), 0)
    return Imported(
        release=f"EMO-SUPERB label file of {chosen.corpus}, {chosen.kind.lower()} emotions"
        + (f", fold {chosen.fold}" if chosen.fold else ""),
        labels=labels,
        utterances=validate(table, UTTERANCES),
        votes=_votes(ids, np.column_stack([counts, outside]), labels, chosen.kind.lower()),
        votes_in=int(votes.denominators.sum()) + int((votes.denominators == 0).sum()) + records.odd.num_rows,
        licence=LICENCE,
        problems=problems,
        notes=told,
        files=(chosen.path.name,),
    )


def _refuse_unsmoothed(path: Path, shares: np.ndarray, votes: WholeVotes, counted: bool) -> None:
    """CorpusError where no row, or only few by chance, can be smoothed shares, of which none is below e."""
    labels = shares.shape[1]
    least = SMOOTHING / (labels - 1)
    known = shares[np.isfinite(shares).all(axis=1)]
    below = int((known < least - votes.tolerance).any(axis=1).sum())
    if not len(shares) or (votes.denominators.any() and 2 * below <= len(known)):
        return
    found = f"{below} of {len(known)} rows hold a share below" if votes.denominators.any() else "no row holds"
    rule = "counts:num_votes" if counted else "counts:N"
    raise CorpusError(
        f"{path}: {found} smoothed shares, q = p(1 - K e) + e with K = {labels} emotions and e = {least:.4g}; read "
        f"other distributions with the reader table: serann corpus import table {path.name} --rule {rule}"
    )


def _emotions(header: list[str], chosen: Chosen) -> list[str]:
    """The columns that are emotions, in the order of the labels."""
    found = [name for name in header if name.casefold() not in NOT_EMOTIONS]
    listed = section(chosen.config, "categorical").get("emo_type")
    order = [str(name).casefold() for name in listed] if isinstance(listed, list) else []
    if order and set(order) <= {name.casefold() for name in found}:
        found = sorted(
            (name for name in found if name.casefold() in order), key=lambda name: order.index(name.casefold())
        )
    file_column = [name for name in header if name.casefold() in {"filename", ""}]
    if not file_column or len(found) < 2 or len({name.casefold() for name in found}) < len(found):
        raise CorpusError(
            f"{chosen.path}: expected the columns FileName (or a blank one) and two emotions or more; found "
            f"{few([repr(name) for name in header], 20)}"
        )
    return found


def _shares(table: pa.Table, names: list[str]) -> tuple[np.ndarray, int]:
    """The values as they stand [U, K], NaN where a cell is no number, and the most decimals of any."""
    columns, decimals = [], 0
    for name in names:
        texts = distinct(table[name])
        columns.append(numbers(texts)[0])
        decimals = max([decimals, *map(precision, texts.texts)])
    return np.column_stack(columns), decimals


def _utterances(
    chosen: Chosen, records: Records, denominators: np.ndarray
) -> tuple[pa.Table, pa.Array, np.ndarray, pa.Table]:
    """The utterances, every row's id, which rows' votes are kept [U], and the problems."""
    table = records.table
    column = next(name for name in table.column_names if name.casefold() in {"filename", ""})
    found = distinct(table[column], clean=stems)
    ids = found.column()
    again = occurrence(found.codes) > 0
    nameless = found.says("")
    columns: dict[str, Any] = {"utterance_id": ids, "file": distinct(table[column]).column()}
    for name, wanted in ATTRIBUTES.items():
        if name in table.column_names:
            values = numbers(distinct(table[name]))[0]
            columns[wanted] = pa.array(values, mask=np.isnan(values))
    columns |= _people(table, ids)
    told = [
        (nameless, "a row that names no utterance"),
        (again & ~nameless, "an utterance that is listed already"),
        (~again & ~nameless & (denominators == 0), "no small denominator gives this row's shares"),
    ]
    rows = [
        {"line": int(records.lines[i]), "utterance_id": ids[i].as_py(), "reason": reason, "content": _line(table, i)}
        | {"votes": max(int(denominators[i]), 1)}
        for mask, reason in told
        for i in np.flatnonzero(mask).tolist()
    ]
    rows += [
        {"line": odd["line"], "reason": "not a record of the table", "content": odd["content"][:500], "votes": 1}
        for odd in records.odd.to_pylist()
    ]
    problems = from_rows([{"file": chosen.path.name, **row} for row in rows], PROBLEMS)
    listed = ~again & ~nameless
    return pa.table(columns).filter(pa.array(listed)), ids, listed & (denominators > 0), problems


def _line(table: pa.Table, row: int) -> str:
    return ",".join(str(table.column(i)[row].as_py()) for i in range(table.num_columns))[:500]


def _people(table: pa.Table, ids: pa.Array) -> dict[str, pa.Array]:
    """Speaker, gender, split, and IEMOCAP's session."""
    columns: dict[str, pa.Array] = {}
    if "Gender" in table.column_names:
        columns["gender"] = each(distinct(table["Gender"]), lambda text: GENDERS.get(text.casefold()))
    if "Split_Set" in table.column_names:
        columns["split"] = each(distinct(table["Split_Set"]), split_of)
    if "SpkrID" not in table.column_names:
        return columns
    speaker = each(distinct(table["SpkrID"]), known_or_none)
    of_iemocap = pc.match_substring_regex(ids, r"^Ses\d\d[FM]_")
    columns["session"] = pc.if_else(of_iemocap, speaker, None)
    if "gender" in columns:
        letter = pc.utf8_upper(pc.utf8_slice_codeunits(columns["gender"], 0, 1))
        alike = pc.match_substring(ids, "MSP-IMPROV")
        speaker = pc.if_else(alike, pc.binary_join_element_wise(letter, speaker, ""), speaker)
    columns["speaker"] = pc.if_else(of_iemocap, None, speaker)
    return columns


def _votes(ids: pa.Array, counts: np.ndarray, labels: LabelSet, rank: str) -> pa.Table:
    """One row per vote; the last column [U, K + 1] counts those of no label."""
    row, column = np.nonzero(counts)
    times = counts[row, column]
    column = pa.array(np.repeat(column, times))
    columns = {
        "utterance_id": ids.take(pa.array(np.repeat(row, times))),
        "label": pa.array([*labels, None], pa.string()).take(column),
        "reason": pa.array([*[None] * len(labels), OUTSIDE], pa.string()).take(column),
        "rank": pa.repeat(rank, len(column)),
    }
    return validate(pa.table(columns), VOTES, labels=labels)


def _notes(
    chosen: Chosen,
    tolerance: float,
    most: int,
    table: pa.Table,
    ids: pa.Array,
    counts: np.ndarray,
    labels: LabelSet,
    options: Options,
) -> tuple[tuple[str, ...], pa.Table]:
    """What the user should read, and the utterances with their sounds."""
    notes = [
        "the votes are the smallest whole numbers that give the released shares, so at least so many were given "
        f"(denominators up to {most}, tolerance {tolerance:.2g}); who gave them is not in the file"
    ]
    if "session" in table.column_names and table["session"].null_count < table.num_rows:
        notes.append("SpkrID is IEMOCAP's session here, not the speaker: it is kept as session, speaker is null")
    if section(chosen.config, "dimensional").get("flip_aro"):
        notes.append("config.json says flip_aro: ignored, for in the released table high is active")
    notes += _doubts(table, ids, counts, labels)
    folder = sound_folder(options)
    if folder is None:
        notes.append("the label files come without sounds: audio is null; name their folder with --audio")
    else:
        paths = pc.binary_join_element_wise(pa.scalar(str(folder) + os.sep), table["file"], "")
        table = table.append_column("audio", paths)
    return tuple(notes), table.drop_columns(["file"])


def _doubts(table: pa.Table, ids: pa.Array, counts: np.ndarray, labels: LabelSet) -> list[str]:
    """A sentence where the votes for angry do not come with a higher mean arousal than those for neutral."""
    if "consensus_arousal" not in table.column_names or not {"angry", "neutral"} <= set(labels):
        return []
    place = pc.index_in(ids, value_set=table["utterance_id"].combine_chunks())
    rows = counts.sum(axis=1) > 0
    arousal = table["consensus_arousal"].take(place.filter(pa.array(rows))).to_numpy()
    votes = counts[rows][:, [labels.index("angry"), labels.index("neutral")]].astype(float)
    votes[np.isnan(arousal)] = 0
    if (votes.sum(axis=0) == 0).any():
        return []
    angry, neutral = np.nan_to_num(arousal) @ votes / votes.sum(axis=0)
    if angry > neutral:
        return []
    return [
        f"arousal may be upside down: mean {angry:.2f} behind votes for angry, {neutral:.2f} behind votes for neutral"
    ]


READER = Reader(
    name="emo-superb",
    about="EMO-SUPERB label files of CREMA-D, IEMOCAP, MSP-IMPROV, MSP-Podcast, NNIME and others, smoothing undone",
    labels="the table's own",
    read=read,
    page=__doc__ or "",
    options=("rule", "audio"),
)
