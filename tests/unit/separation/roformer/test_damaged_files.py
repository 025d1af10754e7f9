"""Damaged and hostile checkpoints and descriptions end in one sentence, quickly and in little memory."""

from __future__ import annotations

import io
import pickle
import pickletools
import random
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.support.roformers import (
    GEOMETRIES,
    Tensors,
    description,
    pickled,
    random_network,
    write_safetensors,
    write_zip,
)
from uvr.errors import PermanentError
from uvr.models.descriptions import read_description
from uvr.separation.roformer.bands import Bands
from uvr.separation.roformer.checkpoint import read_checkpoint
from uvr.separation.roformer.configuration import NetworkShape, read_configuration
from uvr.separation.roformer.tensor_pickle import UnreadablePickleError, read_tensors
from uvr.separation.roformer.weights import read_weights

SHAPE, BANDS, _, TENSORS = random_network(GEOMETRIES["short_window"])
MAX_EXTRA_BYTES = 200 * 2**20


def read(path: Path) -> None:
    read_weights(read_checkpoint(path), SHAPE, BANDS, path.name)


@contextmanager
def little_memory(file_bytes: int = 0) -> Iterator[None]:
    """The block needs no more than the size of the file and 200 MB beyond what the process has; Linux tells it."""
    if sys.platform != "linux":
        yield
        return
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM
    before = memory_bytes("VmRSS")
    yield
    assert memory_bytes("VmHWM") - before < file_bytes + MAX_EXTRA_BYTES


def memory_bytes(entry: str) -> int:
    """Of this process; VmRSS is what it has, VmHWM the peak."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(f"{entry}:")).split()[1]) * 1024


def assert_one_sentence(error: PermanentError) -> None:
    assert len(error.message) < 400
    assert error.message.rstrip().endswith((".", ")"))
    assert "\n" not in error.message


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_tensors_have_the_numbers_that_were_stored(tmp_path: Path, suffix: str, kind: str) -> None:
    numbers = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    path = tmp_path / f"own{suffix}"
    if kind == "bfloat16":
        stored = (numbers.view(np.uint32) >> 16).astype(np.uint16)
        expected = (stored.astype(np.uint32) << 16).view(np.float32)
        if suffix == ".safetensors":
            write_safetensors(path, {"a": stored.view(np.float16)})
            path.write_bytes(path.read_bytes().replace(b'"F16"', b'"BF16"'))
            header = int.from_bytes(path.read_bytes()[:8], "little") + 1
            path.write_bytes(header.to_bytes(8, "little") + path.read_bytes()[8:])
        else:
            write_zip(path, {"a": stored}, "bfloat16")
    else:
        expected = numbers.astype(kind).astype(np.float32)
        (write_safetensors if suffix == ".safetensors" else write_zip)(path, {"a": numbers.astype(kind)})
    found = read_checkpoint(path)["a"].read()
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)


def test_a_transposed_tensor_is_read_by_its_strides(tmp_path: Path) -> None:
    numbers = np.arange(12, dtype=np.float32).reshape(3, 4).T
    write_zip(tmp_path / "own.ckpt", {"a": numbers})
    assert np.array_equal(read_checkpoint(tmp_path / "own.ckpt")["a"].read(), numbers)


def test_the_format_of_old_versions_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "own.pth").write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2))
    with pytest.raises(PermanentError, match=r"before 1\.6.*torch\.save"):
        read_checkpoint(tmp_path / "own.pth")


def test_250_damaged_checkpoints_end_in_one_sentence(tmp_path: Path) -> None:
    chance, refused = random.Random(0), 0
    for suffix, write in ((".ckpt", write_zip), (".safetensors", write_safetensors)):
        path = tmp_path / f"own{suffix}"
        write(path, TENSORS)
        whole = path.read_bytes()
        for _ in range(125):
            path.write_bytes(damaged(whole, chance))
            with little_memory(len(whole)):
                try:
                    read(path)
                except PermanentError as error:
                    assert_one_sentence(error)
                    refused += 1
    assert refused > 100  # a changed weight is a weight


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Truncated, or with other bytes where descriptions of a file stand: at its ends."""
    if chance.random() < 0.3:
        return content[: chance.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(chance.choice((1, 4, 40))):
        place = chance.randrange(min(6000, len(changed)))
        changed[place if chance.random() < 0.5 else -1 - place] = chance.randrange(256)
    return bytes(changed)


def test_250_damaged_descriptions_end_in_one_sentence(tmp_path: Path) -> None:
    path, chance = tmp_path / "own.yaml", random.Random(0)
    whole = yaml.dump(description(GEOMETRIES["short_window"], ["vocals", "other"])).encode()
    for number in range(250):
        content = damaged(whole, chance)
        if number % 3 == 0:  # a number, but another one
            content = whole.replace(b": 1", b": " + str(chance.choice((-1, 0, 10**9, 10**30, 1e300))).encode())
        path.write_bytes(content)
        with little_memory():
            try:
                read_configuration(read_description(path), path.name)
            except PermanentError as error:
                assert_one_sentence(error)


VALID = yaml.dump(description(GEOMETRIES["short_window"], ["vocals", "other"]))
LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 9)}]\n" for number in range(1, 12)
)


