"""DEVICE: the active provider is reported, and the start fails with advice if the requested device does not work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from tests.support.children import pid_of
from tests.support.networks import PARAMETERS, write_model
from uvr.errors import PermanentError
from uvr.separation import devices
from uvr.separation.child_process import Child
from uvr.separation.engine_factory import MdxEngineFactory
from uvr.separation.mdx.engine import MdxEngine

ROOT = Path(__file__).resolve().parents[3]
CPU, CUDA, COREML = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "CoreML"))
AVAILABLE = onnxruntime.get_available_providers()

without_cuda = pytest.mark.skipif(CUDA in AVAILABLE, reason="ONNX Runtime is installed with CUDA here")
without_coreml = pytest.mark.skipif(COREML in AVAILABLE, reason="ONNX Runtime is installed with CoreML here")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "half.onnx")


@pytest.mark.parametrize(
    ("device", "expected"),
    [("auto", [CUDA, CPU]), ("cpu", [CPU]), ("cuda", [CUDA, CPU]), ("coreml", [COREML, CPU])],
)
def test_each_device_has_its_providers_in_order(device, expected):
    assert [name for name, _ in devices.providers(device, [COREML, CUDA, CPU])] == expected


def test_auto_uses_the_processor_if_there_is_no_other_device():
    assert [name for name, _ in devices.providers("auto", [CPU])] == [CPU]
    devices.check("auto", CPU)


@pytest.mark.parametrize(
    ("device", "advice"),
    [("cuda", "Install NVIDIA's driver, CUDA and cuDNN"), ("coreml", "Use a newer version of macOS")],
)
def test_a_silent_fallback_of_onnx_runtime_is_an_error(device, advice):
    with pytest.raises(PermanentError, match=advice):
        devices.check(device, CPU)


def test_the_processor_runs_on_request(model):
    assert MdxEngine(model, PARAMETERS, device="cpu").provider == "cpu"


@without_cuda
def test_auto_runs_on_the_processor_and_reports_it(model):
    assert MdxEngine(model, PARAMETERS).provider == "cpu"


@without_cuda
def test_cuda_without_its_package_is_refused_with_its_name(model):
    with pytest.raises(PermanentError, match=r"Replace onnxruntime with onnxruntime-gpu\[cuda,cudnn\]"):
        MdxEngine(model, PARAMETERS, device="cuda")


@without_coreml
def test_coreml_without_a_mac_is_refused(model):
    with pytest.raises(PermanentError, match="on macOS only"):
        MdxEngine(model, PARAMETERS, device="coreml")


@without_cuda
def test_the_parent_raises_the_reason_from_the_child(model):
    child = Child(MdxEngineFactory(model, PARAMETERS, device="cuda"), "network")
    with pytest.raises(PermanentError, match="onnxruntime-gpu"):
        child.start()
    assert pid_of(child) is None


@without_cuda
def test_a_processor_whose_device_does_not_work_does_not_start(model, shared_redis):
    environment = {
        **os.environ,
        "ENV_FILE": "",
        "DEVICE": "cuda",
        "MODEL_NAME": "half",
        "MODEL_FILE_DIR": str(model.parent),
        "REDIS_URL": f"unix://{shared_redis.connection_kwargs['unix_socket_path']}",
        "LOG_FORMAT": "json",
    }
    command = [sys.executable, "processor.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    [line] = [json.loads(line) for line in done.stderr.splitlines() if "processor.not_started" in line]
    assert line["error"].startswith("DEVICE=cuda, but ONNX Runtime is installed without CUDA.")
