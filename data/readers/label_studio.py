"""What Label Studio exports: JSON (every annotation in full) and JSON-MIN (one flat object an annotation).

    serann corpus import label-studio export.json -o CORPUS --columns label=emotion --columns scale=1-7

Files. One JSON file, or a folder that holds one; the kind is told by its objects (`data` and `annotations`, or
flat).

Votes. Each choice of an annotation's Choices control is a vote of its annotator (`completed_by`: an id, or an e-mail
where the export holds one); several choices are several votes. One control of choices is the label, whatever its
name; of several, the one with a usual name (emotion, label…), and a second one called secondary gives secondary
votes; where that is not clear the import stops and lists them: --columns label=NAME --columns secondary=NAME. Rating
and Number controls called valence, arousal (activation), dominance or naturalness are ratings; --columns
valence=NAME says otherwise, --columns scale=1-7 names the scale. A control called freetext (--columns
free_text=NAME) is kept as the text behind the label.

Traps. Predictions are a model's and no votes: they are left out, and a note says how many. A skipped (cancelled)
annotation is an abstention with that reason, and so is one that was submitted without a choice. Labels of a part of
the sound (regions with a start and an end) are not votes on the utterance: they are listed in problems.parquet.
JSON-MIN does not say which keys are controls, what was skipped, or who annotated in older releases (unconfirmed);
prefer JSON. What serann exported brings its label set and scale with it, where export.json lies beside it.

Utterances. Named by a usual key of the task's data (--columns utterance_id=KEY), else by the sound's file name
without the eight letters that an upload puts before it, else by the task's number. Other keys of the data become
columns. A sound behind /data/local-files/?d= is that path; an upload is looked for by its name in --audio FOLDER.
--labels names the label set and --alias other spellings; otherwise the labels found are the set. Licence: the
annotations' owner's.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

from ..errors import CorpusError, OptionError, few
from .base import Imported, Options, Reader, refuse
from .table import Sheets, read_tables, with_exported_facts
from .tables.columns import USUAL, load_mapping, plain_name
from .tables.sheets import Line, Sheet, plain_json, read_text, text_of
from .tables.sounds import split_ending

LICENCE = "not stated by the export; the annotations' owner's terms hold"
UPLOAD = re.compile(r"^[0-9a-f]{8}-")
# Keys of JSON-MIN that are Label Studio's own bookkeeping.
BOOKKEEPING = ("id", "annotation_id", "created_at", "updated_at", "lead_time", "agreement", "file_upload", "inner_id")
SKIPPED = "skipped"


def read(source: Path, options: Options) -> Imported:
    """Read a JSON or a JSON-MIN export."""
    path = _file(source)
    tasks = _tasks(path)
    options, simulated = with_exported_facts(path.parent, options)
    full = any("annotations" in task or "completions" in task or isinstance(task.get("data"), dict) for task in tasks)
    known = load_mapping(options).columns
    sheets, columns, notes = (_full if full else _flat)(path.name, tasks, known)
    said = {key: name for key, name in options.columns.items() if key not in ("utterance_id", "audio")}
    options = replace(options, columns={**columns, **said})
    found = read_tables(sheets, options, base=path.parent, about="Label Studio", licence=LICENCE).imported
    form = f"Label Studio {'JSON' if full else 'JSON-MIN'} export"
    words = (*notes, *found.notes)
    return replace(found, release=form, notes=words, files=(path.name,), simulated=simulated)


def _file(source: Path) -> Path:
    if source.is_file():
        return source
    there = sorted(source.glob("*.json")) if source.is_dir() else []
    if len(there) == 1:
        return there[0]
    if there:
        raise OptionError(f"{source} holds {few([path.name for path in there], 10)}; name one of them as the source")
    raise refuse("label-studio", source, ["a JSON or JSON-MIN export (*.json)"])


def _tasks(path: Path) -> list[dict[str, Any]]:
    try:
        found = plain_json(json.loads(read_text(path)))
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{path} is no valid JSON ({error}); export it again") from None
    tasks = found if isinstance(found, list) else []
    if not tasks or not all(isinstance(task, dict) for task in tasks):
        raise CorpusError(f"{path} is no Label Studio export; expected an array of tasks (JSON) or answers (JSON-MIN)")
    return tasks


def _full(file: str, tasks: list[dict[str, Any]], known: Mapping[str, str]) -> tuple[Sheets, dict[str, str], list[str]]:
    """Sheets of utterances and of annotations, whose columns are the controls' names."""
    data = [task["data"] if isinstance(task.get("data"), dict) else {} for task in tasks]
    names = _names(tasks, data, known)
    utterances = [Line(place, fields) for place, fields in enumerate(_utterances(data, names, known), start=1)]
    votes: list[Line] = []
    kinds: dict[str, set[str]] = {}
    for place, (task, name) in enumerate(zip(tasks, names, strict=True), start=1):
        given = task.get("annotations", task.get("completions")) or []
        for annotation in given if isinstance(given, list) else [given]:
            votes += _annotation(place, name, annotation, kinds)
    columns = _label_control([name for name, what in kinds.items() if "choices" in what], known)
    predictions = sum(len(task["predictions"]) for task in tasks if isinstance(task.get("predictions"), list))
    notes = [f"{predictions} predictions are a model's and no votes: they were left out"] if predictions else []
    if not votes:
        notes.append("no task has an annotation yet")
    header = dict.fromkeys(["utterance_id", "rater_id", "reason", *(key for line in votes for key in line.fields)])
    header |= {} if any("choices" in what for what in kinds.values()) else {"label": None}
    listed = Sheet(f"{file} (tasks)", _columns(utterances), tuple(utterances))
    return Sheets(Sheet(file, tuple(header), tuple(votes)), listed), columns, notes


