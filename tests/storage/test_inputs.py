"""Problems in a bucket: read as those in a folder are, and no more of them than is needed."""

import io
import json
import random
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mstar.config_storage import StorageSettings
from mstar.datasets import (
    ProblemFile,
    Reading,
    bucket_images,
    load_image,
    open_problems,
)
from mstar.datasets.bucket_files import WHOLE_BYTES
from mstar.datasets.checking import check_problems
from mstar.datasets.overlap import shared_problems
from mstar.errors import UserError
from mstar.storage import build_storage
from mstar.storage.ranged import Blocks
from tests.commands import mstar
from tests.conftest import QUICKSTART
from tests.smoke import prepare_arguments
from tests.storage.faults import FAULTS, Proxy, proxy
from tests.storage.uploads import Uploads

Row = dict[str, object]


def reached_at(server: Proxy) -> Reading:
    return Reading(StorageSettings(endpoint=server.address, timeout_seconds=5.0))


def picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


def rows(count: int, **more: object) -> list[Row]:
    return [
        {"id": f"p{number}", "question": f"How many, {number}?", "answer": "1", "answer_type": "number"}
        | more
        for number in range(count)
    ]


def jsonl(problems: list[Row]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in problems)


def parquet(problems: list[Row], **options: object) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(problems), file, **options)
    return file.getvalue()


def facts(file: ProblemFile) -> tuple[object, ...]:
    """What must not depend on where a file is."""
    read = [
        (one.id, one.question, one.answer, one.source, [load_image(image).tobytes() for image in one.images])
        for one in file.read(range(len(file)))
    ]
    return file.ids, file.sources, file.unlabelled, file.sha256, read


def test_a_file_of_lines_is_what_it_is_on_disk(uploads: Uploads, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "images").mkdir(parents=True)
    for number in range(3):
        (folder / f"images/{number}.png").write_bytes(picture(number))
    problems = rows(4)
    for number, row in enumerate(problems[:3]):
        row["images"] = [f"images/{number}.png", "./images/../images/0.png"]
    (folder / "train.jsonl").write_bytes(jsonl(problems))
    uploads.put_folder(folder)
    stored = open_problems(f"{uploads.address}/train.jsonl")
    assert facts(stored) == facts(open_problems(folder / "train.jsonl"))
    assert stored.read([1])[0].images[0].path == f"{uploads.address}/images/1.png"
    assert facts(open_problems(f"{uploads.address}/train.jsonl")) == facts(stored)
    assert len(shared_problems(stored, open_problems(f"{uploads.address}/train.jsonl"))) == 4
    assert not check_problems(f"{uploads.address}/train.jsonl").bad


@pytest.mark.parametrize(
    ("names", "given"),
    [
        (["train.parquet"], "train.parquet"),
        (["a-0.parquet", "a-1.parquet"], ""),
        (["data/train-0-of-2.parquet", "data/train-1-of-2.parquet"], ""),
        (["data/test-0-of-2.parquet", "data/test-1-of-2.parquet"], "data/test-*.parquet"),
        (["data/train.parquet", "data/test.parquet"], "data/test.parquet"),
    ],
)
def test_tables_are_what_they_are_on_disk(
    uploads: Uploads, tmp_path: Path, names: list[str], given: str
) -> None:
    folder = tmp_path / uploads.name
    (folder / "data").mkdir(parents=True)
    for number, name in enumerate(names):
        problems = rows(6, image={"bytes": picture(1), "path": "1.png"})[3 * number :][:3]
        (folder / name).write_bytes(parquet(problems))
    uploads.put_folder(folder)
    stored, local = (open_problems(f"{place}/{given}".rstrip("/")) for place in (uploads.address, folder))
    assert facts(stored) == facts(local)
    assert len(local.ids) >= 3


@pytest.mark.parametrize("given", ["", "*.parquet"])
def test_hidden_files_are_no_parts(uploads: Uploads, tmp_path: Path, given: str) -> None:
    """What a Mac leaves beside each file on disks of another kind, and in archives."""
    folder = tmp_path / uploads.name
    folder.mkdir()
    (folder / "part-0.parquet").write_bytes(parquet(rows(3)))
    (folder / "._part-0.parquet").write_bytes(bytes(4096))
    uploads.put_folder(folder)
    for place in (uploads.address, str(folder)):
        assert len(open_problems(f"{place}/{given}".rstrip("/")).ids) == 3


def test_several_splits_are_named_by_their_addresses(uploads: Uploads) -> None:
    for split in ("train", "test"):
        uploads.put(f"data/{split}-00000-of-00001.parquet", parquet(rows(2)))
    with pytest.raises(UserError) as refused:
        open_problems(uploads.address)
    assert f"give {uploads.address}/data/test-00000-of-00001.parquet or" in str(refused.value)


