"""CMU-MOSEI: sentences from online videos, each rated by several annotators for the strength of six emotions.

    serann corpus import cmu-mosei CMU-MOSEI -o mosei
    serann corpus import cmu-mosei CMU-MOSEI/Raw/Labels -o mosei --rule threshold

SOURCE is the release's folder, its Raw or Labels folder, or one CSV file. What is read:
    Raw/Labels/*.csv    the annotation service's tables: 5000_batch_raw.csv, Batch_2980374_batch_results.csv,
                        pom_extra_sqa_mono_results.csv; columns Input.VIDEO_ID, Input.CLIP, WorkerId and
                        Answer.{anger,disgust,fear,happiness,sadness,surprise} (0 to 3), Answer.sentiment (-3 to 3)
    Raw/Transcript/Segmented/Combined/<video>.txt    video___clip___start___end___text
    Raw/Audio/Full/WAV_16000/<video>.wav
The layout of the last two is as other toolkits read it; not confirmed on a copy of the release.

From intensities to votes. Annotators gave strengths, not labels, so a rule makes votes of them; nobody chose it for the
corpus, and --rule says which:
    argmax           the strongest emotion; n emotions of equal strength are n votes of weight 1/n (the default)
    threshold        every emotion of 1 or more; n of them are n votes of weight 1/n
    argmax-abstain   as argmax, but an answer of nothing but zeros is an abstention with that reason
There is no neutral class: an answer of nothing but zeros becomes a vote for neutral under argmax, and so does an answer
without any emotion of 1 or more under threshold. A note says how many such answers there were. The mean strengths
over a clip's annotators are kept in intensity_<label>, the mean sentiment in `sentiment`, the number of answers behind
them in `annotators`. Sentiment is not imported as valence: it is another question.

An utterance is <video>_<clip>, <video> what follows the last slash of VIDEO_ID (some hold "dir/..."). Raters keep
their WorkerId. `dialogue` is the video. Speakers are not named: `speaker` is null, so keep videos together when
you split; the label files hold no official split. Start and end come from the transcript (fields between three or
more underscores, for video names may end in some); a negative start becomes 0 and is listed. A sound named
<video>_<clip>.wav is taken whole; else the video's sound with start and end; where these are unknown, `audio` is null.

Listed as problems: answers with a strength that is missing, no number or outside 0 to 3 (one vote each), a second
answer of an annotator to a clip (the votes it would have been), lines of another length than the header, segments
without readable times. Tables without emotion columns are named in a note and not read.

Licence: see the terms of the copy you have (not confirmed); the videos belong to their authors.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import CorpusError, OptionError
from ..labels import LABEL_SETS
from .base import Gatherer, Imported, Options, Reader, refuse, sound_folder
from .tables.sheets import Row, numbered_lines, read_csv, read_text

LICENCE = "CMU-MOSEI, see the terms of the copy (not confirmed from its files); the videos belong to their authors"
RULES = ("argmax", "threshold", "argmax-abstain")
ANSWERS = {
    "Answer.anger": "angry",
    "Answer.disgust": "disgust",
    "Answer.fear": "fear",
    "Answer.happiness": "happy",
    "Answer.sadness": "sad",
    "Answer.surprise": "surprise",
}
NAMES = ("Input.VIDEO_ID", "Input.CLIP", "WorkerId")
# From the start of a run of underscores and never back into it: a long run must not cost its square.
SEGMENT = re.compile(r".*?(?<!_)_{3,}+([0-9]+)_{3,}+(-?[0-9.]+)_{3,}+(-?[0-9.]+)_{3,}+(.*)")
ABSTENTION = "every emotion has the strength 0, and the release has no neutral class"


class Clip(NamedTuple):
    """One part of a video."""

    video: str
    number: str

    @property
    def name(self) -> str:
        return f"{self.video}_{self.number}"


class Answers:
    """The answers given so far: which annotator saw which clip, and the sums behind the clips' means."""

    def __init__(self) -> None:
        self.clips: dict[str, Clip] = {}
        self.given: set[tuple[str, str]] = set()
        self.strengths: dict[str, list[dict[str, float]]] = {}
        self.sentiments: dict[str, list[float]] = {}
        self.without_emotion = 0


def read(source: Path, options: Options) -> Imported:
    """Read the tables of answers, make votes of them by the rule, and add times, words and sounds."""
    rule = options.rule or "argmax"
    if rule not in RULES:
        raise OptionError(f"unknown --rule {rule!r}; expected one of {', '.join(RULES)}")
    root, tables = _find(source)
    gatherer, answers, files, notes = Gatherer(LABEL_SETS["mosei7"]), Answers(), [], []
    for path in tables:
        header, rows, odd = read_csv(path)
        if not any(name in header for name in ANSWERS):
            notes.append(f"{path.name} has no emotion columns; it was not read")
            continue
        files.append(path.name)
        _gather_table(gatherer, answers, path, (header, rows, odd), rule)
    if not files:
        raise refuse("cmu-mosei", source, [LOOKED_FOR], f"tables without these columns, {tables[0].name} the first")
    notes = [_rule_note(rule, answers), *notes, *_describe(gatherer, answers, root, options)]
    release = f"CMU-MOSEI, {len(files)} tables of single annotators' answers, rule {rule}"
    return gatherer.finish(release=release, licence=LICENCE, notes=notes, files=files)


