"""`serann train`: a speech encoder on vote distributions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from . import train_options as given


def train(
    fused: given.Fused = None,
    output: given.Output = None,
    recipe: given.Recipe = None,
    recipes: Annotated[bool, typer.Option("--recipes", help="List the recipes.")] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what it will take (parameters, memory, time, disk), and train nothing.")
    ] = False,
    model: given.Model = None,
    from_scratch: given.FromScratch = None,
    layer: given.Layer = None,
    frozen: given.Frozen = None,
    unfreeze: given.Unfreeze = None,
    unfreeze_rates: given.UnfreezeRates = None,
    layer_decay: given.LayerDecay = None,
    head: given.Head = None,
    pooling: given.Pooling = None,
    skip: given.Skip = None,
    dropout: given.Dropout = None,
    targets: given.Targets = None,
    merged_alpha: given.MergedAlpha = None,
    loss: given.Loss = None,
    dimensional_loss: given.DimensionalLoss = None,
    dimensional_weight: given.DimensionalWeight = None,
    dimension_weights: given.DimensionWeights = None,
    curriculum: given.Curriculum = None,
    curriculum_over: given.CurriculumOver = None,
    ambiguity: given.Ambiguity = None,
    quantiles: given.Quantiles = None,
    exponent: given.Exponent = None,
    last_exponent: given.LastExponent = None,
    ramp: given.Ramp = None,
    least_weight: given.LeastWeight = None,
    epochs: given.Epochs = None,
    batch_seconds: given.BatchSeconds = None,
    batch_size: given.BatchSize = None,
    accumulate: given.Accumulate = None,
    learning_rate: given.LearningRate = None,
    head_learning_rate: given.HeadLearningRate = None,
    schedule: given.Schedule = None,
    warm_up: given.WarmUp = None,
    weight_decay: given.WeightDecay = None,
    clip: given.Clip = None,
    perturb: given.Perturb = None,
    best_by: given.BestBy = None,
    patience: given.Patience = None,
    precision: given.Precision = None,
    seed: given.Seed = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    workers: Annotated[int, typer.Option(help="Processes that read sounds ahead.")] = 0,
    features: Annotated[
        Path | None,
        typer.Option(help="Keep a frozen encoder's frames in this folder, for other trainings.", show_default=False),
    ] = None,
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
    asked = given.chosen(recipe, {name: value for name, value in call.items() if name not in (*apart, "tensorboard")})
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
    from .console import note, print_json, progress

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
        )
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
    for failure in info.failures:
        note(f"failed: {failure['utterance_id']}: {failure['reason']}")
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
