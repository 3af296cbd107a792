"""Emo-DB: acted German sentences of ten actors, with how many listeners recognised the intended emotion.

    serann corpus import emo-db EMO-DB -o emo-db

SOURCE is the release's folder, or its folder of sounds. What is read:
    wav/<speaker><text><emotion><version>.wav    as 03a01Fa.wav: speaker 03, text a01, happiness (F), version a
    erkennung.txt                                how 20 or 21 listeners judged each sound, in per cent

The sixth character is the emotion's German initial: W anger (Wut), L boredom (Langeweile), E disgust (Ekel), A fear
(Angst), F happiness (Freude), T sadness (Trauer), N neutral. It is what the actor intended, and becomes `intended`.

No votes. The file of listeners says what share of them recognised the intended emotion, and what share found the
sound natural. What the others heard is recorded nowhere, so there are no votes to import, of any label: the rate stays
a rate, in the columns
    recognised / listeners             of the recognition percentage
    natural    / natural_listeners     of the naturalness percentage
Each denominator is the smallest of 20 and 21 that reproduces its percentage to the two decimals given: 20 for most
sounds, 21 where only 21 gives the percentage (64 of the file's 816 rows by recognition). 100 % and 0 % fit both, and
are read as of 20 even where the other percentage needs 21: of such a sound only the rate is certain. A percentage
that neither gives is listed as a problem, and the columns are null.

Without votes nothing can be audited against single listeners' choices, and no human votes can be fused; `intended` and
the recognition rate can be compared with what synthetic listeners say. The released files were chosen for 80 %
recognition or more, so their rates are no sample of acted speech. (erklaerung.txt names 60 % naturalness as a second
condition; of the 243 files of five actors that were looked at, 23 fall below it.)

erkennung.txt is Latin-1 with tabs, no-break spaces and decimal commas. It has more rows (816) than there are released
files (535); rows without a sound are not imported, and a note says how many. Speakers are the actors by their number;
the files do not say their gender or age, which stay null. `script` is the text's code; the sentences themselves are
not in these files. There is no official split.

Licence: freely available (Burkhardt et al., 2005); the files hold no licence text, so ask before passing them on.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

from ..labels import LABEL_SETS
from .base import Gatherer, Imported, Options, Reader, refuse, sound_folder
from .tables.sheets import numbered_lines, read_text

LICENCE = "freely available (Burkhardt et al., 2005); the files state no licence"
NAME = re.compile(r"([0-9]{2})([a-z][0-9]{2})([WLEAFTN])([a-z])")
LETTERS = {
    "W": "angry",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happy",
    "T": "sad",
    "N": "neutral",
}
PANELS = (20, 21)


class Rate(NamedTuple):
    """`count` of `listeners` agreed."""

    count: int
    listeners: int


def read(source: Path, options: Options) -> Imported:
    """Read the sounds' names and, where it is there, the listeners' recognition rates."""
    folder = _sounds(source, options)
    gatherer = Gatherer(LABEL_SETS["emodb7"])
    names = _gather_names(gatherer, folder)
    if not names:
        raise refuse("emo-db", source, ["sounds named as 03a01Fa.wav, in SOURCE or SOURCE/wav"])
    places = (source / "erkennung.txt", folder.parent / "erkennung.txt", folder / "erkennung.txt")
    rates = next((path for path in places if path.is_file()), None)
    notes = [
        "no votes: the release says how many listeners recognised the intended emotion, not what the others heard; "
        "there is nothing to audit against or to fuse"
    ]
    if rates is None:
        notes.append("no erkennung.txt: how many listeners recognised the intended emotion is unknown")
    else:
        notes += _gather_rates(gatherer, rates, names)
    for name, path in names.items():
        speaker, text, letter, version = NAME.fullmatch(name).groups()  # pyright: ignore[reportOptionalMemberAccess]
        gatherer.utterance(
            name,
            audio=str(path),
            speaker=speaker,
            script=text,
            language="de",
            intended=LETTERS[letter],
            version=version,
        )
    release = f"Emo-DB, {len(names)} sounds" + ("" if rates is None else " with recognition rates")
    files = (folder.name, *([rates.name] if rates else []))
    return gatherer.finish(release=release, licence=LICENCE, notes=notes, files=files)


def _sounds(source: Path, options: Options) -> Path:
    folder = sound_folder(options, source / "wav", source)
    if folder is None:
        raise refuse("emo-db", source, ["wav/, a folder of sounds named as 03a01Fa.wav"])
    return folder


def _gather_names(gatherer: Gatherer, folder: Path) -> dict[str, Path]:
    """The folder's sounds by the name of their utterance; other files called .wav are listed."""
    names: dict[str, Path] = {}
    odd: list[str] = []
    for path in sorted(folder.iterdir()):
        if path.suffix.casefold() != ".wav" or path.name.startswith("._"):
            continue
        if NAME.fullmatch(path.stem) is None or path.stem in names:
            odd.append(os.fsencode(path.name).decode(errors="replace"))
        else:
            names[path.stem] = path
    for name in odd:
        reason = "no Emo-DB name (expected speaker, text, emotion letter and version, as 03a01Fa.wav)"
        gatherer.problem(f"{folder.name}/{name}", None, reason, content=name)
    return names


