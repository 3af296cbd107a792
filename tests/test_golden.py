"""tools/golden.py: every difference of two records is told, with what it is; what means nothing is masked, no more."""

import json
import struct
import sys
from pathlib import Path

import golden
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from golden_compare import compare
from golden_masks import masked_document, text_mask, without_bars
from golden_record import Page, contents, keep_file, masked_table
from golden_steps import SCENES, commands_in

mask = text_mask({Path("/some/place"): "<work>", Path("/some/place/site/serann"): "<tree>"})

PAGE = '<!DOCTYPE html><html><head><style>p {{}}</style></head><body><p class="{}">Worth <b>{}</b> votes</p></body>'
HELP = """
╭─ Options ───────────────╮
│ --help  -h  Show this.  │
╰─────────────────────────╯
╭─ Commands ──────────────╮
│ demo      Run the loop, │
│           offline.      │
│ alt-test  Test whether. │
╰─────────────────────────╯
"""


def weights(values) -> bytes:
    data = np.array(values, dtype="<f4").tobytes()
    header = json.dumps({"w": {"dtype": "F32", "shape": [len(values)], "data_offsets": [0, len(data)]}}).encode()
    return struct.pack("<Q", len(header)) + header + data


def recorded(folder: Path, **changed) -> Path:
    """A record of one step, made as golden_record makes it; `changed` replaces parts of what the step did."""
    did = {
        "code": 0,
        "stderr": "wrote 3 votes\n",
        "table": {"utterance_id": ["a", "b", "c"], "label": ["sad", "sad", None], "p": [[0.5, 0.5], [1.0, 0.0], None]},
        "metadata": {"serann": json.dumps({"seed": 0})},
        "report": {"sq_unbiased": 0.0731, "rows": [1, 2, None]},
        "page": ("worth", "3.0"),
        "weights": (0.1, 0.2),
        "sound": b"\xffRIFF",
        **changed,
    }
    source, step = folder / "source", folder / "record" / "fuse" / "01"
    source.mkdir(parents=True)
    pq.write_table(pa.table(did["table"]).replace_schema_metadata(did["metadata"]), source / "votes.parquet")
    (source / "report.json").write_text(json.dumps(did["report"]))
    (source / "report.html").write_text(PAGE.format(*did["page"]))
    (source / "weights.safetensors").write_bytes(weights(did["weights"]))
    (source / "a.wav").write_bytes(did["sound"])
    (source / "notes.md").write_text("A note.\n")
    step.mkdir(parents=True)
    (step / "call.json").write_text(json.dumps({"command": "serann fuse corpus run -o out", "code": did["code"]}))
    (step / "stderr.txt").write_text(did["stderr"])
    (folder / "record" / "record.json").write_text('{"finished": true}')
    for name in contents(source):
        keep_file(source / name, step / "files" / name, mask)
    return folder / "record"


def differences(tmp_path, **changed) -> list[str]:
    found, steps, files = compare(recorded(tmp_path / "old"), recorded(tmp_path / "new", **changed))
    assert (steps, files) == (1, 9)
    assert all(one.step == "fuse/01  serann fuse corpus run -o out" for one in found)
    return [f"{one.file}: {one.what}" for one in found]


