"""`serann train`: a speech encoder on fused vote distributions."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    fused: Annotated[Path, typer.Argument(metavar="FUSED", help="A fused corpus.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="MODEL", help="The model directory.", show_default=False)
    ],
    model: Annotated[
        str, typer.Option(help="wavlm (base-plus, from the hub), a checkpoint folder, or a hub id.")
    ] = "wavlm",
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Random weights; for wavlm, a small configuration.")
    ] = False,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs (default: 20 from scratch, else 10).", show_default=False)
    ] = None,
    batch_seconds: Annotated[
        float | None, typer.Option(help="Seconds a batch, with padding (default: 30, else 120).", show_default=False)
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="The encoder's (default: 0.002, else 0.00001).", show_default=False)
    ] = None,
    head_learning_rate: Annotated[
        float | None, typer.Option(help="The heads' (default: 0.002, else 0.0001).", show_default=False)
    ] = None,
    schedule: Annotated[str, typer.Option(help="cosine or constant, after a warm-up.")] = "cosine",
    dimensional_weight: Annotated[
        float, typer.Option(help="Weight of 1 - CCC on the ratings; 0 leaves their head out.")
    ] = 0.3,
    perturb: Annotated[bool, typer.Option(help="Vary speed, cut and noise of what is trained on.")] = True,
    best_by: Annotated[
        str, typer.Option(help="log_score, sq_unbiased, accuracy, uar, macro_f1 or ccc, on development.")
    ] = "log_score",
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many epochs without a better one.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, batches and dropout.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="no (32 bits), bf16 or fp16.")] = "no",
    workers: Annotated[int, typer.Option(help="Processes that read sounds ahead.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing model.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train a speech encoder on a fused corpus: soft-label KL, and 1 - CCC on the ratings.

    The best epoch on the development split's human votes is kept. The same
    command again goes on where it was stopped, to the same weights; a finished
    one is left as it is. An utterance that cannot be heard is left out and
    listed, and the exit code is then 1.

    Example: serann train fused --model wavlm --from-scratch --epochs 2 -o model
    """
    from ...data.files import read_json
    from ...trainer import read_model_info
    from ...trainer import train as run_training
    from .console import note, print_json, progress

    there = (output / "model.json").is_file() and not overwrite and read_model_info(output).finished
    asked = {
        "epochs": epochs,
        "batch_seconds": batch_seconds,
        "learning_rate": learning_rate,
        "head_learning_rate": head_learning_rate,
    }
    with progress("train") as step:
        path = run_training(
            fused,
            model=model,
            from_scratch=from_scratch,
            out=output,
            schedule=schedule,
            dimensional_weight=dimensional_weight,
            perturb=perturb,
            best_by=best_by,
            patience=patience,
            seed=seed,
            device=device,
            precision=precision,
            workers=workers,
            overwrite=overwrite,
            progress=step,
            **{name: value for name, value in asked.items() if value is not None},
        )
    info = read_model_info(path)
    if as_json:
        print_json({"model": str(path), **read_json(path / "model.json", what="trained model's description")})
    else:
        _show(path, info)
    if there:
        note(f"{path} is finished already: nothing was done")
    for warning in info.warnings:
        note(f"warning: {warning}")
    for failure in info.failures:
        note(f"failed: {failure['utterance_id']}: {failure['reason']}")
    if info.failures:
        raise typer.Exit(1)


# Means over the mini-batches of the epoch, while the weights moved: 1 - CCC of a few utterances is no split's CCC.
TRAIN_ROWS = {
    "loss": "train loss (mean of mini-batches)",
    "categorical_loss": "train categorical loss, KL (mini-batches)",
    "dimensional_loss": "train dimensional loss, 1 - CCC (mini-batches)",
}


def _show(path: Path, info) -> None:
    """The kept epoch's figures: of the train split's mini-batches, then of the development split."""
    from .console import print_table

    epochs = len((path / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    left_out = {"learning_rate"} if info.dimensions else {"learning_rate", "dimensional_loss"}
    print_table(
        f"{path}: kept epoch {info.best_epoch} of {epochs}, best by {info.options.best_by} on the development split",
        ["figure", "value"],
        [[TRAIN_ROWS.get(k, f"development {k}"), v] for k, v in info.best.items() if k not in left_out],
    )
