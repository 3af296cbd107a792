"""MSP-IMPROV: improvised, read and natural speech of twelve actors in six sessions, with every rater's answer.

Files (SOURCE is the release's folder, its parent, or the evaluation file itself):
    Evalution.txt (so spelled in the release) or Evaluation.txt, needed
    session1/S01A/{P,R,S,T}/MSP-IMPROV-S01A-F01-P-FM01.wav      sounds, also below a folder such as Audio/
A block of the evaluation file is one line for the clip, one line for each rater, and a blank line:
    UTD-IMPROV-S01A-F02-R-FF01.avi; A; A:2.666667; V:2.333333; D:3.000000 ; N:4.100000;
    <rater>; <emotion>; <further emotions, ...>; A:3.0; V:2.0; D:3.0; N:4.0;

What becomes what:
    rater lines       the emotion is a primary vote; every word of the further emotions is a secondary vote. Emotions
                      of a primary vote are Angry, Sad, Happy, Neutral and Other; anything else becomes `other` with
                      its text. Secondary words are folded into the label set as published for MSP-Podcast (excited,
                      amused: happy; annoyed, frustrated: angry; depressed, disappointed, concerned: sad), the rest is
                      `other`; `text` keeps the word. A, V, D and N become ratings of arousal, valence, dominance and
                      naturalness, scale 1 to 5; NaN is no rating.
    clip line         the id (UTD- becomes MSP-, as the sounds are named), the consensus (A H S N O; X, no agreement,
                      is null; `consensus_code` keeps the letter) and mean attributes (`consensus_arousal`, ...).
    S01A              `script` is sentence 01; the letter is the emotion the scene was made for: `target`, and
                      `intended` where the clip was acted.
    F01               the speaker, with gender: F01 to F06 and M01 to M06. The number is taken as the
                      session's, as another toolkit does (unconfirmed).
    P R S T           `scenario`: natural, target-read, other-improvised, target-improvised. In natural clips (P) the
                      actors talk as themselves between scenes, so `intended` stays empty; `script` is named only
                      where the target sentence is said (R, T).
    dialogue          session and scene: both actors' turns on it. They talk to each other, so sessions should stay
                      together in a split (column `session`).
    split             none is official.

Traps:
    - Rater lines that are repeated exactly in a clip, and second lines of a rater who answered already, are listed as
      problems with their votes; the first line counts.
    - Any attribute may be NaN, of the clip or of a rater. There is a blank before the semicolon that precedes N.
    - Rater ids contain "-". Lines below a clip line that cannot be read are listed, never given to the clip above.
    - Another toolkit's settings turn arousal round for this corpus; in released means high is active (angry above
      neutral). It is left as it stands; the import compares angry with neutral and says if it looks turned round.

Label set: improv5. Options: --audio FOLDER, sounds elsewhere (in any folders below it).
Licence: the release's own academic terms; not redistributable.

Example:
    serann corpus import msp-improv MSP-IMPROV -o corpora/msp-improv
"""

import re
from pathlib import Path
from typing import NamedTuple

from ..labels import LABEL_SETS
from .base import Gatherer, Imported, Options, Reader, refuse
from .msp_labels import FOLDED  # the same words are offered here
from .tables.sheets import numbered_lines, read_text

SCALE = (1.0, 5.0)
LICENCE = "MSP-IMPROV academic licence; not redistributable"
NAMES = ("Evalution.txt", "Evaluation.txt")
SCENARIOS = {"P": "natural", "R": "target-read", "S": "other-improvised", "T": "target-improvised"}
_CLIP = re.compile(r"(?:UTD|MSP)-IMPROV-([\w-]+)(?:\.\w+)?\s*;(.*)")
_NAME = re.compile(r"(S\d+)([A-Z])-([FM])(\d+)-([A-Z])-\w+")
_ATTRIBUTE = re.compile(r"([A-Z])\s*:(.*)")
_OTHER = re.compile(r"other\b\W*(.*?)\W*", re.IGNORECASE | re.DOTALL)
_DIMENSIONS = {"A": "arousal", "V": "valence", "D": "dominance", "N": "naturalness"}


class _Answer(NamedTuple):
    """A rater's line in parts."""

    rater: str
    primary: str
    secondary: tuple[str, ...]
    attributes: tuple[tuple[str, str], ...]

    @property
    def votes(self) -> int:
        """How many votes are in the line; one that should be there and is not counts too."""
        return max(1, bool(self.primary) + len(self.secondary))


