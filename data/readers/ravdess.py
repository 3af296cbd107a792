"""RAVDESS: 24 actors speak and sing two statements in eight emotions; intended labels only.

    serann corpus import ravdess RAVDESS -o ravdess
    serann corpus import ravdess RAVDESS -o ravdess-speech --modality speech

SOURCE is any folder above the actors' folders (Actor_01 to Actor_24), or one of them. What is read is the names of the
sounds, seven fields of two digits, as 03-01-06-01-02-01-12.wav:
    modality     03 audio; files of any other modality are counted in a note and not imported
    channel      01 speech, 02 song; both are imported unless --modality says speech or song
    emotion      01 neutral 02 calm 03 happy 04 sad 05 angry 06 fearful 07 disgust 08 surprised -> `intended`
    intensity    01 normal, 02 strong -> `intensity`; there is no strong neutral
    statement    -> `script`; the words are not in the files, so `transcript` is null
    repetition   -> `repetition`
    actor        odd numbers are men, even numbers women -> `speaker` (Actor_01 ...), `gender`

No votes. The emotion in the name is what the actor intended, and never becomes a vote. Validation ratings are in the
supplement of the corpus's paper alone (not confirmed to exist in a form that could be read here). Without votes nothing
can be audited against listeners or fused with them; synthetic listeners can still be drawn, and compared with
`intended`. Calm is a label of its own here (label set ravdess8), not another word for neutral.

Listed as problems: names of .wav files that are not seven such fields or hold a number outside the list, a strong
neutral (it is imported), a name whose actor is not that of the folder Actor_NN it lies in (the name is believed), and
the second of two files of one name: some copies hold every folder twice, once inside another (not confirmed of the
release itself). Names starting with ._ are passed over. There is no official split.

Licence: Creative Commons BY-NC-SA 4.0 as far as is known; not confirmed from the files, so read the copy's own terms.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import OptionError
from ..labels import LABEL_SETS
from .base import Gatherer, Imported, Options, Reader, refuse, sound_folder

LICENCE = "see the copy's own terms (understood to be CC BY-NC-SA 4.0; not confirmed from the files)"
NAME = re.compile(r"[0-9]{2}(-[0-9]{2}){6}")
FOLDER = re.compile(r"Actor_([0-9]{2})")
CHANNELS = {"01": "speech", "02": "song"}
EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}
INTENSITIES = {"01": "normal", "02": "strong"}
AUDIO_ONLY = "03"


class Name(NamedTuple):
    """The fields of a file's name, in its order, as they stand there."""

    modality: str
    channel: str
    emotion: str
    intensity: str
    statement: str
    repetition: str
    actor: str


def read(source: Path, options: Options) -> Imported:
    """Read the names of the sounds below `source`."""
    if options.modality not in (None, *CHANNELS.values()):
        raise OptionError(f"unknown --modality {options.modality!r}; expected one of speech, song (both if not given)")
    folder = sound_folder(options, source)
    if folder is None:
        raise refuse("ravdess", source, [LOOKED_FOR])
    gatherer = Gatherer(LABEL_SETS["ravdess8"])
    left_out = _gather(gatherer, folder, options.modality)
    imported = gatherer.finish(
        release="RAVDESS, " + (options.modality or "speech and song, as far as there is either"),
        licence=LICENCE,
        notes=[NO_VOTES, *left_out],
        files=(folder.name,),
    )
    if not imported.utterances.num_rows:
        raise refuse("ravdess", source, [LOOKED_FOR + (f", of {options.modality}" if options.modality else "")])
    return imported


LOOKED_FOR = "Actor_01/ and the like with sounds named as 03-01-06-01-02-01-12.wav"
NO_VOTES = (
    "no votes: the release holds what the actors intended, and no listener's answer; there is nothing to audit "
    "against or to fuse"
)


def _gather(gatherer: Gatherer, folder: Path, channel: str | None) -> list[str]:
    """Gather the sounds; notes on how many were left out, and why."""
    silent = other = 0
    for path in _sounds(folder):
        where = os.fsencode(path.relative_to(folder)).decode(errors="replace")
        problem = _bad_name(path.stem)
        if problem:
            gatherer.problem(where, None, problem, content=where)
            continue
        name = Name(*path.stem.split("-"))
        if name.modality != AUDIO_ONLY:
            silent += 1
        elif channel is not None and CHANNELS[name.channel] != channel:
            other += 1
        else:
            _add(gatherer, path, name, where)
    notes = [f"files of another modality than audio alone (03), not imported: {silent}"] if silent else []
    return [*notes, f"files that are no {channel}, not imported: {other}"] if other else notes


def _sounds(folder: Path) -> Iterator[Path]:
    paths = (path for path in folder.rglob("*") if path.suffix.casefold() in (".wav", ".mp4"))
    for path in sorted(paths, key=lambda path: (len(path.parts), path)):
        # Films are of interest only where their name is of this corpus: they are counted, not read.
        if not path.name.startswith("._") and (path.suffix.casefold() == ".wav" or NAME.fullmatch(path.stem)):
            yield path


def _bad_name(stem: str) -> str:
    """What is wrong with a name; empty if nothing is."""
    if not NAME.fullmatch(stem):
        return "no RAVDESS name (expected seven fields of two digits, as 03-01-06-01-02-01-12)"
    name = Name(*stem.split("-"))
    known = (("channel", CHANNELS), ("emotion", EMOTIONS), ("intensity", INTENSITIES))
    wrong = [f"{field} {getattr(name, field)}" for field, codes in known if getattr(name, field) not in codes]
    return f"unknown {', '.join(wrong)}" if wrong else ""


def _add(gatherer: Gatherer, path: Path, name: Name, where: str) -> None:
    utterance = path.stem
    if utterance in gatherer:
        reason = "a file of this name was imported already"
        gatherer.problem(where, None, reason, content=where, utterance=utterance)
        return
    inside = FOLDER.fullmatch(path.parent.name)
    if inside and inside[1] != name.actor:
        reason = f"the name says actor {name.actor}, the folder {inside[1]}; the name is believed"
        gatherer.problem(where, None, reason, content=where, utterance=utterance)
    if (name.emotion, name.intensity) == ("01", "02"):
        reason = "a strong neutral, which the corpus does not have"
        gatherer.problem(where, None, reason, content=where, utterance=utterance)
    gatherer.utterance(
        utterance,
        audio=str(path.resolve()),
        speaker=f"Actor_{name.actor}",
        gender="male" if int(name.actor) % 2 else "female",
        script=name.statement,
        language="en",
        intended=EMOTIONS[name.emotion],
        intensity=INTENSITIES[name.intensity],
        channel=CHANNELS[name.channel],
        repetition=int(name.repetition),
    )


READER = Reader(
    name="ravdess",
    about="acted speech and song of 24 actors; intended emotions, no votes",
    labels="ravdess8",
    read=read,
    page=__doc__ or "",
    options=("modality", "audio"),
    values={"modality": "speech or song"},
)