def test_equal_records_have_no_difference(tmp_path):
    assert differences(tmp_path) == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"code": 1}, "call.json: $.code: 0 → 1"),
        ({"report": {"sq_unbiased": 0.0732, "rows": [1, 2, None]}}, "report.json: $.sq_unbiased: 0.0731 → 0.0732"),
        ({"report": {"sq_unbiased": 0.0731, "rows": [1, 2.0, None]}}, "report.json: $.rows[1]: 2 → 2.0"),
        ({"report": {"sq_unbiased": 0.0731, "rows": [1]}}, "report.json: $.rows: 3 entries → 1"),
        (
            {"report": {"rows": [1, 2, None], "sq_unbiased": 0.0731}},
            'report.json: keys in another order at 1 places, first $: ["sq_unbiased", "rows"] → ["rows", "sq',
        ),
        ({"weights": (0.1, 0.3)}, "weights.safetensors.json: $.w.sha256: "),
        ({"metadata": {"serann": '{"seed": 1}'}}, "votes.parquet: metadata.serann.seed: 0 → 1"),
        ({"page": ("worth", "3.1")}, "report.html.text: text differs\n    @@ -1 +1 @@\n    -Worth 3.0 votes"),
        ({"page": ("figure", "3.0")}, "report.html.markup: text differs\n    @@ -8,3 +8,3 @@\n     <body>\n    -<p cl"),
        ({"stderr": "wrote 4 votes\n"}, "stderr.txt: text differs\n    @@ -1 +1 @@\n    -wrote 3 votes\n    +wrote 4"),
        ({"sound": b"\xffRIFE"}, "a.wav.digest: text differs"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_each_planted_change_is_told_once(tmp_path, changed, told):
    (one,) = differences(tmp_path, **changed)
    assert one.removeprefix("files/").startswith(told)


@pytest.mark.parametrize(
    ("column", "values", "told"),
    [
        ("label", ["sad", "angry", None], "column label: 1 of 3 rows differ, first row 1: sad → angry"),
        ("label", ["sad", "sad", "sad"], "column label: 1 of 3 rows differ, first row 2: null → sad"),
        ("p", [[0.5, 0.5], [1.0, -0.0], None], "column p: 1 of 3 rows differ, first row 1: [1.0, 0.0] → [1.0, -0.0]"),
        ("more", [1, 2, 3], "columns utterance_id, label, p → utterance_id, label, p, more"),
        ("utterance_id", pa.array(["a", "b", "c"], pa.large_string()), "column utterance_id: string → large_string"),
    ],
)
def test_a_table_is_compared_by_its_content(tmp_path, column, values, told):
    table = {"utterance_id": ["a", "b", "c"], "label": ["sad", "sad", None], "p": [[0.5, 0.5], [1.0, 0.0], None]}
    assert differences(tmp_path, table={**table, column: values}) == [f"files/votes.parquet: {told}"]


def test_rows_and_files_and_steps_that_are_not_there_are_told(tmp_path):
    old, new = recorded(tmp_path / "old"), recorded(tmp_path / "new", table={"utterance_id": ["a"]})
    (new / "fuse" / "01" / "files" / "notes.md.txt").unlink()
    (new / "fuse" / "02").mkdir()
    (new / "fuse" / "02" / "call.json").write_text('{"command": "serann models", "code": 0}')
    found, steps, _ = compare(old, new)
    assert steps == 2
    assert [(one.step, one.what) for one in found] == [
        ("fuse/01  serann fuse corpus run -o out", "only in the old record"),
        ("fuse/01  serann fuse corpus run -o out", "3 rows → 1"),
        ("fuse/01  serann fuse corpus run -o out", "columns utterance_id, label, p → utterance_id"),
        ("fuse/02  serann models", "only in the new record"),
    ]
    assert compare(old, new, only="fuse/02")[1] == 1


def test_a_record_of_some_scenes_is_compared_on_these(tmp_path):
    old, new = recorded(tmp_path / "old"), recorded(tmp_path / "new")
    (old / "audit" / "01").mkdir(parents=True)
    (old / "audit" / "01" / "call.json").write_text('{"command": "serann audit", "code": 0}')
    assert [one.step for one in compare(old, new)[0]] == ["audit/01  serann audit"]
    (new / "record.json").write_text('{"finished": true, "only": "fuse"}')
    assert compare(old, new)[:2] == ([], 1)


def test_the_command_says_so_and_exits_with_1(tmp_path, monkeypatch, capsys):
    old, same, new = (recorded(tmp_path / name, code=code) for name, code in (("a", 0), ("b", 0), ("c", 2)))
    for other, code, said in (
        (same, 0, "1 steps, 9 files: no difference\n"),
        (
            new,
            1,
            "fuse/01  serann fuse corpus run -o out\n  call.json: $.code: 0 → 2\n1 steps, 9 files: 1 differences\n",
        ),
    ):
        monkeypatch.setattr(sys, "argv", ["golden.py", "compare", str(old), str(other)])
        with pytest.raises(SystemExit) as stop:
            golden.main()
        assert (stop.value.code, capsys.readouterr().out) == (code, said)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("/some/place/site/serann/data/demo/corpus/audio/a.ogg", "<tree>/data/demo/corpus/audio/a.ogg"),
        ("/data/local-files/?d=some/place/work/x.wav", "/data/local-files/?d=<work>/work/x.wav"),
        ("started 2026-11-30T23:51:26+00:00, made on 2026-11-30.", "started <time>, made on <date>."),
        ("Made by serann 0.1.0 with torch 2.13.0+cpu", "Made by serann <version> with torch <version>"),
        ("python -m serann.data.demo.make_corpus", "python -m <module>"),
        ("/some/place/site/serann/data/x.py:12: UserWarning: odd", "<module>:<line>: UserWarning: odd"),
        (
            "this time 4 utterances in 6.5 s (73.9/s, the model's share 91%, cpu)",
            "this time 4 utterances in <seconds> (<speed>, the model's share <speed>, cpu)",
        ),
        ("memory, peak    0.61 GB   \ntime an epoch   12.0 s  \n", "memory, peak <memory>\ntime an epoch <time>\n"),
        ("The plan, from 8 measured\nquestions      200  \n", "The plan, from 8 measured\nquestions 200 \n"),
        ('Traceback (most recent call last):\n  File "x.py"\n    y()\nKeyError: 1\n', "<traceback>\nKeyError: 1\n"),
    ],
)
def test_what_means_nothing_is_masked(text, masked):
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "sq_unbiased 0.250 [0.211, 0.296] over 8 speakers, 95 %",
        "strength 4.3183, 0.1 of 2026 votes; version 2.0 of the corpus; 1.3 s of sound at 20 dB",
        "serann demo --fast and serann.trainer",
        "disk, model 0.74 GB",
    ],
)
def test_a_number_that_says_something_stays(text):
    assert mask(text) == text


