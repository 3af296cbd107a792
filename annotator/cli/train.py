"""`serann train`: a speech encoder on vote distributions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from .corpus import AudioRoot

# --------------------
# The options of `serann train`, by what they are about. None: not given, so the recipe's or the default holds.


def _option(about: str, *names: str, panel: str) -> Any:
    return typer.Option(*names, help=about, rich_help_panel=panel, show_default=False)


ENCODER, HEAD, TARGETS, CURRICULUM, COURSE = "Encoder", "Head", "Targets and losses", "Curriculum", "Course of training"

Recipe = Annotated[
    str | None,
    _option(
        "Options from a recipe: a name (see --recipes) or a YAML file; what is given beside it wins.", panel=ENCODER
    ),
]
Model = Annotated[
    str | None, _option("{encoders}, or a checkpoint folder or hub id of {architectures}.", panel=ENCODER)
]
FromScratch = Annotated[
    bool | None,
    _option("Random weights; for a bare name, a small configuration.", "--from-scratch/--pretrained", panel=ENCODER),
]
Layer = Annotated[
    str | None, _option("last (default), a number, weighted (learnt sum of all), or auto (saliency).", panel=ENCODER)
]
Frozen = Annotated[
    bool | None,
    _option("Do not train the encoder; its frames are computed once, to disk.", "--frozen/--no-frozen", panel=ENCODER),
]
Unfreeze = Annotated[
    str | None, _option("Train the top layers step by step: 1:2,4:8 is two from epoch 1, eight from 4.", panel=ENCODER)
]
UnfreezeRates = Annotated[
    str | None, _option("Factors of the encoder's rate in these stages, as in 1:1,4:.8.", panel=ENCODER)
]
LayerDecay = Annotated[
    float | None, _option("Each layer's rate is this times that of the one above (default 1).", panel=ENCODER)
]

Head = Annotated[str | None, _option("linear (default) or tc-gru.", panel=HEAD)]
Pooling = Annotated[str | None, _option("Of the linear head: mean (default) or attentive.", panel=HEAD)]
Skip = Annotated[
    bool | None, _option("Of tc-gru: add the convolution's mean to the last state.", "--skip/--no-skip", panel=HEAD)
]
Dropout = Annotated[float | None, _option("Of the heads (default .2).", panel=HEAD)]

Targets = Annotated[
    str | None, _option("fused (default), hard, primary, merged, smoothed, or disaggregated.", panel=TARGETS)
]
MergedAlpha = Annotated[
    float | None, _option("Share of the primary votes in merged targets (default .9).", panel=TARGETS)
]
Loss = Annotated[
    str | None,
    _option("On distributions: {losses}; {evidential} needs --targets primary.", panel=TARGETS),
]
DimensionalLoss = Annotated[
    str | None, _option("Of ratings: ccc (default) or nll-ccc, with a variance each.", panel=TARGETS)
]
DimensionalWeight = Annotated[
    float | None, _option("Weight of the loss on ratings (default .3); 0 leaves them out.", panel=TARGETS)
]
DimensionWeights = Annotated[
    str | None, _option("Weights of the dimensions, as in valence:1.4,arousal:1.", panel=TARGETS)
]

Curriculum = Annotated[
    str | None,
    _option("none (default), filter, reverse-filter, random-filter, weight, or reverse-weight.", panel=CURRICULUM),
]
CurriculumOver = Annotated[
    str | None, _option("Sort and weigh within the batch (default) or the epoch.", panel=CURRICULUM)
]
Ambiguity = Annotated[
    str | None,
    _option(
        "By the votes' expected entropy (expected, default), or by the target's own (target, as published).",
        panel=CURRICULUM,
    ),
]
Quantiles = Annotated[
    str | None, _option("Share a filter keeps, by epoch (default 1:.5,2:.6,4:.8,8:.9,12:1).", panel=CURRICULUM)
]
Exponent = Annotated[float | None, _option("Of the weights, in the first epoch (default 2).", panel=CURRICULUM)]
LastExponent = Annotated[float | None, _option("Of the weights, at the ramp's end (default 0).", panel=CURRICULUM)]
Ramp = Annotated[int | None, _option("Epochs until the last exponent (default: all).", panel=CURRICULUM)]
LeastWeight = Annotated[float | None, _option("Least weight of an utterance (default .15).", panel=CURRICULUM)]

Epochs = Annotated[int | None, _option("Epochs (default: 20 from scratch, else 10).", panel=COURSE)]
BatchSeconds = Annotated[float | None, _option("Seconds a batch, with padding (default: 30, else 120).", panel=COURSE)]
BatchSize = Annotated[int | None, _option("Most utterances per batch (default: as the seconds allow).", panel=COURSE)]
Accumulate = Annotated[int | None, _option("Batches a step (default 1).", panel=COURSE)]
LearningRate = Annotated[float | None, _option("The encoder's (default: 0.002, else 0.00001).", panel=COURSE)]
HeadLearningRate = Annotated[float | None, _option("The heads' (default: 0.002, else 0.0001).", panel=COURSE)]
Schedule = Annotated[str | None, _option("cosine (default), constant or newbob, after a warm-up.", panel=COURSE)]
WarmUp = Annotated[float | None, _option("Share of the steps in which rates rise (default .1).", panel=COURSE)]
WeightDecay = Annotated[float | None, _option("Of AdamW (default .01).", panel=COURSE)]
Clip = Annotated[float | None, _option("Longest gradient (default 1).", panel=COURSE)]
Perturb = Annotated[
    bool | None,
    _option(
        "Vary speed, cut and noise of what is trained on (default, unless frozen).",
        "--perturb/--no-perturb",
        panel=COURSE,
    ),
]
BestBy = Annotated[
    str | None,
    _option(
        "Which epoch is kept, by its score on development: {best_by}.",
        panel=COURSE,
    ),
]
Patience = Annotated[int | None, _option("Stop after so many epochs without a better one.", panel=COURSE)]
Precision = Annotated[str | None, _option("no (32 bits, default), bf16, or fp16 (on a GPU).", panel=COURSE)]
Seed = Annotated[int | None, _option("Of weights, batches, dropout, ties (default 0).", panel=COURSE)]


def chosen(recipe: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """The recipe's options, and over them those that were given; what nothing reads any more because of these (the
    shares of a filter, with --curriculum none) is left out.
    """
    from ...trainer.options import read_recipe, unread

    asked = {name: value for name, value in given.items() if value is not None}
    if "dimension_weights" in asked:
        asked["dimension_weights"] = _weights(asked["dimension_weights"])
    if not recipe:
        return asked
    own = read_recipe(recipe)
    moot = set(unread({**own, **asked})) - set(unread(own)) - set(asked)
    return {name: value for name, value in {**own, **asked}.items() if name not in moot}


def _weights(text: str) -> dict[str, float]:
    from ...data.errors import OptionError
    from ...trainer.targets import DIMENSIONS

    parts = text.split(",")
    try:
        found = {name.strip(): float(value) for name, value in (part.split(":") for part in parts)}
    except ValueError:
        found = {}
    if len(found) != len(parts) or set(found) - set(DIMENSIONS):
        raise OptionError(
            f"--dimension-weights is {text!r}; expected weights of {', '.join(DIMENSIONS)}, as in valence:1.4,arousal:1"
        )
    return found


Fused = Annotated[Path | None, typer.Argument(metavar="FUSED", help="A fused corpus.", show_default=False)]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="MODEL", help="The model directory.", show_default=False)
]


def train(
    fused: Fused = None,
    output: Output = None,
    recipe: Recipe = None,
    recipes: Annotated[bool, typer.Option("--recipes", help="List the recipes.")] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what it will take (parameters, memory, time, disk), and train nothing.")
    ] = False,
    model: Model = None,
    from_scratch: FromScratch = None,
    layer: Layer = None,
    frozen: Frozen = None,
    unfreeze: Unfreeze = None,
    unfreeze_rates: UnfreezeRates = None,
    layer_decay: LayerDecay = None,
    head: Head = None,
    pooling: Pooling = None,
    skip: Skip = None,
    dropout: Dropout = None,
    targets: Targets = None,
    merged_alpha: MergedAlpha = None,
    loss: Loss = None,
    dimensional_loss: DimensionalLoss = None,
    dimensional_weight: DimensionalWeight = None,
    dimension_weights: DimensionWeights = None,
    curriculum: Curriculum = None,
    curriculum_over: CurriculumOver = None,
    ambiguity: Ambiguity = None,
    quantiles: Quantiles = None,
    exponent: Exponent = None,
    last_exponent: LastExponent = None,
    ramp: Ramp = None,
    least_weight: LeastWeight = None,
    epochs: Epochs = None,
    batch_seconds: BatchSeconds = None,
    batch_size: BatchSize = None,
    accumulate: Accumulate = None,
    learning_rate: LearningRate = None,
    head_learning_rate: HeadLearningRate = None,
    schedule: Schedule = None,
    warm_up: WarmUp = None,
    weight_decay: WeightDecay = None,
    clip: Clip = None,
    perturb: Perturb = None,
    best_by: BestBy = None,
    patience: Patience = None,
    precision: Precision = None,
    seed: Seed = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    workers: Annotated[int, typer.Option(help="Processes that read sounds ahead.")] = 0,
    features: Annotated[
        Path | None,
        typer.Option(help="Keep a frozen encoder's frames in this folder, for other trainings.", show_default=False),
    ] = None,
    audio_root: AudioRoot = None,
    save_minutes: Annotated[float, typer.Option(help="Save a long epoch's work so often.")] = 10.0,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write each epoch's figures for TensorBoard, too.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model, once the new one is finished.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train a speech encoder on a fused corpus's train split, from votes and ratings that may be seen.

    The best epoch on the development split's human votes is kept. The same
    command again goes on where it was stopped, to the same weights; a finished
    one is left as it is. An utterance that cannot be heard is left out and
    listed, and the exit code is then 1.

    Example: serann train fused --model wavlm --from-scratch --epochs 2 -o model
    """
    call = dict(locals())
    if recipes:
        return _list_recipes(as_json)
    apart = ("fused", "output", "recipe", "recipes", "plan", "overwrite", "as_json", "save_minutes", "features")
    asked = chosen(recipe, {name: value for name, value in call.items() if name not in (*apart, "tensorboard")})
    if fused is None:
        raise _missing("FUSED", "the fused corpus to learn from: serann train fused -o model")
    if plan:
        return _plan(fused, asked, as_json)
    if output is None:
        raise _missing("--output", "where the model goes: serann train fused -o model")
    _train(fused, output, asked, features, save_minutes, tensorboard, overwrite, as_json)


