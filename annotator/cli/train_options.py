"""The options of `serann train`, by what they are about. None: not given, so the recipe's or the default holds."""

from pathlib import Path
from typing import Annotated, Any

import typer


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
    str | None, _option("wavlm (base-plus, from the hub; default), a checkpoint folder, or a hub id.", panel=ENCODER)
]
FromScratch = Annotated[
    bool | None,
    _option("Random weights; for wavlm, a small configuration.", "--from-scratch/--pretrained", panel=ENCODER),
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
    _option(
        "kl (default), ce, cb-ce, weighted-kl, jsd, or dirichlet-multinomial (with targets primary).", panel=TARGETS
    ),
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
BatchSize = Annotated[int | None, _option("Most utterances a batch (default: as the seconds allow).", panel=COURSE)]
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
        "Which epoch is kept: log_score (default), sq_unbiased, accuracy, uar, macro_f1 or ccc, on development.",
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
