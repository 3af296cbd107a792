"""CREMA-D: 7,442 clips of 91 actors, voted on by people who heard, saw, or heard and saw them.

    serann corpus import crema-d CREMA-D -o crema --modality voice

SOURCE is the release's folder, or one of its two vote files. What is read:
    processedResults/tabulatedVotes.csv   counts of A D F H N S for every clip and modality
    finishedResponses.csv                 every single response, with who gave it
    finishedEmoResponses.csv              when each response's first click came (for the official filter)
    SentenceFilenames.csv, VideoDemographics.csv, AudioWAV/<clip>.wav (or AudioMP3/<clip>.mp3)

--modality says whose votes: voice (people who only heard the clip; the default), face (only saw it) or av (both).
Votes of the two other modalities are not asked for and count nowhere. Nobody who votes on the face hears the sound.

Votes. The tabulated file is read unless --filter is given or it is not there: each count becomes that many votes
without a rater. From finishedResponses.csv each response is one vote of its rater (the column localid; the session's
number where that is empty). --filter official (the default there) drops, as the authors' processFinishedResponses.R
does, the responses whose first click came more than 10,000 ms after the clip, found by
sessionNums*1000 + queryType*100 + questNum; --filter none keeps them. Measured on the release: 73,254 voice votes
without the filter, 68,568 with it. Labels released with EMO-SUPERB are the votes without it.

Never a vote: the acted emotion in the file's name becomes `intended`, its level (low, medium, high; none for most)
`intended_level`. The voice plurality is neutral for 52 % of the clips, the acted emotion for 15 %. The tabulated
emoVote becomes `consensus`, null where several letters tie ("A:D"); `consensus_code` keeps it as it stands. The mean
levels (0 to 100) become level_<label>; -1 there says that nobody chose the label, and becomes null.

Listed as problems, never dropped in silence: responses that the filter drops, practice clips (7443, 7444, and names
that are no clip's), a rater's second response to the same clip (rows 137526 and 312184 are known; the authors'
script does not look for them), tabulated rows whose counts cannot be read. A response whose level is a letter or
whose time is negative keeps its vote; the odd value is listed. The levels of single responses are not kept: no column
of a vote holds them.

Sounds are read in place. A zip download holds Git-LFS pointers in their place: fetch them with git lfs pull. Four
mp3s that raters were played are known to be broken (1076_MTI_NEU_XX unplayable, 1076_MTI_SAD_XX silent,
1064_TIE_SAD_XX of length zero, 1064_IEO_DIS_MD of 61 s); the column `remark` says so. An older release names one file
1040_ITH_SAD_X.

Speakers are the actors (1001 to 1091) with gender, age, race and ethnicity from VideoDemographics.csv; `script` is
the sentence's code, `transcript` the sentence as the release's readme gives it. There is no official split and there
are no valence, arousal or dominance ratings.

Licence: Open Database License 1.0, contents under the Database Contents License 1.0.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..audio import LFS_MARK
from ..errors import CorpusError, OptionError, few
from ..labels import LABEL_SETS
from .base import Gatherer, Imported, Options, Reader, refuse, sound_folder
from .tables.sheets import Row, read_csv, read_text

# --------------------
# What CREMA-D's codes, file names, actors' table and folders of sounds say of its clips; votes are gathered beside.

MODALITIES = {"voice": "1", "face": "2", "av": "3"}
LETTERS = {"A": "angry", "D": "disgust", "F": "fear", "H": "happy", "N": "neutral", "S": "sad"}
CLIP = re.compile(r"([0-9]{4})_([A-Z]{3})_(ANG|DIS|FEA|HAP|NEU|SAD)_(LO|MD|HI|XX?)")
LEVELS = {"LO": "low", "MD": "medium", "HI": "high"}
# As the release's readme lists them.
SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
# https://github.com/CheyneyComputerScience/CREMA-D/issues/8 and 13
REMARKS = {
    "1076_MTI_NEU_XX": "the mp3 that raters were played cannot be decoded",
    "1076_MTI_SAD_XX": "silent",
    "1064_TIE_SAD_XX": "the mp3 that raters were played has length zero",
    "1064_IEO_DIS_MD": "the mp3 that raters were played lasts 61 s",
}
# Older copies of the release hold this clip under a shorter name (issue 6).
SHORTER_NAMES = {"1040_ITH_SAD_XX": "1040_ITH_SAD_X"}
GENDERS = {"male": "male", "female": "female"}


def columns_of(path: Path, expected: Sequence[str]) -> tuple[list[str], list[Row], list[Row]]:
    """A vote file's header, rows and odd rows; `CorpusError` where a column that is expected is not there."""
    header, rows, odd = read_csv(path)
    missing = [name for name in expected if name not in header]
    if missing:
        raise CorpusError(f"{path} has no column {', '.join(missing)}; its first line is {','.join(header)[:200]!r}")
    return header, rows, odd


