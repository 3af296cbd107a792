"""The canonical JSON of tables against the plain way: sorted, as Python lists, by the json module."""

import hashlib
import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serann.data.corpus import corpus_fingerprint, open_corpus
from serann.data.files import fingerprint
from serann.data.tables import sorted_json

TEXT = st.one_of(
    st.none(), st.text(st.characters(codec="utf-8"), max_size=4), st.sampled_from(['"', "\\", "\n", "é", "名"])
)
FLOAT = st.one_of(st.none(), st.sampled_from([0.0, -0.0, 1.0, 0.1, 1e300]), st.floats(-5, 5))
ROWS = st.lists(st.tuples(TEXT, FLOAT, st.one_of(st.none(), st.integers(-3, 3)), TEXT), max_size=12)


def table_of(rows) -> pa.Table:
    kinds = (("name", pa.string()), ("weight", pa.float64()), ("draw", pa.int32()), ("label", pa.string()))
    return pa.table({name: pa.array([row[i] for row in rows], kind) for i, (name, kind) in enumerate(kinds)})


def plain(table: pa.Table) -> str:
    ordered = table.sort_by([(name, "ascending") for name in table.column_names]).to_pydict()
    return json.dumps(ordered, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@given(ROWS)
def test_it_is_the_text_of_the_sorted_rows(rows):
    table = table_of(rows)
    assert b"".join(sorted_json(table)) == plain(table).encode()


def test_pieces_make_the_same_text(monkeypatch):
    monkeypatch.setattr("serann.data.tables.PIECE", 3)
    table = table_of([(f"u{i % 4}", i / 7, i % 3, None if i % 5 else "x") for i in range(11)])
    assert b"".join(sorted_json(table)) == plain(table).encode()


def test_not_a_number_has_no_fingerprint():
    with pytest.raises(ValueError, match="not JSON compliant"):
        list(sorted_json(table_of([("a", float("nan"), 0, "b")])))


def test_a_corpus_keeps_the_fingerprint_that_other_folders_name():
    """Fused corpora and models name the fingerprints of corpora: the text behind them is a contract."""
    corpus = open_corpus("demo")
    heard = corpus.utterances.select(["utterance_id", "start", "end", "speaker", "split", "content_hash"])
    tables = [json.loads(plain(table)) for table in (heard, corpus.votes)]
    found = fingerprint({"labels": list(corpus.labels), "tables": tables})
    assert corpus_fingerprint(corpus) == found
    text = json.dumps({"labels": list(corpus.labels), "tables": tables}, separators=(",", ":"), ensure_ascii=False)
    assert found == "sha256:" + hashlib.sha256(text.encode()).hexdigest()
