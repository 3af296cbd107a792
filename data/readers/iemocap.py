"""IEMOCAP: five dyadic sessions with evaluators' labels and attributes, and the actors' reports on themselves.

Files (the full release's layout; SOURCE is the folder that holds the sessions, its parent, or one session):
    Session1/dialog/EmoEvaluation/<dialog>.txt      evaluations, needed
    Session1/dialog/transcriptions/<dialog>.txt     words
    Session1/sentences/wav/<dialog>/<utterance>.wav sounds, one file an utterance
Files whose names start with "._" (left by macOS archives; unconfirmed) are skipped, and so are the folders Categorical,
Attribute and Self-evaluation, which hold the same answers once more.

What becomes what:
    C-E lines         votes, one row per label. A vote that names several labels ("Neutral; Anger;") keeps them all,
                      each with weight 1 / number of its labels, so that every rater weighs one. What the rater wrote
                      in brackets is the rows' `text`.
    C-F, C-M lines    the same with source `self`: the actors on themselves. The rater is the session and the id in
                      the file (Ses01_F1).
    A-E, A-F, A-M     ratings of valence, arousal ("act") and dominance, scale 1 to 5, by the rater of that line. 36
                      such lines lack dominance (reported by another toolkit); then there is no such rating.
                      Remarks on them are kept in the utterances' column `rating_comments`.
    header line       consensus label (`xxx`, no majority, is null; the code stays in `consensus_code`), the mean
                      attributes (`consensus_valence`, `consensus_arousal`, `consensus_dominance`; the file's order is
                      valence, activation, dominance), and the place in the dialogue (`dialog_start`, `dialog_end`,
                      seconds). The sounds are cut already, so `start` and `end` stay empty.
    scenario          `improvised` or `scripted`; `script` names a scripted scene, which every session plays again.
    split             none is official. Sessions are the usual five folds: the two speakers of a session talk to each
                      other, so keep them together (column `session`).

Traps:
    - The speaker is the letter of the LAST part of the id: Ses01F_impro01_M013 is spoken by the man of session 1. The
      letter in Ses01F says who wore the markers; as a speaker it is right in 50.7 % of 10,039 utterances only.
    - The raters of labels and those of attributes are different people for the same utterance: do not join them.
    - Label lines and attribute lines of no utterance (a cut or broken header above them), and a rater's second line
      on an utterance, are listed as problems.
    - Ids with X (_FXX0) occur in transcriptions without an evaluation; they are no utterances of the corpus.

Label set: iemocap10 (the nine and `other`; a category that is none of them becomes `other` with its text).
Options: --audio FOLDER, sounds elsewhere: laid out as the release, as <dialog>/<utterance>.wav, or all in one folder.
Licence: granted by the University of Southern California on request; not redistributable.

Example:
    serann corpus import iemocap IEMOCAP_full_release -o corpora/iemocap
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..errors import CorpusError, list_problems
from ..labels import LABEL_SETS
from .base import Gatherer, Imported, Options, Reader, refuse
from .tables.sheets import numbered_lines, read_text

# --------------------
# IEMOCAP's evaluation files: per utterance a header line, the raters' and the actors' answers, a blank line.

SCALE = (1.0, 5.0)

_HEADER = re.compile(r"\[\s*([\d.]+)\s*-\s*([\d.]+)\s*\]\s+([\w.-]+)\s+(\S+)\s+\[([^\]]*)\]\s*")
_ANSWER = re.compile(r"([CA])-([EFM]\w*)\s*:(.*)")
_ATTRIBUTE = re.compile(r"(val|act|dom)\b\s*(\S*)")
_SPOKEN = re.compile(r"Ses(\d\d)[FM]_(\w+)_([FM])[^\W_]*")
_DIMENSIONS = {"val": "valence", "act": "arousal", "dom": "dominance"}


class Dialogue(NamedTuple):
    """A dialogue's evaluations: its name, its file's name in messages, and where an utterance's sound lies."""

    name: str
    file: str
    sound: Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class _Block:
    """The utterance that lines belong to and who has voted on it, or (`why`) the reason that they belong to none."""

    utterance: str | None = None
    session: str = ""
    why: str = "an evaluation without an utterance above it"
    voted: set[str] = field(default_factory=set)


def read_evaluations(gatherer: Gatherer, source: Dialogue, text: str, remarks: dict[str, list[str]]) -> None:
    """Read one dialogue's blocks; what raters wrote beside attributes goes to `remarks`, by utterance."""
    block, file = _Block(), source.file
    for number, raw in numbered_lines(text):
        line = raw.strip()
        answer = _ANSWER.fullmatch(line)
        if not line or line.startswith("%"):
            block = _Block()
        elif line.startswith("["):
            block = _header(gatherer, source, number, line)
        elif answer is None:
            _unread(gatherer, block, file, number, line)
        elif answer[1] == "C":
            _votes(gatherer, block, file, number, answer)
        else:
            _ratings(gatherer, block, file, number, answer, remarks)


