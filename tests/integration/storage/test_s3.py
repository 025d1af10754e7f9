"""S3 storage against a real S3 server that checks signatures and rights, and against faked answers."""

import subprocess
import sys
import tracemalloc

import pytest
import requests

from config import Settings
from tests.support.http_server import Answer, http_server
from tests.support.ports import free_port
from tests.support.s3_server import ADMIN, BUCKET, DEPOSITOR, READER
from uvr.errors import PermanentError, TransientError
from uvr.storage import s3_connection
from uvr.storage.factory import open_storage
from uvr.storage.s3 import S3Storage

CHECK = f"/{BUCKET}/.uvr-write-check"


@pytest.fixture
def storage_of(s3):
    """Opens the storage from settings, as a service does."""

    def make(**changes):
        settings = {name.lower(): value for name, value in s3.settings.items()}
        return open_storage(Settings(**{**settings, **changes}), _no_link_key)

    return make


@pytest.fixture
def one_try(monkeypatch):
    """An S3 client without retries, so that errors are raised at once."""
    monkeypatch.setattr(s3_connection, "_TRIES", 1)


@pytest.fixture
def song(tmp_path):
    path = tmp_path / "vocals.wav"
    path.write_bytes(b"RIFF" * 1000)
    return path


def test_presigned_link_gives_the_stored_file_with_its_type(storage_of, song):
    storage = storage_of()
    storage.put(song, "stems/a b_vocals.wav", "audio/wav")
    answer = requests.get(storage.url("stems/a b_vocals.wav", 60), timeout=10)
    assert (answer.status_code, answer.content) == (200, song.read_bytes())
    assert answer.headers["Content-Type"] == "audio/wav"


def test_link_without_its_signature_is_refused(storage_of, song):
    storage = storage_of()
    storage.put(song, "a_vocals.wav", "audio/wav")
    link = storage.url("a_vocals.wav", 60)
    assert requests.get(link.partition("?")[0], timeout=10).status_code == 403


def test_large_file_goes_up_in_parts_and_comes_back_whole(s3, storage_of, tmp_path):
    large = tmp_path / "large.wav"
    large.write_bytes(bytes(range(256)) * (2**17 + 2**16))
    storage_of().put(large, "large.wav", "audio/wav")
    stored = s3.client().get_object(Bucket=BUCKET, Key="large.wav")
    assert stored["ETag"].strip('"').endswith("-3")
    assert stored["ContentType"] == "audio/wav"
    assert stored["Body"].read() == large.read_bytes()


def test_parts_of_a_killed_upload_are_freed(s3, storage_of, tmp_path):
    large = tmp_path / "large.wav"
    large.write_bytes(bytes(17 * 2**20))
    client = s3.client()
    for key in ("killed.wav", "killed.wav.other"):
        upload = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
        client.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=b"half")
    storage_of().put(large, "killed.wav", "audio/wav")
    left = client.list_multipart_uploads(Bucket=BUCKET, Prefix="killed").get("Uploads", [])
    assert [part["Key"] for part in left] == ["killed.wav.other"]
    client.abort_multipart_upload(Bucket=BUCKET, Key="killed.wav.other", UploadId=left[0]["UploadId"])


def test_large_files_are_not_held_in_memory(storage_of, tmp_path):
    large = tmp_path / "large.wav"
    with large.open("wb") as file:
        file.truncate(64 * 2**20)
    storage = storage_of()
    storage.check()
    tracemalloc.start()
    try:
        storage.put(large, "memory.wav", "audio/wav")
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    storage.delete("memory.wav")
    assert peak_bytes < 16 * 2**20


def test_storing_again_replaces(s3, storage_of, song):
    storage_of().put(song, "a.wav", "audio/wav")
    song.write_bytes(b"other")
    storage_of().put(song, "a.wav", "audio/wav")
    assert s3.client().get_object(Bucket=BUCKET, Key="a.wav")["Body"].read() == b"other"