class _Sounds(NamedTuple):
    """The sounds that lie there, by clip, and where a session's folders are or should be."""

    here: dict[str, str]
    root: Path

    def path(self, utterance: str, session: str, scene: str, scenario: str) -> str:
        """Where the clip's sound lies, else where the release would put it."""
        expected = self.root / session / scene / scenario / f"{utterance}.wav"
        return self.here.get(utterance) or str(expected)


def read(source: Path, options: Options) -> Imported:
    """Read the evaluation file; CorpusError where there is none, or no clip in it."""
    file = _evaluation(source)
    if file is None:
        raise refuse("msp-improv", source, [f"{' or '.join(NAMES)} (in it, or one folder below)"])
    sounds, notes = _sounds(options.audio or file.parent, options.audio is not None)
    gatherer = Gatherer(LABEL_SETS["improv5"], spellings=FOLDED)
    _blocks(gatherer, file.name, read_text(file), sounds)
    found = gatherer.finish(
        release=f"MSP-IMPROV, {file.name}", licence=LICENCE, scale=SCALE, notes=notes, files=[file.name]
    )
    if not found.utterances.num_rows:
        looked_for = "clip lines such as UTD-IMPROV-S01A-F02-R-FF01.avi; A; A:2.6; V:2.3; D:3.0 ; N:4.1;"
        raise refuse("msp-improv", source, [looked_for], f"{file.name} without a clip line")
    return found


def _evaluation(source: Path) -> Path | None:
    """The evaluation file: `source` itself, in it, or in a folder of it."""
    if source.is_file():
        return source if source.name.casefold() in {name.casefold() for name in NAMES} else None
    if not source.is_dir():
        return None
    places = [source, *sorted(entry for entry in source.iterdir() if entry.is_dir())]
    return next((place / name for place in places for name in NAMES if (place / name).is_file()), None)


def _sounds(root: Path, named: bool) -> tuple[_Sounds | None, list[str]]:
    """The wavs below a folder. Where the release has no folder of them, None and a note."""
    root = root.resolve()
    if not root.is_dir():
        return None, [f"no sounds: {root} is no folder; the utterances name no audio"]
    files = sorted(file for file in root.rglob("MSP-IMPROV-*.wav") if not file.name.startswith("."))
    # session1/S01A/P/<clip>.wav lies three folders below what holds the sessions.
    homes = [file.parents[3] for file in files if len(file.parents) > 3 and file.parents[2].name.startswith("session")]
    sessions = sorted(entry.parent for entry in (*root.glob("session*"), *root.glob("*/session*")) if entry.is_dir())
    if not (files or sessions or named):
        return None, [f"no sounds: no folder session*/ below {root}; the utterances name no audio"]
    return _Sounds({file.stem: str(file) for file in files}, [*homes, *sessions, root][0]), []


def _blocks(gatherer: Gatherer, file: str, text: str, sounds: _Sounds | None) -> None:
    """Read the blocks: a clip line, its raters' lines, a blank line."""
    utterance, why = None, "an answer without a clip line above it"
    given: dict[str, _Answer] = {}
    for number, raw in numbered_lines(text):
        line = raw.strip()
        if not line:
            utterance, why = None, "an answer without a clip line above it"
        elif line.startswith(("UTD-", "MSP-")):
            utterance, why = _clip(gatherer, file, number, line, sounds)
            given = {}
        elif utterance is None:
            _list(gatherer, file, number, line, why)
        else:
            _answer(gatherer, utterance, file, number, line, given)


def _list(gatherer: Gatherer, file: str, number: int, line: str, reason: str, utterance: str | None = None) -> None:
    """List a rater's line as a problem, with as many votes as are in it."""
    answer = _parts(line)
    gatherer.count_in(answer.votes)
    gatherer.problem(
        file, number, reason, content=line, votes=answer.votes, utterance=utterance, rater=answer.rater or None
    )


def _clip(gatherer: Gatherer, file: str, number: int, line: str, sounds: _Sounds | None) -> tuple[str | None, str]:
    """Add the clip of a line; its id, or None and why the answers below belong to no clip."""
    match = _CLIP.fullmatch(line)
    if match is None:
        gatherer.problem(file, number, "a clip line that cannot be read", content=line)
        return None, "an answer below a clip line that cannot be read"
    utterance = f"MSP-IMPROV-{match[1]}"
    if utterance in gatherer:
        reason = f"clip {utterance} is there twice; its first evaluation is kept"
        gatherer.problem(file, number, reason, content=line, utterance=utterance)
        return None, reason
    # The clip's letter stands where a rater's emotion stands.
    answer = _parts(line)
    means = {}
    for letter, value in answer.attributes:
        rated = _value(letter, value)
        if isinstance(rated, str):
            gatherer.problem(file, number, rated, content=line, utterance=utterance)
        elif rated == rated:
            means[f"consensus_{_DIMENSIONS[letter]}"] = rated
    code = answer.primary or None
    agreed = None if code is None or code.casefold() == "x" else gatherer.label(code) or code
    audio = sounds.here.get(utterance) if sounds else None
    gatherer.utterance(utterance, audio=audio, consensus=agreed, consensus_code=code, **means)
    name = _NAME.fullmatch(match[1])
    if name is None:
        gatherer.problem(file, number, "a clip's name that says no speaker", content=match[1], utterance=utterance)
    else:
        gatherer.utterance(utterance, **_named(gatherer, utterance, name, sounds))
    return utterance, ""


