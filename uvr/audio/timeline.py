"""Where a song's sound stands in time, as its file says it: silence takes the place of what is not there.

Films whose sound begins late or has gaps would otherwise get stems that run ahead of the picture. Time stamps are
rounded, and some formats have poor ones, so only what nobody could take for that is believed; and an absurd one costs
no hours of silence: all silence together stays within what the caller allows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

JITTER_S = 0.1
"""Time stamps that are off by no more than this are no gaps: a frame of AAC at 16 kHz lasts 0.064 s."""
LONGEST_GAP_S = 10.0
"""Of formats whose clocks may jump (MPEG, Ogg); FFmpeg's own limit: what is longer is a clock set anew."""
LONGEST_SILENCE_S = 3600.0
"""In one song, where the caller allows more."""


@dataclass
class Timeline:
    """The place in time of a song's frames, which are added one after the other."""

    begins_s: float | None
    """When the first other track begins; None if there is none, and so no place that the sound would be late for."""
    may_jump: bool
    """Whether the format's clock may jump without a gap in the sound."""
    allowed_s: float
    """How much silence may be inserted."""
    _position_s: float = 0.0
    _ended_s: float | None = None
    _filled: list[tuple[float, float]] = field(default_factory=list)
    _left_out: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.allowed_s = min(self.allowed_s, LONGEST_SILENCE_S)

    def add(self, start_s: float | None, length_s: float) -> float:
        """Add a frame that begins at `start_s` by its time stamp (None: without one); gives the silence before it."""
        silence_s = 0.0
        if start_s is not None:
            silence_s = self._silence_before(start_s)
            self._ended_s = start_s
        if self._ended_s is not None:
            self._ended_s += length_s
        self._position_s += silence_s + length_s
        return silence_s

    def notes(self) -> tuple[str, ...]:
        """What was filled with silence, and what was not, in sentences for the song's owner."""
        filled = _spoken(self._filled, "The file has no sound", "silence stands there")
        left_out = _spoken(self._left_out, "The file's clock goes on without sound", "the stems have no pause there")
        return tuple(note for note in (filled, left_out) if note)

    def _silence_before(self, start_s: float) -> float:
        if self.begins_s is None:
            self.begins_s = start_s - self._position_s
        # Some formats give a frame the time of the packet it came in, so a step alone proves nothing; clocks that run
        # fast leave the sound behind little by little, so being late alone does not either.
        late_s = start_s - self.begins_s - self._position_s
        step_s = late_s if self._ended_s is None else start_s - self._ended_s
        gap_s = min(late_s, step_s)
        if gap_s <= JITTER_S:
            return 0.0
        if gap_s > self.allowed_s or (self.may_jump and gap_s > LONGEST_GAP_S):
            self._left_out.append((self._position_s, gap_s))
            self.begins_s += gap_s
            return 0.0
        self._filled.append((self._position_s, gap_s))
        self.allowed_s -= gap_s
        return gap_s


def _spoken(gaps: list[tuple[float, float]], what: str, then: str) -> str:
    if not gaps:
        return ""
    (first_s, _), total_s = gaps[0], sum(length_s for _, length_s in gaps)
    where = "first at" if len(gaps) > 1 else "at"
    places = f" in {len(gaps)} places" if len(gaps) > 1 else ""
    minutes, seconds = divmod(int(round(first_s, 3)), 60)
    return f"{what} for {total_s:.1f} s{places}, {where} {minutes}:{seconds:02d}; {then}."