@pytest.mark.parametrize("size", [0, 5, 17 * 2**20])
def test_what_was_stored_comes_back_whole(storage_of, tmp_path, size):
    song, fetched = tmp_path / "song", tmp_path / "fetched"
    song.write_bytes(b"RIFF!" * (size // 5))
    storage_of().put(song, "uploads/song", "application/octet-stream")
    storage_of().get("uploads/song", fetched)
    assert fetched.read_bytes() == song.read_bytes()


def test_a_copy_outlives_its_original(s3, storage_of, song):
    storage = storage_of()
    storage.put(song, "original.wav", "audio/wav")
    storage.copy("original.wav", "copies/a b.wav")
    storage.delete("original.wav")
    stored = s3.client().get_object(Bucket=BUCKET, Key="copies/a b.wav")
    assert (stored["Body"].read(), stored["ContentType"]) == (song.read_bytes(), "audio/wav")


def test_links_give_the_name_of_the_song_that_an_object_or_its_copy_was_stored_with(storage_of, song):
    storage = storage_of()
    storage.put(song, "named.wav", "audio/wav", "One (vocals).wav")
    storage.copy("named.wav", "named copy.wav", "Zwei (vocals).wav")
    for key, name in (("named.wav", "One (vocals).wav"), ("named copy.wav", "Zwei (vocals).wav")):
        answer = requests.get(storage.url(key, 60), timeout=10)
        assert answer.headers["Content-Disposition"] == f'inline; filename="{name}"'
        assert answer.headers["Content-Type"] == "audio/wav"
        assert "response-content-disposition" not in storage.url(key, 60)


def test_parts_of_an_object_are_read(storage_of, song):
    storage = storage_of()
    storage.put(song, "parts.wav", "audio/wav")
    assert storage.size_bytes("parts.wav") == 4000
    assert storage.read("parts.wav", 3994, 100) == b"FFRIFF"


def test_a_missing_object_has_an_error_of_its_own(storage_of, tmp_path):
    storage = storage_of()
    for step in (
        lambda: storage.get("none", tmp_path / "a"),
        lambda: storage.copy("none", "other"),
        lambda: storage.size_bytes("none"),
        lambda: storage.read("none", 0, 5),
    ):
        with pytest.raises(PermanentError, match="no longer stored") as caught:
            step()
        assert caught.value.facts["reason"] == "missing"
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_cannot_be_written_is_transient(storage_of, song, tmp_path):
    storage_of().put(song, "here.wav", "audio/wav")
    with pytest.raises(TransientError, match="cannot be written"):
        storage_of().get("here.wav", tmp_path / "no such folder" / "song")


def test_deleted_object_is_gone_and_may_be_deleted_again(storage_of, song):
    storage = storage_of()
    storage.put(song, "gone.wav", "audio/wav")
    storage.delete("gone.wav")
    storage.delete("gone.wav")
    assert requests.get(storage.url("gone.wav", 60), timeout=10).status_code == 404


def test_public_domain_gives_plain_links(storage_of):
    storage = storage_of(s3_public_domain="https://cdn.example/")
    assert storage.url("stems/a b.wav", 60) == "https://cdn.example/stems/a%20b.wav"


def test_signed_links_lead_to_the_endpoint_that_clients_reach(s3, storage_of, tmp_path):
    """They open there: the signature holds for the host of the link, not for the one that the service uses."""
    public = s3.endpoint_url.replace("127.0.0.1", "localhost")
    storage = storage_of(s3_public_endpoint_url=public)
    (tmp_path / "stem").write_bytes(b"sound")
    storage.put(tmp_path / "stem", "public/stem", "audio/wav")
    link = storage.url("public/stem", 60)
    assert link.startswith(f"{public}/{BUCKET}/public/stem?")
    assert requests.get(link, timeout=5).content == b"sound"
    assert requests.get(link.replace("localhost", "127.0.0.1"), timeout=5).status_code == 403


def test_links_for_this_machine_only_are_not_opened_by_the_check(storage_of):
    assert storage_of(s3_public_endpoint_url="http://127.0.0.1:1").check() == []
    [warning] = storage_of(s3_public_endpoint_url="http://192.0.2.1:1").check()
    assert "cannot be opened from this machine" in warning


def test_the_bucket_is_created_once_and_is_private(s3, storage_of, tmp_path):
    keys = {"aws_access_key_id": ADMIN.access_key_id, "aws_secret_access_key": ADMIN.secret_access_key}
    storage = storage_of(s3_bucket_name="created-here", **keys)
    assert storage.create_bucket() is True
    assert storage.create_bucket() is False
    (tmp_path / "stem").write_bytes(b"sound")
    storage.put(tmp_path / "stem", "stem", "audio/wav")
    assert requests.get(f"{s3.endpoint_url}/created-here/stem", timeout=5).status_code == 403
    with pytest.raises(PermanentError):
        storage_of(s3_bucket_name="not-allowed").create_bucket()


def test_check_stores_reads_and_deletes_a_small_file(s3, storage_of):
    with http_server() as server:
        server.answer(CHECK, Answer())
        assert _storage_at(server.url("")).check() == []
        asked = [(request.method, request.path.partition("?")[0]) for request in server.requests]
        assert asked == [("PUT", CHECK), ("GET", CHECK), ("DELETE", CHECK)]
    assert storage_of(s3_key_prefix="checked/").check() == []
    assert storage_of(s3_key_prefix="checked/", s3_public_domain="https://cdn.example").check() == []
    assert "Contents" not in s3.client().list_objects_v2(Bucket=BUCKET, Prefix="checked/")


@pytest.mark.parametrize(
    ("answers", "right"),
    [([Answer(), Answer(403), Answer()], "s3:GetObject"), ([Answer(), Answer(), Answer(403)], "s3:DeleteObject")],
)
def test_a_missing_right_to_read_or_delete_is_a_warning(answers, right):
    with http_server() as server:
        server.answer(CHECK, *answers)
        warnings = _storage_at(server.url("")).check()
    assert len(warnings) == 1
    assert right in warnings[0]


def test_a_check_file_deleted_by_another_process_is_no_warning():
    with http_server() as server:
        server.answer(CHECK, Answer(), Answer(404))
        assert _storage_at(server.url("")).check() == []


def test_a_link_that_the_storage_refuses_is_a_warning(storage_of):
    keys = {"aws_access_key_id": DEPOSITOR.access_key_id, "aws_secret_access_key": DEPOSITOR.secret_access_key}
    warnings = storage_of(**keys, s3_key_prefix="deposited/").check()
    assert [warning.partition(".")[0] for warning in warnings] == [
        "Links to stems do not open: the storage answers 403 Forbidden"
    ]


@pytest.mark.parametrize(
    ("changes", "variable"),
    [
        ({"aws_access_key_id": "nobody"}, "AWS_ACCESS_KEY_ID"),
        ({"aws_secret_access_key": "wrong"}, "AWS_SECRET_ACCESS_KEY"),
        ({"s3_bucket_name": "another-bucket"}, "S3_BUCKET_NAME"),
        ({"s3_bucket_name": "No Bucket/Name"}, "S3_"),
    ],
)
def test_a_wrong_setting_is_permanent_and_named(storage_of, song, changes, variable):
    storage = storage_of(**changes)
    with pytest.raises(PermanentError, match=variable):
        storage.put(song, "a.wav", "audio/wav")
    with pytest.raises(PermanentError):
        storage.check()


def test_a_missing_right_to_write_is_permanent(storage_of, song):
    keys = {"aws_access_key_id": READER.access_key_id, "aws_secret_access_key": READER.secret_access_key}
    storage = storage_of(**keys)
    with pytest.raises(PermanentError, match="refuses access"):
        storage.check()
    with pytest.raises(PermanentError, match="refuses access"):
        storage.put(song, "a.wav", "audio/wav")


@pytest.mark.usefixtures("one_try")
@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "http://storage.invalid:{port}"])
def test_no_answer_is_transient(song, url):
    with pytest.raises(TransientError, match="S3_ENDPOINT_URL"):
        _storage_at(url.format(port=free_port())).put(song, "a.wav", "audio/wav")


