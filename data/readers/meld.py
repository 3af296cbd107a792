"""MELD: scenes of a television series, one consensus label an utterance; the raters' votes are not published.

Files (SOURCE is the folder that holds the tables, or one up to two folders above it):
    train_sent_emo.csv, dev_sent_emo.csv, test_sent_emo.csv     one or more of them
    train_splits/, dev_splits_complete/, output_repeated_splits_test/ with dia<D>_utt<U>.mp4
The columns Utterance, Speaker, Emotion, Dialogue_ID and Utterance_ID are needed; Sentiment, Season, Episode, StartTime
and EndTime are kept where they are there (`sentiment`, `season`, `episode`; `episode_start` and `episode_end` in
seconds of the episode: the clips are cut already, so `start` and `end` stay empty).

What becomes what:
    Emotion           `consensus`, never a vote. There are no votes at all, so this corpus cannot be divided into seen
                      and held-out votes, audited against people, fused with human votes, or serve as a reference of
                      soft labels. Annotating it, and comparing with its one label, is what it is for.
    tables            the official splits: train, development, test. They are no speaker-disjoint division: a
                      name may occur in all three.
    ids               dialogue and utterance numbers start again in each table, so ids are train_dia0_utt0, ...
    Speaker           the character's name, as it stands.
    Utterance         the transcript. Quotes of Windows' code page (cp1252) are mended, also where they were carried
                      over to Unicode as control characters.

Sounds: the release has videos. `audio` names dia<D>_utt<U>.wav where such a file lies beside the video, else the
video, which serann's decoder may not open; make the wavs once, in each of the folders:
    for f in *.mp4; do ffmpeg -i "$f" -ac 1 -ar 16000 "${f%.mp4}.wav"; done
Known of the release (reported by another toolkit): the video of train dia125_utt3 is broken, that of dev dia110_utt7
is not there. Both utterances are imported, and named in a note. The sound has a laugh track.

Label set: meld7. Options: --audio FOLDER, which holds the three folders of videos or sounds, or sounds that are named
train_dia0_utt0.wav.
Licence: the release's own terms; serann ships nothing of it.

Example:
    serann corpus import meld MELD.Raw -o corpora/meld
"""

import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import CorpusError, few, list_problems
from ..labels import LABEL_SETS
from .base import Gatherer, Imported, Options, Reader, refuse
from .tables.sheets import Row, read_csv

LICENCE = "MELD: the release's own terms; clips of a television series, not redistributable"
# The word in the file's name and in the ids, to the split and the folder of its videos.
TABLES = {
    "train": ("train", "train_splits"),
    "dev": ("development", "dev_splits_complete"),
    "test": ("test", "output_repeated_splits_test"),
}
NEEDED = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
BROKEN = {"train_dia125_utt3": "broken", "dev_dia110_utt7": "absent"}
WITHOUT_VOTES = (
    "MELD publishes one label an utterance and no rater's vote: it can be annotated, but not divided into seen and "
    "held-out votes, audited against people, or fused with human votes"
)

_TIME = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?:[,.](\d{1,3}))?")
# Control characters of Unicode that no text holds, but cp1252 bytes taken for Latin-1 become.
_QUOTES = {
    code: bytes([code]).decode("cp1252") for code in range(0x80, 0xA0) if code not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}


def read(source: Path, options: Options) -> Imported:
    """Read the tables there are; CorpusError where there is none, or columns lack."""
    tables = _tables(source)
    if not tables:
        names = [f"{word}_sent_emo.csv" for word in TABLES]
        raise refuse("meld", source, [f"{', '.join(names)} (in it, or up to two folders below)"])
    gatherer = Gatherer(LABEL_SETS["meld7"])
    notes = [WITHOUT_VOTES]
    unreadable = []
    for word, path in tables.items():
        name = path.relative_to(source).as_posix()
        try:
            rows = _rows(gatherer, path, name)
        except CorpusError as error:
            unreadable.append(str(error))
            continue
        clips = _clips(source, path, word, options.audio)
        if clips is None:
            notes.append(f"no sounds for {name}: no folder {TABLES[word][1]} is there; its utterances name no audio")
        for row in rows:
            _utterance(gatherer, word, name, row, clips, options.audio is not None)
    if unreadable:
        raise CorpusError(list_problems(str(source), unreadable))
    notes += [f"no {word}_sent_emo.csv is there: that split is not imported" for word in TABLES if word not in tables]
    notes += [
        f"the video of {utterance} is {what} in the release"
        for utterance, what in BROKEN.items()
        if utterance in gatherer
    ]
    found = gatherer.finish(
        release=f"MELD, {', '.join(tables)}",
        licence=LICENCE,
        notes=notes,
        files=[path.relative_to(source).as_posix() for path in tables.values()],
    )
    if not found.utterances.num_rows:
        raise refuse("meld", source, ["rows with a Dialogue_ID and an Utterance_ID"], "tables without a readable row")
    return found


