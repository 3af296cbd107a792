"""`serann predict`: what a trained model hears."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .corpus import AudioRoot


def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A trained model.", show_default=False)],
    source: Annotated[
        list[str],
        typer.Argument(metavar="CORPUS|AUDIO...", help="A corpus, 'demo', or sound files.", show_default=False),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PRED", help="The prediction directory.", show_default=False)
    ],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    batch_seconds: Annotated[float, typer.Option(help="Seconds of sound a batch, with padding.")] = 120.0,
    audio_root: AudioRoot = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a former prediction.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Let a trained model listen to a corpus or to sound files.

    Writes a distribution over the labels for each utterance, and ratings where
    the model gives them; of a model trained with --loss dirichlet-multinomial
    also how many votes it takes each distribution to be worth. Sounds of more
    than 30 s are heard in equal windows, whose answers are averaged. An
    utterance that cannot be heard is listed, and the exit code is then 1; where
    none can, nothing is written.

    Example: serann predict model demo -o prediction
    """
    from ...data.corpus import corpus_directory, open_corpus
    from ...data.errors import OptionError
    from ...trainer import predict as run_prediction
    from .console import NOTHING_WRITTEN, note_failures, print_json, progress, stopped_in_a_sentence

    given: Any = source[0] if len(source) == 1 else source
    if audio_root is not None:
        if len(source) > 1 or not corpus_directory(source[0]).is_dir():
            raise OptionError("--audio-root is for a corpus; sound files are read where they are named: leave it out")
        given = open_corpus(source[0], audio_root=audio_root)
    with stopped_in_a_sentence(NOTHING_WRITTEN), progress("predict") as step:
        found = run_prediction(
            model,
            given,
            out=output,
            device=device,
            batch_seconds=batch_seconds,
            overwrite=overwrite,
            progress=step,
        )
    if as_json:
        print_json(
            {
                "prediction": str(found.path),
                "model": found.model.name,
                "utterances": len(found.ids),
                "failures": [{"utterance_id": name, "reason": why} for name, why in found.failures.items()],
            }
        )
    else:
        _show(found)
    note_failures(found.failures.items(), table=f"{found.path}/failures.parquet")
    if found.failures:
        raise typer.Exit(1)


def _show(found) -> None:
    """The first rows of what was heard."""
    from .console import print_table

    labels = list(found.model.label_set)
    strength = found.effective_votes
    rows = [
        [
            name,
            *found.distributions[place].tolist(),
            *([] if strength is None else [float(strength[place])]),
            *found.ratings[place].tolist(),
        ]
        for place, name in enumerate(found.ids)
        if name not in found.failures
    ]
    shown = rows[:20]
    title = f"{found.path}: {len(rows)} utterances" + (f", the first {len(shown)}" if len(rows) > len(shown) else "")
    scale = found.model.scale
    rated = [f"{dimension} ({scale[0]:g}-{scale[1]:g})" for dimension in found.model.dimensions]
    print_table(title, ["utterance", *labels, *([] if strength is None else ["votes"]), *rated], shown)
