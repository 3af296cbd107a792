"""Which column of a table means what: said by flags or a mapping file, guessed by the usual names otherwise."""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from ...errors import LabelError, OptionError, few, list_problems
from ...labels import LABEL_SETS, LabelSet
from ...schemas import DIMENSIONS
from ..base import Options
from .sheets import read_text

# --------------------
# The names that columns of tables of votes usually have.

# The usual names of each field, the surest first; two that are equally sure are a question for the user. Names are
# compared by their letters and digits alone.
USUAL: dict[str, tuple[str, ...]] = {
    "utterance_id": (
        "utteranceid uttid utterance utt sampleid clipid segmentid",
        "filename file clip clipname segment wavname audioname stimulus item",
        "id name",
    ),
    "rater_id": (
        "raterid rater workerid worker annotatorid annotator listenerid listener evaluatorid evaluator judge",
    ),
    "label": (
        "label emotion vote primary primaryemotion emoclassmajor perceivedemotion",
        "emoclass answer response category class annotation",
    ),
    "secondary": ("secondary secondaryemotion secondaryemotions emoclasssecond",),
    "rank": ("rank",),
    "source": ("source",),
    "weight": ("weight",),
    "count": ("count numvotes nvotes",),
    "draw": ("draw",),
    "reason": ("reason",),
    # Before free_text: where a file may hold both, a column called text is what was said.
    "transcript": ("transcript transcription", "text sentence"),
    "free_text": ("freetext othertext", "text"),
    "dimension": ("dimension",),
    "value": ("value",),
    "audio": ("audio audiopath audiofile wavpath path wav sound", "filepath file filename"),
    "start": ("start starttime onset begin",),
    "end": ("end endtime stop offset",),
    "duration": ("duration dur seconds",),
    "speaker": ("speaker speakerid spk spkid spkrid spkr", "actor actorid"),
    "gender": ("gender sex speakergender",),
    "split": ("split splitset partition", "subset set"),
    "dialogue": ("dialogue dialogueid dialog dialogid conversation conversationid",),
    "script": ("script scriptid sentenceid",),
    "language": ("language lang locale",),
    "intended": ("intended intendedemotion acted actedemotion dispemo",),
    "consensus": ("consensus consensuslabel gold goldlabel majority majorityvote groundtruth",),
    "valence": ("valence val emoval",),
    "arousal": ("arousal aro activation act emoact",),
    "dominance": ("dominance dom emodom",),
    "naturalness": ("naturalness nat",),
}
UTTERANCE_FIELDS = [
    "audio",
    "start",
    "end",
    "duration",
    "speaker",
    "gender",
    "split",
    "dialogue",
    "script",
    "transcript",
    "language",
    "intended",
    "consensus",
]
VOTE_FIELDS = ["rater_id", "label", "secondary", "rank", "source", "weight", "count", "draw", "reason", "free_text"]
# What each kind of file may hold, besides the utterance's id.
KINDS: dict[str, tuple[str, ...]] = {
    "single": (*VOTE_FIELDS, *UTTERANCE_FIELDS, *DIMENSIONS),
    "utterances": (*UTTERANCE_FIELDS, *DIMENSIONS),
    "votes": (*VOTE_FIELDS, *DIMENSIONS),
    "ratings": ("rater_id", "source", "dimension", "value"),
}
RATER_COLUMN = re.compile(
    r"(rater|annotator|worker|listener|evaluator|judge|coder|labell?er)[_\- ]?(id)?[_\- ]?\d+", re.I
)
COUNT_AFFIX = re.compile(r"^(count|counts|votes|num|n)\W*[:_\- ]+|[_\- ](count|counts|votes)$", re.I)


def plain_name(name: str) -> str:
    """A column's name by its letters and digits alone."""
    return re.sub(r"[\W_]+", "", name).casefold()


SETTINGS = ("utterances", "votes", "ratings", "counts", "raters", "scale", "separator", "licence")