def _annotation(place: int, name: str, annotation: Any, kinds: dict[str, set[str]]) -> list[Line]:
    """An annotation as one row; labels of parts of the sound as rows that cannot be taken in."""
    if not isinstance(annotation, dict) or not isinstance(annotation.get("result", []), list):
        return [Line(place, {"utterance_id": name}, "an annotation that is no object with a result", str(annotation))]
    row: dict[str, Any] = {"utterance_id": name, "rater_id": _annotator(annotation.get("completed_by"))}
    if annotation.get("was_cancelled") or annotation.get("skipped"):
        return [Line(place, {**row, "reason": SKIPPED})]
    parts = []
    for result in annotation.get("result") or []:
        control, kind, value = _result(result)
        content = value.get(kind)
        if control is None or content is None:
            continue
        if "start" in value and "end" in value:
            what = {"utterance_id": name, "rater_id": row["rater_id"], control: content}
            parts.append(Line(place, what, "a label of a part of the sound, not of the utterance", str(result)))
            continue
        kinds.setdefault(control, set()).add(kind)
        if kind == "choices":
            content = [*_listed(row.get(control)), *_listed(content)]
        row[control] = " ".join(map(str, _listed(content))) if kind == "text" else content
    row["reason"] = "submitted without a label"
    return [Line(place, {key: _flat_text(value) for key, value in row.items()}), *parts]


def _result(result: Any) -> tuple[str | None, str, dict[str, Any]]:
    """A result's control, what kind of value it has, and the value."""
    result = result if isinstance(result, dict) else {}
    value = result["value"] if isinstance(result.get("value"), dict) else {}
    control = text_of(result.get("from_name"))
    kind = next((kind for kind in ("choices", "rating", "number", "text", "labels") if kind in value), "")
    return control, kind, value


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _flat_text(value: Any) -> Any:
    """Lists of choices without what is no text in them: a taxonomy's path, an object."""
    if not isinstance(value, list):
        return value
    return [item if isinstance(item, str) else text_of(item) for item in value]


def _annotator(who: Any) -> str | None:
    if isinstance(who, dict):
        who = who.get("email") or who.get("id") or who.get("username")
    return text_of(who)


def _flat(file: str, tasks: list[dict[str, Any]], known: Mapping[str, str]) -> tuple[Sheets, dict[str, str], list[str]]:
    """JSON-MIN: one sheet, an annotation a row."""
    rows = [{key: _value(value) for key, value in task.items()} for task in tasks]
    names = _names(tasks, rows, known)
    free = [
        {key: value for key, value in row.items() if key not in BOOKKEEPING and not key.startswith("reason")}
        for row in rows
    ]
    lines = [Line(place, row) for place, row in enumerate(_utterances(free, names, known), start=1)]
    columns = _label_control([key for key in _columns(lines) if any(_has_choices(t.get(key)) for t in tasks)], known)
    return Sheets(Sheet(file, _columns(lines), tuple(lines))), columns, []