def _unread(gatherer: Gatherer, block: _Block, file: str, number: int, line: str) -> None:
    """List a line that is no answer; unless it speaks of attributes, a vote may have been in it."""
    seen = 0 if _ATTRIBUTE.search(line.partition("(")[0]) else len(_labels(line.partition(":")[2])) or 1
    gatherer.count_in(seen)
    reason = "neither an utterance nor an answer"
    gatherer.problem(file, number, reason, content=line, votes=seen, utterance=block.utterance)


def _header(gatherer: Gatherer, source: Dialogue, number: int, line: str) -> _Block:
    match, file, dialogue = _HEADER.fullmatch(line), source.file, source.name
    if match is None:
        gatherer.problem(file, number, "an utterance's header that cannot be read", content=line)
        return _Block(why="an evaluation below a header that cannot be read")
    start, end, utterance, code, means = match.groups()
    if utterance in gatherer:
        reason = f"utterance {utterance} is there twice; its first evaluation is kept"
        gatherer.problem(file, number, reason, content=line, utterance=utterance)
        return _Block(why=reason)
    # The letter after the session wears the markers; who speaks is said by the last part of the id.
    spoken = _SPOKEN.fullmatch(utterance)
    session, letter = (f"Ses{spoken[1]}", spoken[3]) if spoken else ("", None)
    scene = spoken[2] if spoken else dialogue
    scripted = "script" in scene
    valence, arousal, dominance = _means(means)
    gatherer.utterance(
        utterance,
        speaker=f"{session}{letter}" if letter else None,
        gender={"F": "female", "M": "male", None: None}[letter],
        audio=source.sound(utterance),
        dialogue=dialogue,
        session=session or None,
        scenario="scripted" if scripted else "improvised" if "impro" in scene else None,
        script=scene if scripted else None,
        consensus=None if code.casefold() == "xxx" else gatherer.label(code) or code,
        consensus_code=code,
        consensus_valence=valence,
        consensus_arousal=arousal,
        consensus_dominance=dominance,
        dialog_start=_number(start),
        dialog_end=_number(end),
    )
    return _Block(utterance, session)


def _means(text: str) -> list[float | None]:
    """The header's valence, activation and dominance, each null where it is not there."""
    values = [_number(field) for field in text.split(",")]
    return (values + [None] * 3)[:3]


def _number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def _labels(text: str) -> list[str]:
    """The labels of an answer: what stands before the remark, between semicolons."""
    fields = (field.strip() for field in text.partition("(")[0].split(";"))
    return [field for field in fields if field]


def _remark(text: str) -> str | None:
    """What a rater wrote in the brackets at the end of an answer."""
    _, bracket, remark = text.partition("(")
    return remark.strip().removesuffix(")").strip() or None if bracket else None


def _rater(block: _Block, name: str) -> str:
    """Evaluators have one id throughout; the actors' ids start again in each session."""
    return name if name.startswith("E") or not block.session else f"{block.session}_{name}"


def _votes(gatherer: Gatherer, block: _Block, file: str, number: int, answer: re.Match[str]) -> None:
    """Take in a label line: each of its labels is a vote, all of them together weigh one."""
    labels = _labels(answer[3])

    def refuse_vote(reason: str, votes: int) -> None:
        gatherer.count_in(votes)
        where = {"utterance": block.utterance, "rater": answer[2]}
        gatherer.problem(file, number, reason, content=answer.string, votes=votes, **where)

    if block.utterance is None or not labels:
        refuse_vote("a vote that names no label" if block.utterance else block.why, len(labels) or 1)
        return
    if answer[2] in block.voted:
        refuse_vote(f"rater {answer[2]} voted already; the first line is kept", len(labels))
        return
    block.voted.add(answer[2])
    distinct: dict[str, str] = {}
    for label in labels:
        meant = gatherer.label(label) or label.casefold()
        if meant in distinct:
            refuse_vote(f"the vote names {label!r} twice", 1)
        distinct.setdefault(meant, label)
    for label in distinct.values():
        gatherer.vote(
            block.utterance,
            label,
            file=file,
            line=number,
            rater=_rater(block, answer[2]),
            source="human" if answer[2].startswith("E") else "self",
            weight=1 / len(distinct),
            free_text=_remark(answer[3]),
        )


def _ratings(
    gatherer: Gatherer, block: _Block, file: str, number: int, answer: re.Match[str], remarks: dict[str, list[str]]
) -> None:
    content, where = answer.string, {"utterance": block.utterance, "rater": answer[2]}
    if block.utterance is None:
        gatherer.problem(file, number, block.why, content=content, **where)
        return
    remark = _remark(answer[3])
    if remark:
        remarks.setdefault(block.utterance, []).append(f"A-{answer[2]}: {remark}")
    rated = _ATTRIBUTE.findall(answer[3].partition("(")[0].replace(";", " ; "))
    if not rated:
        gatherer.problem(file, number, "an attribute line without an attribute", content=content, **where)
    for short, text in rated:
        value = _number(text)
        if text in ("", ";"):  # 36 lines of the release stop before dominance's value
            continue
        if value is None or not SCALE[0] <= value <= SCALE[1]:
            reason = f"{_DIMENSIONS[short]} is {text!r}; expected a number from 1 to 5"
            gatherer.problem(file, number, reason, content=content, **where)
            continue
        gatherer.rating(
            block.utterance,
            _DIMENSIONS[short],
            value,
            file=file,
            line=number,
            rater=_rater(block, answer[2]),
            source="human" if answer[2].startswith("E") else "self",
        )