class TableMapping(BaseModel):
    """What a mapping file says (TOML or JSON); unknown keys are refused by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    utterances: str | None = None
    votes: str | None = None
    ratings: str | None = None
    columns: dict[str, str] = {}
    counts: dict[str, str] | list[str] = {}
    raters: list[str] = []
    scale: tuple[float, float] | None = None
    separator: str | None = None
    aliases: dict[str, str] = {}
    labels: list[str] = []
    splits: dict[str, str] = {}
    licence: str | None = None

    @field_validator("columns")
    @classmethod
    def _fields(cls, columns: dict[str, str]) -> dict[str, str]:
        strange = [name for name in columns if name not in USUAL]
        if strange:
            raise ValueError(f"unknown field {', '.join(map(repr, strange))}; expected {', '.join(USUAL)}")
        return columns

    @field_validator("scale")
    @classmethod
    def _rising(cls, scale: tuple[float, float] | None) -> tuple[float, float] | None:
        if scale is not None and not scale[0] < scale[1]:
            raise ValueError(f"a scale runs from its lower end to its upper one, found {scale[0]:g} to {scale[1]:g}")
        return scale


def load_mapping(options: Options) -> TableMapping:
    """The mapping file's words, with those of the flags over them; `OptionError` listing everything that is wrong."""
    said = _mapping_file(options.mapping) if options.mapping is not None else {}
    where = str(options.mapping) if options.mapping is not None else "--columns"
    strange = [key for key in options.columns if key not in USUAL and key not in SETTINGS]
    if strange:
        raise OptionError(
            f"--columns names {', '.join(map(repr, strange))}; expected FIELD=COLUMN with a field of "
            f"{', '.join(USUAL)}, or one of {', '.join(SETTINGS)}"
        )
    flags: dict[str, Any] = {key: text for key, text in options.columns.items() if key in SETTINGS}
    for key in ("counts", "raters"):
        if key in flags:
            flags[key] = [part.strip() for part in flags[key].split(",") if part.strip()]
    if "scale" in flags:
        flags["scale"] = _scale(flags["scale"])
    columns = {key: text for key, text in options.columns.items() if key in USUAL}
    for key, further in (("columns", columns), ("aliases", dict(options.aliases))):
        if isinstance(said.get(key, {}), dict):
            flags[key] = {**said.get(key, {}), **further}
    try:
        return TableMapping.model_validate({**said, **flags})
    except ValidationError as error:
        known = f"unknown key; expected one of {', '.join(TableMapping.model_fields)}"
        problems = [
            f"{'.'.join(map(str, e['loc']))}: "
            + (known if e["type"] == "extra_forbidden" else e["msg"].removeprefix("Value error, "))
            for e in error.errors()
        ]
        raise OptionError(list_problems(where, problems)) from None


def _mapping_file(path: Path) -> dict[str, Any]:
    text = read_text(path)
    try:
        said = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:
        raise OptionError(
            f"{path}: no {'JSON' if path.suffix == '.json' else 'TOML'} that can be read ({error})"
        ) from None
    if not isinstance(said, dict):
        raise OptionError(f"{path}: expected an object of {', '.join(TableMapping.model_fields)}")
    return said


def _scale(text: str) -> tuple[float, float]:
    """The ends of a scale as people write them: 1-7, 1..7, 1,7, -1:1."""
    found = re.fullmatch(r"\s*(-?\d+(?:\.\d+)?)\s*(?:-|\.\.|,|:|to)\s*(-?\d+(?:\.\d+)?)\s*", text)
    if found is None:
        raise OptionError(f"--columns scale={text}: expected the two ends of the ratings' scale, as in scale=1-7")
    return float(found[1]), float(found[2])


@dataclass(frozen=True, slots=True)
class Roles:
    """What a file's columns are: `fields` to column, `counts` column to label, `raters` columns of one rater each.

    `guessed` lists, as FIELD=COLUMN, what nobody said.
    """

    fields: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, str] = field(default_factory=dict)
    raters: tuple[str, ...] = ()
    guessed: tuple[str, ...] = ()

    @property
    def claimed(self) -> set[str]:
        """Every column that has a role."""
        return {*self.fields.values(), *self.counts, *self.raters}

    @property
    def votes(self) -> bool:
        """Whether the file holds votes at all."""
        return bool(self.counts or self.raters or {"label", "secondary"} & set(self.fields))


class _Found(NamedTuple):
    fields: dict[str, str]
    guessed: list[str]


