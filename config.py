"""Settings: read once from the environment and .env, validated, with all errors reported together.

Importing this module reads nothing. Each entry point calls `load_settings()` once and passes the result on, so that
tests and tools can hold several configurations at the same time. The environment wins over .env. ENV_FILE names
another file than ./.env, which must then exist; an empty ENV_FILE means that no file is read.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from uvr.net.bucket_address import AddressingStyle, bucket_address
from uvr.net.hosts import (
    HostList,
    Network,
    checked_http_url,
    checked_proxy_url,
    is_loopback,
    parse_host_list,
    parse_hosts,
    parse_networks,
    parse_origins,
    url_on_this_machine,
)
from uvr.net.model_sources import HUGGING_FACE, PUBLIC_PLACES, ModelSources, parse_places
from uvr.net.ports import PortRange, parse_ports
from uvr.net.receiver_headers import parse_receiver_headers

ROOT = Path(__file__).resolve().parent
VERSION = "0.2.0"

FETCH_USER_AGENT = "Mozilla/5.0 (compatible; uvr-api)"
"""Begins like the user agent of a browser, because some servers answer 403 to all others."""


EVERY_MODEL = "*"
"""In MODELS_OFFERED: every model whose files are in MODEL_FILE_DIR."""

WAITING_TASKS_PER_USER = 1000
UPLOAD_BYTES_PER_USER = 5 * 2**30
"""The limits with a users file, if none are set."""


def _parsed_by(parse: Callable[[str], object]) -> BeforeValidator:
    """Parse a variable's text with `parse`. Values that code passes to `Settings` are not text and stay unchanged."""
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)


def _in_checkout(path: Path) -> Path:
    """Relative paths start at the checkout, whatever the working directory of the process is."""
    return path if path.is_absolute() else ROOT / path


def _model_in_checkout(name: str) -> str:
    """The name of a model stays as it is; the path of a model file contains a slash."""
    return str(_in_checkout(Path(name).expanduser())) if os.sep in name else name


def _model_names(text: str) -> tuple[str, ...]:
    """The names in a list with commas; raises `ValueError` for a path."""
    names = tuple(filter(None, map(str.strip, text.split(","))))
    if paths := [name for name in names if os.sep in name]:
        raise ValueError(f"{paths[0]} is a path; give the name of a model in MODEL_FILE_DIR, or of a preset")
    return names


def _leads_here(url: str) -> bool:
    """Whether only programs on this machine can open `url`."""
    return is_loopback(urlsplit(url).hostname or "")