@pytest.mark.usefixtures("one_try")
def test_an_answer_that_takes_too_long_is_transient(song, monkeypatch):
    monkeypatch.setattr(s3_connection, "_READ_TIMEOUT_S", 0.2)
    with http_server() as server:
        server.answer(f"/{BUCKET}/a.wav", Answer(delay_s=60))
        with pytest.raises(TransientError, match="S3_ENDPOINT_URL"):
            _storage_at(server.url("")).put(song, "a.wav", "audio/wav")


@pytest.mark.usefixtures("one_try")
@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (500, "InternalError", TransientError),
        (503, "SlowDown", TransientError),
        (400, "RequestTimeout", TransientError),
        (404, "NoSuchUpload", TransientError),
        (404, "NoSuchBucket", PermanentError),
        (400, "AuthorizationHeaderMalformed", PermanentError),
        (400, "AccessControlListNotSupported", PermanentError),
        (400, "SomethingNew", PermanentError),
    ],
)
def test_the_error_code_decides_between_transient_and_permanent(song, status, code, kind):
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    with http_server() as server:
        server.answer(f"/{BUCKET}/a.wav", Answer(status, body=body))
        with pytest.raises(kind) as failed:
            _storage_at(server.url("")).put(song, "a.wav", "audio/wav")
    assert failed.value.facts["code"] == code