@pytest.mark.parametrize(
    "text",
    [
        "model: !!python/object/apply:os.system ['touch hacked']",
        "model: !!python/name:os.system",
        "a: &a {x: 1}\nb: &b {<<: [*a, *a]}\n",
        "a: &a !!python/tuple [1]\n? *a\n: 2",
        "[" * 30_000,
        "x" * 70_000,
        "a: *missing",
        "- just a list",
        "",
        LAUGHS + "model: *a11\n",
        LAUGHS + "model: {dim: 1, depth: 1, freqs_per_bands: *a11}\n",
        "model: &m\n  dim: *m\n",
        "model: &m [*m]\n",
        VALID.replace("dim: 16", "dim: " + "9" * 5000),
        VALID.replace("dim: 16", "dim: 0x" + "f" * 60_000),
        VALID.replace("dim: 16", "dim: " + "1:" * 30_000 + "1"),
        VALID.replace("dim: 16", "dim: 2001-99-99"),
        VALID.replace("dim: 16", "dim: .nan"),
        VALID.replace("  dim: 16", '  "a\\nb": 1\n  dim: 16'),
        VALID.replace("  dim: 16", '  "\\ud800": 1\n  dim: 16'),
        VALID.replace("  dim: 16", f"  {'k' * 900}: 1\n  dim: 16"),
        VALID.replace("- vocals", '- "a\\nb"'),
        VALID.replace("- vocals", "- " + "v" * 30_000),
        VALID.replace("dim_t: 87", "dim_t: 100000").replace("dim: 16", "dim: 8192"),
        "{a: " * 10_000,
        "model: \x00",
    ],
    ids=range(26),
)
def test_hostile_descriptions_end_in_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with little_memory(), pytest.raises(PermanentError) as error:
        read_configuration(read_description(path), path.name)
    assert_one_sentence(error.value)


def test_the_largest_filter_bank_takes_little_memory() -> None:
    shape = NetworkShape(dim=16, depth=1, num_bands=512, stft_n_fft=65_536, stft_win_length=65_536)
    with little_memory():
        assert len(Bands(shape).bins) == 512


@pytest.mark.parametrize("key", list(description(GEOMETRIES["kims_hop"], ["vocals"])["model"]))
def test_a_misspelled_key_is_refused_by_its_name(key: str) -> None:
    document = description(GEOMETRIES["kims_hop"], ["vocals"])
    document["model"][f"{key}_x"] = document["model"][key]
    with pytest.raises(PermanentError, match=rf"model\.{key}_x"):
        read_configuration(document, "own.yaml")


