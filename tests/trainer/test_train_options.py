"""What `serann train` refuses, in words: values out of range, and options that nothing would read."""

import json
import math

import pytest
from fixtures.simulated import simulated_corpus
from fixtures.small_encoders import make_encoder_checkpoint
from serann.annotator.cli import app
from serann.annotator.cli.train import chosen
from serann.annotator.fusion import fuse
from serann.data.corpus import open_corpus
from serann.data.errors import OptionError
from serann.trainer import evaluate, read_model_info, train
from serann.trainer.options import READERS, check_options, read_recipe, recipe_names, unread, with_defaults
from typer.testing import CliRunner

QUICK = {"from_scratch": True, "epochs": 1, "batch_seconds": 3.0, "device": "cpu"}


def asked(**options):
    """The options of a training as `train` reads them."""
    given = {"model": "m", "from_scratch": False, **options}
    return check_options(with_defaults(given.pop("model"), given.pop("from_scratch"), given), given=given)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A fused corpus of tones whose valence alone was rated, and a small encoder's configuration."""
    path = tmp_path_factory.mktemp("options")
    corpus, _ = simulated_corpus(path / "corpus", utterances=60, speakers=10, audio=True)
    fuse(corpus, [], strategy="human", out=path / "fused")
    make_encoder_checkpoint(path / "encoder", norm="layer")
    return path


FILTER, WEIGHT = {"curriculum": "filter"}, {"curriculum": "weight"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({**FILTER, "quantiles": "1:-.5"}, "quantiles is '1:-.5'; expected shares above 0 and at most 1"),
        ({**FILTER, "quantiles": "1:1.5"}, "expected shares above 0 and at most 1"),
        ({**FILTER, "quantiles": "1:0"}, "expected shares above 0 and at most 1"),
        ({**FILTER, "quantiles": "1:nan"}, "quantiles is '1:nan'; its values must be finite numbers"),
        ({**FILTER, "quantiles": "2:.5"}, "quantiles is '2:.5'; its epochs must rise, and begin with 1"),
        ({"unfreeze": "1:2", "unfreeze_rates": "1:-2"}, "unfreeze_rates is '1:-2'; expected factors of 0 or more"),
        ({"unfreeze": "1:2", "unfreeze_rates": "1:inf"}, "unfreeze_rates is '1:inf'; its values must be finite"),
        ({"unfreeze": "1:inf"}, "unfreeze is '1:inf'; its values must be finite"),
        ({"unfreeze": "two"}, "unfreeze is 'two'; expected epochs and values"),
        ({"dimension_weights": {"valence": -3}}, "dimension_weights gives valence -3; expected numbers above 0"),
        ({"dimension_weights": {"valence": 0}}, "dimension_weights gives valence 0; expected numbers above 0"),
        ({"dimension_weights": {"valence": math.nan}}, "dimension_weights.valence is nan: input should be a finite"),
        ({"dimension_weights": {"valance": 9}}, "dimension_weights names valance; expected some of valence, arousal"),
        ({"layer": "²"}, "layer is '²'; expected last, weighted, auto, or a number from 0 on"),
        ({"learning_rate": math.inf}, "learning_rate is inf: input should be a finite number"),
        ({"batch_seconds": math.inf}, "batch_seconds is inf: input should be a finite number"),
        ({"clip": math.nan}, "clip is nan: input should be a finite number"),
        ({"from_scratch": "maybe"}, "from_scratch is 'maybe': input should be a valid boolean"),
        ({"frozen": "maybe"}, "frozen is 'maybe': input should be a valid boolean"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_said(options, words):
    with pytest.raises(OptionError) as caught:
        asked(**options)
    assert words in str(caught.value)


def test_the_votes_own_loss_takes_the_votes_own_targets():
    for targets in ("fused", "hard", "merged", "smoothed", "disaggregated"):
        with pytest.raises(OptionError, match=r"dirichlet-multinomial .*targets primary"):
            asked(loss="dirichlet-multinomial", targets=targets)
    with pytest.raises(OptionError, match="targets primary"):
        asked(loss="dirichlet-multinomial")
    assert asked(loss="dirichlet-multinomial", targets="primary").targets == "primary"


# Options that nothing reads, each with others under which something does.
UNREAD = [
    ({"merged_alpha": 0.8}, {"targets": "merged"}),
    ({"quantiles": "1:.5"}, FILTER),
    ({"quantiles": "1:.5", "curriculum": "weight"}, {"curriculum": "random-filter"}),
    ({"exponent": 1.0}, WEIGHT),
    ({"last_exponent": 1.0, "curriculum": "filter"}, {"curriculum": "reverse-weight"}),
    ({"ramp": 3}, WEIGHT),
    ({"least_weight": 0.1}, WEIGHT),
    ({"ambiguity": "target"}, FILTER),
    ({"ambiguity": "target", "curriculum": "random-filter"}, WEIGHT),
    ({"curriculum_over": "epoch"}, {"curriculum": "random-filter"}),
    ({"layer_decay": 0.9, "frozen": True}, {"frozen": False}),
    ({"learning_rate": 1e-3, "frozen": True}, {"frozen": False}),
    ({"dimensional_loss": "nll-ccc", "dimensional_weight": 0}, {"dimensional_weight": 0.1}),
    ({"dimension_weights": {"valence": 2.0}, "dimensional_weight": 0.0}, {"dimensional_weight": 0.1}),
    ({"pooling": "mean", "head": "tc-gru"}, {"head": "linear"}),
]


@pytest.mark.parametrize(("options", "read"), UNREAD)
def test_an_option_that_nothing_reads_is_refused(options, read):
    name = next(iter(options))
    with pytest.raises(OptionError, match=rf"{name} is .*, and nothing reads it: it needs "):
        asked(**options)
    assert asked(**{**options, **read}).model_dump()[name] == options[name]


def test_every_reader_was_tried_and_all_problems_come_together():
    assert {next(iter(options)) for options, _ in UNREAD} == set(READERS)
    with pytest.raises(OptionError) as caught:
        asked(epochs=0, exponent=3.0, ramp=2)
    for words in ("epochs is 0", "exponent is 3.0, and nothing reads it", "ramp is 2, and nothing"):
        assert words in str(caught.value)


def test_a_frozen_encoder_is_given_no_rate_it_would_not_use():
    assert asked(frozen=True).frozen
    assert asked(frozen=True, head_learning_rate=1e-3).head_learning_rate == 1e-3


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_name_nothing_that_is_not_read_and_an_override_makes_the_rest_moot(name):
    recipe = read_recipe(name)
    assert unread(recipe) == {}
    asked(**recipe)
    for given in ({"curriculum": "none"}, {"dimensional_weight": 0.0}, {"targets": "primary"}):
        asked(**chosen(name, given))


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ({"curriculum": "filter", "quantiles": "1:2"}, "quantiles is '1:2'; expected shares above 0"),
        ({"loss": "dirichlet-multinomial"}, "it needs targets primary"),
        ({"dimension_weights": {"valance": 9.0}}, "dimension_weights names valance"),
        ({"clip": math.inf}, "clip is inf"),
    ],
)  # fmt: skip
def test_a_model_of_options_that_are_refused_today_still_listens_and_no_training_goes_on_with_them(
    place, tmp_path, options, refused
):
    out = train(place / "fused", model=str(place / "encoder"), out=tmp_path / "m", **QUICK).path
    told = json.loads((out / "model.json").read_text())
    told["options"] |= options
    (out / "model.json").write_text(json.dumps(told))
    assert read_model_info(out).options.model_dump().items() >= options.items()
    assert evaluate(out, open_corpus(place / "corpus"), device="cpu").utterances == 12
    with pytest.raises(OptionError) as caught:
        train(place / "fused", model=str(place / "encoder"), out=out, **QUICK, **options)
    assert refused in str(caught.value)


