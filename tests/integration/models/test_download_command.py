"""`python download_models.py`: which models it lists, downloads and checks, and how it fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import download_models
from tests.support.http_server import Answer, HttpServer
from uvr.models import catalogue

ROOT = Path(__file__).resolve().parents[3]
NAME = "UVR-MDX-NET-Inst_HQ_1"
FILE = f"{NAME}.onnx"


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python download_models.py …` in a process with only the given settings."""
    return subprocess.run(
        [sys.executable, "download_models.py", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "ENV_FILE": "", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_command_lists_all_models_and_which_are_present(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"a model")
    listed = command("--list", "--dir", str(tmp_path))
    rows = {row.split()[0]: re.split(" {2,}", row) for row in listed.stdout.splitlines()}
    assert listed.returncode == 0
    assert len(rows) == len(catalogue.CATALOGUE) + 1
    assert rows[NAME][8] == "yes"
    hq_4, demucs = rows["UVR-MDX-NET-Inst_HQ_4"], rows["htdemucs.yaml"]
    both = "instrumental, vocals"
    assert hq_4[1:9] == ["MDX-Net", both, both, "59.1 MB", "instrumental 15.5 dB", "41", "unknown", "no"]
    assert demucs[4:9] == ["84.1 MB", "vocals 9.9 dB", "13", "not allowed", "no"]


def test_command_downloads_the_configured_model_and_fails_with_a_message(server: HttpServer, tmp_path: Path) -> None:
    server.answer("/UVR_MDXNET_Main.onnx", Answer(body=b"not it"))
    done = command(MODEL_NAME="UVR_MDXNET_Main", MODEL_FILE_DIR=str(tmp_path), MODEL_BASE_URL=server.url(""))
    assert done.returncode == 1
    assert "UVR_MDXNET_Main: 0.0 MB of 0.0 MB" in done.stderr
    assert "the downloaded file is not this model" in done.stderr
    assert "Traceback" not in done.stderr


def test_command_takes_the_options_of_the_old_script(server: HttpServer, tmp_path: Path) -> None:
    where = ["--dir", str(tmp_path), "--base-url", server.url("")]
    (tmp_path / FILE).write_bytes(b"damaged")
    existing = command("--model", NAME, *where)
    assert (existing.returncode, [request.path for request in server.requests]) == (1, [])
    forced = command("--model", NAME, "--force", *where)
    assert (forced.returncode, [request.path for request in server.requests]) == (1, [f"/{FILE}"])
    assert "404" in forced.stderr


def test_command_downloads_all_models_that_are_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensured: list[tuple[str, bool]] = []

    def ensure(name: str, folder: Path, *, force: bool, **_: object) -> Path:
        ensured.append((name, force))
        (folder / name).touch()
        return folder / name

    monkeypatch.setattr(download_models.store, "ensure_model_file", ensure)
    monkeypatch.setattr(download_models.logs, "configure", lambda *_, **__: None)
    monkeypatch.setenv("ENV_FILE", "")
    assert download_models.main(["--all", "--force", "--dir", str(tmp_path)]) == 0
    assert ensured == [
        (model.name, True) for model in catalogue.CATALOGUE.values() if model.engine == "mdx" and model.places
    ]
    assert len(ensured) == 31  # and not the nine that UVR gives to its supporters


def test_command_checks_the_files_that_are_present(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"damaged")
    done = command("--check", "--dir", str(tmp_path))
    assert done.returncode == 1
    assert done.stdout.startswith(f"{NAME}: The parameters of {FILE} are not known")


def test_command_exits_with_2_for_wrong_usage_and_invalid_settings() -> None:
    assert command("--list", "--check").returncode == 2
    assert command("--list", API_PORT="none").returncode == 2


def test_a_checkpoint_comes_with_the_file_that_describes_it(server: HttpServer, tmp_path: Path) -> None:
    server.answer("/melband_roformer_inst_v2.ckpt", Answer(body=bytes(3_000_000)))
    server.answer("/config_melbandroformer_inst_v2.yaml", Answer(body=b"training: {}"))
    done = command("melband_roformer_inst_v2", "--dir", str(tmp_path), "--base-url", server.url(""))
    assert done.stdout == f"{tmp_path}/melband_roformer_inst_v2.ckpt is ready (3.0 MB)\n"
    assert (tmp_path / "config_melbandroformer_inst_v2.yaml").read_bytes() == b"training: {}"


def test_the_file_that_is_missing_is_named(server: HttpServer, tmp_path: Path) -> None:
    server.answer("/melband_roformer_inst_v2.ckpt", Answer(body=bytes(3_000_000)))
    done = command("melband_roformer_inst_v2", "--dir", str(tmp_path), "--base-url", server.url(""))
    assert done.returncode == 1
    assert "Put config_melbandroformer_inst_v2.yaml into MODEL_FILE_DIR by hand" in done.stderr
    assert "MDX23C_D1581.ckpt into MODEL_FILE_DIR" in command("MDX23C_D1581", "--dir", str(tmp_path)).stderr