MEMO = b"\x80\x02}r\xff\xff\xff\xff"
HOSTILE = {
    "GLOBAL": b"cos\nsystem\n(X\x02\x00\x00\x00idtR.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.",
    "INST": b"(S'id'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nX\x02\x00\x00\x00ido.",
    "NEWOBJ": b"\x80\x02cos\nsystem\n)\x81.",
    "NEWOBJ_EX": b"\x80\x04cos\nsystem\n)}\x92.",
    "known class with NEWOBJ": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "EXT1": b"\x80\x02\x82\x01.",
    "EXT4": b"\x80\x02\x84\x01\x00\x00\x00.",
    "BUILD on a name": b"\x80\x02ctorch\nFloatStorage\n}b.",
    "BUILD on a tuple": b"\x80\x02)}b.",
    "PERSID": b"Pid\n.",
    "persistent id of another kind": b"\x80\x02X\x01\x00\x00\x00aQ.",
    "dotted name": b"\x80\x04\x8c\x05torch\x8c\x0cload.__call__\x93.",
    "huge string": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "huge string of protocol 4": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
    "huge number": b"\x80\x02\x8b\xff\xff\xff\x7f\x01.",
    "huge decimal": b"L" + b"9" * 10_000 + b"L\n.",
    "deep tuple as a key": b"\x80\x02})" + b"\x85" * 200_000 + b"Ns.",
    "deep list": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "two million marks": b"(" * 2_000_000 + b".",
    "two million dictionaries": b"}" * 2_000_000 + b".",
    "nine million bytes": b"\x80\x02" + b"N" * 9_000_000 + b".",
    "doubled tuples": b"\x80\x02)" + b"q\x00h\x00\x86" * 200 + b".",
    "empty stack": b"\x80\x020.",
    "no end": b"\x80\x02}",
    "nothing": b"",
    "numbers with the same hash": b"\x80\x02}("
    + b"".join(b"\x8a\x0c" + (number * (2**61 - 1)).to_bytes(12, "little") + b"N" for number in range(1, 100_000))
    + b"u.",
    "a memo of four megabytes, many times": b"\x80\x02X\x00\x09\x3d\x00"
    + b"a" * 4_000_000
    + b"q\x00"
    + b"h\x00" * 400_000
    + b".",
    "a storage that is a dictionary": b"\x80\x02}Q.",
    "a storage that contains itself": b"\x80\x02]q\x00h\x00aQ.",
    "a list that contains itself": b"\x80\x02]q\x00h\x00a.",
}
"""Tricks of pickles: what calls, what is huge, what is deep."""


@pytest.mark.parametrize("trick", HOSTILE)
def test_hostile_pickles_end_in_one_sentence(tmp_path: Path, trick: str) -> None:
    with pytest.raises(UnreadablePickleError):
        read_tensors(HOSTILE[trick])
    path = zipped(tmp_path / "own.ckpt", HOSTILE[trick])
    with little_memory(path.stat().st_size), pytest.raises(PermanentError) as error:
        read(path)
    assert_one_sentence(error.value)


def test_a_huge_index_of_the_memo_takes_no_memory() -> None:
    assert read_tensors(MEMO + b".") == {}


def test_torchs_opcodes_are_all_known() -> None:
    assert {opcode.name for opcode, _, _ in pickletools.genops(pickled({"a": np.zeros(2, np.float32)}))} >= {"REDUCE"}
    assert set(read_tensors(pickled({"a": np.zeros(2, np.float32)}))) == {"a"}


def zipped(path: Path, pickle_: bytes, stored: bytes = b"", compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickle_)
        archive.writestr("archive/data/0", stored)
    return path


def tensors(size: tuple[int, ...], strides: tuple[int, ...]) -> Tensors:
    base = np.zeros(4, np.float32)
    return {"a": np.lib.stride_tricks.as_strided(base, size, [4 * stride for stride in strides])}


