"""ESD: speech of twenty speakers with five intended emotions; there are no votes on what is heard.

Files (SOURCE is the folder that holds the speakers' folders, or one up to two folders above it):
    0011/Angry/train/0011_000351.wav     also evaluation/ and test/ in the place of train/
    0011/Angry/0011_000351.wav           the same without those folders (a newer zip; unconfirmed)
    0011/0011.txt                        id <tab> sentence <tab> emotion, one line per utterance
    ReadMe.txt                           who speaks which language (see below)

What becomes what:
    Angry, Happy, Neutral, Sad, Surprise (the folder)
                      `intended`, never a vote. There are no votes at all, so this corpus cannot be divided into seen
                      and held-out votes, audited against people, fused with human votes, or serve as a reference of
                      soft labels. Annotating it, and comparing with what was intended, is what it is for.
    train, evaluation, test
                      the official splits train, development and test, where the folders are there. Every speaker is
                      in all three; for a speaker-disjoint division import with --split speaker.
    0011              the speaker, the first part of the file's name; a file in another speaker's folder is listed.
    <speaker>.txt     transcripts. `script` is the sentence in a normal form, so that a repeated sentence can be found
                      across splits.
    ReadMe.txt        `language` (zh, en) and `gender`, where it has lines such as "0011: English Male" (unconfirmed
                      for every release); else they stay empty.

Traps:
    - The transcripts' encoding differs from speaker to speaker (gb2312, utf-16, utf-8, latin-1). It is found from
      the bytes: a utf-16 mark, else utf-8, else gb2312, else Windows' Latin-1 (cp1252).
    - Fifteen lines of the transcripts are malformed (reported by another toolkit). A line that is not id, sentence and
      emotion is listed, and its utterance has no transcript. A sentence whose emotion is not its folder's is listed
      too; the folder counts. A transcript file that is missing or broken is a note or a problem, no refusal.
    - A file in a folder that is none of the five emotions, or with another name, is listed and not imported.

Label set: esd5. Options: --audio FOLDER, the speakers' folders with the sounds, where they are not below SOURCE.
Licence: the release's own terms (its ReadMe.txt); serann ships nothing of it.

Example:
    serann corpus import esd "Emotion Speech Dataset" -o corpora/esd
"""

import re
from pathlib import Path

from ..errors import CorpusError
from ..labels import LABEL_SETS
from .base import Gatherer, Imported, Options, Reader, refuse
from .tables.sheets import numbered_lines, read_text

LICENCE = "ESD: the release's own terms, see its ReadMe.txt; not redistributable"
ENCODINGS = ("utf-8-sig", "gb2312", "cp1252")
SPLITS = {"train": "train", "evaluation": "development", "test": "test"}
LANGUAGES = {"chinese": "zh", "mandarin": "zh", "english": "en"}
WITHOUT_VOTES = (
    "ESD has intended emotions and no listener's vote: it can be annotated, but not divided into seen and held-out "
    "votes, audited against people, or fused with human votes"
)

_SPEAKER = re.compile(r"[0-9]{4}")
_NAME = re.compile(r"([0-9]{4})_[0-9]{6}")
_PERSON = re.compile(r"([0-9]{4})\s*[:：]\s*(\w+)\s+(female|male)", re.IGNORECASE)


def read(source: Path, options: Options) -> Imported:
    """Read the speakers' folders; CorpusError where there is none with sounds."""
    speakers = _speakers(source)
    sounding = _speakers(options.audio) if options.audio else speakers
    gatherer = Gatherer(LABEL_SETS["esd5"])
    people = _people(source, speakers)
    notes, texts = [WITHOUT_VOTES], []
    for speaker, folder in sounding.items():
        text = speakers.get(speaker, folder) / f"{speaker}.txt"
        said = _transcripts(gatherer, text, speaker, notes)
        texts += [f"{speaker}/{text.name}"] if said else []
        for path in sorted(folder.rglob("*.wav")):
            if not path.name.startswith("."):
                _utterance(gatherer, path.relative_to(folder), folder, said, people.get(speaker))
    found = gatherer.finish(release=f"ESD, {len(sounding)} speakers", licence=LICENCE, notes=notes, files=texts)
    if not found.utterances.num_rows:
        looked_for = ["0011/Angry/0011_000351.wav", "0011/Angry/train/0011_000351.wav (also evaluation, test)"]
        raise refuse("esd", options.audio or source, looked_for)
    return found