def test_what_is_given_beside_a_recipe_and_not_read_is_still_refused():
    options = chosen("omidi2026-m90-filter", {"curriculum": "none", "quantiles": "1:.9"})
    with pytest.raises(OptionError, match=r"quantiles is '1:.9', and nothing reads it: it needs curriculum filter"):
        asked(**options)
    assert "ambiguity" not in options


def test_weights_of_dimensions_are_read_or_refused():
    assert chosen(None, {"dimension_weights": "valence:1.4, arousal:1"})["dimension_weights"] == {
        "valence": 1.4,
        "arousal": 1.0,
    }
    for wrong in ("valance:1", "valence", "valence:1,valence:2", ""):
        with pytest.raises(OptionError, match="--dimension-weights is"):
            chosen(None, {"dimension_weights": wrong})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": -1}, "--workers is -1; expected 0 or more processes"),
        ({"save_minutes": -1.0}, "--save-minutes is -1; expected 0 or more minutes"),
        ({"save_minutes": math.nan}, "--save-minutes is nan; expected 0 or more minutes"),
        ({"save_minutes": math.inf}, "--save-minutes is inf; expected 0 or more minutes"),
        ({"precision": "fp16"}, "--precision fp16 needs a GPU, and this training would run on the cpu"),
        (
            {"dimension_weights": {"dominance": 2.0}},
            "dimension_weights gives dominance another weight, and nobody rated it in the train split, only valence",
        ),
    ],
)
def test_what_the_machine_or_the_corpus_cannot_do_is_refused_before_anything_is_written(
    place, tmp_path, options, words
):
    with pytest.raises(OptionError) as caught:
        train(place / "fused", model=str(place / "encoder"), out=tmp_path / "m", **QUICK, **options)
    assert words in str(caught.value)
    assert not (tmp_path / "m").exists()


def test_half_precision_that_is_refused_leaves_the_model_that_was_there(place, tmp_path):
    out = train(place / "fused", model=str(place / "encoder"), out=tmp_path / "m", **QUICK).path
    before = (out / "weights.safetensors").read_bytes()
    with pytest.raises(OptionError, match="fp16 needs a GPU"):
        train(place / "fused", model=str(place / "encoder"), out=out, **QUICK, precision="fp16", overwrite=True)
    assert (out / "weights.safetensors").read_bytes() == before


def test_weights_of_ratings_that_nobody_gave_are_a_warning(tmp_path, place):
    corpus, _ = simulated_corpus(tmp_path / "corpus", utterances=40, speakers=10, audio=True)
    (corpus.path / "ratings.parquet").unlink()
    fuse(open_corpus(corpus.path), [], strategy="human", out=tmp_path / "fused")
    out = train(
        tmp_path / "fused", model=str(place / "encoder"), out=tmp_path / "m", **QUICK,
        dimension_weights={"valence": 1.4}, dimensional_loss="nll-ccc",
    ).path  # fmt: skip
    warnings = read_model_info(out).warnings
    assert any("nobody rated the train split, so dimensional_loss, dimension_weights do nothing" in w for w in warnings)


def test_kinds_of_noise_without_a_level_are_refused(place):
    result = CliRunner().invoke(app, ["evaluate", str(place / "m"), str(place / "corpus"), "--noise", "white"])
    assert result.exit_code != 0
    assert "--noise names what is heard at the levels of --snr, and none is given: add --snr 5,20" in str(
        result.exception
    )
