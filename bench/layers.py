"""What each layer of an MDX-Net network computes and moves, and how well a processor did that.

A multiply-add counts as one operation (MAC). `direct` is what the layer's definition needs; `done` is what the kernels
multiply: a Winograd convolution F(4x4, 3x3) does 36 products instead of 144 for each 4x4 outputs, at the edges also for
outputs outside of the image, and Strassen's algorithm 7 instead of 8 in a large TDF in float32. A product of several
terms counts once. The bytes are those that must move if no cache holds them: what goes in, what comes out, and the
weights, each once, in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from uvr.separation.native.architecture import Architecture, Convolution, Down, Layer, Pointwise, Tdf, Up

FLOAT_BYTES = 4
TILE = 4
"""Winograd: the width and height of the outputs of a tile."""
ELEMENTS = (TILE + 2) ** 2
"""Products for each tile and pair of channels."""
MIN_PART_ROWS = 32
"""TDF: half of the hidden values, from which Strassen's algorithm is used; as in tdfnet.c."""
CONVOLUTION, TRANSFER = "convolution", "import, export"


@dataclass(frozen=True)
class Work:
    """What a part of the network computes and moves."""

    kind: str
    level: int
    """How often the image was halved before."""
    direct: int
    done: int
    moved_bytes: int

    def __add__(self, other: Work) -> Work:
        """Both together, by the names of the first."""
        sums = (self.direct + other.direct, self.done + other.done, self.moved_bytes + other.moved_bytes)
        return Work(self.kind, self.level, *sums)


@dataclass(frozen=True)
class Image:
    """The size of what lies between two layers."""

    channels: int
    bins: int
    frames: int

    @property
    def pixels(self) -> int:
        """Positions that have a value for each channel."""
        return self.bins * self.frames

    @property
    def values(self) -> int:
        """All numbers of it."""
        return self.pixels * self.channels


def works(architecture: Architecture, terms: int = 0) -> Iterator[Work]:
    """The work of each part in the order of `NativeNetwork.seconds`: the import, each layer, the export."""
    image, level = Image(architecture.channels, architecture.bins, architecture.frames), 0
    yield _transfer(image)
    for layer in architecture.layers:
        following = _image_behind(layer, image)
        level += isinstance(layer, Down) - isinstance(layer, Up)
        yield work_of(layer, image, following, level - isinstance(layer, Down), terms)
        image = following
    yield _transfer(image)