def _speakers(source: Path) -> dict[str, Path]:
    """The speakers' folders, from the top that has any: `source`, or one or two folders below it."""
    if not source.is_dir():
        return {}
    for pattern in ("*", "*/*", "*/*/*"):
        folders = [path for path in sorted(source.glob(pattern)) if _SPEAKER.fullmatch(path.name) and path.is_dir()]
        if folders:
            return {path.name: path for path in reversed(folders)}
    return {}


def _people(source: Path, speakers: dict[str, Path]) -> dict[str, tuple[str, str]]:
    """Language and gender of the speakers whom the release's ReadMe names; nobody's where it cannot be read."""
    places = dict.fromkeys([source, *(folder.parent for folder in speakers.values())])
    files = [file for place in places if place.is_dir() for file in sorted(place.glob("*.txt"))]
    for file in files:
        if file.name.casefold() != "readme.txt":
            continue
        try:
            text = read_text(file, encodings=ENCODINGS)
        except CorpusError:
            continue
        return {
            speaker: (LANGUAGES[language.casefold()], gender.casefold())
            for speaker, language, gender in _PERSON.findall(text)
            if language.casefold() in LANGUAGES
        }
    return {}


def _transcripts(gatherer: Gatherer, path: Path, speaker: str, notes: list[str]) -> dict[str, tuple[str, str]]:
    """A speaker's sentences and the emotions named beside them, by utterance; odd lines become problems."""
    name = f"{speaker}/{path.name}"
    if not path.exists():
        notes.append(f"no {name} is there: speaker {speaker} has no transcripts")
        return {}
    try:
        text = read_text(path, encodings=ENCODINGS)
    except CorpusError as error:
        gatherer.problem(name, None, str(error))
        return {}
    said: dict[str, tuple[str, str]] = {}
    for number, line in numbered_lines(text):
        fields = [field.strip() for field in line.split("\t") if field.strip()]
        if not fields:
            continue
        if len(fields) != 3 or not _NAME.fullmatch(fields[0]):
            gatherer.problem(name, number, "a line that is not id, sentence and emotion", content=line)
        elif fields[0] in said:
            reason = f"utterance {fields[0]} is there twice; its first line is kept"
            gatherer.problem(name, number, reason, content=line, utterance=fields[0])
        else:
            said[fields[0]] = (fields[1], fields[2])
    return said


def _utterance(
    gatherer: Gatherer, path: Path, folder: Path, said: dict[str, tuple[str, str]], person: tuple[str, str] | None
) -> None:
    """Add the utterance of a sound; `path` is its place in the speaker's folder: emotion, perhaps split, name."""
    utterance, file = path.stem, f"{folder.name}/{path.as_posix()}"
    folders = path.parts[:-1]
    emotion = gatherer.label(folders[0]) if folders else None
    name = _NAME.fullmatch(utterance)
    wrong = None
    if name is None or name[1] != folder.name:
        wrong = f"a sound whose name is not {folder.name}_ and six digits"
    elif emotion is None:
        wrong = f"a sound outside the folders of the emotions {', '.join(gatherer.labels)}"
    elif utterance in gatherer:
        wrong = "the utterance is there twice; the first sound is kept"
    if wrong:
        gatherer.problem(file, None, wrong, utterance=utterance)
        return
    sentence, named = said.get(utterance, (None, None))
    # Other languages' words for the emotions spell no label and cannot be compared.
    if named and gatherer.label(named) not in (None, emotion):
        reason = f"the transcript says {named!r}, the folder {folders[0]!r}; the folder counts"
        gatherer.problem(file, None, reason, content=sentence or "", utterance=utterance)
    language, gender = person or (None, None)
    gatherer.utterance(
        utterance,
        audio=str(folder.resolve() / path),
        speaker=folder.name,
        gender=gender,
        language=language,
        split=SPLITS.get(folders[1]) if len(folders) > 1 else None,
        transcript=sentence,
        script=" ".join(re.findall(r"\w+", sentence.casefold())) if sentence else None,
        intended=emotion,
    )


READER = Reader(
    name="esd",
    about="ESD: intended emotions of twenty speakers, official splits, transcripts; nobody voted",
    labels="esd5",
    read=read,
    page=__doc__ or "",
    options=("audio",),
)
