"""Media files that name other files, and files that are two things at once."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

from tests.support.containers import (
    avi_with_subtitles,
    box,
    chunk,
    element,
    full_box,
    id3,
    id3_frame,
    mkv,
    mov,
    u16,
    u32,
    wav,
)
from tests.support.corpus import Case


def files_about_files(path: str, url: str) -> Iterator[Case]:
    """Every kind of playlist for every target, plain, under names that FFmpeg knows, and inside of other files."""
    for target in targets(path, url):
        for kind, text in playlists(target).items():
            yield Case(f"{kind} of {target}", text.encode())
    for kind, text in playlists(path).items():
        yield Case(f"{kind} called a list", text.encode(), "song.m3u8" if "hls" in kind else f"song.{kind}")
        yield Case(f"{kind} after an ID3 tag", id3(id3_frame(b"TIT2", b"\0song")) + text.encode())
        yield Case(f"{kind} as subtitles of a film", avi_with_subtitles(text.encode()))
    for name in ("song%d.wav", "secret%1d.wav", "*.wav", "concat:secret.wav", "file:secret.wav", "http:secret.wav"):
        yield Case(f"a song called {name}", wav(), name)
        yield Case(f"nothing called {name}", b"nothing", name)
    yield from movs_elsewhere(path, url)
    yield from mkvs_elsewhere(path, url)


def targets(path: str, url: str) -> list[str]:
    """A file and a URL as FFmpeg's protocols can be told to read them."""
    return [
        path,
        "secret.wav",
        f"file://{path}",
        f"file:{path}",
        url,
        f"concat:{path}|{path}",
        f"subfile,,start,0,end,1000,,:{path}",
        f"crypto:{path}",
        f"cache:{url}",
        f"async:{path}",
        f"hls+{url}",
        f"tcp{url.removeprefix('http')}",
    ]


def playlists(target: str) -> dict[str, str]:
    """Everything that names `target` as a part of itself or as what is to be played."""
    segment = f"#EXTINF:5,\n{target}\n#EXT-X-ENDLIST\n"
    return {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n{segment}",
        "hls master": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{target}\n",
        "hls key": f'#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n{segment}',
        "hls map": f'#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXT-X-MAP:URI="{target}"\n{segment}',
        "hls range": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXT-X-BYTERANGE:9@0\n{segment}",
        "m3u": f"#EXTM3U\n#EXTINF:5,Song\n{target}\n",
        "pls": f"[playlist]\nFile1={target}\nNumberOfEntries=1\nVersion=2\n",
        "xspf": '<?xml version="1.0"?><playlist version="1" xmlns="http://xspf.org/ns/0/"><trackList><track>'
        f"<location>{target}</location></track></trackList></playlist>",
        "asx": f'<asx version="3.0"><entry><ref href="{target}"/></entry></asx>',
        "smil": f'<smil><body><audio src="{target}"/></body></smil>',
        "cue": f'FILE "{target}" WAVE\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00\n',
        "concat": f"ffconcat version 1.0\nfile '{target}'\n",
        "concat option": f"ffconcat version 1.0\nfile '{target}'\noption safe 0\noption protocol_whitelist file,http\n",
        "concat stream": f"ffconcat version 1.0\nstream\nexact_stream_id 0x1\nfile {target}\ninpoint 0\noutpoint 1\n",
        "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT5S"><Period><AdaptationSet mimeType="audio/mp4"><Representation id="a" '
        f'bandwidth="1"><BaseURL>{target}</BaseURL><SegmentBase/></Representation></AdaptationSet></Period></MPD>',
        "smooth": '<?xml version="1.0"?><SmoothStreamingMedia MajorVersion="2"><StreamIndex Type="audio" '
        f'Url="{target}"><QualityLevel Bitrate="1"/><c d="1"/></StreamIndex></SmoothStreamingMedia>',
        "imf": f'<?xml version="1.0"?><AssetMap><AssetList><Asset><Path>{target}</Path></Asset></AssetList></AssetMap>',
        "entity": f'<?xml version="1.0"?><!DOCTYPE MPD [<!ENTITY x SYSTEM "{target}">]><MPD>&x;</MPD>',
        "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns={target}\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        "vobsub": f"# VobSub index file, v7\n# {target}\nid: en, index: 0\ntimestamp: 00:00:01:000, filepos: 0\n",
        "redirect": f"[Reference]\nRef1={target}\n",
        "rtsp text": f"RTSPtextRTSP://{target}",
        "avs script": f'WavSource("{target}")\n',
    }