def describe_clips(
    gatherer: Gatherer, root: Path, voted: set[str], options: Options
) -> tuple[list[Path], tuple[str, ...]]:
    """Add to the voted clips, and to those that SentenceFilenames.csv lists beside them, what is known of them.

    Returns the files that were read and the notes on what is lacking.
    """
    files, notes = [], []
    clips = set(voted)
    if (root / "SentenceFilenames.csv").is_file():
        files.append(root / "SentenceFilenames.csv")
        names = {row.fields.get("Filename", "").strip() for row in read_csv(files[-1])[1]}
        clips |= {name for name in names if CLIP.fullmatch(name)}
    if len(clips) > len(voted):
        notes.append(f"clips of SentenceFilenames.csv without a vote: {len(clips) - len(voted)}")
    actors: dict[str, dict[str, Any]] = {}
    if (root / "VideoDemographics.csv").is_file():
        files.append(root / "VideoDemographics.csv")
        actors = _actors(files[-1])
    without = sorted({clip[:4] for clip in clips} - set(actors))
    if without:
        notes.append(f"actors of whom VideoDemographics.csv says nothing, gender and age unknown: {len(without)}")
    folder = sound_folder(options, root / "AudioWAV", root / "AudioMP3")
    notes += _sound_notes(folder, clips)
    sound = _sounds(folder)
    for clip in clips:
        _describe(gatherer, clip, sound(clip), actors.get(clip[:4], {}))
    known = sorted(clips & set(REMARKS))
    if known:
        notes.append("clips with a known fault of their sound (column remark): " + few(known))
    return files, tuple(notes)


def _describe(gatherer: Gatherer, clip: str, audio: str | None, actor: dict[str, Any]) -> None:
    speaker, sentence, emotion, level = clip.split("_")
    gatherer.utterance(
        clip,
        audio=audio,
        speaker=speaker,
        script=sentence,
        transcript=SENTENCES.get(sentence),
        language="en",
        intended=gatherer.label(emotion),
        intended_level=LEVELS.get(level),
        remark=REMARKS.get(clip),
        **actor,
    )


def _actors(path: Path) -> dict[str, dict[str, Any]]:
    actors: dict[str, dict[str, Any]] = {}
    for row in read_csv(path)[1]:
        said = {name: row.fields.get(name, "").strip() for name in ("ActorID", "Age", "Sex", "Race", "Ethnicity")}
        actors.setdefault(
            said["ActorID"],
            {
                "gender": GENDERS.get(said["Sex"].casefold()),
                "speaker_age": int(said["Age"]) if re.fullmatch("[0-9]{1,3}", said["Age"]) else None,
                "speaker_race": said["Race"] or None,
                "speaker_ethnicity": said["Ethnicity"] or None,
            },
        )
    return actors


def _sounds(folder: Path | None) -> Callable[[str], str | None]:
    """Where each clip's sound is, or should lie: <clip>.wav, <clip>.mp3 where only that is there."""
    if folder is None:
        return lambda clip: None
    there = {path.name for path in folder.iterdir()}
    usual = ".wav" if folder.name != "AudioMP3" else ".mp3"

    def sound(clip: str) -> str:
        names = [stem + ending for ending in (".wav", ".mp3") for stem in (clip, SHORTER_NAMES.get(clip, clip))]
        return str(folder / next((name for name in names if name in there), clip + usual))

    return sound


