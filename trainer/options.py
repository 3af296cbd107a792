"""The choices that decide what comes out of a training, and the recipes that name whole sets of them."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, ValidationError, model_validator

from ..data.errors import OptionError, list_problems
from ..data.scores.metric import Metric, metrics_at
from .network.losses import CATEGORICAL
from .targets import DIMENSIONS, FILTERS, WEIGHTS, stages

# The score that says which epoch is kept, where none is chosen.
BEST_BY = "log_score"
# For an encoder that starts from random weights, and for a pretrained one (papers 2 and 3 fine-tune at 1e-5
# with heads at 1e-4).
DEFAULTS: Mapping[bool, Mapping[str, Any]] = {
    True: {"epochs": 20, "batch_seconds": 30.0, "learning_rate": 2e-3, "head_learning_rate": 2e-3},
    False: {"epochs": 10, "batch_seconds": 120.0, "learning_rate": 1e-5, "head_learning_rate": 1e-4},
}


def epoch_metrics() -> list[Metric]:
    """The metrics of an epoch, the default of --best-by first."""
    return sorted(metrics_at("epochs"), key=lambda metric: metric.name != BEST_BY)


def best_by_names() -> list[str]:
    """What `best_by` may be."""
    return [metric.name for metric in epoch_metrics()]


def one_of(names: Callable[[], Sequence[str]]) -> AfterValidator:
    """A check that a text is one of the names of a registry, which is read when it is needed."""

    def check(name: str) -> str:
        known = list(names())
        if name not in known:
            raise ValueError(f"input should be one of {', '.join(known)}{_meant(name, known)}")
        return name

    return AfterValidator(check)


BestBy = Annotated[str, one_of(best_by_names)]
LossName = Annotated[str, one_of(lambda: list(CATEGORICAL))]


class TrainOptions(BaseModel):
    """A training is resumed only under the same ones. Epochs are counted from 1; `serann train --help` says what each
    option does, and the modules what it is: encoders, layers, freezing, heads, vote_targets, losses, curriculum,
    schedule.

    A model keeps those that it was trained with, also where no training may begin with them any more (`check_options`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    from_scratch: StrictBool = False
    layer: str = "last"
    frozen: StrictBool = False
    unfreeze: str = ""
    unfreeze_rates: str = ""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    head: Literal["linear", "tc-gru"] = "linear"
    pooling: Literal["mean", "attentive"] = "mean"
    skip: StrictBool = False
    targets: Literal["fused", "hard", "primary", "merged", "smoothed", "disaggregated"] = "fused"
    merged_alpha: float = Field(default=0.9, gt=0, le=1)
    loss: LossName = "kl"
    dimensional_loss: Literal["ccc", "nll-ccc"] = "ccc"
    dimensional_weight: float = Field(default=0.3, ge=0)
    dimension_weights: dict[str, float] = Field(default_factory=dict)
    curriculum: Literal["none", "filter", "reverse-filter", "random-filter", "weight", "reverse-weight"] = "none"
    curriculum_over: Literal["batch", "epoch"] = "batch"
    ambiguity: Literal["expected", "target"] = "expected"
    quantiles: str = "1:.5,2:.6,4:.8,8:.9,12:1"
    exponent: float = Field(default=2.0, ge=0)
    last_exponent: float = Field(default=0.0, ge=0)
    ramp: int | None = Field(default=None, ge=1)
    least_weight: float = Field(default=0.15, ge=0, le=1)
    epochs: int = Field(ge=1)
    batch_seconds: float = Field(gt=0)
    batch_size: int | None = Field(default=None, ge=1)
    accumulate: int = Field(default=1, ge=1)
    learning_rate: float = Field(gt=0)
    head_learning_rate: float = Field(gt=0)
    schedule: Literal["cosine", "constant", "newbob"] = "cosine"
    warm_up: float = Field(default=0.1, ge=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, gt=0)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    perturb: StrictBool = True
    best_by: BestBy = BEST_BY
    patience: int | None = Field(default=None, ge=1)
    precision: Literal["no", "bf16", "fp16"] = "no"
    seed: int = 0


class _Asked(TrainOptions):
    """Options that a training may begin with."""

    model_config = ConfigDict(allow_inf_nan=False)

    @model_validator(mode="after")
    def _possible(self) -> "_Asked":
        problems = [words for wrong, words in _impossible(self) if wrong]
        problems += [*_badly_staged(self), *_badly_weighed(self)]
        if problems:
            raise ValueError("; ".join(problems))
        return self


def _impossible(options: TrainOptions) -> list[tuple[bool, str]]:
    """Pairs of options that contradict each other: whether they do here, and why."""
    evidential = CATEGORICAL[options.loss].evidential
    layer, chosen = options.layer, options.layer in ("last", "weighted", "auto")
    return [
        (
            not chosen and not (layer.isascii() and layer.isdecimal()),
            f"layer is {layer!r}; expected last, weighted, auto, or a number from 0 on",
        ),
        (options.frozen and bool(options.unfreeze), "a frozen encoder is not unfrozen: frozen, or unfreeze, not both"),
        (options.frozen and options.perturb, "a frozen encoder hears each sound once, unchanged: perturb must be off"),
        (bool(options.unfreeze_rates) and not options.unfreeze, "unfreeze_rates without unfreeze"),
        (options.skip and options.head != "tc-gru", "skip is a part of the tc-gru head"),
        (options.pooling != "mean" and options.head == "tc-gru", "the tc-gru head does its own pooling"),
        (
            evidential and options.targets == "disaggregated",
            f"single votes do not tell a strength: {options.loss} needs an utterance's votes together, which are "
            "targets primary",
        ),
        (
            evidential and options.targets not in ("primary", "disaggregated"),
            f"{options.loss} learns from the votes themselves, not from targets {options.targets}: it needs "
            "targets primary",
        ),
    ]


def _badly_staged(options: TrainOptions) -> Iterator[str]:
    """What is wrong with the options that say something epoch by epoch."""
    ranges: list[tuple[str, Callable[[float], bool], str]] = [
        ("quantiles", lambda share: 0 < share <= 1, "shares above 0 and at most 1"),
        ("unfreeze", lambda layers: layers >= 0, "numbers of layers"),
        ("unfreeze_rates", lambda factor: factor >= 0, "factors of 0 or more"),
    ]
    for name, inside, expected in ranges:
        text = getattr(options, name)
        try:
            found = stages(text, name=name) if text else ()
        except OptionError as error:
            yield str(error)
            continue
        if not all(inside(value) for _, value in found):
            yield f"{name} is {text!r}; expected {expected}"


def _badly_weighed(options: TrainOptions) -> Iterator[str]:
    weights = options.dimension_weights
    unknown = [name for name in weights if name not in DIMENSIONS]
    if unknown:
        yield f"dimension_weights names {', '.join(unknown)}; expected some of {', '.join(DIMENSIONS)}"
    for name, weight in weights.items():
        if weight <= 0:
            yield f"dimension_weights gives {name} {weight:g}; expected numbers above 0"


Values = Mapping[str, Any]
# What must hold for an option to be read, and in words.
READERS: dict[str, tuple[Callable[[Values], bool], str]] = {
    "layer_decay": (lambda o: o["frozen"] is not True, "an encoder that learns, not a frozen one"),
    "learning_rate": (lambda o: o["frozen"] is not True, "an encoder that learns (head_learning_rate is the heads')"),
    "pooling": (lambda o: o["head"] != "tc-gru", "head linear"),
    "merged_alpha": (lambda o: o["targets"] == "merged", "targets merged"),
    "dimensional_loss": (lambda o: o["dimensional_weight"] != 0, "a dimensional_weight above 0"),
    "dimension_weights": (lambda o: o["dimensional_weight"] != 0, "a dimensional_weight above 0"),
    "curriculum_over": (lambda o: o["curriculum"] != "none", "a curriculum"),
    "ambiguity": (
        lambda o: o["curriculum"] not in ("none", "random-filter"),
        "a curriculum by ambiguity: filter, weight, or their reverse",
    ),
    "quantiles": (lambda o: o["curriculum"] in FILTERS, f"curriculum {', '.join(FILTERS[:-1])} or {FILTERS[-1]}"),
    **{
        name: (lambda o: o["curriculum"] in WEIGHTS, f"curriculum {' or '.join(WEIGHTS)}")
        for name in ("exponent", "last_exponent", "ramp", "least_weight")
    },
}


def unread(options: Values) -> dict[str, str]:
    """Those of some options that nothing reads, with what each needs; options that are not among them have their
    defaults.

    >>> unread({"exponent": 2.0, "ramp": 3, "curriculum": "filter"})["ramp"]
    'curriculum weight or reverse-weight'
    """
    values = {name: field.default for name, field in TrainOptions.model_fields.items()} | dict(options)
    return {name: needs for name, (reads, needs) in READERS.items() if name in options and not reads(values)}


def with_defaults(model: str, from_scratch: bool, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a training with DEFAULTS for those left out; a frozen encoder hears sounds unperturbed."""
    given = {"perturb": not options.get("frozen", False), **options, "model": model, "from_scratch": from_scratch}
    return {**DEFAULTS[from_scratch is True], **given}


def check_options(options: Mapping[str, Any], *, given: Collection[str] = ()) -> TrainOptions:
    """Validate options; OptionError listing every one that does not fit, and every one of those `given` by somebody
    (rather than filled in) that nothing would read.
    """
    problems = [
        f"{name} is {options[name]!r}, and nothing reads it: it needs {needs}"
        for name, needs in unread(options).items()
        if name in given
    ]
    try:
        chosen = TrainOptions.model_validate(_Asked.model_validate(dict(options)).model_dump())
    except ValidationError as error:
        problems = [_in_words(e) for e in error.errors()] + problems
    else:
        if not problems:
            return chosen
    raise OptionError(list_problems("options of train", problems))


def check_running(*, workers: int, save_minutes: float) -> None:
    """OptionError where either number is none that a training could run with."""
    problems = []
    if workers < 0:
        problems.append(f"--workers is {workers}; expected 0 or more processes")
    if not (math.isfinite(save_minutes) and save_minutes >= 0):
        problems.append(f"--save-minutes is {save_minutes:g}; expected 0 or more minutes")
    if problems:
        raise OptionError("; ".join(problems))


def _in_words(error: Any) -> str:
    name, said = ".".join(map(str, error["loc"])), error["msg"].removeprefix("Value error, ")
    return f"{name} is {error['input']!r}: {said.lower()}" if name else said


# --------------------
# Recipes: options by name, in YAML files whose first line is the command that runs them.

FOLDER = Path(__file__).parent / "recipes"


def recipe_names() -> list[str]:
    """The recipes that come with serann, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def about_recipe(name: str) -> str:
    """The first sentence of a recipe's own comment, after its command."""
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[2:]
    words = " ".join(line.removeprefix("#").strip() for line in takewhile(lambda line: line.startswith("#"), lines))
    return words.partition(". ")[0]


def read_recipe(name: str | Path) -> dict[str, Any]:
    """The options of a recipe: one of `recipe_names`, or a file of your own.

    Raises OptionError for a name that is none, a file that is no YAML mapping, keys that are no options, all named, and
    keys that are given twice.
    """
    path = FOLDER / f"{name}.yaml" if str(name) in recipe_names() else Path(name)
    if not path.is_file():
        meant = _meant(str(name), recipe_names())
        raise OptionError(f"no recipe '{name}': no such file, and serann's own are {', '.join(recipe_names())}{meant}")
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=_EachKeyOnce)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise OptionError(f"recipe {path} cannot be read: {_first_line(error)}") from None
    if not isinstance(found, dict):
        raise OptionError(f"recipe {path}: expected lines of 'option: value', as in 'loss: kl'")
    known = list(TrainOptions.model_fields)
    unknown = [f"{key}: no such option{_meant(str(key), known)}" for key in found if key not in known]
    if unknown:
        raise OptionError(list_problems(f"recipe {path}", unknown))
    return found


class _EachKeyOnce(yaml.SafeLoader):
    """Of a key that is given twice YAML's own loader takes the last, without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, list[int]] = {}
        for key, _ in node.value:
            lines.setdefault(str(key.value), []).append(key.start_mark.line + 1)
        twice = [f"{key} is given in lines {' and '.join(map(str, at))}" for key, at in lines.items() if len(at) > 1]
        if twice:
            raise yaml.YAMLError(f"{', '.join(twice)}; keep one of each")
        return super().construct_mapping(node, deep=deep)


def _meant(key: str, known: list[str]) -> str:
    near = get_close_matches(key, known, n=1)
    return f"; is {near[0]} meant?" if near else ""


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())