@pytest.mark.parametrize(
    ("size", "strides"),
    [((1000,), (1,)), ((2, 2), (1000, 1)), ((1 << 20, 1 << 10), (0, 0)), ((5,), (1,)), ((0, 4), (1, 1))],
)
def test_tensors_beyond_what_is_stored_are_refused(
    tmp_path: Path, size: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    path = zipped(tmp_path / "own.ckpt", pickled(tensors(size, strides)), bytes(16))
    with pytest.raises(PermanentError, match="larger than"):
        read_checkpoint(path)


def test_compressed_archives_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "own.ckpt"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("archive/data.pkl", "w", force_zip64=True) as bomb,
    ):
        for _ in range(300):
            bomb.write(b"N" * 1_000_000)
    assert path.stat().st_size < 1_000_000
    with little_memory(), pytest.raises(PermanentError, match="torch does not"):
        read_checkpoint(path)


def test_many_tensors_in_one_storage_do_not_fill_the_memory(tmp_path: Path) -> None:
    made = pickled({f"t{number}": np.zeros(4, np.float32) for number in range(100)})
    for number in range(1, 100):
        text = str(number).encode()
        made = made.replace(
            b"X" + len(text).to_bytes(4, "little") + text + b"X\x03\x00\x00\x00cpu",
            b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu",
        )
    with_all = zipped(tmp_path / "own.ckpt", made, bytes(16))
    assert len(read_checkpoint(with_all)) == 100  # small tables are shared in real files
    large = pickled(
        {"a": np.zeros(1 << 16, np.float32), "b": np.zeros(1 << 16, np.float32), "c": np.zeros(1 << 16, np.float32)}
    )
    for text in (b"1", b"2"):
        large = large.replace(b"X\x01\x00\x00\x00" + text + b"X\x03", b"X\x01\x00\x00\x000X\x03")
    with pytest.raises(PermanentError, match="larger than the file"):
        read_checkpoint(zipped(tmp_path / "own.ckpt", large, bytes(1 << 18)))


def test_overlapping_and_lying_entries_of_an_archive_are_harmless(tmp_path: Path) -> None:
    path = zipped(tmp_path / "own.ckpt", pickled({"a": np.zeros(4, np.float32)}), bytes(16))
    content = path.read_bytes()
    directory = content.rindex(b"PK\x01\x02")
    for place, value in (
        (42, b"\xff\xff\xff\x7f"),
        (42, b"\x00\x00\x00\x00"),
        (20, b"\xff\xff\xff\x7f"),
        (24, b"\xff\xff\xff\x7f"),
    ):
        changed = bytearray(content)
        changed[directory + place : directory + place + 4] = value
        path.write_bytes(changed)
        try:
            read_checkpoint(path)
        except PermanentError as error:
            assert_one_sentence(error)


def test_a_directory_of_an_archive_that_claims_much_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "own.ckpt"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b".")
    entry = buffer.getvalue()[buffer.getvalue().index(b"PK\x01\x02") : buffer.getvalue().index(b"PK\x05\x06")]
    many = 200_000
    end = (
        b"PK\x05\x06"
        + bytes(4)
        + b"\xff\xff" * 2
        + (many * len(entry)).to_bytes(4, "little")
        + (4).to_bytes(4, "little")
        + bytes(2)
    )
    path.write_bytes(b"PK\x03\x04" + entry * many + end)
    with little_memory(path.stat().st_size), pytest.raises(PermanentError, match="damaged"):
        read_checkpoint(path)


def patched(place: int, value: bytes) -> Callable[[bytes], bytes]:
    """Writes `value` into the first entry of an archive's directory."""

    def patch(content: bytes) -> bytes:
        start = content.index(b"PK\x01\x02") + place
        return content[:start] + value + content[start + len(value) :]

    return patch