def _sound_notes(folder: Path | None, clips: Iterable[str]) -> list[str]:
    if folder is None:
        return ["no folder AudioWAV or AudioMP3: the clips have no sound; name its folder with --audio"]
    notes = []
    if folder.name == "AudioMP3":
        notes.append("no folder AudioWAV: the sounds are the mp3s that raters were played, four of them known broken")
    first = next((path for path in sorted(folder.iterdir()) if path.stem in clips and path.is_file()), None)
    if first is not None:
        with first.open("rb") as file:
            if file.read(len(LFS_MARK)) == LFS_MARK:
                notes.append(f"{first.name} is a Git-LFS pointer, not a sound; fetch the sounds with: git lfs pull")
    return notes


# --------------------
# CREMA-D's single responses, with the raters' identity and the authors' filter of slow ones.

RESPONSES = ("localid", "ttr", "queryType", "questNum", "clipNum", "clipName", "sessionNums", "respEmo", "respLevel")
TIMES = ("sessionNums", "queryType", "questNum", "ttr")
SLOWEST_MS = 10_000


def gather_responses(gatherer: Gatherer, path: Path, code: str, times: Sequence[Path]) -> set[str]:
    """Gather one modality's responses, each a vote of its rater; `times` is the file of first clicks, to filter by."""
    _, rows, odd = columns_of(path, RESPONSES)
    slow = {key for file in times for key in _slow(gatherer, file)}
    clips: set[str] = set()
    cast: set[tuple[str, str]] = set()
    for row in rows:
        query = row.fields["queryType"].strip()
        if query != code and query in MODALITIES.values() and "\n" not in row.content:
            continue
        fields = {name: row.fields[name].strip() for name in RESPONSES}
        rater = fields["localid"] or (f"session-{fields['sessionNums']}" if fields["sessionNums"] else None)
        clip = fields["clipName"]
        reason = _unwanted(row, fields, code, slow)
        if not reason and rater and (rater, clip) in cast:
            reason = f"rater {rater} voted on this clip already"
        if reason:
            _lose_response(gatherer, path, row, reason)
            continue
        clips.add(clip)
        gatherer.utterance(clip)
        gatherer.vote(clip, fields["respEmo"], file=path.name, line=row.line, rater=rater)
        cast |= {(rater, clip)} if rater else set()
        for odd_value in _odd_values(fields):
            gatherer.problem(path.name, row.line, odd_value, content=row.content, utterance=clip, rater=rater)
    for row in odd:
        _lose_response(gatherer, path, row, "another number of fields than the header's")
    return clips


def _lose_response(gatherer: Gatherer, path: Path, row: Row, reason: str) -> None:
    """List a response that is no vote; a quotation mark that swallowed lines swallowed a vote with each."""
    votes = 1 + row.content.count("\n")
    gatherer.count_in(votes)
    clip, rater = (row.fields.get(name, "").strip() or None for name in ("clipName", "localid"))
    gatherer.problem(path.name, row.line, reason, content=row.content, votes=votes, utterance=clip, rater=rater)


def _unwanted(row: Row, fields: dict[str, str], code: str, slow: set[int]) -> str:
    """Why a response is no vote of this modality; empty where it is one."""
    if "\n" in row.content:
        return "a quoted field that goes on over several lines"
    if fields["queryType"] != code:
        return f"queryType {fields['queryType']!r} is no modality (expected 1, 2 or 3)"
    if fields["clipNum"] in ("7443", "7444"):
        return "a practice clip"
    if not CLIP.fullmatch(fields["clipName"]):
        return f"{fields['clipName']!r} is no clip's name"
    if fields["respEmo"] not in LETTERS:
        return f"unknown label {fields['respEmo']!r}; expected one of {', '.join(LETTERS)}"
    if _key(fields) in slow:
        return f"the first click came after more than {SLOWEST_MS:,} ms (the authors' filter)"
    return ""


def _odd_values(fields: dict[str, str]) -> list[str]:
    """What is wrong with a response whose vote stands."""
    problems = []
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", fields["respLevel"]):
        problems.append(f"respLevel is {fields['respLevel']!r}, not a number; the vote is kept")
    if fields["ttr"].startswith("-"):
        problems.append(f"ttr is negative ({fields['ttr']} ms); the vote is kept")
    return problems


