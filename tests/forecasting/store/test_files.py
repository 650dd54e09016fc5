"""Files below the root of a store."""

import os
from pathlib import Path

import pytest

from forecasting.errors import NothingStored, StoreError
from forecasting.store.files import Files, s3_arguments
from forecasting.store.tables import Store


def test_bytes_are_read_back_and_replaced(store):
    for content in (b"one", b"two"):
        store.write_bytes("weights/demo/x.safetensors", content)
        assert store.read_bytes("weights/demo/x.safetensors") == content


def test_missing_file_raises_nothing_stored(store):
    with pytest.raises(NothingStored, match=r"has no file 'weights/none\.safetensors'"):
        store.read_bytes("weights/none.safetensors")


@pytest.mark.parametrize(
    "path", ["weights/../secret", "/etc/passwd", "other/x", "weights//x", "weights\\..\\x", "weights/"]
)
def test_path_outside_the_weights_is_refused(store, path):
    with pytest.raises(StoreError):
        store.write_bytes(path, b"")
    with pytest.raises(StoreError):
        store.read_bytes(path)


def test_failed_write_leaves_only_the_old_file(store, monkeypatch):
    store.write_bytes("weights/x", b"old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match="No space left"):
        store.write_bytes("weights/x", b"new")
    assert store.read_bytes("weights/x") == b"old"
    assert [path.name for path in Path(store.root, "weights").iterdir()] == ["x"]


def test_failure_of_the_file_system_is_reported_in_one_line_without_escapes(store, monkeypatch):
    class Failing:
        def __getattr__(self, name: str):
            def fail(*_: object) -> None:
                raise OSError("\x1b[31mAWS Error\x1b[0m NETWORK_CONNECTION\n   0: <unknown>")

            return fail

    monkeypatch.setattr(store.files, "filesystem", Failing())
    for name in ("read_bytes", "find", "delete", "delete_folder"):
        with pytest.raises(StoreError) as caught:
            getattr(store.files, name)("weights/x")
        assert str(caught.value).endswith(": AWS Error NETWORK_CONNECTION")


def test_file_appears_only_when_it_is_complete(store, monkeypatch):
    seen = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append(store.files.find("weights")))
    store.write_bytes("weights/x", b"abc")
    assert seen == [[]]
    (file,) = store.files.find("weights")
    assert (file.path, file.num_bytes) == ("weights/x", 3)


def test_reader_of_the_old_file_reads_all_of_it(store):
    store.write_bytes("weights/x", b"old and long")
    with Path(store.root, "weights", "x").open("rb") as reader:
        store.write_bytes("weights/x", b"new")
        assert reader.read() == b"old and long"


def test_file_can_be_deleted_twice(store):
    store.write_bytes("weights/a/x", b"abc")
    for _ in range(2):
        store.files.delete("weights/a/x")
        store.files.delete_folder("weights/a")
    assert store.files.find("weights") == []


def test_storage_options_of_deltalake_reach_the_s3_file_system():
    assert s3_arguments(
        {
            "AWS_ACCESS_KEY_ID": "me",
            "aws_secret_access_key": "secret",
            "region": "eu-central-1",
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9000",
            "AWS_ALLOW_HTTP": "true",
        }
    ) == {
        "access_key": "me",
        "secret_key": "secret",
        "region": "eu-central-1",
        "endpoint_override": "http://127.0.0.1:9000",
        "scheme": "http",
    }
    assert s3_arguments({}) == {}


def test_s3_uris_are_below_the_root():
    store = Store("s3://bucket/prefix/", {"aws_region": "eu-central-1"})
    assert store.table_uri("forecasts", "step") == "s3://bucket/prefix/forecasts_by_step"
    assert not Files("s3://bucket", {"region": "eu-central-1"}).is_local
