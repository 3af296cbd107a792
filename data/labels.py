"""Label sets: which labels a vote may name, in which order a distribution lists them, and how one set maps to
another.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from .errors import LabelError, list_problems

# One spelling a label, as the corpora and listeners write it. A set uses those whose label it holds.
_SPELLINGS: dict[str, tuple[str, ...]] = {
    "neutral": ("neutral state", "neu", "n", "calm"),
    "happy": ("happiness", "joy", "hap", "h", "happily"),
    "angry": ("anger", "ang", "a", "mad"),
    "sad": ("sadness", "s"),
    "fear": ("fearful", "afraid", "anxiety", "fea", "f"),
    "disgust": ("disgusted", "dis", "d"),
    "contempt": ("contemptuous", "con", "c"),
    "surprise": ("surprised", "sur", "u"),
    "frustrated": ("frustration", "fru"),
    "excited": ("excitement", "exc"),
    "boredom": ("bored", "bor"),
    "other": ("oth", "o"),
}


@dataclass(frozen=True, slots=True)
class LabelSet:
    """An ordered set of labels with other spellings of them. The order is the order of every distribution over it.

    Raises LabelError for fewer than two labels, a label twice, or a spelling that names two labels.
    """

    name: str
    labels: tuple[str, ...]
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        problems = []
        if len(self.labels) < 2:
            problems.append(f"needs two labels or more, found {len(self.labels)}")
        if len(set(self.labels)) != len(self.labels):
            problems.append(f"names a label twice: {', '.join(self.labels)}")
        problems += [
            f"alias {a!r} names {to!r}, not one of its labels"
            for a, to in self.aliases.items()
            if to not in self.labels
        ]
        problems += [
            f"alias {a!r} is itself another label" for a, to in self.aliases.items() if a in self.labels and a != to
        ]
        if problems:
            raise LabelError(list_problems(f"label set {self.name!r}", problems))
        object.__setattr__(self, "aliases", MappingProxyType(dict(self.aliases)))

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[str]:
        return iter(self.labels)

    def __contains__(self, label: object) -> bool:
        return label in self.labels

    def __reduce__(self) -> tuple[Any, ...]:
        return LabelSet, (self.name, self.labels, dict(self.aliases))

    def index(self, label: str) -> int:
        """Return the label's place in every distribution; LabelError if it is not one of the set."""
        try:
            return self.labels.index(label)
        except ValueError:
            raise self._unknown(label) from None

    def canonical(self, text: str) -> str:
        """Return the label that `text` spells, whatever its case or surrounding blanks; LabelError if it spells none.

        >>> LABEL_SETS["iemocap4"].canonical(" Anger ")
        'angry'
        """
        folded = text.strip().casefold()
        for label in self.labels:
            if label.casefold() == folded:
                return label
        for alias, label in self.aliases.items():
            if alias.casefold() == folded:
                return label
        raise self._unknown(text)

    def _unknown(self, text: str) -> LabelError:
        return LabelError(
            f"unknown label {text!r}; expected one of {', '.join(self.labels)} (label set {self.name}); "
            f"map it with an alias, as in --alias {text.strip() or 'anger'}={self.labels[0]}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the set as a JSON object that `from_json` reads back."""
        return {"name": self.name, "labels": list(self.labels), "aliases": dict(self.aliases)}

    @staticmethod
    def from_json(obj: Mapping[str, Any]) -> "LabelSet":
        """Read the object that `to_json` wrote."""
        try:
            return LabelSet(str(obj["name"]), tuple(obj["labels"]), dict(obj.get("aliases") or {}))
        except (KeyError, TypeError) as error:
            raise LabelError(f"not a label set: {obj!r} ({error})") from None


def _named(name: str, labels: str) -> LabelSet:
    chosen = tuple(labels.split())
    return LabelSet(name, chosen, {s: label for label in chosen for s in _SPELLINGS.get(label, ()) if s not in chosen})


LABEL_SETS: dict[str, LabelSet] = {
    s.name: s
    for s in (
        _named("msp9", "neutral happy angry sad fear disgust contempt surprise other"),
        _named("msp8", "neutral happy angry sad fear disgust contempt surprise"),
        _named("iemocap4", "neutral happy angry sad"),
        _named("iemocap9", "neutral happy angry sad frustrated excited fear disgust surprise"),
        _named("crema6", "neutral happy angry sad fear disgust"),
        _named("emodb7", "neutral happy angry sad fear disgust boredom"),
        _named("demo6", "neutral happy angry sad fear surprise"),
        _named("iemocap10", "neutral happy angry sad frustrated excited fear disgust surprise other"),
        _named("improv5", "neutral happy angry sad other"),
        _named("meld7", "neutral happy angry sad fear disgust surprise"),
        _named("mosei7", "neutral happy angry sad fear disgust surprise"),
        _named("ravdess8", "neutral calm happy sad angry fear disgust surprise"),
        _named("esd5", "neutral happy angry sad surprise"),
    )
}


def label_set(name: str) -> LabelSet:
    """Return the named label set; LabelError listing the names there are."""
    if name not in LABEL_SETS:
        raise LabelError(f"unknown label set {name!r}; expected one of {', '.join(LABEL_SETS)}")
    return LABEL_SETS[name]


def as_label_set(labels: LabelSet | str | Sequence[str]) -> LabelSet:
    """A label set as it is, by name (`iemocap4`), or made of labels: a list, or one text with commas.

    >>> as_label_set("calm, tense").labels
    ('calm', 'tense')
    """
    if isinstance(labels, LabelSet):
        return labels
    if isinstance(labels, str):
        if "," not in labels:
            return label_set(labels)
        labels = labels.split(",")
    return LabelSet("own", tuple(label.strip() for label in labels))


class LabelMap(NamedTuple):
    """A map from one label set to another: each source label's target, or None where its votes are dropped."""

    source: LabelSet
    target: LabelSet
    to: Mapping[str, str | None]

    @property
    def merges(self) -> dict[str, list[str]]:
        """Target labels that receive several source labels, with these."""
        into: dict[str, list[str]] = {}
        for label, target in self.to.items():
            if target is not None:
                into.setdefault(target, []).append(label)
        return {target: labels for target, labels in into.items() if len(labels) > 1}

    @property
    def drops(self) -> list[str]:
        """Source labels whose votes are dropped."""
        return [label for label, target in self.to.items() if target is None]

    def describe(self) -> str:
        """Say in one line what is merged and what is dropped."""
        merged = "; ".join(f"{' + '.join(labels)} -> {target}" for target, labels in self.merges.items())
        return (
            f"{self.source.name} -> {self.target.name}: merges {merged or 'nothing'}; "
            f"drops {', '.join(self.drops) or 'nothing'}"
        )


# The field's usual merge: IEMOCAP's excitement counts as happiness in the four-class task.
_USUAL_MERGES = {"excited": "happy"}


def map_labels(source: LabelSet, target: LabelSet, to: Mapping[str, str | None] | None = None) -> LabelMap:
    """Map every label of `source` to one of `target`, or to None (its votes are dropped).

    Labels of the same name map to each other and, without a word in `to`, `excited` merges into `happy`; whatever
    else the target lacks goes to its `other` where it has one, else it is dropped. `to` overrides per label.
    LabelError for unknown names.
    """
    to = dict(to or {})
    problems = [f"{label!r} is not a label of {source.name}" for label in to if label not in source]
    problems += [f"{t!r} is not a label of {target.name}" for t in to.values() if t is not None and t not in target]
    if problems:
        raise LabelError(list_problems(f"label map {source.name} -> {target.name}", problems))
    return LabelMap(
        source,
        target,
        {label: to[label] if label in to else _default_target(label, target) for label in source},
    )


def _default_target(label: str, target: LabelSet) -> str | None:
    for candidate in (label, _USUAL_MERGES.get(label), "other"):
        if candidate in target:
            return candidate
    return None