LICENCE = "IEMOCAP licence of the University of Southern California; not redistributable"

_WORDS = re.compile(r"([\w.-]+)\s*\[[\d.\s-]*\]\s*:(.*)")


class _Sounds(NamedTuple):
    """The sounds that lie there, by utterance; `named` is the folder that the user named for them. None: no folder."""

    here: dict[str, str] | None
    named: Path | None

    def path(self, evaluation: Path, utterance: str) -> str | None:
        """Where an utterance's sound lies, else where the release would put it."""
        if self.here is None:
            return None
        # Session1/dialog/EmoEvaluation/<dialog>.txt
        home = self.named or evaluation.parents[2].resolve() / "sentences" / "wav"
        return self.here.get(utterance) or str(home / evaluation.stem / f"{utterance}.wav")


def read(source: Path, options: Options) -> Imported:
    """Read the evaluations of every session below `source`; CorpusError if there is none, or a file is no text."""
    sessions = _sessions(source)
    files = [file for session in sessions for file in _texts(session / "dialog" / "EmoEvaluation")]
    if not files:
        raise refuse("iemocap", source, ["Session1/dialog/EmoEvaluation/<dialog>.txt (in it, or one folder below)"])
    gatherer = Gatherer(LABEL_SETS["iemocap10"])
    sounds, notes = _sounds(sessions, options.audio)
    remarks: dict[str, list[str]] = {}
    unreadable = []
    for file in files:
        try:
            text = read_text(file)
        except CorpusError as error:
            unreadable.append(str(error))
            continue
        name = file.relative_to(source).as_posix()
        read_evaluations(gatherer, Dialogue(file.stem, name, partial(sounds.path, file)), text, remarks)
    if unreadable:
        raise CorpusError(list_problems(str(source), unreadable))
    for utterance, lines in remarks.items():
        if utterance in gatherer:
            gatherer.utterance(utterance, rating_comments="\n".join(lines))
    notes += _transcripts(gatherer, source, sessions)
    names = sorted({session.resolve().name for session in sessions})
    found = gatherer.finish(
        release=f"IEMOCAP, {', '.join(names)}",
        licence=LICENCE,
        scale=SCALE,
        notes=notes,
        files=[file.relative_to(source).as_posix() for file in files],
    )
    if not found.utterances.num_rows:
        looked_for = "header lines such as [6.2901 - 8.2357]<tab>Ses01F_impro01_F000<tab>neu<tab>[2.5, 2.5, 2.5]"
        raise refuse("iemocap", source, [looked_for], f"{len(files)} evaluation files without an utterance")
    return found


def _sessions(source: Path) -> list[Path]:
    """The session folders in `source`, in one folder below it, or `source` itself."""
    if not source.is_dir():
        return []
    below = sorted(entry for entry in source.iterdir() if entry.is_dir())
    for places in ([source], below, [entry for place in below for entry in sorted(place.glob("Session*"))]):
        found = [place for place in places if (place / "dialog" / "EmoEvaluation").is_dir()]
        if found:
            return found
    return []


def _texts(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*.txt") if not file.name.startswith("."))


def _transcripts(gatherer: Gatherer, source: Path, sessions: Sequence[Path]) -> list[str]:
    """Add the words of the utterances that were evaluated; a file that is no text is a problem, not a refusal."""
    files = [file for session in sessions for file in _texts(session / "dialog" / "transcriptions")]
    for file in files:
        name = file.relative_to(source).as_posix()
        try:
            text = read_text(file)
        except CorpusError as error:
            gatherer.problem(name, None, str(error))
            continue
        for _, line in numbered_lines(text):
            match = _WORDS.fullmatch(line.strip())
            if match and match[1] in gatherer:
                gatherer.utterance(match[1], transcript=match[2].strip() or None)
    return [] if files else ["no transcriptions found (Session*/dialog/transcriptions); transcripts are empty"]


def _sounds(sessions: Sequence[Path], folder: Path | None) -> tuple[_Sounds, list[str]]:
    """The sounds of the release, or of the folder named for them; a note where there is no such folder."""
    roots = [folder] if folder else [session / "sentences" / "wav" for session in sessions]
    roots = [root.resolve() for root in roots if root.is_dir()]
    if not roots:
        looked = f"{folder} is no folder" if folder else "no folder Session*/sentences/wav is there"
        return _Sounds(None, None), [f"no sounds: {looked}; the utterances name no audio"]
    files = [file for root in roots for file in root.rglob("*.wav") if not file.name.startswith(".")]
    return _Sounds({file.stem: str(file) for file in files}, roots[0] if folder else None), []


READER = Reader(
    name="iemocap",
    about="IEMOCAP: evaluators' labels and attributes, the actors' self-reports, consensus, words",
    labels="iemocap10",
    read=read,
    page=__doc__ or "",
    options=("audio",),
)
