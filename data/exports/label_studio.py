"""Label Studio tasks: synthetic votes as predictions, the human ones as annotations in a file of their own.

`tasks.json` has a task an utterance, with a prediction for each synthetic rater and label (`score` is its share of the
utterance's synthetic votes); it can be imported into any project. `annotated.json` has the human votes beside them, as
annotations with the rater as the annotator's e-mail: Label Studio takes it only where those are members of the project.
`config.xml` is the labelling interface that both fit. Sounds are addressed as local files, from the root of the disk:
serve them with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=/.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from ..corpus import Corpus
from ..files import atomic_file
from ..schemas import DIMENSIONS
from .content import Content, copied

KEPT = ("speaker", "gender", "split", "dialogue", "script", "transcript", "language", "intended", "consensus")
SERVE = (
    "to let Label Studio serve the sounds, start it with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and "
    "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=/ (or the part of the disk that holds them)"
)


def write(folder: Path, content: Content) -> list[str]:
    """Write both files of tasks and the labelling interface."""
    paths, notes = copied(content, folder) if content.copy else ({}, [])
    predictions = _predictions(content)
    annotations = _annotations(content.corpus)
    tasks = []
    for i, row in enumerate(content.rows):
        data = {"utterance_id": row["utterance_id"], "audio": address(content.audio[i], paths.get(i))}
        if i not in paths:
            data |= {name: row[name] for name in ("start", "end") if row[name] is not None}
        data |= {name: row[name] for name in KEPT if row[name] is not None}
        tasks.append({"data": data, "predictions": predictions.get(row["utterance_id"], [])})
    _write_json(folder / "tasks.json", tasks)
    full = [{**task, "annotations": annotations.get(task["data"]["utterance_id"], [])} for task in tasks]
    _write_json(folder / "annotated.json", full)
    (folder / "config.xml").write_text(interface(content.corpus), encoding="utf-8")
    if content.copy:
        notes.append("the sounds' addresses start at this folder: upload them, or serve the folder as local files")
    own = sum(source == "self" for source in content.corpus.votes["source"].to_pylist())
    if own:
        notes.append(f"{own} self-reports were left out: nobody but the listeners annotates")
    secondary = sum(rank == "secondary" for rank in content.corpus.votes["rank"].to_pylist())
    if secondary:
        notes.append(f"{secondary} secondary votes are in annotated.json as choices of the control 'secondary'")
    return [*notes, SERVE]


def address(path: str | None, copied_to: str | None) -> str | None:
    """How Label Studio finds a sound: its address for local files, or a remote address as it is."""
    if copied_to is not None:
        return f"/data/local-files/?d={quote(copied_to)}"
    if path is None or "://" in path:
        return path
    return f"/data/local-files/?d={quote(path.lstrip('/'))}"


def _predictions(content: Content) -> dict[str, list[dict[str, Any]]]:
    """For each utterance a prediction for each synthetic rater and label."""
    votes = [row for row in content.synthetic.to_pylist() if row["label"] is not None]
    total = Counter(row["utterance_id"] for row in votes)
    cast = Counter((row["utterance_id"], row["rater_id"] or "synthetic", row["label"]) for row in votes)
    found: dict[str, list[dict[str, Any]]] = {}
    for (utterance, rater, label), count in cast.items():
        result = [_result("emotion", "choices", [label])]
        prediction = {"model_version": rater, "score": count / total[utterance], "result": result}
        found.setdefault(utterance, []).append(prediction)
    return found


def _annotations(corpus: Corpus) -> dict[str, list[dict[str, Any]]]:
    """For each utterance an annotation for each human rater (each anonymous vote has one of its own)."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for place, row in enumerate(corpus.votes.to_pylist()):
        if row["source"] != "human":
            continue
        rater = row["rater_id"]
        key = (row["utterance_id"], f"rater {rater}" if rater is not None else f"nobody {place}")
        made = found.setdefault(key, _annotation(rater))
        if row["label"] is None:
            made["was_cancelled"] = True
            continue
        control = "emotion" if row["rank"] == "primary" else "secondary"
        _choose(made["result"], control, row["label"])
        if row["text"] is not None:
            made["result"].append(_result("free_text", "text", [row["text"]], kind="textarea"))
    for row in corpus.ratings.to_pylist() if corpus.ratings is not None else []:
        if row["source"] == "human" and row["rater_id"] is not None:
            made = found.setdefault((row["utterance_id"], f"rater {row['rater_id']}"), _annotation(row["rater_id"]))
            made["result"].append(_result(row["dimension"], "number", row["value"]))
    by_utterance: dict[str, list[dict[str, Any]]] = {}
    for (utterance, _), annotation in found.items():
        annotation["was_cancelled"] = annotation["was_cancelled"] and not annotation["result"]
        by_utterance.setdefault(utterance, []).append(annotation)
    return by_utterance


def _annotation(rater: str | None) -> dict[str, Any]:
    who = {} if rater is None else {"completed_by": {"email": rater}}
    return {**who, "was_cancelled": False, "result": []}


def _choose(results: list[dict[str, Any]], control: str, label: str) -> None:
    """Add a choice to a control's result."""
    for result in results:
        if result["from_name"] == control:
            result["value"]["choices"].append(label)
            return
    results.append(_result(control, "choices", [label]))


def _result(control: str, what: str, value: Any, *, kind: str | None = None) -> dict[str, Any]:
    return {"from_name": control, "to_name": "audio", "type": kind or what, "value": {what: value}}


def interface(corpus: Corpus) -> str:
    """The labelling interface: the sound, the labels, and a number for each rated dimension."""
    choices = "".join(f"    <Choice value={quoteattr(label)}/>\n" for label in corpus.labels)
    parts = ['<View>\n  <Audio name="audio" value="$audio"/>\n']
    parts += [f'  <Choices name="emotion" toName="audio" choice="multiple" required="true">\n{choices}  </Choices>\n']
    if "secondary" in corpus.votes["rank"].to_pylist():
        parts += [f'  <Choices name="secondary" toName="audio" choice="multiple">\n{choices}  </Choices>\n']
    rated = set(corpus.ratings["dimension"].to_pylist()) if corpus.ratings is not None else set()
    low, high = corpus.info.scale or (None, None)
    ends = f' min="{low:g}" max="{high:g}"' if low is not None and high is not None else ""
    for name in DIMENSIONS:
        if name in rated:
            parts += [f'  <Header value="{name}"/>\n  <Number name="{name}" toName="audio"{ends}/>\n']
    if any(text is not None for text in corpus.votes["text"].to_pylist()):
        parts += ['  <TextArea name="free_text" toName="audio"/>\n']
    return "".join([*parts, "</View>\n"])


def _write_json(path: Path, tasks: list[dict[str, Any]]) -> None:
    with atomic_file(path) as partial:
        lines = ",\n".join(json.dumps(task, ensure_ascii=False) for task in tasks)
        partial.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