def work_of(layer: Layer, inside: Image, outside: Image, level: int, terms: int = 0) -> Work:
    """The work of one layer between two images, if its products have so many terms in bfloat16; 0 means float32."""
    pairs, values = inside.channels * outside.channels, inside.values + outside.values
    match layer:
        case Pointwise():
            return _work("pointwise", level, inside.pixels * pairs, values + pairs)
        case Convolution():
            tiles = -(-inside.bins // TILE) * -(-inside.frames // TILE)
            return _work(
                "convolution", level, inside.pixels * 9 * pairs, values + ELEMENTS * pairs, tiles * ELEMENTS * pairs
            )
        case Tdf(narrow, _):
            hidden = narrow.weight.shape[1]
            direct = 2 * inside.values * hidden
            sides = inside.frames, inside.bins, hidden
            halved = not terms and all(side % 2 == 0 for side in sides) and hidden // 2 >= MIN_PART_ROWS
            done = direct * 7 // 8 if halved else direct
            return _work("TDF", level, direct, values + 2 * inside.bins * hidden, done)
        case Down():
            return _work("down", level, outside.pixels * 4 * pairs, values + 4 * pairs)
        case Up():  # reads the skip, which has the size of what it writes
            return _work("up", level, inside.pixels * 4 * pairs, values + outside.values + 4 * pairs)
        case _:
            assert_never(layer)


def _work(kind: str, level: int, direct: int, values: int, done: int | None = None) -> Work:
    return Work(kind, level, direct, direct if done is None else done, FLOAT_BYTES * values)


def _transfer(image: Image) -> Work:
    return Work(TRANSFER, 0, 0, 0, 2 * FLOAT_BYTES * image.values)


def _image_behind(layer: Layer, image: Image) -> Image:
    match layer:
        case Pointwise(weight) | Convolution(weight):
            return Image(len(weight), image.bins, image.frames)
        case Down(weight):
            return Image(len(weight), image.bins // 2, image.frames // 2)
        case Up(weight):
            return Image(weight.shape[1], image.bins * 2, image.frames * 2)
        case _:
            return image


@dataclass(frozen=True)
class Ceiling:
    """What the processor can do at most on some number of threads: multiply-adds and bytes moved, each in a second."""

    macs_per_s: float
    bytes_per_s: float


STEPS = ("input transform", "products", "output transform")
"""Of a convolution, in the order of `NativeNetwork.seconds`."""


@dataclass(frozen=True)
class Measured:
    """Some work, and the time that it took: that of all threads divided by their number."""

    work: Work
    seconds: float
    steps: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Of these, those of the steps of convolutions."""

    def __add__(self, other: Measured) -> Measured:
        """Both together, by the names of the first."""
        steps = tuple(map(sum, zip(self.steps, other.steps, strict=True)))
        return Measured(self.work + other.work, self.seconds + other.seconds, steps)

    @property
    def macs_per_s(self) -> float:
        """Multiply-adds that were really done in a second."""
        return self.work.done / self.seconds

    @property
    def products_per_s(self) -> float:
        """The same within the products of convolutions; 0 without convolutions."""
        return self.work.done / self.steps[1] if self.steps[1] else 0.0

    @property
    def bytes_per_s(self) -> float:
        """Bytes that had to move, in a second."""
        return self.work.moved_bytes / self.seconds


def measured(works: Sequence[Work], seconds: Sequence[Sequence[float]], threads: int) -> list[Measured]:
    """Each part of the network with its time from `NativeNetwork.seconds`, which are those of all threads."""
    return [
        Measured(work, whole / threads, tuple(step / threads for step in steps))
        for work, (whole, *steps) in zip(works, seconds, strict=True)
    ]


def by_class(parts: Sequence[Measured], *, levels: bool) -> list[Measured]:
    """The parts added up by kind, and if `levels` by level of the network, in the order of their first part."""
    found: dict[tuple[str, int], Measured] = {}
    for part in parts:
        key = (part.work.kind, part.work.level if levels else 0)
        found[key] = found[key] + part if key in found else part
    kinds = list(dict.fromkeys(kind for kind, _ in found))
    return [found[key] for key in sorted(found, key=lambda key: (kinds.index(key[0]), key[1]))]


HEAD = f"""\
| class | level | ms | GMAC | GMAC done | GMAC/s | of the peak | products alone | MB to move | of the bandwidth |
{"|---" * 10}|"""


def line(part: Measured, ceiling: Ceiling, level: str) -> str:
    """One row of the table below `HEAD`. Parts without multiplications leave their columns empty."""
    work, columns = part.work, [f"{1e3 * part.seconds:.1f}"]
    if work.done:
        columns += [f"{work.direct / 1e9:.2f}", f"{work.done / 1e9:.2f}", f"{part.macs_per_s / 1e9:.1f}"]
        products = f"{part.products_per_s / ceiling.macs_per_s:.0%}" if work.kind == CONVOLUTION else ""
        columns += [f"{part.macs_per_s / ceiling.macs_per_s:.0%}", products]
    else:
        columns += [""] * 5
    columns += [f"{work.moved_bytes / 1e6:.0f}", f"{part.bytes_per_s / ceiling.bytes_per_s:.0%}"]
    return row(work.kind, level, *columns)


def row(*columns: str) -> str:
    """A row of a table; missing columns at its end stay empty."""
    return f"| {' | '.join([*columns, *[''] * (10 - len(columns))])} |"


def table(parts: Sequence[Measured], wall_s: float, ceiling: Ceiling) -> list[str]:
    """The table by class and level, then the sums of each class, the steps of the convolutions, and the whole run.

    `wall_s` is the time of the run. What its parts did not take, threads spent waiting for each other.
    """
    by_level, sums = by_class(parts, levels=True), by_class(parts, levels=False)
    rows = [line(each, ceiling, str(each.work.level)) for each in by_level]
    for each in sums:
        if sum(one.work.kind == each.work.kind for one in by_level) > 1:
            rows.append(line(each, ceiling, "all"))
        if each.work.kind == CONVOLUTION:
            rows += [
                row(f"{CONVOLUTION}: {name}", "all", f"{1e3 * seconds:.1f}")
                for name, seconds in zip(STEPS, each.steps, strict=True)
            ]
    waiting_s = max(0.0, wall_s - sum(each.seconds for each in sums))
    everything = sum(sums[1:], sums[0])
    whole = Measured(
        Work("network", 0, everything.work.direct, everything.work.done, everything.work.moved_bytes), wall_s
    )
    return [HEAD, *rows, row("waiting", "", f"{1e3 * waiting_s:.1f}"), line(whole, ceiling, "all")]