def assign(columns: Sequence[str], mapping: TableMapping, *, kind: str, file: str, labels: LabelSet | None) -> Roles:
    """Give the columns of one file their roles; `OptionError` listing the columns where a guess would be a toss-up.

    A column that is named as a label (or as one of the raters) is a count (a rater's answers) if no column holds the
    label itself; a label beside such columns is their summary and becomes `consensus`.
    """
    allowed = ("utterance_id", *KINDS[kind])
    said = {name: column for name, column in mapping.columns.items() if name in allowed and column in columns}
    votes = kind in ("single", "votes")
    counts = _listed(mapping.counts, columns, file) if votes else {}
    raters = tuple(_listed(mapping.raters, columns, file)) if votes else ()
    guessed: list[str] = []
    if votes and not counts and not raters and "label" not in said and not _has_raters_labels(columns):
        free = [column for column in columns if column not in said.values()]
        raters = tuple(column for column in free if RATER_COLUMN.fullmatch(column.strip()))
        counts = {} if len(raters) > 1 else _label_columns(free, labels)
        raters = raters if len(raters) > 1 else ()
        guessed += [f"raters={','.join(raters)}"] if raters else [f"counts={','.join(counts)}"] if counts else []
    found = _guess(columns, said, {*counts, *raters}, allowed, file)
    fields = found.fields
    if counts or raters:
        _forget(found, "count")
    if "label" in fields and "label" not in said and (counts or raters):
        summary = fields["label"]
        _forget(found, "label")
        if "consensus" not in fields:
            fields["consensus"] = summary
            found.guessed.append(f"consensus={summary}")
    return Roles(fields, counts, raters, (*found.guessed, *guessed))


def _has_raters_labels(columns: Sequence[str]) -> bool:
    """Whether there are a rater's and a label's column, so that others named as emotions are strengths, not counts."""
    there = {plain_name(column) for column in columns}
    usual = (
        {plain_name(n) for names in (field, *USUAL[field]) for n in names.split()} for field in ("rater_id", "label")
    )
    return all(there & names for names in usual)


def _forget(found: _Found, name: str) -> None:
    """Take a guess back."""
    column = found.fields.get(name)
    if f"{name}={column}" in found.guessed or column == name:
        del found.fields[name]
        found.guessed[:] = [guess for guess in found.guessed if guess != f"{name}={column}"]


def check_said(mapping: TableMapping, columns: Iterable[str], files: str) -> None:
    """`OptionError` for columns that were named and are in none of the files."""
    there = list(dict.fromkeys(columns))
    absent = [f"{name}={column}" for name, column in mapping.columns.items() if column not in there]
    if absent:
        raise OptionError(f"{files}: no column for {', '.join(absent)}; found the columns {few(there, 20) or 'none'}")


def _listed(names: Mapping[str, str] | Sequence[str], columns: Sequence[str], file: str) -> dict[str, str]:
    """Columns to labels, from a list of names and patterns (`count::*`) or from a mapping of names."""
    found: dict[str, str] = {}
    for name in names:
        match = [name] if name in columns else [column for column in columns if fnmatchcase(column, name)]
        if not match:
            raise OptionError(f"{file}: no column {name!r}; found the columns {few(columns, 20)}")
        found |= {column: names[name] if isinstance(names, Mapping) else bare_label(column) for column in match}
    return found


def bare_label(column: str) -> str:
    """The label in a count column's name: angry of n_angry, count::Angry and angry_votes."""
    return COUNT_AFFIX.sub("", column.strip()).strip() or column


def _label_columns(columns: Sequence[str], labels: LabelSet | None) -> dict[str, str]:
    """Columns named as labels, two or more, none twice: of the label set, or, without one, emotions' usual names."""
    spelt = {column: name for column in columns if (name := bare_label(column)) and _spells(name, labels)}
    return spelt if len(spelt) > 1 and len({name.casefold() for name in spelt.values()}) == len(spelt) else {}


def _spells(name: str, labels: LabelSet | None) -> bool:
    # A single letter is too little to tell an emotion from anything else where no label set was named.
    sets = [labels] if labels is not None else [] if len(name) < 3 else list(LABEL_SETS.values())
    for known in sets:
        try:
            known.canonical(name)
            return True
        except LabelError:
            continue
    return False


def _guess(
    columns: Sequence[str], said: Mapping[str, str], taken: set[str], allowed: Sequence[str], file: str
) -> _Found:
    fields, guessed, unclear = dict(said), [], []
    for name in (usual for usual in USUAL if usual in allowed and usual not in said):
        free = [column for column in columns if column not in taken and column not in fields.values()]
        for names in (name, *USUAL[name]):
            match = [column for column in free if plain_name(column) in {plain_name(n) for n in names.split()}]
            if len(match) > 1:
                unclear.append(f"{name} may be any of {few(match, 20)}; say {name}={match[0]}, or another")
            elif match:
                fields[name] = match[0]
                if match[0] != name:
                    guessed.append(f"{name}={match[0]}")
            if match:
                break
    if unclear:
        raise OptionError(list_problems(f"{file} (columns {few(columns, 20)})", unclear))
    return _Found(fields, guessed)