def test_acl_is_sent_only_when_asked_for(song):
    with http_server() as server:
        server.answer(f"/{BUCKET}/a.wav", Answer())
        _storage_at(server.url("")).put(song, "a.wav", "audio/wav")
        _storage_at(server.url(""), acl="public-read").put(song, "a.wav", "audio/wav")
    assert [request.headers["x-amz-acl"] for request in server.requests] == [None, "public-read"]


def test_no_checksum_is_sent_that_older_servers_reject(song):
    with http_server() as server:
        server.answer(f"/{BUCKET}/a.wav", Answer())
        _storage_at(server.url("")).put(song, "a.wav", "audio/wav")
    headers = server.requests[0].headers
    assert not [name for name in headers if name.lower().startswith(("x-amz-checksum", "x-amz-trailer"))]
    assert server.requests[0].body == song.read_bytes()


def test_missing_credentials_are_permanent(song, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"]:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(PermanentError, match="AWS_ACCESS_KEY_ID"):
        S3Storage(bucket=BUCKET, endpoint_url="http://127.0.0.1:1").put(song, "a.wav", "audio/wav")


@pytest.mark.parametrize(
    ("region", "endpoint_url", "signed_for"),
    [("eu-west-1", "", "eu-west-1"), ("auto", "http://127.0.0.1:9000", "auto")],
)
def test_region_auto_depends_on_the_endpoint(region, endpoint_url, signed_for):
    storage = S3Storage(
        bucket=BUCKET, endpoint_url=endpoint_url, region=region, access_key_id="a", secret_access_key="b"
    )
    assert f"%2F{signed_for}%2Fs3%2F" in storage.url("a.wav", 60)


def test_boto3_is_not_imported_before_it_is_needed():
    modules = "uvr.storage.factory, uvr.processor.fetch, uvr.webhooks.delivery"
    program = f"import sys; import {modules}; print('boto3' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def _storage_at(url, **more):
    return S3Storage(bucket=BUCKET, endpoint_url=url, access_key_id="a", secret_access_key="b", **more)


def _no_link_key():
    raise AssertionError("S3 links do not use the link key")
