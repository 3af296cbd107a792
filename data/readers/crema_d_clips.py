"""What CREMA-D's codes, file names, actors' table and folders of sounds say of its clips; votes are gathered beside."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ..audio import LFS_MARK
from ..errors import CorpusError
from .base import Gatherer, Options, sound_folder
from .text import Row, read_csv

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
        notes.append("clips with a known fault of their sound (column remark): " + ", ".join(known))
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
