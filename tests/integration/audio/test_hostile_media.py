"""Broken and malicious files in the real media child: none crashes it, blocks it, or makes it open something else.

Each file is either decoded or refused with a message. A secret file in the same folder must never be opened, and the
socket that the URLs in the files lead to must never be connected to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import pytest

from tests.support import absurd_media, corpus, treacherous_media
from tests.support.containers import PCM, caf, dsdiff, extensible_wav, wav
from tests.support.corpus import Case
from tests.support.media_child import MediaChild, media_child
from tests.support.traps import ConnectionTrap, WatchedFolder, connection_trap, watch_folder
from uvr.errors import UvrError

MAX_S = 5.0
TIMEOUT_S = 60.0
CPU_S = 5.0
MEMORY_BYTES = 192 * 2**20
"""The largest case has 24 MiB; the memory that decoding takes does not depend on the size of a song."""


@dataclass(frozen=True)
class MonitoredDecoder:
    """A media child, the folder of the files it decodes, and the traps that record what it opens."""

    child: MediaChild
    songs: WatchedFolder
    secret: Path
    url_trap: ConnectionTrap

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.url_trap.port}/secret.wav"

    def faults(self, cases: Iterable[Case]) -> list[str]:
        """One line for each thing that went wrong with any of `cases`."""
        return [f"{case.name}: {fault}" for case in cases for fault in self._faults(case)]

    def _faults(self, case: Case) -> Iterator[str]:
        pid, path = self.child.pid, self.songs.path / case.file_name
        path.write_bytes(case.content)
        try:
            verdict = self.child.decode(path, max_seconds=MAX_S, timeout_s=TIMEOUT_S)
        except UvrError as error:
            yield f"{type(error).__name__}: {error.message}"
            return
        finally:
            path.unlink()
        if self.child.pid != pid:
            yield "the child died"
        if str(self.songs.path) in verdict.refusal or "secret" in verdict.refusal:
            yield f"the message contains a path: {verdict.refusal}"
        if verdict.cpu_s > CPU_S:
            yield f"took {verdict.cpu_s:.1f} s of processor time"
        if verdict.memory_bytes > MEMORY_BYTES:
            yield f"took {verdict.memory_bytes / 2**20:.0f} MiB"
        if self.secret.name in self.songs.opened():
            yield "another file was opened"
        if connections := self.url_trap.connections():
            yield f"connected to {connections}"


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MonitoredDecoder]:
    folder = tmp_path_factory.mktemp("hostile")
    songs = folder / "songs"
    songs.mkdir()
    secret = songs / "secret.wav"
    secret.write_bytes(wav())
    with media_child(folder / "work") as child, watch_folder(songs) as watched_songs, connection_trap() as url_trap:
        yield MonitoredDecoder(child, watched_songs, secret, url_trap)


@pytest.mark.parametrize("kind", corpus.SEEDS, ids=" ".join)
def test_damaged_songs_are_decoded_or_refused(kind, decoder):
    seed = corpus.seed(*kind)
    assert decoder.faults([Case("undamaged", seed), *corpus.damaged(" ".join(kind), seed)]) == []
    assert decoder.faults([corpus.without_frames(*kind)]) == []


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(dsdiff(PCM), id="dsdiff"),
        pytest.param(extensible_wav(PCM, stored=32, valid=24), id="wav 24 in 32"),
        pytest.param(extensible_wav(PCM, stored=32, valid=24, kind="W64"), id="w64 24 in 32"),
        pytest.param(caf(PCM, [1, 3, 2, 5, 6, 4]), id="caf film order"),
        pytest.param(caf(PCM, [1, 1]), id="caf twice left"),
    ],
)
def test_damaged_handmade_songs_are_decoded_or_refused(seed, decoder, request):
    name = request.node.callspec.id
    assert decoder.faults([Case(f"{name} undamaged", seed), *corpus.damaged(name, seed)]) == []


def test_malformed_tags_in_front_of_a_file_are_harmless(decoder):
    assert decoder.faults(absurd_media.id3_bombs(corpus.seed("wav", "pcm_s16le"))) == []


def test_noise_behind_the_signature_of_a_format_is_refused(decoder):
    assert decoder.faults(corpus.magic_and_noise()) == []


def test_absurd_headers_are_decoded_or_refused(decoder):
    assert decoder.faults(absurd_media.absurd_headers(corpus.seed("mp3", "libmp3lame"))) == []


def test_files_that_name_other_files_open_none(decoder):
    assert decoder.faults(treacherous_media.files_that_name_others(str(decoder.secret), decoder.url)) == []


def test_polyglots_are_decoded_or_refused(decoder):
    songs = [corpus.seed(*kind) for kind in [("wav", "pcm_s16le"), ("mp3", "libmp3lame"), ("flac", "flac")]]
    assert decoder.faults(treacherous_media.polyglots(*songs, str(decoder.secret))) == []


@pytest.mark.parametrize("kind", ["concat", "hls"])
def test_the_traps_notice_what_ffmpeg_alone_opens(kind, decoder, tmp_path):
    """Shows that the tests above can fail."""
    (tmp_path / "list").write_text(treacherous_media.playlists(str(decoder.secret))[kind])
    options = {"safe": "0"} if kind == "concat" else {"allowed_extensions": "ALL", "extension_picky": "0"}
    with av.open(str(tmp_path / "list"), format=kind, options=options):
        assert decoder.secret.name in decoder.songs.opened()