def movs_elsewhere(path: str, url: str) -> Iterator[Case]:
    """QuickTime files whose samples lie in another file, and a reference movie."""
    movie = box(b"rmra", box(b"rmda", full_box(b"rdrf", b"url ", u32(len(url)), url.encode())))
    references = {
        "alias": alias(path),
        "alias to a url": alias(url),
        "url": full_box(b"url ", url.encode(), b"\0"),
        "file url": full_box(b"url ", f"file://{path}".encode(), b"\0"),
        "urn": full_box(b"urn ", b"file\0", path.encode(), b"\0"),
        "resource": full_box(b"rsrc", path.encode()),
    }
    for name, reference in references.items():
        yield Case(f"mov reference by {name}", mov(references=reference))
    yield Case("mov reference movie", mov(more=movie))


def alias(path: str) -> bytes:
    """A reference to a file by Macintosh alias, with its absolute path."""
    name = path.encode()
    volume, file = name[:27].ljust(27, b"\0"), name[-63:].ljust(63, b"\0")
    path_record = u16(2) + u16(len(name)) + name + b"\0" * (len(name) % 2)
    levels = u16(1) + u16(1) + bytes(16)
    return full_box(
        b"alis", bytes(10), b"\4", volume, bytes(12), b"\6", file, bytes(16), levels, path_record, u16(65_535)
    )


def mkvs_elsewhere(path: str, url: str) -> Iterator[Case]:
    """Matroska files that go on in another file, or whose subtitles and attachments are called like one."""
    for name in (path, url, "secret.wav"):
        linked = element("3e83bb", name.encode()) + element("3c83ab", name.encode()) + element("3eb923", bytes(16))
        chapter = element("b6", element("91", b"\0") + element("6e67", bytes(16)))
        ordered = element("1043a770", element("45b9", element("45dd", b"\1") + chapter))
        private = f"# VobSub index file, v7\npath: {name}\nid: en, index: 0\n[Fonts]\nfontname: {name}\n".encode()
        attached = (
            element("466e", name.encode()) + element("4660", b"application/x-truetype-font") + element("465c", b"x")
        )
        yield Case(f"mkv linked to {name}", mkv(info=linked, more=ordered))
        yield Case(f"mkv attachment {name}", mkv(more=element("1941a469", element("61a7", attached))))
        for codec in ("S_VOBSUB", "S_TEXT/ASS", "S_TEXT/USF", "S_KATE"):
            track = (
                element("d7", b"\2") + element("83", b"\x11") + element("86", codec.encode()) + element("63a2", private)
            )
            yield Case(f"mkv {codec} of {name}", mkv(tracks=element("ae", track)))


def polyglots(song: bytes, mp3: bytes, flac: bytes, path: str) -> Iterator[Case]:
    """Files that are two things at once: `song` is a WAV file."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("song.wav", song)
        file.writestr("bomb", bytes(2**20), zipfile.ZIP_DEFLATED)
    zipped = archive.getvalue()
    html = b"<!doctype html><script>location='file:///etc/passwd'</script>"
    pdf = b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\nstream\n"
    hls = playlists(path)["hls"].encode()
    parts = {
        "zip": zipped,
        "html": html,
        "pdf": pdf,
        "hls": hls,
        "gif": b"GIF89a\1\0\1\0",
        "elf": b"\x7fELF" + bytes(60),
    }
    for name, part in parts.items():
        for kind, sound in {"wav": song, "mp3": mp3, "flac": flac}.items():
            yield Case(f"{name} before {kind}", part + sound)
            yield Case(f"{name} after {kind}", sound + part)
        yield Case(f"{name} in a wav chunk", wav(before=chunk(b"junk", part)))
        yield Case(f"{name} in an mp4 box", mov(more=box(b"free", part)))
