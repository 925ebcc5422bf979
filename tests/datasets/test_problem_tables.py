"""Parquet and Hugging Face folders: every way to hold images, splits, damage, and how much is read."""

import json
import os
import tracemalloc
import uuid
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mstar.datasets import load_image, open_problems
from mstar.datasets.checking import check_problems
from mstar.errors import UserError
from mstar.records import ImageSource

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_parquet(path: Path, rows: list[dict], types: dict | None = None, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    arrays = {name: pa.array(values, (types or {}).get(name)) for name, values in columns.items()}
    pq.write_table(pa.table(arrays), path, **options)
    return path


def write_saved(folder: Path, *batches: list[dict]) -> Path:
    """What `Dataset.save_to_disk` leaves, one stream file a batch."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data-{number:05}-of-{len(batches):05}.arrow" for number in range(len(batches))]
    for name, rows in zip(names, batches, strict=True):
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_stream(str(folder / name), table.schema) as stream:
            stream.write_table(table, max_chunksize=2)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")
    return folder


@pytest.fixture
def opened(monkeypatch) -> list:
    """Grows by one whenever a Parquet file is opened."""
    opened = []
    real = pq.ParquetFile

    def counting(*arguments, **options):
        opened.append(arguments)
        return real(*arguments, **options)

    monkeypatch.setattr(pq, "ParquetFile", counting)
    return opened


@pytest.mark.parametrize(
    ("column", "type", "wrap"),
    [
        ("images", pa.list_(STRUCT), lambda data: [{"bytes": data, "path": "a.png"}]),
        ("images", pa.list_(pa.binary()), lambda data: [data]),
        ("image", STRUCT, lambda data: {"bytes": data, "path": None}),
        ("image", pa.binary(), lambda data: data),
        ("image", pa.large_binary(), lambda data: data),
    ],
)
def test_embedded_images(tmp_path, row, picture, column, type, wrap):
    data = picture()
    path = write_parquet(tmp_path / "t.parquet", [row() | {column: wrap(data)}], {column: type})
    (problem,) = open_problems(path).read([0])
    assert problem.images == (ImageSource(data=data),)
    assert load_image(problem.images[0]).getpixel((0, 0)) == (200, 30, 40)


@pytest.mark.parametrize(
    ("column", "type", "value"),
    [
        ("images", pa.list_(pa.string()), ["a.png"]),
        ("images", pa.list_(STRUCT), [{"bytes": None, "path": "a.png"}]),
        ("image", pa.string(), "a.png"),
        ("image", STRUCT, {"bytes": None, "path": "a.png"}),
    ],
)
def test_image_paths_begin_beside_the_file(tmp_path, row, column, type, value):
    path = write_parquet(tmp_path / "data/t.parquet", [row() | {column: value}], {column: type})
    assert open_problems(path).read([0])[0].images == (ImageSource(path=str(tmp_path / "data/a.png")),)


def test_numbers_in_columns_become_text(tmp_path, row):
    rows = [row(id=3, answer=Decimal("3.50"), precision=2.0)]
    (problem,) = open_problems(write_parquet(tmp_path / "t.parquet", rows)).read([0])
    assert (problem.id, problem.answer, problem.precision, problem.source) == ("3", "3.5", 2, "t")


def test_numbers_of_32_bits_are_the_golds_that_were_meant(tmp_path, row):
    """0.3 is stored as 0.30000001192092896, with which no right answer agrees."""
    rows = [row(id=str(number), answer=answer) for number, answer in enumerate((0.3, 12.34, None, 7.0))]
    path = write_parquet(tmp_path / "t.parquet", rows, {"answer": pa.float32()})
    assert [problem.answer for problem in open_problems(path).read(range(4))] == ["0.3", "12.34", None, "7"]
    saved = tmp_path / "saved"
    saved.mkdir()
    table = pq.read_table(path)
    with pa.ipc.new_stream(str(saved / "data.arrow"), table.schema) as stream:
        stream.write_table(table)
    assert [gold.answer for gold in open_problems(saved).golds(range(4)).values()] == ["0.3", "12.34", "7"]


def test_numbers_of_32_bits_in_lists(tmp_path, row):
    rows = [
        row(answer="0.3", answer_type="choice", choices=[0.3, None if odd else 0.7], id=str(odd))
        for odd in (0, 1)
    ]
    types = {"choices": pa.list_(pa.float32())}
    path = write_parquet(tmp_path / "t.parquet", rows, types)
    assert open_problems(path).read([0])[0].choices == ("0.3", "0.7")
    assert [flaw.reason for flaw in check_problems(path).bad] == ["choice 2 is null"]


def test_ids_that_a_database_made(tmp_path, row):
    id = uuid.UUID("e5efb659-41b0-43c8-95a9-eee43e8fbcad")
    path = tmp_path / "t.parquet"
    path = write_parquet(path, [row(id=id.bytes)], {"id": pa.binary(16)})
    table = pq.read_table(path)
    ids = pa.ExtensionArray.from_storage(pa.uuid(), table.column("id").combine_chunks())
    pq.write_table(table.set_column(0, "id", ids), path)
    assert list(open_problems(path).ids) == [str(id)]
    assert check_problems(path).bad == ()


def test_texts_as_views(tmp_path, row, picture):
    """As DataFusion writes them; pyarrow cannot pick rows of such columns."""
    rows = [row(id=str(number), image=picture(number)) for number in range(5)]
    types = {"question": pa.string_view(), "image": pa.binary_view()}
    file = open_problems(write_parquet(tmp_path / "t.parquet", rows, types))
    assert [(one.id, one.question) for one in file.read([0, 2, 4])] == [(id, "How many?") for id in "024"]
    assert set(file.golds([0, 3])) == {"0", "3"}


def test_parts_of_a_folder_are_one_file_in_name_order(tmp_path, row):
    for number in (1, 0, 2):
        write_parquet(
            tmp_path / f"set/part-{number}.parquet", [row(id=f"{number}{letter}") for letter in "ab"]
        )
    file = open_problems(tmp_path / "set")
    assert file.ids == ("0a", "0b", "1a", "1b", "2a", "2b")
    assert [problem.id for problem in file.read([5, 0, 3])] == ["2b", "0a", "1b"]
    assert set(file.sources) == {"set"}
    before = file.sha256
    write_parquet(tmp_path / "set/part-2.parquet", [row(id="2a"), row(id="2c")])
    assert open_problems(tmp_path / "set").sha256 != before


def test_an_id_may_not_come_in_two_parts(tmp_path, row):
    for number in (0, 1):
        write_parquet(tmp_path / f"part-{number}.parquet", [row(id="same")])
    with pytest.raises(UserError, match=r"row 2 \(id same\): this id was used before"):
        open_problems(tmp_path).read([0])


def test_a_snapshot_from_the_hub(tmp_path, row):
    (tmp_path / "README.md").write_text("# A data set")
    for number in (0, 1):
        write_parquet(tmp_path / f"data/train-0000{number}-of-00002-ab12.parquet", [row(id=f"p{number}")])
    assert open_problems(tmp_path).ids == ("p0", "p1")


def test_splits_of_a_snapshot_are_not_mixed(tmp_path, row):
    names = ["test-00000-of-00001.parquet", "train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    for name in names:
        write_parquet(tmp_path / "data" / name, [row(id=name)])
    with pytest.raises(UserError) as refusal:
        open_problems(tmp_path)
    remedies = [str(tmp_path / "data" / name) for name in (names[0], "train-*.parquet")]
    assert str(refusal.value).endswith(f"; give {' or '.join(remedies)}")
    assert open_problems(remedies[0]).ids == (names[0],)
    assert open_problems(remedies[1]).ids == (names[1], names[2])
    assert open_problems(remedies[1]).sources == ("train", "train")


def test_files_named_after_splits_are_splits(tmp_path, row):
    for name in ("train", "test"):
        write_parquet(tmp_path / f"{name}.parquet", [row()])
    with pytest.raises(UserError, match="several splits"):
        open_problems(tmp_path)


def test_a_data_set_saved_to_disk(tmp_path, row, picture):
    image = {"bytes": picture(), "path": None}
    batches = [[row(id=f"{part}{number}") | {"image": image} for number in range(3)] for part in "ab"]
    folder = write_saved(tmp_path / "saved", *batches)
    write_saved(tmp_path / "other", [row(id="cached")])
    (tmp_path / "other/data-00000-of-00001.arrow").rename(folder / "cache-1f2e.arrow")
    file = open_problems(folder)
    assert file.ids == ("a0", "a1", "a2", "b0", "b1", "b2")
    problems = file.read([4, 2])
    assert [problem.id for problem in problems] == ["b1", "a2"]
    assert problems[0].images == (ImageSource(data=image["bytes"]),)
    assert check_problems(folder).images == {"0": 0, "1": 6, "several": 0}
    (folder / "state.json").unlink()
    assert open_problems(folder).ids == file.ids


def test_splits_saved_to_disk(tmp_path, row):
    write_saved(tmp_path / "train", [row(id="t")])
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train"]}')
    assert open_problems(tmp_path).ids == ("t",)
    write_saved(tmp_path / "test", [row(id="e")])
    with pytest.raises(UserError) as refusal:
        open_problems(tmp_path)
    assert str(refusal.value).endswith(f"give {tmp_path / 'test'} or {tmp_path / 'train'}")
    assert open_problems(tmp_path / "train").ids == ("t",)


def test_damaged_saved_data_sets(tmp_path, row):
    folder = write_saved(tmp_path / "saved", [row(id=str(number)) for number in range(50)])
    stream = folder / "data-00000-of-00001.arrow"
    whole = stream.read_bytes()
    stream.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="data-00000-of-00001.arrow cannot be read as Arrow"):
        open_problems(folder)
    stream.unlink()
    with pytest.raises(UserError, match="is missing though .*state.json names it"):
        open_problems(folder)
    (folder / "state.json").write_text("{}")
    with pytest.raises(UserError, match="state.json names no data files"):
        open_problems(folder)


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        (
            "question",
            "has no column question; problems need id, question, answer_type or choices; it has id, ",
        ),
        ("answer_type", "has no column answer_type or choices; "),
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_missing_columns_are_named_beside_those_present(tmp_path, row, left_out, said, kind):
    rows = [row(**{left_out: ...}, note="x")]
    path = tmp_path / "t.parquet"
    write_parquet(path, rows) if kind == "parquet" else write_saved(path := tmp_path / "saved", rows)
    for reads in (open_problems, check_problems):
        with pytest.raises(UserError) as refusal:
            reads(path)
        assert said in str(refusal.value)
        present = ", answer" + (", answer_type" * (left_out == "question")) + ", note"
        assert f"{present}; other names are told with data.columns, or --column" in str(refusal.value)


@pytest.mark.parametrize("name", ["anwser", "Answer", "anwsers"])
def test_a_misspelt_column_of_answers_does_not_make_problems_unlabelled(tmp_path, row, name):
    path = write_parquet(tmp_path / "t.parquet", [row(answer=...) | {name: "14"}])
    with pytest.raises(UserError, match=f"has no column answer, but one named {name}; rename it"):
        open_problems(path)


def test_a_column_that_is_there_twice_is_refused(tmp_path, row):
    """Of two golds one would be lost."""
    table = pa.Table.from_pylist([row()]).append_column("answer", pa.array(["15"]))
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(UserError, match="t.parquet has 2 columns answer; keep one of them"):
        open_problems(tmp_path / "t.parquet")


def test_a_table_without_answers_is_unlabelled(tmp_path, row):
    file = open_problems(write_parquet(tmp_path / "t.parquet", [row(answer=..., note="x")]))
    assert (file.read([0])[0].answer, file.unlabelled) == (None, ("p1",))


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_without_images_their_columns_are_not_read(tmp_path, row, picture, kind):
    rows = [row(id=id) | {"image": {"bytes": picture(), "path": None}} for id in "abc"]
    path = tmp_path / "t.parquet"
    write_parquet(path, rows) if kind == "parquet" else write_saved(path := tmp_path / "saved", rows)
    file = open_problems(path)
    assert [problem.id for problem in file.read([2, 0], images=False)] == ["c", "a"]
    seen = [row for row, _ in file.scan([0, 1], images=False)]
    assert [set(row) & {"image", "images"} for row in seen] == [set(), set()]
    assert [problem.images for problem in file.read([1], images=False)] == [()]
    assert file.read([1])[0].images == (ImageSource(data=picture()),)


@pytest.mark.parametrize(
    ("column", "values", "embedded"),
    [
        ("image", [{"bytes": b"x", "path": "a.png"}, {"bytes": b"y", "path": None}], True),
        ("image", [{"bytes": b"x", "path": None}, {"bytes": None, "path": "a.png"}], False),
        ("images", [[{"bytes": b"x", "path": None}], [{"bytes": b"y", "path": "a.png"}]], True),
        ("images", [[{"bytes": None, "path": "a.png"}], []], False),
        ("image", [b"x", b"y"], True),
        ("images", [[b"x"], []], True),
        ("image", ["a.png", "b.png"], False),
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_embedded_images_are_not_read_for_the_identity(tmp_path, row, column, values, embedded, kind):
    rows = [row(id=str(number)) | {column: value} for number, value in enumerate(values)]
    path = tmp_path / "t.parquet"
    write_parquet(path, rows) if kind == "parquet" else write_saved(path := tmp_path / "saved", rows)
    file = open_problems(path)
    assert [part.images_embedded for part in file._parts] == [embedded]
    assert (file.identity == file.sha256) is embedded


def test_columns_of_a_wrong_type(tmp_path, row):
    path = write_parquet(tmp_path / "t.parquet", [row() | {"question": 5, "image": 1.5}])
    (flaw,) = check_problems(path).bad
    assert (
        flaw.reason
        == "question is 5; it must be text; image 1 is 1.5; it must be a path or the bytes of an image file"
    )


def test_null_values_in_columns(tmp_path, row):
    rows = [
        row(id="a", choices=None),
        row(id="b", choices=None, answer=None),
        row(id="c", choices=None, question=None),
        row(id=None, choices=["14", "15"]),
    ]
    rows[3]["answer_type"] = None
    result = check_problems(write_parquet(tmp_path / "t.parquet", rows))
    assert [str(flaw) for flaw in result.bad] == [
        "row 3 (id c): question is null",
        "row 4 (no id): id is null",
    ]
    assert result.unlabelled == 1


def test_text_that_is_not_utf8_costs_one_row(tmp_path, row):
    rows = [row(id=id) for id in "abc"]
    broken = pa.array([b"How?", b"caf\xe9", b"Why?"]).view(pa.string())
    table = pa.Table.from_pylist(rows).set_column(1, "question", broken)
    pq.write_table(table, tmp_path / "t.parquet", use_dictionary=False)
    result = check_problems(tmp_path / "t.parquet")
    assert [(flaw.row, flaw.reason) for flaw in result.bad] == [(2, "a text is not UTF-8 (byte 4)")]
    file = open_problems(tmp_path / "t.parquet")
    assert [problem.id for problem in file.read([2, 0])] == ["c", "a"]
    with pytest.raises(UserError, match="row 2 .*not UTF-8"):
        file.read([1])


def test_a_damaged_row_group_costs_its_own_rows(tmp_path, row, opened):
    rows = [row(id=f"p{number}", question=os.urandom(50).hex()) for number in range(12)]
    options = {
        "row_group_size": 4,
        "compression": "zstd",
        "use_dictionary": False,
        "write_page_checksum": True,
    }
    path = write_parquet(tmp_path / "t.parquet", rows, **options)
    column = pq.ParquetFile(path).metadata.row_group(1).column(1)
    data = bytearray(path.read_bytes())
    end = column.data_page_offset + column.total_compressed_size
    data[end - 40 : end] = bytes(40)
    path.write_bytes(data)
    opened.clear()
    result = check_problems(path)
    assert [flaw.row for flaw in result.bad] == [5, 6, 7, 8]
    assert len(opened) == 4, "once for the columns and once for every row group"
    assert all(flaw.reason.startswith("row group 1 of the file is damaged (") for flaw in result.bad)
    assert result.answer_types == {"number": 8}
    file = open_problems(path)
    assert [problem.id for problem in file.read([0, 11])] == ["p0", "p11"]
    with pytest.raises(UserError, match="row 6 .no id.: row group 1 of the file is damaged"):
        file.read([5])


def test_files_that_are_no_tables(tmp_path, row):
    path = write_parquet(tmp_path / "t.parquet", [row()])
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="t.parquet cannot be read as Parquet"):
        open_problems(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="t.parquet cannot be read as Parquet"):
        open_problems(path)


def test_tables_and_folders_without_rows(tmp_path, row):
    path = write_parquet(tmp_path / "t.parquet", [row()])
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(UserError, match="holds no problems; at least one row is needed"):
        open_problems(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no problems that can be read; .* it holds nothing"):
        open_problems(tmp_path / "empty")
    (tmp_path / "empty/notes.txt").write_text("")
    with pytest.raises(UserError, match="it holds notes.txt"):
        open_problems(tmp_path / "empty")


def test_unknown_columns_are_counted_and_not_read(tmp_path, row, picture):
    rows = [row(id=str(number)) | {"anwser": "x", "Unit": "cm", "huge": b"0" * 1000} for number in range(3)]
    path = write_parquet(tmp_path / "t.parquet", rows)
    result = check_problems(path)
    assert result.unknown_keys == {"anwser": 3, "Unit": 3, "huge": 3}
    assert result.nearest_keys == {"anwser": "answer", "Unit": "unit"}
    assert result.bad == ()


ROWS, IMAGE_BYTES = 600, 100_000


@pytest.mark.parametrize("options", [{"row_group_size": 30}, {"row_group_size": ROWS, "write_batch_size": 8}])
def test_three_rows_of_a_big_file_do_not_load_it(tmp_path, row, options):
    rows = [row(id=f"p{number}", image=os.urandom(IMAGE_BYTES)) for number in range(ROWS)]
    path = write_parquet(tmp_path / "big.parquet", rows, compression="none", use_dictionary=False, **options)
    del rows
    file = open_problems(path)
    whole = ROWS * IMAGE_BYTES
    arrow_before = pa.total_allocated_bytes()
    pa.default_memory_pool().release_unused()
    tracemalloc.start()
    try:
        assert len(file.ids) == ROWS
        labels_peak = tracemalloc.get_traced_memory()[1]
        problems = file.read([10, 11, 400])
        python_peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    arrow_held = pa.total_allocated_bytes() - arrow_before
    assert [problem.id for problem in problems] == ["p10", "p11", "p400"]
    assert labels_peak < IMAGE_BYTES * 5
    assert python_peak < IMAGE_BYTES * 20
    assert arrow_held < whole / 4


def test_rising_rows_read_each_batch_once(tmp_path, row, opened, monkeypatch):
    monkeypatch.setattr("mstar.datasets.problem_file.HELD_BYTES", 0)
    monkeypatch.setattr("mstar.datasets.table_rows.BATCH_BYTES", 0)
    rows = [row(id=f"p{number}", image="a.png") for number in range(1000)]
    path = write_parquet(tmp_path / "t.parquet", rows)
    file = open_problems(path)
    assert len(file.ids) == 1000
    opened.clear()
    read = [file.read(range(start, start + 100)) for start in range(0, 1000, 100)]
    assert [problem.id for chunk in read for problem in chunk] == [f"p{number}" for number in range(1000)]
    assert len(opened) == 1
    assert file.read([3])[0].id == "p3"
    assert len(opened) == 2
    assert file.read(range(999, -1, -1))[0].id == "p999"
    assert len(opened) == 2


def test_small_rows_are_read_many_at_a_time(tmp_path, row, monkeypatch):
    monkeypatch.setattr("mstar.datasets.problem_file.HELD_BYTES", 0)
    rows = [row(id=f"p{number}", image=f"{number}.png") for number in range(5000)]
    file = open_problems(write_parquet(tmp_path / "t.parquet", rows))
    reader = file._parts[0]
    sizes = set()
    for start in range(0, 5000, 100):
        assert [one.id for one in file.read([start])] == [f"p{start}"]
        sizes.add(reader._batch.num_rows)
    assert sizes == {4096, 5000 - 4096}


def test_what_was_read_is_kept_while_there_is_room(tmp_path, row, opened, monkeypatch):
    rows = [row(id=f"p{number}", image={"bytes": b"x" * 1000, "path": None}) for number in range(8)]
    path = write_parquet(tmp_path / "t.parquet", rows)
    monkeypatch.setattr("mstar.datasets.problem_file.HELD_BYTES", 4 * 2200)
    file = open_problems(path)
    first = file.read(range(8))
    opened.clear()
    assert file.read([2, 0, 2]) == [first[2], first[0], first[2]] and not opened
    assert [problem.images for problem in file.read([1], images=False)] == [()]
    assert file.read(range(8)) == first
    assert 2 < len(file.held.problems) < 8


def test_several_accepted_answers_in_a_table(tmp_path, row):
    rows = [row(id="a", answer=..., answers=["grey", "gray"], answer_type="text"), row(id="b", answer="14")]
    path = write_parquet(tmp_path / "t.parquet", [{"answer": None, "answers": None} | one for one in rows])
    file = open_problems(path)
    assert [problem.expected.answers for problem in file.read([0, 1])] == [("grey", "gray"), ("14",)]
    assert file.unlabelled == ()