CheckoutPath = Annotated[Path, AfterValidator(_in_checkout)]
ModelName = Annotated[str, Field(min_length=1), AfterValidator(_model_in_checkout)]
ModelNames = Annotated[tuple[str, ...], NoDecode, _parsed_by(_model_names)]
Hosts = Annotated[tuple[str, ...], NoDecode, _parsed_by(parse_hosts)]
HttpUrl = Annotated[str, AfterValidator(checked_http_url)]
Origins = Annotated[tuple[str, ...], NoDecode, _parsed_by(parse_origins)]
HostsAndNetworks = Annotated[HostList, NoDecode, _parsed_by(parse_host_list)]
Networks = Annotated[tuple[Network, ...], NoDecode, _parsed_by(parse_networks)]
PortRanges = Annotated[tuple[PortRange, ...], NoDecode, _parsed_by(parse_ports)]
ProxyUrl = Annotated[SecretStr, AfterValidator(checked_proxy_url)]
ReceiverHeaders = Annotated[dict[str, dict[str, SecretStr]], NoDecode, _parsed_by(parse_receiver_headers)]
Places = Annotated[tuple[str, ...], NoDecode, _parsed_by(parse_places)]
QueueName = Annotated[str, Field(min_length=1, pattern=r"^[^\s]+$")]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
SecondsList = Annotated[tuple[Seconds, ...], NoDecode, _parsed_by(lambda text: text.split(",")), Field(min_length=1)]
HoursOrNever = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """One validated configuration. A field has the name of its variable in env.example, in lower case."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        env_file_encoding="utf-8-sig",  # editors on Windows begin files with a byte order mark
        env_ignore_empty=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    # API
    basic_auth_username: str = Field("admin", min_length=1, pattern=r"^[^:]+$")
    basic_auth_password: SecretStr = SecretStr("")
    basic_auth_users_file: CheckoutPath | None = None
    api_host: str = "127.0.0.1"
    api_port: int = Field(8000, ge=1, le=65535)
    api_workers: int = Field(2, ge=1)
    api_threads: int = Field(8, ge=1)
    client_timeout_seconds: Seconds = 15
    client_grace_seconds: Seconds = 300
    client_min_bytes_per_second: int = Field(256 * 2**10, ge=0)
    max_connections_per_address: int = Field(100, ge=0)
    max_event_streams: int = Field(500, ge=1)
    api_published: str = Field("", pattern=r"^(.+:[0-9]{1,5})?$")
    public_base_url: HttpUrl = ""
    allowed_hosts: Hosts = ()
    allowed_origins: Origins = ()
    trusted_proxies: Networks = ()
    session_hours: float = Field(24, gt=0, le=720, allow_inf_nan=False)
    console: bool = True
    requests_per_minute: int = Field(0, ge=0)
    max_waiting_tasks_per_user: int | None = Field(None, ge=0)
    max_upload_bytes_per_user: int | None = Field(None, ge=0)

    # Redis
    redis_url: SecretStr = SecretStr("")
    redis_host: str = "localhost"
    redis_port: int = Field(6379, ge=1, le=65535)
    redis_db: int = Field(0, ge=0)
    redis_password: SecretStr = SecretStr("")
    redis_task_queue: QueueName = "uvr_tasks"
    redis_result_queue: QueueName = "uvr_results"
    redis_webhook_queue: QueueName = "uvr_webhooks"

    # Queue
    default_priority: int = Field(3, ge=1, le=5)
    priority_max_wait_seconds: int = Field(0, ge=0)
    max_running_tasks_per_user: int = Field(0, ge=0)
    model_stickiness: int = Field(4, ge=0, le=100)
    lease_seconds: Seconds = 60
    heartbeat_seconds: Seconds = 15
    max_attempts: int = Field(3, ge=1)
    max_crashes: int = Field(3, ge=1)
    retry_base_seconds: Seconds = 2
    retry_max_seconds: Seconds = 300
    shutdown_grace_seconds: float = Field(20, ge=0, allow_inf_nan=False)

    # Fetching
    max_audio_bytes: int = Field(500 * 2**20, gt=0)
    max_audio_seconds: Seconds = 3600
    fetch_timeout_seconds: Seconds = 30
    fetch_total_seconds: Seconds = 900
    fetch_min_bytes_per_second: int = Field(8 * 2**10, ge=0)
    fetch_min_rate_seconds: Seconds = 30
    download_threads: int = Field(4, ge=2, le=64)
    fetch_user_agent: str = Field(FETCH_USER_AGENT, pattern=r"^[!-~]([ -~]*[!-~])?$")
    fetch_proxy: ProxyUrl = SecretStr("")
    allowed_private_networks: Networks = ()
    denied_hosts: HostsAndNetworks = HostList()
    allowed_ports: PortRanges = ()

    # Separation
    model_name: ModelName = "UVR-MDX-NET-Inst_HQ_4"
    models_offered: ModelNames = ()
    presets_file: CheckoutPath | None = None
    model_file_dir: CheckoutPath = Path("models")
    model_cache_dir: CheckoutPath = Path("data/model-cache")
    max_model_memory_bytes: int = Field(0, ge=0)
    model_sources: Places = PUBLIC_PLACES
    hf_endpoint: HttpUrl = HUGGING_FACE
    model_base_url: HttpUrl = ""
    separation_engine: Literal["auto", "mdx", "audio-separator"] = "auto"
    device: Literal["auto", "cpu", "cuda", "coreml"] = "auto"
    network_backend: Literal["auto", "native", "onnxruntime"] = "auto"
    network_isa: Literal["auto", "amx", "avx512_bf16", "avx512", "avx2", "neon", "baseline"] = "auto"
    inference_precision: Literal["auto", "float32", "bfloat16"] = "auto"
    inference_threads: int = Field(0, ge=0)
    task_timeout_seconds: Seconds = 3600
    task_timeout_per_audio_second: float = Field(20, ge=0, allow_inf_nan=False)
    temp_dir: CheckoutPath = Path("data/temp")
    output_dir: CheckoutPath = Path("data/output")
    cache_ttl_hours: float = Field(0, ge=0, allow_inf_nan=False)

    # Storage
    aws_access_key_id: str = ""
    aws_secret_access_key: SecretStr = SecretStr("")
    aws_region: str = "auto"
    s3_bucket_name: str = ""
    s3_addressing_style: AddressingStyle = "auto"
    s3_endpoint_url: HttpUrl = ""
    s3_public_endpoint_url: HttpUrl = ""
    s3_public_domain: HttpUrl = Field("", validation_alias=AliasChoices("s3_public_domain", "s3_base_url"))
    s3_key_prefix: str = ""
    s3_acl: str = ""
    link_ttl_seconds: int = Field(7 * 86400, ge=60, le=7 * 86400)
    upload_threads: int = Field(4, ge=1)

    # Nodes
    node_id: str = Field("", pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,62})?$")
    node_timeout_seconds: Seconds = 300

    # Webhooks
    webhook_secret: SecretStr = SecretStr("")
    webhook_timeout_seconds: Seconds = 10
    webhook_retry_seconds: SecondsList = (5, 300, 1800, 7200, 18000, 36000, 36000)
    webhook_threads: int = Field(8, ge=1)
    webhook_headers: ReceiverHeaders = {}
    webhook_proxy: ProxyUrl = SecretStr("")

    # Housekeeping
    file_umask: str = Field("077", pattern="^0?0[0-7]{2}$")
    min_free_bytes: int = Field(2 * 2**30, ge=0)
    janitor_seconds: Seconds = 300
    task_retention_hours: HoursOrNever = 720
    stem_retention_hours: HoursOrNever = 168
    upload_retention_hours: float = Field(24, ge=0, allow_inf_nan=False)

    # Metrics
    metrics_token: SecretStr = SecretStr("")

    # Logs
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "console", "json"] = "auto"

    # Client
    uvr_url: HttpUrl = ""
    uvr_username: str = ""
    uvr_password: SecretStr = SecretStr("")
    uvr_token: SecretStr = SecretStr("")

    # Checks that involve two variables are field validators, which find earlier fields in `info.data`. A model
    # validator would run only if every field is valid, so its error would not be reported together with the others.

    @field_validator("heartbeat_seconds")
    @classmethod
    def heartbeat_fits_into_lease(cls, heartbeat_s: float, info: ValidationInfo) -> float:
        """Two heartbeats fit into a lease, so that one may be late."""
        if heartbeat_s * 2 > info.data.get("lease_seconds", heartbeat_s * 2):
            raise ValueError("must be at most half of LEASE_SECONDS, or leases expire between two heartbeats")
        return heartbeat_s

    @field_validator("redis_result_queue", "redis_webhook_queue")
    @classmethod
    def queue_names_differ(cls, name: str, info: ValidationInfo) -> str:
        """No two queues share a name."""
        others = {"redis_task_queue", "redis_result_queue"} - {info.field_name}
        if name in [info.data.get(field) for field in others]:
            raise ValueError("must differ from the names of the other queues")
        return name

    @field_validator("aws_secret_access_key")
    @classmethod
    def access_key_is_a_pair(cls, secret: SecretStr, info: ValidationInfo) -> SecretStr:
        """Both halves of the access key are set, or neither."""
        if bool(secret.get_secret_value()) != bool(info.data.get("aws_access_key_id")):
            raise ValueError("set both AWS_ACCESS_KEY_ID and this, or neither to use the role of this machine")
        return secret

    @field_validator("s3_endpoint_url", "s3_public_endpoint_url")
    @classmethod
    def endpoint_names_no_other_bucket(cls, url: str, info: ValidationInfo) -> str:
        """The endpoint does not name a bucket other than S3_BUCKET_NAME."""
        if bucket := info.data.get("s3_bucket_name"):
            bucket_address(url, bucket, info.data.get("s3_addressing_style", "auto"))
        return url

    @field_validator("node_id")
    @classmethod
    def nodes_share_a_bucket(cls, node_id: str, info: ValidationInfo) -> str:
        """Several nodes need a bucket that all of them reach."""
        if node_id and not info.data.get("s3_bucket_name"):
            raise ValueError(
                "needs S3_BUCKET_NAME, because a node cannot serve stems from another node's disk; leave it empty "
                "if all workers share one disk"
            )
        return node_id

    @field_validator("node_timeout_seconds")
    @classmethod
    def node_survives_missed_heartbeats(cls, timeout_s: float, info: ValidationInfo) -> float:
        """A node that misses a few heartbeats does not count as lost."""
        if timeout_s < 4 * info.data.get("heartbeat_seconds", 0):
            raise ValueError("must be at least four times HEARTBEAT_SECONDS, or nodes that still run count as lost")
        return timeout_s

    @property
    def umask(self) -> int:
        """FILE_UMASK as a number."""
        return int(self.file_umask, 8)

    @property
    def has_users(self) -> bool:
        """Whether there may be users besides the admin, so that each user gets a share and no more."""
        return self.basic_auth_users_file is not None

    @property
    def sources_of_models(self) -> ModelSources:
        """Where model files are downloaded: MODEL_BASE_URL alone if that is set, otherwise MODEL_SOURCES."""
        return ModelSources((self.model_base_url,) if self.model_base_url else self.model_sources, self.hf_endpoint)

    @property
    def waiting_tasks_limit(self) -> int:
        """How many tasks of one user may wait, 0 for any number: MAX_WAITING_TASKS_PER_USER or its default."""
        return self._limit_per_user(self.max_waiting_tasks_per_user, WAITING_TASKS_PER_USER)

    @property
    def upload_bytes_limit(self) -> int:
        """How many bytes of uploads one user may have, 0 for any number: MAX_UPLOAD_BYTES_PER_USER or its default."""
        return self._limit_per_user(self.max_upload_bytes_per_user, UPLOAD_BYTES_PER_USER)

    def _limit_per_user(self, chosen: int | None, default: int) -> int:
        """A service with one user has no limits unless they are set."""
        if chosen is None:
            return default if self.has_users else 0
        return chosen

    @property
    def shown_model_name(self) -> str:
        """The model's name for clients, logs and metrics: MODEL_NAME, or the file name if that is a path."""
        return Path(self.model_name).name

    @property
    def local_url(self) -> str:
        """The URL of the API on this machine, or inside this container."""
        return url_on_this_machine(self.api_host, self.api_port)

    @property
    def base_url(self) -> str:
        """The URL of the API for clients, as far as the settings say; links to local stems begin with it."""
        host, _, port = self.api_published.rpartition(":")
        return self.public_base_url or (url_on_this_machine(host.strip("[]"), int(port)) if port else self.local_url)

    @property
    def is_on_loopback(self) -> bool:
        """Whether other machines can reach the API only through a proxy on this one."""
        host, _, port = self.api_published.rpartition(":")
        return is_loopback(host.strip("[]") if port else self.api_host)

    @property
    def link_warning(self) -> str:
        """A sentence if other machines can reach the API but cannot open the links in its webhooks, else ""."""
        is_public = self.public_base_url and not _leads_here(self.public_base_url)
        others_reach_api = bool(self.allowed_hosts) or not self.is_on_loopback or is_public
        where, variable, of = (
            (self.s3_public_endpoint_url, "S3_PUBLIC_ENDPOINT_URL", "storage")
            if self.s3_bucket_name
            else (self.base_url, "PUBLIC_BASE_URL", "API")
        )
        if not others_reach_api or not _leads_here(where) or (self.s3_bucket_name and self.s3_public_domain):
            return ""
        return (
            f"Links in webhooks lead to {where}, which only this machine can open: set {variable} to the "
            f"address at which other machines reach the {of}, such as https://stems.example.com."
        )


