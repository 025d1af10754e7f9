"""Local storage on a real disk: complete files only, none outside of the root, and links that expire."""

import errno
import shutil
import time
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from config import Settings
from tests.support.small_disk import small_disk
from uvr.errors import DiskFullError, PermanentError, TransientError
from uvr.storage.factory import open_storage
from uvr.storage.local import LocalStorage

KEY = "1b4e28ba_vocals.wav"


def link_key():
    return b"a key for the tests of links"


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "vocals.wav"
    path.write_bytes(b"RIFF" * 1000)
    return path


@pytest.fixture
def root(tmp_path):
    return tmp_path / "stems"


@pytest.fixture
def storage(root):
    return LocalStorage(root, "https://uvr.example/", link_key)


def follow(storage, url):
    """Open a link as the API does."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    return storage.verify(unquote(parts.path.removeprefix("/files/")), query["expires"][0], query["signature"][0])


@pytest.mark.parametrize("key", [KEY, "stems/2026/a_vocals.wav", "ärger & more/50%.wav"])
def test_link_opens_the_stored_file(storage, source, key):
    storage.put(source, key, "audio/wav")
    url = storage.url(key, 60)
    assert url.startswith("https://uvr.example/files/")
    assert follow(storage, url).read_bytes() == source.read_bytes()


def test_stored_file_outlives_its_source(storage, source):
    content = source.read_bytes()
    storage.put(source, KEY, "audio/wav")
    source.unlink()
    assert follow(storage, storage.url(KEY, 60)).read_bytes() == content


def test_storing_again_replaces_and_leaves_nothing_behind(storage, source, root, tmp_path):
    storage.put(source, KEY, "audio/wav")
    storage.put(source, KEY, "audio/wav")
    other = tmp_path / "other.wav"
    other.write_bytes(b"other")
    storage.put(other, KEY, "audio/wav")
    assert [path.name for path in root.iterdir()] == [KEY]
    assert (root / KEY).read_bytes() == b"other"
    assert source.read_bytes() == b"RIFF" * 1000


def test_source_on_another_file_system_is_copied(storage, root):
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == root.parent.stat().st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    source = elsewhere / f"uvr-test-{time.monotonic_ns()}.wav"
    source.write_bytes(b"RIFF")
    try:
        storage.put(source, KEY, "audio/wav")
    finally:
        source.unlink()
    assert (root / KEY).read_bytes() == b"RIFF"


def test_expired_link_is_refused(storage, source):
    storage.put(source, KEY, "audio/wav")
    with pytest.raises(PermanentError, match="expired") as refused:
        follow(storage, storage.url(KEY, -2))
    assert refused.value.facts["reason"] == "expired"


@pytest.mark.parametrize(
    ("key", "expires", "signature"),
    [
        ("other_vocals.wav", None, None),
        (None, "99999999999", None),
        (None, "", None),
        (None, None, "0" * 64),
        (None, None, ""),
        (None, None, "ü"),
    ],
)
def test_link_changed_in_any_part_is_refused(storage, source, key, expires, signature):
    storage.put(source, KEY, "audio/wav")
    storage.put(source, "other_vocals.wav", "audio/wav")
    query = parse_qs(urlsplit(storage.url(KEY, 60)).query)
    changed = [key, expires, signature]
    right = [KEY, query["expires"][0], query["signature"][0]]
    with pytest.raises(PermanentError) as refused:
        storage.verify(*[new if new is not None else old for new, old in zip(changed, right, strict=True)])
    assert refused.value.facts["reason"] == "signature"


def test_link_signed_with_another_key_is_refused(storage, source, root):
    storage.put(source, KEY, "audio/wav")
    with pytest.raises(PermanentError, match="not valid"):
        follow(storage, LocalStorage(root, "https://uvr.example", lambda: b"another key").url(KEY, 60))


def test_deleted_file_is_gone_and_may_be_deleted_again(storage, source):
    storage.put(source, KEY, "audio/wav")
    url = storage.url(KEY, 60)
    storage.delete(KEY)
    storage.delete(KEY)
    with pytest.raises(PermanentError) as refused:
        follow(storage, url)
    assert refused.value.facts["reason"] == "missing"


@pytest.mark.parametrize(
    "key",
    ["", "/etc/passwd", "../vocals.wav", "a/../../vocals.wav", "a//b", "a/", ".hidden", "a/.b", "a\0b", ".", ".."],
)
def test_no_key_reaches_outside_the_root(storage, source, key):
    for use in [
        lambda: storage.put(source, key, "audio/wav"),
        lambda: storage.delete(key),
        lambda: storage.url(key, 60),
    ]:
        with pytest.raises(PermanentError):
            use()
    assert source.exists()


def test_check_makes_the_root_and_leaves_it_empty(storage, root):
    storage.check()
    assert list(root.iterdir()) == []


def test_unusable_root_is_a_transient_error_that_names_the_variable(tmp_path, source):
    (tmp_path / "file").write_bytes(b"")
    storage = LocalStorage(tmp_path / "file" / "stems", "", link_key)
    with pytest.raises(TransientError, match="OUTPUT_DIR"):
        storage.check()
    with pytest.raises(TransientError, match="OUTPUT_DIR"):
        storage.put(source, KEY, "audio/wav")


def test_settings_without_a_bucket_choose_the_disk(tmp_path):
    storage = open_storage(Settings(output_dir=tmp_path, public_base_url="https://uvr.example"), link_key)
    assert storage.kind == "local"
    storage.check()
    assert (tmp_path / "stems").is_dir()


def test_fetched_files_and_copies_outlive_the_stored_file(storage, source, tmp_path):
    storage.put(source, KEY, "audio/wav")
    storage.get(KEY, tmp_path / "fetched")
    storage.copy(KEY, "copies/other.wav")
    storage.delete(KEY)
    assert (tmp_path / "fetched").read_bytes() == source.read_bytes()
    assert follow(storage, storage.url("copies/other.wav", 60)).read_bytes() == source.read_bytes()


def test_a_missing_file_cannot_be_fetched_or_copied(storage, tmp_path):
    for step in (lambda: storage.get(KEY, tmp_path / "a"), lambda: storage.copy(KEY, "other.wav")):
        with pytest.raises(PermanentError, match="no longer stored") as caught:
            step()
        assert caught.value.facts["reason"] == "missing"


def test_nothing_outside_the_root_can_be_fetched(storage, tmp_path):
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(PermanentError):
        storage.get("../secret", tmp_path / "a")


def test_a_full_disk_is_reported_as_such_and_leaves_nothing(storage, source, root, monkeypatch):
    def fill(_source, target):
        Path(target).write_bytes(b"RIFF")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError(errno.EXDEV, "another disk")))
    monkeypatch.setattr(shutil, "copyfile", fill)
    with pytest.raises(DiskFullError, match="below OUTPUT_DIR: the service's disk is full"):
        storage.put(source, KEY, "audio/wav")
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_the_check_of_a_full_disk_fails(tmp_path):
    with small_disk(tmp_path / "disk", 1) as disk:
        (disk.path / "ballast").write_bytes(bytes(2**20))
        with pytest.raises(DiskFullError):
            LocalStorage(disk.path, "https://uvr.example/", link_key).check()
        assert [path.name for path in disk.path.iterdir()] == ["ballast"]
