"""Settings: the environment and .env, read and validated once, every fault reported together.

Importing this module does nothing; each door calls `load_settings()` once and hands the result on, so tests and tools
can hold several configurations side by side. The environment wins over .env. ENV_FILE names another file than ./.env,
which then has to be there; an empty ENV_FILE reads none.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
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
from uvr.net.receiver_headers import receiver_headers

ROOT = Path(__file__).resolve().parent
VERSION = "0.1.0"

Network = IPv4Network | IPv6Network

_THIS_MACHINE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # addresses to listen on, none to connect to

_PROXY = re.compile(r"http://([^\s/?#@]+@)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]+))?/?")
_LABEL = "[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\])(?::[0-9]{{1,5}})?")
_MAX_HOST_LENGTH = 253 + len(":65535")

_ORIGIN = re.compile(r"https?://[^/?#@\s]+")


def _from_checkout(path: Path) -> Path:
    """Relative paths are meant from the checkout, wherever the process was started."""
    return path if path.is_absolute() else ROOT / path


def _model_from_checkout(name: str) -> str:
    """A name stays as it is; the path of a file has a slash in it."""
    return str(_from_checkout(Path(name).expanduser())) if os.sep in name else name


def _networks(value: object) -> object:
    if isinstance(value, str):
        return [ip_network(part.strip()) for part in value.split(",") if part.strip()]
    return value


def _parts(value: object) -> object:
    return value.split(",") if isinstance(value, str) else value


def _origins(value: object) -> object:
    if not isinstance(value, str):
        return value
    origins = [part.strip() for part in value.split(",") if part.strip()]
    if faulty := [origin for origin in origins if not _ORIGIN.fullmatch(origin)]:
        raise ValueError(f"{faulty[0]} is no origin; write them as https://app.example.com, with no path")
    return origins


def _hosts(value: object) -> object:
    if not isinstance(value, str):
        return value
    hosts = [part.strip().lower() for part in value.split(",") if part.strip()]
    if faulty := [host for host in hosts if not is_host(host)]:
        raise ValueError(f"{faulty[0]} is no host; write them as stems.example.com, or with a port")
    return hosts


def is_host(text: str) -> bool:
    """Whether this is the name or address of a host in lower case, as in a Host header, with or without a port."""
    return len(text) <= _MAX_HOST_LENGTH and _HOST.fullmatch(text) is not None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens at `host`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _without_slash(url: str) -> str:
    return url.rstrip("/")


def _http_url_or_empty(url: str) -> str:
    if url and not url.startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    return _without_slash(url)


def _proxy_or_empty(secret: SecretStr) -> SecretStr:
    url = secret.get_secret_value()
    parts = _PROXY.fullmatch(url)
    if url and not (parts and int(parts["port"] or 80) < 2**16):
        raise ValueError(
            "write it as http://proxy.example.com:3128 or http://user:password@proxy.example.com:3128, with %40 for "
            "an @ in the password; https:// and SOCKS proxies are not supported"
        )
    return secret


CheckoutPath = Annotated[Path, AfterValidator(_from_checkout)]
ModelName = Annotated[str, Field(min_length=1), AfterValidator(_model_from_checkout)]
Hosts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_hosts)]
HttpUrl = Annotated[str, AfterValidator(_http_url_or_empty)]
Origins = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins)]
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)]
ProxyUrl = Annotated[SecretStr, AfterValidator(_proxy_or_empty)]
ReceiverHeaders = Annotated[dict[str, dict[str, SecretStr]], NoDecode, BeforeValidator(receiver_headers)]
QueueName = Annotated[str, Field(min_length=1, pattern=r"^[^\s]+$")]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
SecondsList = Annotated[tuple[Seconds, ...], NoDecode, BeforeValidator(_parts), Field(min_length=1)]
HoursOrNever = Annotated[float, Field(ge=0, allow_inf_nan=False)]


FETCH_USER_AGENT = "Mozilla/5.0 (compatible; uvr-api)"
"""Begins as that of every browser does: some servers answer 403 to all others."""


class Settings(BaseSettings):
    """One validated configuration. env.example explains every variable; field names are their lower-case forms."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        env_file_encoding="utf-8-sig",  # editors on Windows put a mark in front
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
    api_published: str = Field("", pattern=r"^(.+:[0-9]{1,5})?$")
    public_base_url: HttpUrl = ""
    allowed_hosts: Hosts = ()
    allowed_origins: Origins = ()
    trusted_proxies: Networks = ()
    requests_per_minute: int = Field(0, ge=0)
    max_waiting_tasks_per_user: int = Field(0, ge=0)

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
    fetch_user_agent: str = Field(FETCH_USER_AGENT, pattern=r"^[!-~]([ -~]*[!-~])?$")
    fetch_proxy: ProxyUrl = SecretStr("")
    allowed_private_networks: Networks = ()

    # Separation
    model_name: ModelName = "UVR-MDX-NET-Inst_HQ_4"
    model_file_dir: CheckoutPath = Path("models")
    model_base_url: HttpUrl = ""
    separation_engine: Literal["auto", "mdx", "audio-separator"] = "auto"
    device: Literal["auto", "cpu", "cuda", "coreml"] = "auto"
    network_backend: Literal["auto", "native", "onnxruntime"] = "auto"
    inference_threads: int = Field(0, ge=0)
    task_timeout_seconds: Seconds = 3600
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

    # Checks across variables are field validators (earlier fields are in `info.data`), so that they are reported
    # together with every other fault; a model validator would only run once all fields are right.

    @field_validator("heartbeat_seconds")
    @classmethod
    def _beats_fit_into_the_lease(cls, beat: float, info: ValidationInfo) -> float:
        if beat * 2 > info.data.get("lease_seconds", beat * 2):
            raise ValueError("must be at most half of LEASE_SECONDS, or leases run out between two beats")
        return beat

    @field_validator("redis_result_queue", "redis_webhook_queue")
    @classmethod
    def _queues_have_names_of_their_own(cls, name: str, info: ValidationInfo) -> str:
        others = {"redis_task_queue", "redis_result_queue"} - {info.field_name}
        if name in [info.data.get(field) for field in others]:
            raise ValueError("must differ from the names of the other queues")
        return name

    @field_validator("aws_secret_access_key")
    @classmethod
    def _keys_come_in_pairs(cls, secret: SecretStr, info: ValidationInfo) -> SecretStr:
        if bool(secret.get_secret_value()) != bool(info.data.get("aws_access_key_id")):
            raise ValueError("set it together with AWS_ACCESS_KEY_ID, or neither to use the machine's own role")
        return secret

    @field_validator("s3_endpoint_url")
    @classmethod
    def _the_endpoint_names_no_other_bucket(cls, url: str, info: ValidationInfo) -> str:
        if bucket := info.data.get("s3_bucket_name"):
            bucket_address(url, bucket, info.data.get("s3_addressing_style", "auto"))
        return url

    @field_validator("node_id")
    @classmethod
    def _nodes_share_a_bucket(cls, node_id: str, info: ValidationInfo) -> str:
        if node_id and not info.data.get("s3_bucket_name"):
            raise ValueError(
                "needs S3_BUCKET_NAME, because stems on the disk of one node cannot be served by the others; "
                "leave it empty where all workers share one disk"
            )
        return node_id

    @field_validator("node_timeout_seconds")
    @classmethod
    def _a_missed_beat_is_no_silence(cls, timeout: float, info: ValidationInfo) -> float:
        if timeout < 4 * info.data.get("heartbeat_seconds", 0):
            raise ValueError("must be at least four times HEARTBEAT_SECONDS, or a node that lives counts as silent")
        return timeout

    @property
    def shown_model_name(self) -> str:
        """What clients, logs and metrics call the model: MODEL_NAME, or the file that its path leads to."""
        return Path(self.model_name).name

    @property
    def local_url(self) -> str:
        """Where this machine, or this container, reaches the API."""
        return _url(self.api_host, str(self.api_port))

    @property
    def base_url(self) -> str:
        """Where clients reach the API, for links to local stems, as far as the settings say."""
        host, _, port = self.api_published.rpartition(":")
        return self.public_base_url or (_url(host.strip("[]"), port) if port else self.local_url)

    @property
    def is_on_loopback(self) -> bool:
        """Whether other machines cannot reach the API but through a proxy on this one."""
        host, _, port = self.api_published.rpartition(":")
        return is_loopback(host.strip("[]") if port else self.api_host)

    @property
    def link_warning(self) -> str:
        """Why links in webhooks do not open on other machines that can reach the API, a sentence; "" if they do."""
        is_reached_elsewhere = bool(self.allowed_hosts) or not self.is_on_loopback
        links_lead_here = is_loopback(urlsplit(self.base_url).hostname or "")
        if self.s3_bucket_name or not (is_reached_elsewhere and links_lead_here):
            return ""
        return (
            f"Links in webhooks lead to {self.base_url}, which only this machine can open: set PUBLIC_BASE_URL to the "
            f"address by which others reach the API, such as https://stems.example.com."
        )


