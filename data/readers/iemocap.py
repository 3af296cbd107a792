"""IEMOCAP: five dyadic sessions with evaluators' labels and attributes, and the actors' reports on themselves.

Files (the full release's layout; SOURCE is the folder that holds the sessions, its parent, or one session):
    Session1/dialog/EmoEvaluation/<dialog>.txt      evaluations, needed
    Session1/dialog/transcriptions/<dialog>.txt     words
    Session1/sentences/wav/<dialog>/<utterance>.wav sounds, one file an utterance
Files whose names start with "._" (left by macOS archives; unconfirmed) are skipped, and so are the folders Categorical,
Attribute and Self-evaluation, which hold the same answers once more.

What becomes what:
    C-E lines         votes, one row a label. A vote that names several labels ("Neutral; Anger;") keeps them all,
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
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..errors import CorpusError, list_problems
from ..labels import LABEL_SETS
from .base import Gatherer, Imported, Options, Reader, refuse
from .iemocap_evaluations import SCALE, Dialogue, read_evaluations
from .text import numbered_lines, read_text

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