LOOKED_FOR = "Raw/Labels/*.csv, or one such file, with columns Input.VIDEO_ID, Input.CLIP, WorkerId, Answer.anger, ..."


def _find(source: Path) -> tuple[Path, list[Path]]:
    """The folder that holds Labels/ beside Transcript/ and Audio/, and the tables in it."""
    if source.is_file() and source.suffix.casefold() == ".csv":
        return (source.parent.parent if source.parent.name == "Labels" else source.parent), [source]
    for folder in (source / "Raw" / "Labels", source / "Labels", source):
        tables = sorted(path for path in folder.glob("*.csv") if path.is_file() and not path.name.startswith("._"))
        if tables:
            return (folder.parent if folder.name == "Labels" else folder), tables
    raise refuse("cmu-mosei", source, [LOOKED_FOR])


def _gather_table(
    gatherer: Gatherer,
    answers: Answers,
    path: Path,
    table: tuple[list[str], list[Row], list[Row]],
    rule: str,
) -> None:
    header, rows, odd = table
    missing = [name for name in (*NAMES, *ANSWERS) if name not in header]
    if missing:
        raise CorpusError(f"{path} has no column {', '.join(missing)}; expected {LOOKED_FOR}")
    for row in rows:
        _gather_answer(gatherer, answers, path, row, rule)
    for row in odd:
        reason = f"another number of fields than the header's {len(header)}"
        answers_seen = 1 + row.content.count("\n")
        gatherer.count_in(answers_seen)
        gatherer.problem(path.name, row.line, reason, content=row.content, votes=answers_seen)


def _gather_answer(gatherer: Gatherer, answers: Answers, path: Path, row: Row, rule: str) -> None:
    clip, rater = _clip(row), row.fields["WorkerId"].strip() or None
    strengths = {label: _strength(row.fields[name]) for name, label in ANSWERS.items()}
    known = {label: value for label, value in strengths.items() if value is not None}
    labels = _votes(known, rule) if len(known) == len(ANSWERS) else []
    if clip is not None:
        answers.clips[clip.name] = clip
        gatherer.utterance(clip.name)
    reason = _no_vote(answers, row, clip, rater, strengths)
    name, votes = clip.name if clip else None, max(len(labels), 1)
    if reason or name is None:
        gatherer.count_in(votes)
        found = {"content": row.content, "utterance": name, "rater": rater}
        gatherer.problem(path.name, row.line, reason, votes=votes, **found)
        return
    answers.given.add((name, rater or ""))
    answers.strengths.setdefault(name, []).append(known)
    answers.without_emotion += labels in ([], ["neutral"])
    for label in labels:
        gatherer.vote(name, label, file=path.name, line=row.line, rater=rater, weight=1 / len(labels))
    if not labels:
        gatherer.abstain(name, ABSTENTION, rater=rater)
    _gather_sentiment(gatherer, answers, path, row, name)


def _clip(row: Row) -> Clip | None:
    video = row.fields["Input.VIDEO_ID"].strip().rsplit("/", 1)[-1]
    number = re.sub(r"\.0$", "", row.fields["Input.CLIP"].strip())
    return Clip(video, number) if video and re.fullmatch("[0-9]{1,9}", number) else None


def _no_vote(
    answers: Answers, row: Row, clip: Clip | None, rater: str | None, strengths: dict[str, float | None]
) -> str:
    """Why an answer is no vote; empty where it is one."""
    if clip is None:
        return f"no clip: Input.VIDEO_ID {row.fields['Input.VIDEO_ID']!r}, Input.CLIP {row.fields['Input.CLIP']!r}"
    bad = [f"{name}={row.fields[name]!r}" for name, label in ANSWERS.items() if strengths[label] is None]
    if bad:
        return f"strengths that are no numbers from 0 to 3: {', '.join(bad)}"
    return f"rater {rater} answered for this clip already" if rater and (clip.name, rater) in answers.given else ""