def _named(gatherer: Gatherer, utterance: str, name: re.Match[str], sounds: _Sounds | None) -> dict[str, str | None]:
    """What a clip's name says: sentence, target emotion, speaker, scenario."""
    sentence, emotion, letter, speaker, scenario = name.groups()
    target, session = gatherer.label(emotion), f"session{int(speaker)}"
    scene = sentence + emotion
    return {
        "audio": sounds.path(utterance, session, scene, scenario) if sounds else None,
        "speaker": letter + speaker,
        "gender": "female" if letter == "F" else "male",
        "session": session,
        "dialogue": f"{session}-{scene}",
        "script": sentence if scenario in "RT" else None,
        "scenario": SCENARIOS.get(scenario, scenario),
        "target": target,
        # Between the scenes the actors are themselves: nothing is intended there.
        "intended": None if scenario == "P" else target,
    }


def _parts(line: str) -> _Answer:
    """Split a line at its semicolons: who, the emotion, further emotions, attributes."""
    first, *fields = (field.strip() for field in line.split(";"))
    attributes = [match for field in fields if (match := _ATTRIBUTE.fullmatch(field))]
    words = [field for field in fields if field and not _ATTRIBUTE.fullmatch(field)]
    primary = fields[0] if fields and not _ATTRIBUTE.fullmatch(fields[0]) else ""
    further = words[1:] if primary else words
    secondary = tuple(word.strip() for field in further for word in field.split(",") if word.strip())
    return _Answer(first, primary, secondary, tuple((match[1], match[2].strip()) for match in attributes))


def _value(letter: str, text: str) -> float | str:
    """An attribute's value, NaN where there is none; or what is wrong with it."""
    if letter not in _DIMENSIONS:
        return f"unknown attribute {letter!r}; expected one of {', '.join(_DIMENSIONS)}"
    try:
        value = float(text)
    except ValueError:
        value = None
    if value is None or not (value != value or SCALE[0] <= value <= SCALE[1]):
        return f"{_DIMENSIONS[letter]} is {text!r}; expected a number from 1 to 5, or NaN"
    return value


def _answer(gatherer: Gatherer, utterance: str, file: str, number: int, line: str, given: dict[str, _Answer]) -> None:
    """Take in a rater's line on a clip: the votes and the ratings."""
    answer = _parts(line)
    rater = answer.rater or None
    if rater is not None and rater in given:
        again = "is there twice" if given[rater] == answer else "answered already, otherwise; the first line is kept"
        _list(gatherer, file, number, line, f"rater {rater} {again}", utterance)
        return
    given[answer.rater] = answer
    if not answer.primary:
        # The vote that should be there is counted, unless others are in the line.
        missing = 0 if answer.secondary else 1
        gatherer.count_in(missing)
        reason = "a line without a primary emotion"
        gatherer.problem(file, number, reason, content=line, votes=missing, utterance=utterance, rater=rater)
    for rank, words in (("primary", [answer.primary] if answer.primary else []), ("secondary", answer.secondary)):
        for word in words:
            label, text = _emotion(gatherer, word, rank)
            gatherer.vote(utterance, label, file=file, line=number, rater=rater, rank=rank, free_text=text)
    for letter, text in answer.attributes:
        value = _value(letter, text)
        if isinstance(value, str):
            gatherer.problem(file, number, value, content=line, utterance=utterance, rater=rater)
        else:
            gatherer.rating(utterance, _DIMENSIONS[letter], value, file=file, line=number, rater=rater)


def _emotion(gatherer: Gatherer, word: str, rank: str) -> tuple[str, str | None]:
    """The label's word and the free text behind `other`; a primary vote is never folded."""
    other = _OTHER.fullmatch(word)
    if other:
        return "other", other[1] or None
    if rank == "primary" and word.casefold() in FOLDED:
        return "other", word
    return word, None


READER = Reader(
    name="msp-improv",
    about="MSP-IMPROV: every rater's primary and secondary emotions, attributes and naturalness, target emotions",
    labels="improv5",
    read=read,
    page=__doc__ or "",
    options=("audio",),
)