def large_table(count: int, bytes_each: int) -> list[Row]:
    """Images that cannot be compressed: what they are matters only to whoever decodes them."""
    noise = random.Random(0)
    problems = rows(count)
    for row in problems:
        row["image"] = {"bytes": noise.randbytes(bytes_each), "path": None}
    return problems


def test_of_a_large_table_only_what_is_asked_for_moves(uploads: Uploads, moto: str) -> None:
    """Eight problems in row groups of two: hardly more bytes than the row groups that hold them, and first
    the texts of all problems.
    """
    data = parquet(large_table(440, 40_000), row_group_size=2, compression="none")
    assert len(data) > WHOLE_BYTES
    address = uploads.put("train.parquet", data)
    wanted = random.Random(1).sample(range(440), 8)
    with proxy(moto) as counting:
        file = open_problems(address, reached_at(counting))
        ids = file.ids
        opened = counting.sent_bytes
        assert opened <= 0.3 * len(data)
        problems = file.read(wanted)
        assert counting.sent_bytes - opened <= 0.05 * len(data)
        again = open_problems(address, reached_at(counting))
        opened = counting.sent_bytes
        assert again.ids == ids
        assert counting.sent_bytes == opened
    assert [one.id for one in problems] == [f"p{row}" for row in wanted]
    assert {len(one.images[0].data or b"") for one in problems} == {40_000}


def test_a_row_group_moves_once_and_texts_without_it(uploads: Uploads, moto: str) -> None:
    """However many of its rows are asked for; Parquet is read by whole pages, and pages may be as large."""
    data = parquet(large_table(440, 40_000), row_group_size=44, compression="none")
    address, each = uploads.put("train.parquet", data), 44 * 40_000
    with proxy(moto) as counting:
        file = open_problems(address, reached_at(counting))
        assert len(file.ids) == 440
        opened = counting.sent_bytes
        file.read(range(100, 440, 10), images=False)
        assert counting.sent_bytes - opened < each // 10
        before = counting.sent_bytes
        file.read([3, 20, 43])
        assert 0.9 * each < counting.sent_bytes - before < 1.1 * each


def test_of_a_file_with_a_page_index_single_pages_move(uploads: Uploads, moto: str) -> None:
    """All of it is one row group, as in what the library `datasets` writes; no advice to write it anew."""
    chunks = {"min_chunk_size": 1 << 16, "max_chunk_size": 1 << 18, "norm_level": 0}
    options = {"use_dictionary": False, "use_content_defined_chunking": chunks, "write_page_index": True}
    data = parquet(large_table(440, 40_000), compression="none", **options)
    address = uploads.put("train.parquet", data)
    wanted = random.Random(1).sample(range(440), 8)
    with proxy(moto) as counting:
        file = open_problems(address, reached_at(counting))
        assert len(file.ids) == 440
        opened = counting.sent_bytes
        problems = file.read(wanted)
        assert counting.sent_bytes - opened <= 0.12 * len(data)
    assert [one.id for one in problems] == [f"p{row}" for row in wanted]
    assert {len(one.images[0].data or b"") for one in problems} == {40_000}
    assert "row group" not in mstar("problems", "check", address, check=False).stdout


def test_large_row_groups_are_named_once(uploads: Uploads) -> None:
    """Not where they are small, nor in the folder that has the same file."""
    table = large_table(440, 40_000)
    large, small = parquet(table, row_group_size=110), parquet(table, row_group_size=26)
    said = mstar("problems", "check", uploads.put("large.parquet", large), check=False).stdout
    assert said.count("row groups have up to 4.4 MB of images (110 rows)") == 1
    assert "written with row_group_size=26, less would" in said
    assert "row group" not in mstar("problems", "check", uploads.put("s.parquet", small), check=False).stdout


def test_a_table_that_is_replaced_while_it_is_read_is_refused(uploads: Uploads) -> None:
    address = uploads.put("train.parquet", parquet(large_table(440, 40_000), row_group_size=10))
    file = open_problems(address)
    first = file.identity
    uploads.put("train.parquet", parquet(large_table(440, 40_000)[::-1], row_group_size=10))
    with pytest.raises(UserError, match="was replaced while it was read; start again"):
        file.read([200])
    assert open_problems(address).identity != first


