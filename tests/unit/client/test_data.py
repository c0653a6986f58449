"""Reading data from files and packages."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from p2pgrid.assets import OnDisk, dump
from p2pgrid.client.data import BUNDLED, keep_source, load_source
from p2pgrid.errors import InvalidInput, MissingExtra
from p2pgrid.ids import normalise_tags

TABLE = pd.DataFrame({"age": [40, 50], "name": ["a", None]})


def only(path: Path) -> Any:
    loaded = load_source(str(path))
    assert (loaded.name, loaded.tags, [name for name, _ in loaded.assets]) == (path.stem, (), [path.stem])
    return loaded.assets[0][1]


def test_each_kind_of_file_is_read_by_its_suffix(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    TABLE.to_csv(tmp_path / "b.csv", index=False)
    TABLE.to_parquet(tmp_path / "c.parquet")
    (tmp_path / "d.json").write_text('{"a": [1, null]}')
    (tmp_path / "e.txt").write_text("é", encoding="utf-8")
    (tmp_path / "f.bin").write_bytes(b"\x00\x01")
    (tmp_path / "g").write_bytes(b"no suffix")
    TABLE.to_csv(tmp_path / "H.CSV", index=False)
    np.testing.assert_array_equal(only(tmp_path / "a.npy"), np.arange(6).reshape(2, 3))
    for name in ("b.csv", "c.parquet", "H.CSV"):
        pd.testing.assert_frame_equal(only(tmp_path / name), TABLE)
    assert only(tmp_path / "d.json") == {"a": [1, None]}
    assert only(tmp_path / "e.txt") == "é"
    for name, content in (("f.bin", b"\x00\x01"), ("g", b"no suffix")):
        assert only(tmp_path / name) == OnDisk(tmp_path / name)
        assert dump(only(tmp_path / name)).tobytes() == content
    assert isinstance(only(tmp_path / "a.npy"), np.memmap)  # larger than memory is no matter


def test_a_folder_an_image_and_any_file_are_kept_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "scans.2024"
    folder.mkdir()
    Image.new("L", (2, 2)).save(folder / "one.png")
    assert load_source(str(folder)).assets == (("scans", OnDisk(folder, "folder")),)
    assert load_source(str(folder)).name == "scans.2024"
    assert dump(only(folder / "one.png")).kind == "image"
    TABLE.to_csv(folder / "b.csv", index=False)
    assert dump(dict(keep_source(str(folder / "b.csv"), "file").assets)["b"]).kind == "file"
    for source, kind in ((folder, "file"), (folder / "b.csv", "folder"), (folder / "b.csv", "image"), (folder, "x")):
        with pytest.raises(InvalidInput):
            keep_source(str(source), kind)
    pq = pa.Table.from_pandas(TABLE)
    with pa.OSFile(str(tmp_path / "t.arrow"), "wb") as file, pa.ipc.new_file(file, pq.schema) as writer:
        writer.write_table(pq)
    assert only(tmp_path / "t.arrow").equals(pq)


def test_each_array_of_an_archive_is_an_asset(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(3), y=np.zeros((2, 2)))
    loaded = load_source(str(tmp_path / "a.npz"))
    assert loaded.name == "a"
    assert {name: value.shape for name, value in loaded.assets} == {"x": (3,), "y": (2, 2)}


def test_a_file_in_the_users_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.json").write_text("1")
    assert load_source("~/a.json").assets == (("a", 1),)


def damaged() -> dict[str, bytes]:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}\n"
    return {
        "empty.npy": b"",
        "text.npy": b"1,2,3\n",
        "cut.npy": b"\x93NUMPY\x01\x00",
        "huge.npy": b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(8),
        "pickle.npy": pickle.dumps([1]),
        "empty.npz": b"",
        "text.npz": b"hello",
        "cut.npz": b"PK\x03\x04",
        "none.npz": b"PK\x05\x06" + bytes(18),
        "empty.csv": b"",
        "binary.csv": bytes(range(128, 256)),
        "text.parquet": b"hello",
        "cut.parquet": b"PAR1\x00\x00",
        "empty.json": b"",
        "cut.json": b'{"a": ',
        "deep.json": b"[" * 100_000,
        "binary.json": b"\xff",
        "binary.txt": b"\xff\xfe",
    }


@pytest.mark.parametrize("name", damaged())
def test_a_damaged_file_is_one_clear_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(damaged()[name])
    with pytest.raises(InvalidInput) as caught:
        load_source(str(path))
    assert name in caught.value.cause
    assert "\n" not in str(caught.value)


def test_pickled_arrays_are_never_opened(tmp_path: Path) -> None:
    class Escape:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "escaped",))

    np.save(tmp_path / "a.npy", np.array([Escape()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", a=np.array([Escape()], dtype=object))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(InvalidInput, match="array of objects"):
            load_source(str(tmp_path / name))
    assert not (tmp_path / "escaped").exists()


def test_an_archive_named_as_one_array_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.zeros(1))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(InvalidInput, match="archive") as caught:
        load_source(str(tmp_path / "a.npy"))
    assert ".npz" in caught.value.fix


@pytest.mark.parametrize(
    "source", ["missing.npy", "", "x" * 5000, "a\x00b", "sklearn:nothing", "statsmodels:x", "digits"]
)
def test_a_source_that_is_not_there_is_one_clear_error_that_names_what_is(source: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_source(source)
    assert "sklearn:digits" in caught.value.fix


@pytest.mark.parametrize("source", BUNDLED)
def test_the_bundled_datasets_are_real_and_described(source: str) -> None:
    loaded = load_source(source)
    assert loaded.description
    assert normalise_tags(loaded.tags) == loaded.tags
    shapes = {name: value.shape for name, value in loaded.assets}
    assert (
        shapes
        == {
            "sklearn:digits": {"images": (1797, 8, 8), "labels": (1797,)},
            "sklearn:breast_cancer": {"features": (569, 30), "diagnosis": (569,)},
            "sklearn:diabetes": {"features": (442, 10), "progression": (442,)},
            "statsmodels:randhie": {"people": (20190, 10)},
        }[source]
    )


def test_digits_are_not_called_mnist() -> None:
    loaded = load_source("sklearn:digits")
    assert loaded.tags == ("digits", "mnist-like")
    assert "not MNIST" in loaded.description


@pytest.mark.parametrize(
    ("source", "absent"), [("sklearn:digits", "sklearn"), ("statsmodels:randhie", "statsmodels.datasets")]
)
def test_a_bundled_dataset_without_its_package_is_a_clear_error(
    source: str, absent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(MissingExtra) as caught:
        load_source(source)
    assert "p2pgrid[demo]" in caught.value.fix


def test_a_table_without_pandas_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match="not installed"):
        load_source(str(tmp_path / "a.csv"))


def test_what_json_reads_json_writes(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, "x", None, True], "é": {}}
    (tmp_path / "a.json").write_text(json.dumps(value))
    assert load_source(str(tmp_path / "a.json")).assets[0][1] == value