def _strength(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\s*([0-2](\.[0-9]+)?|3(\.0+)?)\s*", text) else None


def _votes(strengths: dict[str, float], rule: str) -> list[str]:
    """The labels an answer is a vote for; none for an abstention."""
    top = max(strengths.values())
    least = 1.0 if rule == "threshold" else top
    labels = [label for label, value in strengths.items() if value > 0 and value >= least]
    return labels or ([] if rule == "argmax-abstain" else ["neutral"])


def _gather_sentiment(gatherer: Gatherer, answers: Answers, path: Path, row: Row, clip: str) -> None:
    text = row.fields.get("Answer.sentiment", "").strip()
    if re.fullmatch(r"-?([0-2](\.[0-9]+)?|3(\.0+)?)", text):
        answers.sentiments.setdefault(clip, []).append(float(text))
    elif text.casefold() not in ("", "nan"):
        reason = f"sentiment {text!r} is no number from -3 to 3; it is left out of the mean"
        rater = row.fields["WorkerId"].strip() or None
        gatherer.problem(path.name, row.line, reason, content=row.content, utterance=clip, rater=rater)


def _rule_note(rule: str, answers: Answers) -> str:
    makes = {
        "argmax": "each annotator votes for the strongest emotion, ties sharing the vote; all zero is neutral",
        "threshold": "each annotator votes for every emotion of 1 or more, sharing the vote; none is neutral",
        "argmax-abstain": "each annotator votes for the strongest emotion, ties sharing the vote; all zero abstains",
    }[rule]
    return f"rule {rule}: {makes} (answers it happened to: {answers.without_emotion})"


def _describe(gatherer: Gatherer, answers: Answers, root: Path, options: Options) -> list[str]:
    """Add means, times, words and sounds to the clips; notes on what is lacking."""
    segments, notes = _segments(gatherer, answers, root / "Transcript" / "Segmented" / "Combined")
    folder = sound_folder(options, root / "Audio" / "Full" / "WAV_16000")
    there = {path.name for path in folder.iterdir()} if folder else set()
    if folder is None:
        notes.append("no folder Audio/Full/WAV_16000: the clips have no sound; name its folder with --audio")
    timeless = 0
    for name, clip in answers.clips.items():
        timing = segments.get(name, {})
        audio = None
        if f"{name}.wav" in there:
            audio, timing = f"{name}.wav", {**timing, "start": None, "end": None}
        elif folder and timing.get("end") is not None:
            audio = f"{clip.video}.wav"
        elif folder:
            timeless += 1
        audio = str(folder / audio) if folder and audio else None
        gatherer.utterance(name, audio=audio, dialogue=clip.video, language="en", **timing, **_means(answers, name))
    if timeless:
        notes.append(f"clips without times in a transcript, and so without sound: {timeless}")
    return [*notes, "speakers are not named: keep the parts of a video (column dialogue) in one split"]


def _means(answers: Answers, name: str) -> dict[str, Any]:
    strengths, sentiments = answers.strengths.get(name, []), answers.sentiments.get(name, [])
    columns = {f"intensity_{label}": _mean(answer[label] for answer in strengths) for label in ANSWERS.values()}
    return {**columns, "sentiment": _mean(sentiments), "annotators": len(strengths)}


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None


def _segments(gatherer: Gatherer, answers: Answers, folder: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Start, end and words of the clips that were answered for, from their videos' transcripts."""
    if not folder.is_dir():
        return {}, ["no Transcript/Segmented/Combined: the clips' words and times are unknown"]
    there = {path.name: path for path in folder.iterdir()}
    segments: dict[str, dict[str, Any]] = {}
    for video in sorted({clip.video for clip in answers.clips.values()}):
        path = there.get(f"{video}.txt")
        if path is None:
            continue
        try:
            text = read_text(path)
        except CorpusError as error:
            gatherer.problem(path.name, None, str(error))
            continue
        for line, content in numbered_lines(text):
            _gather_segment(gatherer, segments, path, video, line, content)
    return segments, []


def _gather_segment(
    gatherer: Gatherer, segments: dict[str, dict[str, Any]], path: Path, video: str, line: int, content: str
) -> None:
    if not content.strip():
        return
    found = SEGMENT.fullmatch(content)
    if found is None:
        return gatherer.problem(path.name, line, "expected video___clip___start___end___text", content=content)
    name = Clip(video, found[1]).name
    if name not in gatherer or name in segments:
        return
    start, end = _seconds(found[2]), _seconds(found[3])
    if start is not None and start < 0:
        gatherer.problem(path.name, line, f"starts at {start:g} s; read as 0", content=content, utterance=name)
        start = 0.0
    if start is None or end is None or end <= start:
        reason = f"no time span: from {found[2]} to {found[3]} s"
        gatherer.problem(path.name, line, reason, content=content, utterance=name)
        start = end = None
    segments[name] = {"start": start, "end": end, "transcript": found[4].strip() or None}


def _seconds(text: str) -> float | None:
    return float(text) if re.fullmatch(r"-?[0-9]{1,7}(\.[0-9]*)?", text) else None


READER = Reader(
    name="cmu-mosei",
    about="video sentences; single annotators' emotion strengths, made votes by a named rule",
    labels="mosei7",
    read=read,
    page=__doc__ or "",
    options=("rule", "audio"),
)