def test_contents_of_equal_size_are_other_contents(uploads: Uploads) -> None:
    """Lines, a small table, and an image beside a file."""
    uploads.put("0.png", b"image 0")
    problems = rows(2, image="0.png")
    before = [
        open_problems(uploads.put("a.jsonl", jsonl(problems))).identity,
        open_problems(uploads.put("a.parquet", parquet(problems))).identity,
        open_problems(uploads.put("b.jsonl", jsonl(rows(2)))).identity,
    ]
    uploads.put("0.png", b"image 1")
    uploads.put("b.jsonl", jsonl(rows(2)).replace(b"many", b"MANY"))
    names = ("a.jsonl", "a.parquet", "b.jsonl")
    after = [open_problems(f"{uploads.address}/{name}").identity for name in names]
    assert all(old != new for old, new in zip(before, after, strict=True))


def test_images_are_fetched_once_and_only_where_they_are_read(uploads: Uploads, moto: str) -> None:
    images = [random.Random(number).randbytes(20_000) for number in range(20)]
    for number, data in enumerate(images):
        uploads.put(f"images/{number}.png", data)
    problems = rows(20)
    for number, row in enumerate(problems):
        row["image"] = f"images/{number}.png"
    address = uploads.put("train.jsonl", jsonl(problems))
    with proxy(moto) as counting:
        settings = reached_at(counting)
        first = open_problems(address, settings)
        assert first.identity != first.sha256
        before = counting.sent_bytes
        read = first.read([3, 4, 5])
        assert [one.images[0].data for one in read] == images[3:6]
        assert counting.sent_bytes - before == 60_000
        del first
        assert open_problems(address, settings).read([3, 4, 5]) == read
        assert counting.sent_bytes - before < 70_000


@pytest.mark.parametrize("listed_from", [1, 500])
def test_missing_images_are_named(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch, listed_from: int
) -> None:
    monkeypatch.setattr(bucket_images, "LISTED_FROM", listed_from)
    uploads.put("images/0.png", picture(0))
    uploads.put("images/1.png", b"no image")
    problems = [row | {"image": f"images/{row['id']}.png"} for row in rows(3)]
    for number, row in enumerate(problems):
        row["image"] = f"images/{number}.png"
    flaws = check_problems(uploads.put("train.jsonl", jsonl(problems))).bad
    assert [str(flaw) for flaw in flaws] == [
        f"row 2 (id p1): image {uploads.address}/images/1.png is no image file of a known format",
        f"row 3 (id p2): image {uploads.address}/images/2.png is missing",
    ]


def test_a_sample_leaves_the_other_images_where_they_are(uploads: Uploads, moto: str) -> None:
    address = uploads.put("train.parquet", parquet(large_table(448, 40_000), row_group_size=64))
    with proxy(moto) as counting:
        result = check_problems(address, sample=64, reading=reached_at(counting))
        assert counting.sent_bytes < 64 * 40_000 * 2
    assert (result.rows, result.looked_into, sum(result.images.values())) == (448, 64, 0)
    assert len(result.bad) == 64 and "is no image file" in str(result.bad[0])


def test_through_faults_the_same_arrives(uploads: Uploads, moto: str, tmp_path: Path) -> None:
    uploads.put("0.png", picture(0))
    uploads.put("train.jsonl", jsonl(rows(200, image="0.png")))
    local = tmp_path / "train.parquet"
    local.write_bytes(parquet(large_table(440, 40_000), row_group_size=20))
    uploads.put("train.parquet", local.read_bytes())
    with proxy(moto, every=3, faults=[one for one in FAULTS if one != "wrong bytes"]) as troubled:
        settings = reached_at(troubled)
        assert len(open_problems(f"{uploads.address}/train.jsonl", settings).read(range(200))) == 200
        stored = open_problems(f"{uploads.address}/train.parquet", settings)
        assert stored.read([5, 300]) == open_problems(local).read([5, 300])


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://runs/inputs/none.jsonl", "does not exist; problems are a .jsonl file"),
        ("s3://runs/inputs/none/*.parquet", "does not exist; problems are a .jsonl file"),
        ("s3://no-such-bucket/train.jsonl", "there is no such bucket; create it, or correct its name"),
        ("s3://R/train.jsonl", "names no bucket; write s3://bucket/prefix"),
        ("gs://runs/train.jsonl", "is of no known kind; they lie in a folder, in a bucket"),
    ],
)
def test_what_is_not_there_is_one_line(uploads: Uploads, address: str, said: str) -> None:
    done = mstar("problems", "check", address, check=False)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith(f"error: {address.rpartition('/')[0]}") and said in line


def test_a_run_knows_its_problems_wherever_they_lie(uploads: Uploads, problems: Path, tmp_path: Path) -> None:
    uploads.put_folder(problems)
    noted = []
    for place in (str(problems), uploads.address):
        mstar(*prepare_arguments(problems, tmp_path / "run"), *named_below(place))
        noted.append((tmp_path / "run/inputs.json").read_text())
    assert noted[0] == noted[1]
    assert f"train: {uploads.address}/train.parquet" in (tmp_path / "run/run.yaml").read_text()