def _tables(source: Path) -> dict[str, Path]:
    """The tables by the word in their names, each the first that is found from the top."""
    if not source.is_dir():
        return {}
    found: dict[str, Path] = {}
    for word in TABLES:
        name = f"{word}_sent_emo.csv"
        paths = [path for depth in ("", "*/", "*/*/") for path in sorted(source.glob(depth + name))]
        if paths:
            found[word] = paths[0]
    return found


def _rows(gatherer: Gatherer, path: Path, name: str) -> Sequence[Row]:
    """A table's rows; those with too few or too many fields are listed."""
    header, rows, odd = read_csv(path)
    lacking = [column for column in NEEDED if column not in header]
    if lacking:
        raise CorpusError(f"{path} lacks the columns {', '.join(lacking)}; found {few(header, 20)}")
    for row in odd:
        reason = f"a row that has not the header's {len(header)} fields"
        gatherer.problem(name, row.line, reason, content=row.content)
    return rows


def _clips(source: Path, table: Path, word: str, folder: Path | None) -> Path | None:
    """The folder of a split's videos or sounds; None where there is none."""
    name = TABLES[word][1]
    if folder is not None:
        if not folder.is_dir():
            return None
        below = folder / name
        return (below if below.is_dir() else folder).resolve()
    patterns = (name, f"*/{name}", f"*/*/{name}")
    places = [path for top in (table.parent, source) for pattern in patterns for path in sorted(top.glob(pattern))]
    return next((path.resolve() for path in places if path.is_dir()), None)


def _utterance(gatherer: Gatherer, word: str, name: str, row: Row, clips: Path | None, named: bool) -> None:
    """Add the utterance of a row."""
    fields = {column: value.strip().translate(_QUOTES) for column, value in row.fields.items()}
    dialogue, turn = fields["Dialogue_ID"], fields["Utterance_ID"]
    if not (re.fullmatch(r"[0-9]{1,6}", dialogue) and re.fullmatch(r"[0-9]{1,6}", turn)):
        reason = f"dialogue {dialogue!r}, utterance {turn!r}; expected two numbers"
        gatherer.problem(name, row.line, reason, content=row.content)
        return
    clip = f"dia{int(dialogue)}_utt{int(turn)}"
    utterance = f"{word}_{clip}"
    if utterance in gatherer:
        reason = "the utterance is there twice; its first row is kept"
        gatherer.problem(name, row.line, reason, content=row.content, utterance=utterance)
        return
    emotion = fields["Emotion"]
    label = gatherer.label(emotion)
    if label is None:
        reason = f"unknown emotion {emotion!r}; expected one of {', '.join(gatherer.labels)}"
        gatherer.problem(name, row.line, reason, content=row.content, utterance=utterance)
    gatherer.utterance(
        utterance,
        audio=_sound(clips, clip, utterance, named) if clips else None,
        speaker=fields["Speaker"] or None,
        split=TABLES[word][0],
        dialogue=f"{word}_dia{int(dialogue)}",
        transcript=fields["Utterance"] or None,
        consensus=label or emotion or None,
        consensus_code=emotion or None,
        sentiment=fields.get("Sentiment") or None,
        season=fields.get("Season") or None,
        episode=fields.get("Episode") or None,
        episode_start=_seconds(fields.get("StartTime", "")),
        episode_end=_seconds(fields.get("EndTime", "")),
    )


def _sound(clips: Path, clip: str, utterance: str, named: bool) -> str:
    """The wav beside the video, else the video; in a folder that the user named, a wav is what should be there."""
    candidates = [clips / f"{clip}.wav", clips / f"{utterance}.wav", clips / f"{clip}.mp4"]
    # Three folders' sounds in one would share the names that lack the split.
    candidates = candidates if clips.name in {folder for _, folder in TABLES.values()} else candidates[1:2]
    there = next((path for path in candidates if path.is_file()), None)
    return str(there or candidates[0 if named else -1])


def _seconds(text: str) -> float | None:
    """Seconds of a time such as 00:16:16,059."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    hours, minutes, seconds, rest = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{rest or 0}")


READER = Reader(
    name="meld",
    about="MELD: official splits, one consensus label an utterance, transcripts; no votes are published",
    labels="meld7",
    read=read,
    page=__doc__ or "",
    options=("audio",),
)