def with_lying_zip64(content: bytes) -> bytes:
    end = content.index(b"PK\x05\x06")
    record = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, 2**60, 2**60, 2**60, 0)
    locator = struct.pack("<IIQI", 0x07064B50, 0, end, 1)
    return content[:end] + record + locator + content[end : end + 8] + b"\xff" * 12 + content[end + 20 :]


@pytest.mark.parametrize(
    "patch",
    [
        pytest.param(patched(8, b"\x01\x00"), id="encrypted"),
        pytest.param(patched(10, b"\x0c\x00"), id="bzip2"),
        pytest.param(patched(10, b"\x63\x00"), id="unknown compression"),
        pytest.param(patched(16, b"\x00" * 4), id="another checksum"),
        pytest.param(patched(20, b"\xff" * 8), id="huge sizes"),
        pytest.param(patched(28, b"\xff\xff"), id="long name"),
        pytest.param(patched(42, b"\xff" * 4), id="beyond the end"),
        pytest.param(with_lying_zip64, id="zip64"),
        pytest.param(lambda content: content.replace(b"data.pkl", b"dbta.pkl", 1), id="other name in front"),
    ],
)
def test_lying_archives_end_in_one_sentence(tmp_path: Path, patch: Callable[[bytes], bytes]) -> None:
    path = zipped(tmp_path / "own.ckpt", pickled({"a": np.zeros(4, np.float32)}), bytes(16))
    path.write_bytes(patch(path.read_bytes()))
    with little_memory(), pytest.raises(PermanentError) as error:
        read_checkpoint(path)
    assert_one_sentence(error.value)


def test_names_in_an_archive_lead_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\xff" * 16)
    path, folder = tmp_path / "own.ckpt", "../../archive"
    made = pickled({"a": np.ones(4, np.float32)}).replace(
        b"X\x01\x00\x00\x000X\x03", b"X\x09\x00\x00\x00../secretX\x03"
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{folder}/data.pkl", made)
        archive.writestr(f"{folder}/data/../secret", np.ones(4, np.float32).tobytes())
    assert read_checkpoint(path)["a"].read().tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("entry", "length"),
    [
        ("{}", 1 << 30),
        ("{}", 1 << 63),
        ("[" * 100_000, None),
        ("[1, 2]", None),
        ('{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 16]}}', None),
        ('{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, Infinity]}}', None),
        ('{"a": {"dtype": "F32", "shape": [4], "data_offsets": [-16, 0]}}', None),
        ('{"a": {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}}', None),
        ('{"a": {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]}}', None),
        ('{"a": {"dtype": "F32", "shape": [true], "data_offsets": [0, 4]}}', None),
        ('{"a": {"dtype": ["F32"], "shape": [4], "data_offsets": [0, 16]}}', None),
        ('{"a": {"dtype": "F32", "shape": "1111", "data_offsets": [0, 4]}}', None),
        ('{"a": {"dtype": "F32", "shape": [' + "9" * 10_000 + '], "data_offsets": [0, 4]}}', None),
        ('{"a": {"dtype": "F32", "shape": [' + "1, " * 99 + '1], "data_offsets": [0, 4]}}', None),
        ('{"a": {"dtype": "F32", "shape": [' + "1000000000, " * 99_999 + '1], "data_offsets": [0, 4]}}', None),
        ('{"\\ud800\\n": {"dtype": "F32", "shape": [4], "data_offsets": [0, 17]}}', None),
        (
            "{"
            + ", ".join(f'"{each}": {{"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}' for each in range(99))
            + "}",
            None,
        ),
    ],
    ids=range(17),
)
def test_hostile_headers_of_safetensors_end_in_one_sentence(tmp_path: Path, entry: str, length: int | None) -> None:
    path, header = tmp_path / "own.safetensors", entry.encode()
    path.write_bytes((length or len(header)).to_bytes(8, "little") + header + bytes(16))
    with little_memory(path.stat().st_size), pytest.raises(PermanentError) as error:
        read(path)
    assert_one_sentence(error.value)
