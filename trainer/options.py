"""The choices that decide what comes out of a training."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..data.errors import OptionError, list_problems
from .curriculum import stages

DIRECTION = {"log_score": 1, "sq_unbiased": -1, "accuracy": 1, "uar": 1, "macro_f1": 1, "ccc": 1}
# For an encoder that starts from random weights, and for a pretrained one (papers 2 and 3 fine-tune at 1e-5
# with heads at 1e-4).
DEFAULTS: Mapping[bool, Mapping[str, Any]] = {
    True: {"epochs": 20, "batch_seconds": 30.0, "learning_rate": 2e-3, "head_learning_rate": 2e-3},
    False: {"epochs": 10, "batch_seconds": 120.0, "learning_rate": 1e-5, "head_learning_rate": 1e-4},
}


class TrainOptions(BaseModel):
    """A training is resumed only under the same ones. Epochs are counted from 1; `serann train --help` says what each
    option does, and the modules what it is: encoders, layers, freezing, heads, vote_targets, losses, curriculum,
    schedule.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    from_scratch: bool = False
    layer: str = "last"
    frozen: bool = False
    unfreeze: str = ""
    unfreeze_rates: str = ""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    head: Literal["linear", "tc-gru"] = "linear"
    pooling: Literal["mean", "attentive"] = "mean"
    skip: bool = False
    targets: Literal["fused", "hard", "primary", "merged", "smoothed", "disaggregated"] = "fused"
    merged_alpha: float = Field(default=0.9, gt=0, le=1)
    loss: Literal["kl", "ce", "cb-ce", "weighted-kl", "jsd", "dirichlet-multinomial"] = "kl"
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
    perturb: bool = True
    best_by: Literal["log_score", "sq_unbiased", "accuracy", "uar", "macro_f1", "ccc"] = "log_score"
    patience: int | None = Field(default=None, ge=1)
    precision: Literal["no", "bf16", "fp16"] = "no"
    seed: int = 0

    @model_validator(mode="after")
    def _possible(self) -> "TrainOptions":
        problems = [words for wrong, words in _impossible(self) if wrong]
        if problems:
            raise ValueError("; ".join(problems))
        stages(self.quantiles, name="quantiles")
        return self


def _impossible(options: TrainOptions) -> list[tuple[bool, str]]:
    """Pairs of options that contradict each other: whether they do here, and why."""
    layer, chosen = options.layer, options.layer in ("last", "weighted", "auto")
    return [
        (
            not chosen and not layer.isdigit(),
            f"layer is {layer!r}; expected last, weighted, auto, or a number from 0 on",
        ),
        (options.frozen and bool(options.unfreeze), "a frozen encoder is not unfrozen: frozen, or unfreeze, not both"),
        (options.frozen and options.perturb, "a frozen encoder hears each sound once, unchanged: perturb must be off"),
        (bool(options.unfreeze_rates) and not options.unfreeze, "unfreeze_rates without unfreeze"),
        (options.skip and options.head != "tc-gru", "skip is a part of the tc-gru head"),
        (options.pooling != "mean" and options.head == "tc-gru", "the tc-gru head does its own pooling"),
        (
            options.loss == "dirichlet-multinomial" and options.targets == "disaggregated",
            "single votes do not tell a strength: dirichlet-multinomial needs an utterance's votes together",
        ),
        (
            options.loss == "dirichlet-multinomial" and options.targets in ("hard", "merged", "smoothed"),
            f"dirichlet-multinomial learns from the votes themselves, not from targets {options.targets!r}",
        ),
    ]


def with_defaults(model: str, from_scratch: bool, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a training with DEFAULTS for those left out; a frozen encoder hears sounds unperturbed."""
    given = {"perturb": not options.get("frozen", False), **options, "model": model, "from_scratch": from_scratch}
    return {**DEFAULTS[from_scratch], **given}


def check_options(options: Mapping[str, Any]) -> TrainOptions:
    """Validate options; OptionError listing every one that does not fit."""
    try:
        return TrainOptions.model_validate(dict(options))
    except ValidationError as error:
        raise OptionError(list_problems("options of train", [_in_words(e) for e in error.errors()])) from None


def _in_words(error: Any) -> str:
    name, said = ".".join(map(str, error["loc"])), error["msg"].removeprefix("Value error, ")
    return f"{name} is {error['input']!r}: {said.lower()}" if name else said