def _label_control(controls: list[str], known: Mapping[str, str]) -> dict[str, str]:
    """Which control of choices holds the label: the only one, or one of a usual name; `OptionError` where none is."""
    usual = {plain_name(name) for names in USUAL["label"] for name in names.split()}
    if "label" in known or not controls or (len(controls) > 1 and any(plain_name(name) in usual for name in controls)):
        return {}
    if len(controls) > 1:
        raise OptionError(
            f"several controls hold choices: {', '.join(controls)}; say which is the label, as in "
            f"--columns label={controls[0]}"
        )
    return {"label": controls[0]}


def _value(value: Any) -> Any:
    """What a JSON-MIN value holds: choices, a rating or number, or itself."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        value = value[0]
    if isinstance(value, dict):
        for kind in ("choices", "rating", "number", "text", "email", "id"):
            if kind in value:
                return _flat_text(value[kind])
    return _flat_text(value)


def _has_choices(value: Any) -> bool:
    return isinstance(value, dict) and "choices" in value


def _columns(lines: Iterable[Line]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key for line in lines for key in line.fields))


def _utterances(data: list[dict[str, Any]], names: list[str], known: Mapping[str, str]) -> list[dict[str, Any]]:
    """Each task's data with its utterance's name, the sound as a path."""
    key = _key(data, known, "audio") or _key_of_sounds(data)
    found = []
    for task, name in zip(data, names, strict=True):
        row = {column: value for column, value in task.items() if column not in (key, "utterance_id")}
        row["utterance_id"] = name
        if key is not None:
            row["audio"] = _local(task.get(key))
        found.append(row)
    return found


def _names(tasks: list[dict[str, Any]], data: list[dict[str, Any]], known: Mapping[str, str]) -> list[str]:
    """An utterance's name for each task (for each answer of JSON-MIN)."""
    key = _key(data, known, "utterance_id")
    if key is not None and all(text_of(row.get(key)) for row in data):
        return [text_of(row[key]) or "" for row in data]
    sound = _key(data, known, "audio") or _key_of_sounds(data)
    paths = [_local(row.get(sound)) if sound is not None else None for row in data]
    stems = [split_ending(Path(path).name)[0] if path else None for path in paths]
    if all(stems) and len(set(stems)) == len(set(paths)):
        return [stem or "" for stem in stems]
    return [f"task-{text_of(task.get('id')) or place}" for place, task in enumerate(tasks, start=1)]


def _key(data: list[dict[str, Any]], known: Mapping[str, str], field: str) -> str | None:
    """The key that a field is said to have, or its usual one; the audio key is no utterance's name."""
    keys = dict.fromkeys(key for row in data for key in row if key not in BOOKKEEPING)
    if field in known:
        if known[field] not in keys and known[field] not in BOOKKEEPING:
            raise OptionError(f"no key {known[field]!r} in the tasks' data; found {few(list(keys), 20) or 'none'}")
        return known[field]
    for names in (field, *USUAL[field]):
        for key in keys:
            if plain_name(key) in {plain_name(name) for name in names.split()}:
                return key
    return None


def _key_of_sounds(data: list[dict[str, Any]]) -> str | None:
    for key in dict.fromkeys(key for row in data for key in row):
        if any(isinstance(row.get(key), str) and split_ending(_local(row[key]) or "")[1] for row in data):
            return key
    return None


def _local(address: Any) -> str | None:
    """The path behind Label Studio's address of a sound: a local file's, or an upload's name."""
    text = text_of(address)
    if text is None:
        return None
    try:
        parts = urlparse(text)
    except ValueError:
        return text
    if parts.path.startswith("/data/local-files"):
        path = parse_qs(parts.query).get("d", [""])[0]
        return path if path.startswith("/") or not Path(f"/{path}").is_file() else f"/{path}"
    if parts.path.startswith("/data/upload/"):
        return UPLOAD.sub("", unquote(parts.path).rsplit("/", 1)[-1])
    return text


READER = Reader(
    name="label-studio",
    about="Label Studio exports, JSON and JSON-MIN",
    labels="those of --labels, else the labels found",
    read=read,
    page=__doc__ or "",
    options=("audio", "mapping", "columns", "aliases", "labels"),
)
