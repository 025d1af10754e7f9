"""Where a song's sound stands in time, as its file says it: silence takes the place of what is not there.

Films whose sound begins late or has gaps would otherwise get stems that run ahead of the picture. But time stamps are
rounded, and some are wrong: a gap is believed only if it is longer than any rounding, and the clock runs with the sound
on both sides of it. All silence together stays within what the caller allows, whatever a file claims.
"""

from __future__ import annotations

JITTER_S = 0.1
"""Time stamps that are off by no more than this are no gaps: a frame of AAC at 16 kHz lasts 0.064 s."""
MAX_GAP_S = 10.0
"""Of formats whose clocks may jump (MPEG, Ogg); FFmpeg's own limit: a longer one is a clock that was set again."""
MAX_SILENCE_S = 3600.0
"""In one song, where the caller allows more."""
WRONG_CLOCK = "Some of the file's time stamps do not fit its sound; those were not followed."


class Timeline:
    """The place in time of a song's frames, which are added one after the other.

    `begins_s` is when the first other track of the file begins (None: there is none, so nothing that the sound could be
    late for), `may_jump` whether the format's clock may jump without a gap in the sound, and `allowed_s` how much
    silence may be inserted.
    """

    def __init__(self, begins_s: float | None, *, may_jump: bool, allowed_s: float) -> None:
        self._begins_s = begins_s
        self._may_jump = may_jump
        self._allowed_s = min(allowed_s, MAX_SILENCE_S)
        self._position_s = 0.0
        self._ended_s: float | None = None
        self._in_step = self._in_step_throughout = True
        self._filled: list[tuple[float, float]] = []
        self._left_out: list[tuple[float, float]] = []

    def add(self, start_s: float | None, length_s: float, next_s: float | None = None) -> float:
        """The silence before a frame that begins at `start_s` by its time stamp, and the next one at `next_s`.

        None stands for a frame without a time stamp; such a one follows the frame before it.
        """
        silence_s = 0.0
        if start_s is not None:
            gap_s = self._gap_before(start_s)
            goes_on = next_s is None or -JITTER_S <= next_s - start_s <= length_s + JITTER_S
            if gap_s > JITTER_S:
                silence_s = self._silence_for(gap_s, believed=self._in_step and goes_on)
            self._in_step = gap_s <= JITTER_S
            self._ended_s = start_s
        if self._ended_s is not None:
            self._ended_s += length_s
        self._position_s += silence_s + length_s
        return silence_s

    def notes(self) -> tuple[str, ...]:
        """What was filled with silence, and what was not, in sentences for the song's owner."""
        filled = _spoken(self._filled, "The file has no sound", "silence stands there")
        left_out = _spoken(self._left_out, "The file's clock goes on without sound", "the stems have no pause there")
        wrong = "" if self._in_step_throughout else WRONG_CLOCK
        return tuple(note for note in (filled, left_out, wrong) if note)

    def _gap_before(self, start_s: float) -> float:
        if self._begins_s is None:
            self._begins_s = start_s - self._position_s
        # Some formats give a frame the time of the packet it came in, so a step alone proves nothing; clocks that run
        # fast leave the sound behind little by little, so being late alone does not either.
        late_s = start_s - self._begins_s - self._position_s
        return late_s if self._ended_s is None else min(late_s, start_s - self._ended_s)

    def _silence_for(self, gap_s: float, *, believed: bool) -> float:
        if believed and gap_s <= self._allowed_s and not (self._may_jump and gap_s > MAX_GAP_S):
            self._filled.append((self._position_s, gap_s))
            self._allowed_s -= gap_s
            return gap_s
        if believed:
            self._left_out.append((self._position_s, gap_s))
        self._in_step_throughout &= believed
        return 0.0


def _spoken(gaps: list[tuple[float, float]], what: str, then: str) -> str:
    if not gaps:
        return ""
    (first_s, _), total_s = gaps[0], sum(length_s for _, length_s in gaps)
    where = "first at" if len(gaps) > 1 else "at"
    places = f" in {len(gaps)} places" if len(gaps) > 1 else ""
    minutes, seconds = divmod(int(round(first_s, 3)), 60)
    return f"{what} for {total_s:.1f} s{places}, {where} {minutes}:{seconds:02d}; {then}."