def named_below(place: str) -> list[str]:
    settings = [f"data.{name}={place}/{name}.parquet" for name in ("train", "validation")]
    settings.append(f"data.tests={{heldout: {place}/heldout.parquet}}")
    return [part for one in settings for part in ("--set", one)]


def test_a_denied_bucket_is_one_line(uploads: Uploads, moto: str) -> None:
    address = uploads.put("train.jsonl", jsonl(rows(1)))
    with proxy(moto) as denying:
        denying.refusal = (403, "AccessDenied")
        with pytest.raises(UserError, match="access is denied; the credentials need s3:ListBucket"):
            open_problems(address, reached_at(denying))


def test_who_may_not_list_reads_what_he_names(uploads: Uploads, moto: str) -> None:
    uploads.put("images/0.png", picture(0))
    address = uploads.put("train.jsonl", jsonl([rows(1)[0] | {"image": "images/0.png"}]))
    with proxy(moto) as server:
        server.refuses_listings = True
        file = open_problems(address, reached_at(server))
        assert [one.images[0].data for one in file.read([0])] == [picture(0)]
        with pytest.raises(UserError, match=r"access is denied; .*for inputs the first two do"):
            open_problems(uploads.address, reached_at(server))


def test_wrong_metadata_is_one_line(uploads: Uploads) -> None:
    address = uploads.put("train.jsonl", jsonl(rows(1)), sha256="0" * 64)
    with pytest.raises(UserError, match="is not what the sha256 among its metadata says"):
        open_problems(address).read([0])


def test_a_config_in_a_bucket_names_what_lies_beside_it(
    uploads: Uploads, problems: Path, tmp_path: Path
) -> None:
    uploads.put_folder(problems)
    text = (
        f"name: smoke\noutput: {tmp_path}/run\nmodel: {{path: {QUICKSTART / 'base'}}}\n"
        "adapt: {policy: fixed}\n"
        "data: {train: train.parquet, tests: {heldout: ./heldout.parquet}}\n"
    )
    address = uploads.put("smoke.yaml", text.encode())
    mstar("prepare", address)
    assert f"train: {uploads.address}/train.parquet" in (tmp_path / "run/run.yaml").read_text()
    done = mstar("prepare", f"{uploads.address}/none.yaml", check=False)
    assert done.returncode == 2 and done.stderr == (
        f"error: {uploads.address}/none.yaml does not exist; name a config in a bucket that is there\n"
    )


def test_what_is_stored_under_an_encoding_is_read_as_it_lies(uploads: Uploads) -> None:
    """As programs label what they have compressed, or have not."""
    small, large = parquet(rows(3)), parquet(rows(3, images=[random.Random(1).randbytes(WHOLE_BYTES)]))
    for name, data in (("small.parquet", small), ("large.parquet", large)):
        address = uploads.put(name, data, **{"Content-Encoding": "gzip"})
        assert [problem.id for problem in open_problems(address).read(range(3))] == ["p0", "p1", "p2"]
    storage = build_storage(uploads.address)
    assert storage.read("small.parquet") == small
    assert b"".join(storage.blocks("large.parquet")) == large


def test_an_image_in_a_bucket_that_is_not_there_is_told_of_with_its_row(
    uploads: Uploads, tmp_path: Path
) -> None:
    """Other rows are checked all the same."""
    uploads.put("1.png", picture(1))
    names = ["s3://no-such-bucket/1.png", f"{uploads.address}/1.png", "s3://No_Bucket/1.png"]
    problems = [row | {"image": name} for row, name in zip(rows(3), names, strict=True)]
    path = tmp_path / "train.jsonl"
    path.write_bytes(jsonl(problems))
    absent, impossible = check_problems(path).bad
    assert (absent.row, absent.id, impossible.row) == (1, "p0", 3)
    assert "s3://no-such-bucket" in absent.reason and "there is no such bucket" in absent.reason
    assert "s3://No_Bucket names no bucket" in impossible.reason
    with pytest.raises(UserError, match="row 1 .id p0.: s3://no-such-bucket"):
        open_problems(path).read([0, 1])
    with pytest.raises(
        UserError, match=r"train.jsonl: .*; run `mstar problems check \S+train.jsonl` to see which"
    ):
        open_problems(path).identity.encode()


def test_a_large_page_is_in_memory_once() -> None:
    """DuckDB writes pages of 100 MB, which were there three times while they were read."""
    size = 40 << 20
    blocks = Blocks(size, lambda offset, length: bytes(length))
    tracemalloc.start()
    try:
        assert len(blocks.read(1, size)) == size - 1
        assert tracemalloc.get_traced_memory()[1] < 1.5 * size
    finally:
        tracemalloc.stop()
