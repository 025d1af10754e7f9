"""Broken, absurd and treacherous files through the real media child: none kills it, hangs it, or leads it elsewhere.

A song may be decoded or refused in a sentence, nothing else. Beside the files lies one that none of them may have
opened, and their URLs lead to a socket that nobody may have connected to.
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
from tests.support.traps import Doorbell, WatchedFolder, doorbell, watched
from uvr.errors import UvrError

MAX_S = 5.0
TIMEOUT_S = 60.0
CPU_S = 5.0
MEMORY_BYTES = 192 * 2**20
"""The largest case has 24 MiB; what the decoders take for a song does not depend on its size."""


@dataclass(frozen=True)
class Ground:
    """Where the files are sent from, and the traps around it."""

    child: MediaChild
    songs: WatchedFolder
    secret: Path
    bell: Doorbell

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.bell.port}/secret.wav"

    def faults(self, cases: Iterable[Case]) -> list[str]:
        """What is wrong with the treatment of any of `cases`."""
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
            yield "the child is another one"
        if str(self.songs.path) in verdict.refusal or "secret" in verdict.refusal:
            yield f"the refusal tells a path: {verdict.refusal}"
        if verdict.cpu_s > CPU_S:
            yield f"took {verdict.cpu_s:.1f} s of processor time"
        if verdict.memory_bytes > MEMORY_BYTES:
            yield f"took {verdict.memory_bytes / 2**20:.0f} MiB"
        if self.secret.name in self.songs.opened():
            yield "another file was opened"
        if rings := self.bell.rings():
            yield f"somebody was connected to {rings}"


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("hostile")
    songs = folder / "songs"
    songs.mkdir()
    secret = songs / "secret.wav"
    secret.write_bytes(wav())
    with media_child(folder / "work") as child, watched(songs) as watched_songs, doorbell() as bell:
        yield Ground(child, watched_songs, secret, bell)


@pytest.mark.parametrize("kind", corpus.SEEDS, ids=" ".join)
def test_damaged_songs_are_decoded_or_refused(kind, ground):
    seed = corpus.seed(*kind)
    assert ground.faults([Case("undamaged", seed), *corpus.damaged(" ".join(kind), seed)]) == []
    assert ground.faults([corpus.without_frames(*kind)]) == []


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
def test_damaged_songs_made_by_hand_are_decoded_or_refused(seed, ground, request):
    name = request.node.callspec.id
    assert ground.faults([Case(f"{name} undamaged", seed), *corpus.damaged(name, seed)]) == []


def test_tags_that_are_none_do_no_harm_in_front_of_any_file(ground):
    assert ground.faults(absurd_media.id3_bombs(corpus.seed("wav", "pcm_s16le"))) == []


def test_noise_behind_a_promising_beginning_is_refused(ground):
    assert ground.faults(corpus.magic_and_noise()) == []


def test_absurd_headers_are_not_believed(ground):
    assert ground.faults(absurd_media.absurd_headers(corpus.seed("mp3", "libmp3lame"))) == []


def test_files_about_files_open_none(ground):
    assert ground.faults(treacherous_media.files_about_files(str(ground.secret), ground.url)) == []


def test_files_that_are_two_things_at_once_are_decoded_or_refused(ground):
    songs = [corpus.seed(*kind) for kind in [("wav", "pcm_s16le"), ("mp3", "libmp3lame"), ("flac", "flac")]]
    assert ground.faults(treacherous_media.polyglots(*songs, str(ground.secret))) == []


@pytest.mark.parametrize("kind", ["concat", "hls"])
def test_the_traps_notice_what_ffmpeg_does_when_left_alone(kind, ground, tmp_path):
    """Keeps the tests above honest."""
    (tmp_path / "list").write_text(treacherous_media.playlists(str(ground.secret))[kind])
    options = {"safe": "0"} if kind == "concat" else {"allowed_extensions": "ALL", "extension_picky": "0"}
    with av.open(str(tmp_path / "list"), format=kind, options=options):
        assert ground.secret.name in ground.songs.opened()
