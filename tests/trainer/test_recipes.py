"""Recipes: each opens with its command, is refused with unknown keys, and trains two steps from known first losses."""

import numpy as np
import pytest
from fixtures.simulated import simulated_corpus
from fixtures.small_encoders import make_encoder_checkpoint
from serann.annotator.cli import app
from serann.annotator.fusion import fuse
from serann.data.corpus import write_corpus
from serann.data.errors import OptionError
from serann.data.sound_paths import absolute_audio
from serann.data.tables import VOTES, from_rows
from serann.trainer import loop, train
from serann.trainer.options import DEFAULTS, FOLDER, about_recipe, check_options, read_recipe, recipe_names
from typer.testing import CliRunner

# The first batch's loss and its categorical part, from the small encoder's random weights; a change of a recipe, a
# target, a loss or a head moves them.
GOLDEN = {
    "mitra2025-tc-gru": (3.14472, 1.82718),
    "omidi2026-hard-cbce": (0.89636, 0.76972),
    "omidi2026-hard-ce": (2.09631, 1.96966),
    "omidi2026-m80-kl": (1.37175, 1.24510),
    "omidi2026-m90-filter": (1.78057, 1.65393),
    "omidi2026-m90-kl": (1.56885, 1.44220),
    "omidi2026-m90-reverse-filter": (1.37919, 1.25255),
    "omidi2026-m90-reverse-weight": (1.51024, 1.38360),
    "omidi2026-m90-weight": (1.67101, 1.54436),
    "omidi2026-m90-weighted-kl": (0.58525, 0.45860),
    "omidi2026-primary-kl": (1.91571, 1.78907),
}
PAPER_ROWS = 10


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipes")
    corpus, _ = simulated_corpus(path / "corpus", utterances=24, speakers=8, votes=5, seen=5, audio=True)
    corpus = with_secondary(corpus, path / "more")
    fuse(corpus, [], strategy="human", out=path / "fused")
    make_encoder_checkpoint(path / "encoder", num_hidden_layers=12)
    return path


def with_secondary(corpus, out):
    """The corpus, where every third ballot names the next label as a second one."""
    rows = corpus.votes.to_pylist()
    second = [
        {**row, "rank": "secondary", "label": corpus.labels.labels[(corpus.labels.index(row["label"]) + 1) % 6]}
        for row in rows[::3]
    ]
    return write_corpus(
        out, name="more", labels=corpus.labels, utterances=absolute_audio(corpus),
        votes=from_rows([*rows, *second], VOTES, labels=corpus.labels), ratings=corpus.ratings, licence="CC0-1.0",
        provenance={"made by": "test_recipes"}, simulated=True, scale=(1.0, 5.0), division=corpus.info.division,
    )  # fmt: skip


def test_there_is_one_a_row_of_the_paper_and_each_opens_with_its_command():
    assert sum(name.startswith("omidi2026-") for name in recipe_names()) == PAPER_ROWS
    assert "mitra2025-tc-gru" in recipe_names()
    for name in recipe_names():
        first = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
        assert first == f"# serann train FUSED --recipe {name} -o MODEL"
        assert about_recipe(name)
        check_options({**DEFAULTS[False], **read_recipe(name)})


def two_steps(place, out, name, monkeypatch):
    """Losses of the first two batches under a recipe, on the small encoder."""
    rows, learn = [], loop.learn

    def noted(*args):
        rows.append(learn(*args))
        if len(rows) == 2:
            raise KeyboardInterrupt
        return rows[-1]

    monkeypatch.setattr(loop, "learn", noted)
    options = {**read_recipe(name), "model": str(place / "encoder"), "batch_size": 6, "accumulate": 1}
    with pytest.raises(KeyboardInterrupt):
        train(place / "fused", out=out, device="cpu", from_scratch=True, **options)
    return rows


@pytest.mark.parametrize("name", recipe_names())
def test_two_steps_give_the_golden_first_losses(place, tmp_path, name, monkeypatch):
    rows = two_steps(place, tmp_path / "m", name, monkeypatch)
    assert np.isfinite(rows).all()
    assert rows[0][1:3] == pytest.approx(GOLDEN[name], rel=1e-3)


def test_a_recipe_of_ones_own_and_what_is_wrong_with_one(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("# mine\nloss: jsd\nbatch_size: 3\n")
    assert read_recipe(mine) == {"loss": "jsd", "batch_size": 3}
    mine.write_text("loss: jsd\nlearning_rates: 0.1\nfoo: 1\n")
    with pytest.raises(OptionError) as caught:
        read_recipe(mine)
    assert "learning_rates: no such option; is learning_rate meant?" in str(caught.value)
    assert "foo: no such option" in str(caught.value)
    for text, words in (("- a\n", "expected lines of 'option: value'"), ("a: [", "cannot be read"), ("", "expected")):
        mine.write_text(text)
        with pytest.raises(OptionError, match=words):
            read_recipe(mine)
    mine.write_text("loss: kl\nepochs: 3\nloss: jsd\n")
    with pytest.raises(OptionError, match="loss is given in lines 1 and 3; keep one of each"):
        read_recipe(mine)
    mine.write_text("dimension_weights: {valence: 2, arousal: 1, valence: 3}\n")
    with pytest.raises(OptionError, match="valence is given in lines 1 and 1"):
        read_recipe(mine)
    with pytest.raises(OptionError, match=r"no recipe 'm90': no such file, and serann's own are mitra2025-tc-gru, "):
        read_recipe("m90")
    with pytest.raises(OptionError, match=r"omidi2026-primary-kl; is omidi2026-m90-kl meant\?"):
        read_recipe("omidi2026-m9-kl")


def test_the_command_lists_recipes_and_what_is_given_wins(place, tmp_path):
    result = CliRunner().invoke(app, ["train", "--recipes"])
    assert result.exit_code == 0
    assert all(name in result.stdout for name in recipe_names())
    words = ["train", str(place / "fused"), "--recipe", "omidi2026-m90-filter", "--from-scratch", "--epochs", "1"]
    words += ["--model", str(place / "encoder"), "--dimension-weights", "valence:2", "-o", str(tmp_path / "m")]
    result = CliRunner().invoke(app, [*words, "--batch-size", "4", "--json"])
    assert result.exit_code == 0, result.output
    from serann.trainer import read_model_info

    options = read_model_info(tmp_path / "m").options
    assert (options.curriculum, options.epochs, options.batch_size) == ("filter", 1, 4)
    assert options.dimension_weights == {"valence": 2.0}