def _slow(gatherer: Gatherer, path: Path) -> set[int]:
    """The keys of responses whose first click took too long, as processFinishedResponses.R computes them."""
    if not path.is_file():
        raise CorpusError(
            f"the official filter needs {path}, which is missing; copy it there, or import every response with "
            "--filter none"
        )
    _, rows, odd = columns_of(path, TIMES)
    slow: set[int] = set()
    for row in rows:
        key, time = _key(row.fields), re.fullmatch(r"(-?[0-9]+)(\.[0-9]+)?", row.fields["ttr"].strip())
        if key is None or time is None:
            odd.append(row)
        elif float(time[0]) > SLOWEST_MS:
            slow.add(key)
    for row in odd:
        gatherer.problem(path.name, row.line, "a time the filter cannot use", content=row.content)
    return slow


def _key(fields: dict[str, str]) -> int | None:
    numbers = [fields[name].strip() for name in ("sessionNums", "queryType", "questNum")]
    if not all(re.fullmatch("[0-9]{1,9}", text) for text in numbers):
        return None
    session, query, question = map(int, numbers)
    return session * 1000 + query * 100 + question


LICENCE = "Open Database License 1.0; contents under the Database Contents License 1.0"
FILTERS = ("official", "none")
LEVEL_COLUMNS = {
    "meanAngerResp": "level_angry",
    "meanDisgustResp": "level_disgust",
    "meanFearResp": "level_fear",
    "meanHappyResp": "level_happy",
    "meanNeutralResp": "level_neutral",
    "meanSadResp": "level_sad",
}
TABULATED = (*LETTERS, "fileName", "numResponses")
NOT_ABOUT_SOUND = {
    "face": "modality face: these people saw the face and heard nothing, so their votes are not about the sound",
    "av": "modality av: these people heard and saw the actor, so their votes are not about the sound alone",
}


class Release(NamedTuple):
    """Where the release's vote files are; None for one that is not there."""

    root: Path
    tabulated: Path | None
    responses: Path | None


def read(source: Path, options: Options) -> Imported:
    """Read one modality's votes, tabulated or response by response."""
    modality, kept = options.modality or "voice", options.filter or "official"
    if modality not in MODALITIES:
        raise OptionError(f"unknown --modality {modality!r}; expected one of {', '.join(MODALITIES)}")
    if kept not in FILTERS:
        raise OptionError(f"unknown --filter {kept!r}; expected one of {', '.join(FILTERS)}")
    release = _find(source)
    gatherer = Gatherer(LABEL_SETS["crema6"])
    notes = [NOT_ABOUT_SOUND[modality]] if modality in NOT_ABOUT_SOUND else []
    if release.responses and (options.filter or not release.tabulated):
        files = [release.responses]
        if kept == "official":
            files.append(release.root / "finishedEmoResponses.csv")
        clips = gather_responses(gatherer, release.responses, MODALITIES[modality], files[1:])
        what = f"responses of single raters, filter {kept}"
    else:
        path = _tabulated(release, options)
        files, what = [path], "tabulated votes, without raters, after the authors' filter"
        clips = _gather_counts(gatherer, path, MODALITIES[modality])
    more_files, more_notes = describe_clips(gatherer, release.root, clips, options)
    files = [str(path.relative_to(release.root)) for path in (*files, *more_files)]
    name = f"CREMA-D, {modality}: {what}"
    return gatherer.finish(release=name, licence=LICENCE, notes=(*notes, *more_notes), files=files)


def _find(source: Path) -> Release:
    if source.is_file():
        root = source.parent.parent if source.parent.name == "processedResults" else source.parent
        header = read_text(source).split("\n", 1)[0]
        if "respEmo" in header:
            return Release(root, None, source)
        if "numResponses" in header:
            return Release(root, source, _there(root / "finishedResponses.csv"))
    elif source.is_dir():
        root = source.parent if source.name == "processedResults" else source
        tabulated = _there(root / "processedResults" / "tabulatedVotes.csv") or _there(root / "tabulatedVotes.csv")
        responses = _there(root / "finishedResponses.csv")
        if tabulated or responses:
            return Release(root, tabulated, responses)
    looked_for = [
        "processedResults/tabulatedVotes.csv, or that file itself (a column numResponses)",
        "finishedResponses.csv, or that file itself (a column respEmo)",
    ]
    raise refuse("crema-d", source, looked_for)


