"""A Hugging Face dataset on disk: what `save_to_disk` wrote, or a folder of Parquet files with its card.

    serann corpus import hf FOLDER -o CORPUS --columns rater_id=annotator --columns label=emotion

Files. A folder with dataset_info.json and state.json (one dataset) or dataset_dict.json (one a split), read with
`datasets.load_from_disk`; or Parquet files, whose README.md may list configurations and splits (else splits are told
by file names: train-00000-of-00002.parquet) and whose schemas hold the features. Nothing is downloaded or cached. Of
several configurations, `utterances`, `votes` and `ratings` are read together, as serann's own export writes them;
otherwise --columns config=NAME chooses one. The label set and the scale of such an export come with it
(export.json).

What becomes what is as in the table reader (serann corpus readers table): the same shapes, the same usual names, the
same --columns, --mapping, --labels and --alias. Splits become `split` (validation is development) where no column
says. A ClassLabel's names stand for its numbers, -1 and null for nothing. A lone ClassLabel an utterance, without
any rater, is a published label (consensus): it makes no votes.

Sounds. A sound that is a path is read in place. One that lies inside the dataset as bytes cannot be: it is written
to the corpus's folder audio/ at import, byte by byte as it is, and a note says how many were. Nothing is decoded or
resampled. An utterance without a name of its own takes that of its sound, or else its split and row.

Rows that cannot be taken in are listed in problems.parquet with their votes. Licence: the card's.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from ..errors import CorpusError, OptionError, few
from .base import Imported, Options, Reader, refuse
from .table import Sheets, read_tables, with_exported_facts
from .tables.columns import load_mapping
from .tables.sheets import Line, Sheet, parquet_schema, read_parquet, read_text
from .tables.sounds import Chunks, Embedded, is_sound, parquet_chunks, sound_cells, with_sounds

DERIVED = ("distribution", "distribution_votes")
OURS = ("utterances", "votes", "ratings")
LICENCE = "not stated by the dataset's card; its owner's terms hold"
SPLIT_OF_FILE = re.compile(r"(train|training|validation|valid|dev|development|test\d*|eval)(?![a-z])", re.I)


class Table(NamedTuple):
    """One split of one configuration: its name, its rows without the sounds, these, and its features."""

    config: str
    split: str | None
    name: str
    table: pa.Table
    sounds: Mapping[str, Chunks]
    features: dict[str, Any]


def read(source: Path, options: Options) -> Imported:
    """Read a dataset on disk; sounds inside it are written into the new corpus by `Imported.extra`."""
    columns = dict(options.columns)
    chosen = columns.pop("config", None)
    options = replace(options, columns=columns)
    options, simulated = with_exported_facts(source, options)
    mapping = load_mapping(options)
    card = _card(source)
    tables = _saved(source) if _is_saved(source) else _parquet(source, card)
    sheets: dict[str, Sheet] = {}
    parts = _parts(tables, chosen)
    for part, of_part in parts.items():
        lists_utterances = part == "utterances" or len(parts) == 1
        sheets[part] = _sheet(part, of_part, with_split=lists_utterances and "split" not in mapping.columns)
    main = sheets.pop("votes")
    found = read_tables(
        Sheets(main, sheets.get("utterances"), sheets.get("ratings")),
        options,
        base=source if source.is_dir() else source.parent,
        about="Hugging Face dataset",
        licence=str(card.get("license_name") or card.get("license") or LICENCE),
    )
    files = tuple(dict.fromkeys(table.name for table in tables))
    imported = replace(found.imported, files=files, simulated=simulated)
    return with_sounds(imported, found.embedded) if found.embedded else imported


def _is_saved(source: Path) -> bool:
    return any((source / name).is_file() for name in ("dataset_dict.json", "state.json", "dataset_info.json"))


def _saved(source: Path) -> list[Table]:
    """The tables of a dataset that `save_to_disk` wrote."""
    import datasets

    try:
        loaded = datasets.load_from_disk(str(source))
    except Exception as error:  # the library raises whatever its files make it stumble over
        raise CorpusError(f"{source} cannot be read by datasets.load_from_disk ({error}); save it again") from None
    parts = loaded.items() if isinstance(loaded, dict) else [(None, loaded)]
    found = []
    for split, part in parts:
        batches = list(part.with_format("arrow").iter(10_000)) if len(part) else []
        table = pa.concat_tables(batches) if batches else part.data.table.slice(0, 0)
        named = [name for name in table.column_names if is_sound(table.schema.field(name).type)]
        sounds = {name: partial(table[name].iterchunks) for name in named}
        name = source.name if split is None else str(split)
        found.append(
            Table(
                "default",
                None if split is None else str(split),
                name,
                table.drop_columns(named),
                sounds,
                dict(part.features),
            )
        )
    return found


def _card(source: Path) -> dict[str, Any]:
    """What stands at the head of README.md, if anything can be read there."""
    import yaml

    path = source / "README.md"
    if not path.is_file():
        return {}
    try:
        parts = read_text(path).split("---\n", 2)
        found = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else {}
    except (CorpusError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _parquet(source: Path, card: dict[str, Any]) -> list[Table]:
    """The tables of a folder of Parquet files (or of one file), by the card's configurations or by the files' names."""
    from datasets import Features

    paths = [source] if source.is_file() and source.suffix == ".parquet" else sorted(source.rglob("*.parquet"))
    if not paths:
        looked_for = [
            "dataset_info.json or dataset_dict.json, as save_to_disk writes them",
            "Parquet files (*.parquet)",
        ]
        raise refuse("hf", source, looked_for)
    found = []
    for path in paths:
        name = path.relative_to(source).as_posix() if path != source else path.name
        schema = parquet_schema(path)
        named = [column.name for column in schema if is_sound(column.type)]
        table = read_parquet(path, columns=[column for column in schema.names if column not in named])
        sounds = {column: partial(parquet_chunks, path, column) for column in named}
        try:
            features = dict(Features.from_arrow_schema(schema))
        except Exception:  # features of a newer datasets, or a broken description: the Arrow types still hold
            features = {}
        for config, split in _listed(card, name) or [("default", _split_of(name))]:
            found.append(Table(config, split, name, table, sounds, features))
    return found


def _listed(card: dict[str, Any], name: str) -> list[tuple[str, str | None]]:
    """Configurations and splits of the card that a file belongs to."""
    found = []
    configs = card.get("configs")
    for config in configs if isinstance(configs, list) else []:
        files = config.get("data_files") if isinstance(config, dict) else None
        entries = files if isinstance(files, list) else [files]
        for entry in entries:
            path, split = (entry.get("path"), entry.get("split")) if isinstance(entry, dict) else (entry, None)
            patterns = path if isinstance(path, list) else [path]
            if any(isinstance(pattern, str) and fnmatchcase(name, pattern) for pattern in patterns):
                found.append((str(config.get("config_name", "default")), None if split is None else str(split)))
    return found


def _split_of(name: str) -> str | None:
    match = SPLIT_OF_FILE.search(Path(name).name)
    return match[1].lower() if match else None


def _parts(tables: list[Table], chosen: str | None) -> dict[str, list[Table]]:
    """Which tables are the votes (or everything), the utterances, the ratings."""
    configs: dict[str, list[Table]] = {}
    for table in tables:
        configs.setdefault(table.config, []).append(table)
    if chosen is not None:
        if chosen not in configs:
            raise OptionError(f"no configuration {chosen!r}; expected one of {few(list(configs), 20)}")
        return {"votes": configs[chosen]}
    if len(configs) == 1:
        return {"votes": tables}
    if {"utterances", "votes"} <= set(configs):
        return {part: configs[part] for part in OURS if part in configs}
    raise OptionError(f"the dataset has the configurations {few(list(configs), 20)}; choose one: --columns config=NAME")


def _sheet(part: str, tables: list[Table], *, with_split: bool) -> Sheet:
    """The rows of all splits, class labels as names, sounds as paths or as what finds their bytes."""
    lines: list[Line] = []
    names: dict[str, None] = {}
    for table in tables:
        plain = _with_class_names(table)
        if part == "utterances":  # what our own export made of the votes
            plain = plain.drop_columns([name for name in DERIVED if name in plain.column_names])
        sounds = {name: sound_cells(chunks) for name, chunks in table.sounds.items()}
        split = table.split if with_split and "split" not in plain.column_names else None
        names |= dict.fromkeys([*plain.column_names, *sounds, *(["split"] if split is not None else [])])
        rows = plain.to_pylist() if plain.num_columns else [{} for _ in range(len(next(iter(sounds.values()), [])))]
        for row, fields in enumerate(rows):
            fields |= {name: cells[row] for name, cells in sounds.items()}
            fields |= {"split": split} if split is not None else {}
            lines.append(Line(row + 1, fields))
    if not lines:
        raise CorpusError(f"the dataset's {part} hold no row; save it again")
    return _named(Sheet(part if len(tables) > 1 else tables[0].name, tuple(names), tuple(lines)))


def _named(sheet: Sheet) -> Sheet:
    """Where some sound inside the dataset has no name, all are named by split and row."""
    column = next((n for n in sheet.columns if any(isinstance(x.fields.get(n), Embedded) for x in sheet.lines)), None)
    cells = [] if column is None else [line.fields.get(column) for line in sheet.lines]
    if column is None or all(cell.name for cell in cells if isinstance(cell, Embedded)):
        return sheet
    lines = []
    for place, (line, cell) in enumerate(zip(sheet.lines, cells, strict=True)):
        if isinstance(cell, Embedded):
            cell = cell._replace(name=f"{line.fields.get('split') or 'row'}-{place:06d}")
        lines.append(replace(line, fields={**line.fields, column: cell}))
    return replace(sheet, lines=tuple(lines))


def _with_class_names(table: Table) -> pa.Table:
    plain = table.table
    for place, name in enumerate(plain.column_names):
        names = _class_names(table.features.get(name))
        if names is not None:
            spelt = [_spelt(cell, names) for cell in plain[name].to_pylist()]
            plain = plain.set_column(place, name, pa.array(spelt))
    return plain


def _class_names(feature: Any) -> list[str] | None:
    """The names of a class label, or of a list of them."""
    inner: Any = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", feature)
    return list(inner.names) if type(inner).__name__ == "ClassLabel" else None


def _spelt(cell: Any, names: list[str]) -> Any:
    if isinstance(cell, list):
        return [_spelt(item, names) for item in cell]
    if cell is None or cell == -1:
        return None
    return names[cell] if 0 <= cell < len(names) else f"class {cell}"


READER = Reader(
    name="hf",
    about="a Hugging Face dataset on disk (save_to_disk, or Parquet files with their card)",
    labels="those of --labels, else the labels found",
    read=read,
    page=__doc__ or "",
    options=("audio", "rule", "mapping", "columns", "aliases", "labels"),
)
