"""Files behind URLs: the same answers as local ones, never more bytes than allowed."""

import pickle
import threading
from pathlib import Path

import fsspec
import pytest

from syncflow.errors import UserError
from syncflow.hashing import file_sha256
from syncflow.storage import RemoteFile, is_url, local_copy, location


@pytest.fixture
def store(request: pytest.FixtureRequest) -> RemoteFile:
    """A folder of two files in memory."""
    folder = f"memory://{request.node.name}"
    memory = fsspec.filesystem("memory")
    for name, data in (("a.mp4", b"film"), ("deep/b.mp4", b"x" * 100)):
        memory.pipe_file(f"{folder}/{name}", data)
    return RemoteFile(folder)


def test_a_url_is_remote_and_the_rest_is_a_path() -> None:
    assert is_url("s3://bucket/x") and not is_url("data/x") and not is_url("C:/x") and not is_url("-i")
    assert location("file:///data/x") == Path("/data/x")
    assert location("clips") == Path("clips").absolute()


def test_a_remote_file_answers_as_a_local_one(store: RemoteFile, tmp_path: Path) -> None:
    local = tmp_path / "a.mp4"
    local.write_bytes(b"film")
    remote = store / "a.mp4"
    assert (remote.name, remote.suffix, str(remote)) == ("a.mp4", ".mp4", f"{store.url}/a.mp4")
    assert remote.is_file() and not remote.is_dir() and store.is_dir() and not store.is_file()
    assert remote.stat().st_size == 4 and remote.stat().st_mtime_ns > 0
    assert file_sha256(remote) == file_sha256(local)
    assert pickle.loads(pickle.dumps(remote)) == remote
    assert not (store / "absent").is_file()


def test_a_folder_lists_its_files_by_their_paths(store: RemoteFile) -> None:
    assert list(store.files_below()) == ["a.mp4", "deep/b.mp4"]
    assert store.files_below()["deep/b.mp4"].read_bytes() == b"x" * 100


def test_a_copy_is_gone_after_its_use_and_a_local_file_is_not_copied(
    store: RemoteFile, tmp_path: Path
) -> None:
    with local_copy(store / "a.mp4", max_bytes=10, timeout_s=5) as path:
        assert path.read_bytes() == b"film" and path.suffix == ".mp4"
    assert not path.exists()
    with local_copy(tmp_path, max_bytes=0, timeout_s=0) as same:
        assert same == tmp_path


def test_a_file_larger_than_allowed_is_not_fetched_whatever_its_size_is_said_to_be(store: RemoteFile) -> None:
    for info in (None, {"size": 1, "type": "file"}):
        file = RemoteFile(f"{store.url}/deep/b.mp4", info=info)
        with pytest.raises(OSError, match="over 10 bytes"), local_copy(file, max_bytes=10, timeout_s=5):
            pass


def test_a_store_that_hangs_costs_its_time_limit(store: RemoteFile, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(RemoteFile, "open", lambda self, mode="rb": release.wait(30))
    with pytest.raises(TimeoutError), local_copy(store / "a.mp4", max_bytes=10, timeout_s=0.2):
        pass
    release.set()


def test_an_unknown_protocol_is_named() -> None:
    with pytest.raises(UserError, match=r"nosuch://x"):
        RemoteFile("nosuch://x").files_below()