def _there(path: Path) -> Path | None:
    return path if path.is_file() else None


def _tabulated(release: Release, options: Options) -> Path:
    assert release.tabulated is not None
    if options.filter == "none":
        raise CorpusError(
            f"--filter none needs finishedResponses.csv, which is not in {release.root}; the tabulated votes have been "
            "through the official filter already, and can be imported without --filter"
        )
    return release.tabulated


def _gather_counts(gatherer: Gatherer, path: Path, code: str) -> set[str]:
    """Gather one modality's counts and consensus; the first digit of a row's id is its modality."""
    header, rows, odd = columns_of(path, TABULATED)
    clips: set[str] = set()
    for row in rows:
        number = row.fields[header[0]].strip()
        if _another(number, code):
            continue
        reason = _unreadable(row, number, clips)
        if reason:
            _lose(gatherer, path, row, reason)
            continue
        clip = row.fields["fileName"].strip()
        clips.add(clip)
        _gather_row(gatherer, path, row, clip)
    for row in odd:
        if not _another(row.fields[header[0]].strip(), code):
            _lose(gatherer, path, row, f"another number of fields than the header's {len(header)}")
    return clips


def _another(number: str, code: str) -> bool:
    """Whether a row's id says another modality; a row whose id cannot be read is not passed over."""
    return re.fullmatch("[123][0-9]{5}", number) is not None and number[0] != code


def _unreadable(row: Row, number: str, clips: set[str]) -> str:
    """Why a row's votes cannot be taken; empty where they can."""
    clip = row.fields["fileName"].strip()
    unread = [f"{letter}={row.fields[letter]}" for letter in LETTERS if _count(row.fields[letter]) is None]
    if "\n" in row.content:
        return "a quoted field that goes on over several lines"
    if not re.fullmatch("[123][0-9]{5}", number):
        return f"row id {number!r} names no modality (expected six digits, the first of them 1, 2 or 3)"
    if not CLIP.fullmatch(clip):
        return f"{clip!r} is no clip's name"
    if unread:
        return f"counts that are no numbers: {', '.join(unread)}"
    return f"clip {clip} has a row already" if clip in clips else ""


def _count(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,4}", text.strip()) else None


def _lose(gatherer: Gatherer, path: Path, row: Row, reason: str) -> None:
    """List a row whose votes cannot be taken: as many as its counts add up to, or as it says, one a line at least."""
    counts = [_count(row.fields.get(letter, "")) or 0 for letter in LETTERS]
    votes = max(sum(counts), _count(row.fields.get("numResponses", "")) or 0, 1 + row.content.count("\n"))
    gatherer.count_in(votes)
    clip = row.fields.get("fileName", "").strip() or None
    gatherer.problem(path.name, row.line, reason, content=row.content, votes=votes, utterance=clip)


def _gather_row(gatherer: Gatherer, path: Path, row: Row, clip: str) -> None:
    code = row.fields.get("emoVote", "").strip()
    columns: dict[str, str | float | None] = {"consensus": LETTERS.get(code), "consensus_code": code or None}
    for name, column in LEVEL_COLUMNS.items():
        text = row.fields.get(name, "").strip()
        columns[column] = float(text) if re.fullmatch(r"[0-9]{1,3}(\.[0-9]+)?", text) else None
    gatherer.utterance(clip, **columns)
    total = 0
    for letter in LETTERS:
        for _ in range(_count(row.fields[letter]) or 0):
            total += gatherer.vote(clip, letter, file=path.name, line=row.line)
    if _count(row.fields["numResponses"]) != total:
        reason = f"numResponses is {row.fields['numResponses']}, the counts add up to {total}"
        gatherer.problem(path.name, row.line, reason, content=row.content, utterance=clip)


READER = Reader(
    name="crema-d",
    about="7,442 acted clips, voted on by voice, face, or both; tabulated or by rater",
    labels="crema6",
    read=read,
    page=__doc__ or "",
    options=("modality", "filter", "audio"),
    values={"modality": "voice, face or av", "filter": "official or none (of the raw responses)"},
)