def test_documents_are_masked_by_their_keys_alone():
    session = {"seconds": 6.5, "utterances": 4, "packages": {"torch": "2.13.0"}, "device": "cpu"}
    assert masked_document({"sessions": [session], "seconds": 2.5}, mask) == {
        "sessions": [{"seconds": "<seconds>", "utterances": 4, "packages": {"torch": "<version>"}, "device": "cpu"}],
        "seconds": 2.5,
    }
    of_annotate, of_train = {"hours": 1.5, "memory_gb": 0.6}, {"hours": 1.5, "memory_bytes": 6, "disk_bytes": 7}
    assert masked_document(of_annotate, mask) == {"hours": "<time>", "memory_gb": "<memory>"}
    assert masked_document(of_train, mask) == {"hours": 1.5, "memory_bytes": "<memory>", "disk_bytes": 7}
    assert masked_document({"within": None, "serann": None}, mask) == {"within": None, "serann": None}


def test_tables_are_masked_in_their_texts_and_keep_their_types():
    table = pa.table(
        {"audio": ["/some/place/work/a.wav", None], "mtime_ns": [17, 18], "bytes": [b"/some/place", None]},
        metadata={"info": '{"path": "/some/place/work"}'},
    )
    found = masked_table(table, mask)
    assert found.schema.equals(table.schema)
    assert found.to_pydict() == {
        "audio": ["<work>/work/a.wav", None],
        "mtime_ns": [0, 0],
        "bytes": [b"/some/place", None],
    }
    assert found.schema.metadata == {b"info": b'{"path": "<work>/work"}'}


def test_progress_bars_leave_what_was_done():
    shown = "annotate ━━━━━━━━━━╸━━━ 480/480 73.9/s, device 91% 0:00:09 ETA 0:00:00\nwarning: low mass\n"
    shown += 'Map: 100%|████| 3/3 [00:00<00:00, 9.1 examples/s]\n{"event": "progress", "done": 3}\n'
    assert without_bars(shown) == "annotate 480/480\nwarning: low mass\n"


def test_a_page_is_what_it_says_and_how_it_is_marked_up():
    page = Page(
        "<h1>A&amp;B</h1>\n<p>One <b>two</b>\n three<br>four</p><script>let x = 1</script>"
        '<audio src="data:audio/ogg;base64,T2dnUw=="></audio>'
    )
    assert page.text == "A&B\nOne two three\nfour\n"
    assert page.markup.splitlines()[:7] == ["<h1>", "</h1>", "<p>", "<b>", "</b>", "<br>", "</p>"]
    assert '<audio src="data:audio/ogg;base64,<' in page.markup
    assert "T2dnUw" not in page.markup
    assert "let x = 1" in page.markup


def test_places_and_versions_on_a_page_are_masked(tmp_path):
    (tmp_path / "a.html").write_text(
        "<dl><dt>serann</dt><dd>0.1.0</dd></dl><p>at /some/place/work</p><a href='/some/place'>"
    )
    keep_file(tmp_path / "a.html", tmp_path / "kept" / "a.html", mask)
    assert (tmp_path / "kept" / "a.html.text").read_text() == "serann\n<version>\nat <work>/work\n"
    assert (tmp_path / "kept" / "a.html.markup").read_text().endswith('<a href="<work>">\n')


def test_broken_files_are_kept_as_what_they_are(tmp_path):
    for name in ("a.parquet", "b.json", "c.safetensors"):
        (tmp_path / name).write_text("no such thing")
        keep_file(tmp_path / name, tmp_path / "kept" / name, mask)
    assert sorted(contents(tmp_path / "kept")) == ["a.parquet.txt", "b.json.txt", "c.safetensors.txt"]


def test_commands_are_found_in_the_help():
    assert commands_in(HELP) == ["demo", "alt-test"]
    assert commands_in(HELP.split("╭─ Commands")[0]) == []


def test_scenes_lead_nowhere_outside():
    lines = [step for steps in SCENES.values() for step in steps if isinstance(step, str)]
    assert len(lines) > 300
    assert not [line for line in lines if "/tmp" in line or " /" in line]