def _missing(what: str, why: str) -> Exception:
    from ...data.errors import OptionError

    return OptionError(f"{what} is missing: {why}")


def _train(
    fused: Path,
    output: Path,
    asked: dict[str, Any],
    features: Path | None,
    save_minutes: float,
    tensorboard: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    from ...data.files import read_json
    from ...data.fused import open_fused
    from ...trainer import read_model_info
    from ...trainer import train as run_training
    from ...trainer.validation import constant_scores
    from .console import note, note_failures, print_json, progress

    there = (output / "model.json").is_file() and not overwrite and read_model_info(output).finished
    with progress("train") as step:
        path = run_training(
            fused,
            out=output,
            features=features,
            save_minutes=save_minutes,
            tensorboard=tensorboard,
            overwrite=overwrite,
            progress=step,
            **asked,
        ).path
    info = read_model_info(path)
    constant = constant_scores(open_fused(fused), info)
    if as_json:
        described = read_json(path / "model.json", what="trained model's description")
        print_json({"model": str(path), **described, "constant": constant})
    else:
        _show(path, info, constant)
    if there:
        note(f"{path} is finished already: nothing was done")
    for warning in info.warnings:
        note(f"warning: {warning}")
    note_failures(
        ((failure["utterance_id"], failure["reason"]) for failure in info.failures), table=f"{path}/model.json"
    )
    if info.failures:
        raise typer.Exit(1)


def _list_recipes(as_json: bool) -> None:
    from ...trainer.options import about_recipe, recipe_names
    from .console import print_json, print_table

    about = {name: about_recipe(name) for name in recipe_names()}
    if as_json:
        print_json(about)
    else:
        print_table("Recipes: serann train FUSED --recipe NAME -o MODEL", ["recipe", "what"], list(about.items()))


def _plan(fused: Path, asked: dict[str, Any], as_json: bool) -> None:
    from ...trainer.plan import plan
    from .console import NOTHING_WRITTEN, print_json, print_table, progress, stopped_in_a_sentence

    with stopped_in_a_sentence(NOTHING_WRITTEN), progress("plan") as step:
        found = plan(fused, progress=step, **{name: value for name, value in asked.items() if name != "workers"})
    if as_json:
        return print_json(found.to_json())
    gigabytes = {"memory, peak": found.memory_bytes, "disk, model": found.disk_bytes}
    if found.feature_bytes:
        gigabytes["disk, frozen features"] = found.feature_bytes
    print_table(
        f"Plan of a training on {found.device} ({found.measured_batches} batches measured)",
        ["what", "how much"],
        [
            ["parameters", f"{found.parameters:,}"],
            ["trained in the first epoch", f"{found.trained:,}"],
            ["utterances", f"{found.utterances:,} ({found.hours:.2f} h), development {found.development:,}"],
            ["batches an epoch", f"{found.batches:,}"],
            ["steps", f"{found.steps:,} in {found.epochs} epochs"],
            ["time before the first epoch", _clock(found.seconds_once)],
            *([_of_stage(stage, found.stages), _clock(stage.seconds_an_epoch)] for stage in found.stages),
            ["time at most", _clock(found.seconds)],
            *([name, f"{size / 1e9:.2f} GB"] for name, size in gigabytes.items()),
        ],
    )


def _of_stage(stage, stages) -> str:
    """A row's name: which epochs, where another number of parameters learns in them than in others."""
    if len(stages) == 1:
        return "time an epoch"
    return f"time an epoch from {stage.epoch} on ({stage.trained:,} trained)"


def _clock(seconds: float) -> str:
    return (
        f"{seconds:.1f} s"
        if seconds < 90
        else f"{seconds / 60:.1f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )


# Means over the mini-batches of the epoch, while the weights moved: 1 - CCC of a few utterances is no split's CCC.
TRAIN_ROWS = {
    "loss": "train loss (mean of mini-batches)",
    "categorical_loss": "train categorical loss, {loss} (mini-batches)",
    "dimensional_loss": "train dimensional loss, {dimensional_loss} (mini-batches)",
}


def _show(path: Path, info, constant: Mapping[str, float]) -> None:
    """The kept epoch's figures: of the train split's mini-batches, then of the development split, where those of the
    constant stand beside them; and the layer, where it was chosen.
    """
    from .console import print_table

    epochs = len((path / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    left_out = {"learning_rate"} if info.dimensions else {"learning_rate", "dimensional_loss"}
    told = {**info.options.model_dump(), "loss": info.options.loss.upper()}
    told["dimensional_loss"] = {"ccc": "1 - CCC", "nll-ccc": "likelihood and 1 - CCC"}[info.options.dimensional_loss]
    names = {key: words.format(**told) for key, words in TRAIN_ROWS.items()}
    print_table(
        f"{path}: kept epoch {info.best_epoch} of {epochs}, best by {info.options.best_by} on the development split "
        f"(n = {info.fused.utterances['development']})",
        ["figure", "value", "constant"],
        [
            [names.get(k, f"development {k}"), v, constant.get(k, "" if k in names else None)]
            for k, v in info.best.items()
            if k not in left_out
        ],
    )
    print(
        "constant: the best answer without listening, the shares of the labels among the seen votes; it rates nothing."
    )
    if info.architecture.saliency is not None:
        print(_chosen_layer(info.architecture))


def _chosen_layer(built) -> str:
    scores = ", ".join(f"{layer}: {score:.3f}" for layer, score in enumerate(built.saliency))
    return (
        f"layer {built.layer}, chosen by saliency over {built.saliency_utterances} utterances ({scores}; 0 is before "
        "the first layer)"
    )