def _url(host: str, port: str) -> str:
    host = _THIS_MACHINE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class SettingsError(Exception):
    """Every fault of a configuration, one line each, the variable's name first."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class EnvFileError(SettingsError):
    """The file of the variables is there and cannot be read."""


def env_file() -> Path | None:
    """The file that variables are read from besides the environment: ENV_FILE, or .env if it is there."""
    named = os.environ.get("ENV_FILE")
    if named is None:
        return ROOT / ".env" if (ROOT / ".env").exists() else None
    return Path(named) if named not in ("", os.devnull) else None


def read_settings(**overrides: Any) -> Settings:
    """Settings from the environment and .env; raises `SettingsError` with all faults together."""
    return read_settings_from(env_file(), **overrides)


def read_settings_from(file: Path | None, **overrides: Any) -> Settings:
    """Settings from the environment and from `file`, if any; raises as `read_settings` does."""
    if file:
        _check_readable(file)
    try:
        return Settings(_env_file=file, **overrides)
    except ValidationError as error:
        raise SettingsError(_faults(error)) from None


def _check_readable(file: Path) -> None:
    name = "ENV_FILE" if "ENV_FILE" in os.environ else ".env"
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise EnvFileError([f"{name}: {file} cannot be read: it is not a file"])
        file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError([f"{name}: there is no file {file}"]) from None
    except OSError as error:
        raise EnvFileError([f"{name}: {file} cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise EnvFileError([f"{name}: {file} cannot be read: it is not UTF-8"]) from None


def load_settings() -> Settings:
    """`read_settings` for a process that starts: print the faults and exit with status 2."""
    try:
        return read_settings()
    except SettingsError as error:
        refuse_to_start(error.faults)


def refuse_to_start(faults: list[str]) -> NoReturn:
    """Name what is wrong with the configuration on stderr, one line a fault, and end the process with status 2."""
    lines = ["The configuration has faults; mend them in .env or in the environment:", *faults]
    sys.stderr.write("\n  ".join(lines) + "\n")
    raise SystemExit(2)


def _faults(error: ValidationError) -> list[str]:
    return [_fault(part["loc"], part["msg"]) for part in error.errors(include_url=False, include_input=False)]


def _fault(loc: tuple[int | str, ...], message: str) -> str:
    text = message.removeprefix("Value error, ")
    return f"{str(loc[0]).upper()}: {text}" if loc else text