def _gather_rates(gatherer: Gatherer, path: Path, names: dict[str, Path]) -> list[str]:
    """Gather the rates of the sounds that are there; notes on rows and sounds without one another."""
    seen: dict[str, tuple[str, str]] = {}
    elsewhere: set[str] = set()
    for line, text in numbered_lines(read_text(path, encodings=("utf-8-sig", "latin-1"))):
        fields = text.split()  # blanks, tabs and no-break spaces alike
        if not fields or (len(fields) > 1 and fields[1] == "Satz"):
            continue
        name = re.sub(r"\.wav$", "", fields[1], flags=re.IGNORECASE) if len(fields) == 4 else ""
        if not NAME.fullmatch(name):
            gatherer.problem(path.name, line, "expected number, file, % recognised, % natural", content=text)
        elif name not in names:
            elsewhere.add(name)
        elif seen.setdefault(name, (fields[2], fields[3])) != (fields[2], fields[3]):
            gatherer.problem(path.name, line, "another row gives other rates", content=text, utterance=name)
        else:
            _gather_rate(gatherer, path, line, text, name, fields[2:])
    notes = []
    if elsewhere:
        notes.append(f"rows of {path.name} about sounds that are not there, not imported: {len(elsewhere)}")
    if len(names) > len(seen):
        notes.append(f"sounds without a row in {path.name}, rates unknown: {len(names) - len(seen)}")
    return notes


def _gather_rate(gatherer: Gatherer, path: Path, line: int, text: str, name: str, percentages: list[str]) -> None:
    recognised, natural = (rate_of(percentage) for percentage in percentages)
    for what, rate in (("recognised", recognised), ("natural", natural)):
        if rate is None:
            reason = f"the percentage {what} is none of 20 or of 21 listeners"
            gatherer.problem(path.name, line, reason, content=text, utterance=name)
    gatherer.utterance(
        name,
        recognised=recognised and recognised.count,
        listeners=recognised and recognised.listeners,
        natural=natural and natural.count,
        natural_listeners=natural and natural.listeners,
    )


def rate_of(percentage: str) -> Rate | None:
    """The smallest panel, of 20 or 21 listeners, that gives the percentage to its two decimals; None if neither does.

    >>> rate_of("95,00"), rate_of("95,24")
    (Rate(count=19, listeners=20), Rate(count=20, listeners=21))
    """
    if not re.fullmatch(r"[0-9]{1,3}([.,][0-9]{1,4})?", percentage):
        return None
    value = float(percentage.replace(",", "."))
    for listeners in PANELS:
        count = round(value / 100 * listeners)
        if count <= listeners and abs(100 * count / listeners - value) < 0.0051:
            return Rate(count, listeners)
    return None


READER = Reader(
    name="emo-db",
    about="acted German sentences, with the rate at which listeners recognised the emotion; no votes",
    labels="emodb7",
    read=read,
    page=__doc__ or "",
    options=("audio",),
)
