"""Sentences over lists that may be long: counted by reason, three named, the table pointed at."""

from serann.data.errors import Failing, by_reason, failures_in_words, few


def test_no_sentence_lists_what_may_have_no_end():
    assert few([]) == ""
    assert few(["a", "b", "c"]) == "a, b, c"
    assert few([f"u{i}" for i in range(76)]) == "u0, u1, u2 and 73 more"
    assert few([1, 2, 3], 2) == "1, 2 and 1 more"


def test_reasons_of_a_kind_differ_in_the_sounds_name_or_in_numbers():
    pairs = [(f"u{i}", f"some folder/v1.0/u {i}.wav is missing; expected a sound file") for i in range(74)]
    pairs += [("x", "/a/x.flac is too long: 31.2 s, and the model hears at most 30 s")]
    pairs += [("y", "C:\\a\\y.flac is too long: 77 s, and the model hears at most 30 s")]
    pairs += [("z", "z.wav: the decoder died on it (exit status 11)"), ("w", "no audio is named")]
    missing, long, died, unnamed = by_reason(pairs)
    assert missing == Failing("its sound is missing; expected a sound file", tuple(f"u{i}" for i in range(74)))
    assert long == Failing("its sound is too long: … s, and the model hears at most 30 s", ("x", "y"))
    assert died == Failing("z.wav: the decoder died on it (exit status 11)", ("z",))  # alone it keeps its name
    assert unnamed == Failing("no audio is named", ("w",))
    assert by_reason([]) == []


def test_failures_are_a_few_lines_and_point_to_the_table():
    pairs = [(f"u{i}", f"audio/u{i}.wav is missing") for i in range(76)]
    assert failures_in_words(pairs, table="run/failures.parquet") == [
        "76 x its sound is missing (u0, u1, u2 and 73 more)",
        "each with its reason is in run/failures.parquet",
    ]
    assert failures_in_words(pairs[:1], table="t") == ["1 x audio/u0.wav is missing (u0)"]
    assert failures_in_words([], table="t") == []
    many = [(word, f"reason {word}") for word in "abcdefgh"]
    assert failures_in_words(many, table="t")[5:] == ["… and 3 more reasons", "each with its reason is in t"]