class SettingsError(Exception):
    """Everything that is wrong with a configuration: one line for each fault, beginning with the variable's name."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class EnvFileError(SettingsError):
    """The .env file exists and cannot be read."""


def load_settings() -> Settings:
    """The settings of a process that starts; prints what is wrong with them and exits with status 2."""
    try:
        return read_settings()
    except SettingsError as error:
        refuse_to_start(error.faults)


def refuse_to_start(faults: list[str]) -> NoReturn:
    """Print `faults` on stderr, one a line, and exit with status 2."""
    lines = ["Invalid configuration; fix these settings in .env or in the environment:", *faults]
    sys.stderr.write("\n  ".join(lines) + "\n")
    raise SystemExit(2)


def read_settings(**overrides: Any) -> Settings:
    """Settings from the environment and .env; raises `SettingsError` with all faults together."""
    return read_settings_from(env_file(), **overrides)


def read_settings_from(file: Path | None, **overrides: Any) -> Settings:
    """Settings from the environment and from `file`, if any; raises like `read_settings`."""
    if file:
        _check_readable(file)
    try:
        return Settings(_env_file=file, **overrides)
    except ValidationError as error:
        faults = []
        for part in error.errors(include_url=False, include_input=False):
            message = part["msg"].removeprefix("Value error, ")
            faults.append(f"{str(part['loc'][0]).upper()}: {message}" if part["loc"] else message)
        raise SettingsError(faults) from None


def env_file() -> Path | None:
    """The file that variables are read from besides the environment: ENV_FILE, or .env if that exists."""
    name = os.environ.get("ENV_FILE")
    if name is None:
        return ROOT / ".env" if (ROOT / ".env").exists() else None
    return Path(name) if name not in ("", os.devnull) else None


def _check_readable(file: Path) -> None:
    """Raise an error that names the file, where pydantic would raise one of its own or ignore the file."""
    name = "ENV_FILE" if "ENV_FILE" in os.environ else ".env"
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise EnvFileError([f"{name}: {file} cannot be read: it is not a file"])
        file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError([f"{name}: {file} does not exist"]) from None
    except OSError as error:
        raise EnvFileError([f"{name}: {file} cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise EnvFileError([f"{name}: {file} cannot be read: it is not UTF-8"]) from None
