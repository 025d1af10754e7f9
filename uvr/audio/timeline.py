"""Silence for the gaps in a song that its file's time stamps declare.

Without it the stems of a film whose sound starts late or pauses would run ahead of the picture. But time stamps are
rounded, and some are wrong. A gap is therefore accepted only if it is longer than any rounding and the clock agrees
with the sound on both sides of it. The total of inserted silence is limited, whatever a file declares.
"""

from __future__ import annotations

JITTER_S = 0.1
"""Smaller differences are rounding, not gaps: an AAC frame at 16 kHz lasts 0.064 s."""
MAX_GAP_S = 10.0
"""In formats whose clock may jump (MPEG, Ogg) a longer gap means that the clock was reset; FFmpeg's limit too."""
MAX_SILENCE_S = 3600.0
"""The most silence in one song, even if the caller accepts more."""
WRONG_CLOCK = "Some of the file's time stamps do not match its audio; they were ignored."


class Timeline:
    """The position in time of a song's frames, which are added in their order.

    `start_s` is when the first other track of the file starts; None if the sound is alone and so cannot be late.
    `clock_may_jump` says whether the format's clock may jump without a gap in the sound. `max_silence_s` limits the
    silence that may be inserted in total.
    """

    def __init__(self, start_s: float | None, *, clock_may_jump: bool, max_silence_s: float) -> None:
        self._start_s = start_s
        self._clock_may_jump = clock_may_jump
        self._silence_left_s = min(max_silence_s, MAX_SILENCE_S)
        self._position_s = 0.0
        self._frame_end_s: float | None = None
        self._in_step = self._always_in_step = True
        self._filled: list[tuple[float, float]] = []
        self._skipped: list[tuple[float, float]] = []

    def add(self, start_s: float | None, length_s: float, next_s: float | None = None) -> float:
        """The silence to insert before a frame of `length_s`, in seconds.

        `start_s` and `next_s` are the time stamps of this frame and of the next one. A frame without a time stamp
        (None) follows the frame before it.
        """
        silence_s = 0.0
        if start_s is not None:
            if self._start_s is None:
                self._start_s = start_s - self._position_s
            # The sound is late only if both agree: its total delay and the step from the frame before. Some formats
            # give each frame the time of its packet, so a step alone proves nothing; with a clock that runs fast the
            # delay grows little by little, so a delay alone does not either.
            gap_s = start_s - self._start_s - self._position_s
            if self._frame_end_s is not None:
                gap_s = min(gap_s, start_s - self._frame_end_s)
            continues = next_s is None or -JITTER_S <= next_s - start_s <= length_s + JITTER_S
            if gap_s > JITTER_S:
                silence_s = self._fill(gap_s, credible=self._in_step and continues)
            self._in_step = gap_s <= JITTER_S
            self._frame_end_s = start_s
        if self._frame_end_s is not None:
            self._frame_end_s += length_s
        self._position_s += silence_s + length_s
        return silence_s

    def notes(self) -> tuple[str, ...]:
        """The gaps that were filled with silence and those that were not, in sentences for the client."""
        filled = _sentence(self._filled, "The file has no audio for", "silence was inserted")
        skipped = _sentence(self._skipped, "The file's time stamps skip", "no silence was inserted")
        wrong = "" if self._always_in_step else WRONG_CLOCK
        return tuple(note for note in (filled, skipped, wrong) if note)

    def _fill(self, gap_s: float, *, credible: bool) -> float:
        """The silence for a gap, and a record of it for the notes."""
        if credible and gap_s <= self._silence_left_s and not (self._clock_may_jump and gap_s > MAX_GAP_S):
            self._filled.append((self._position_s, gap_s))
            self._silence_left_s -= gap_s
            return gap_s
        if credible:
            self._skipped.append((self._position_s, gap_s))
        self._always_in_step &= credible
        return 0.0


def _sentence(gaps: list[tuple[float, float]], what: str, consequence: str) -> str:
    if not gaps:
        return ""
    first_s, total_s = gaps[0][0], sum(length_s for _, length_s in gaps)
    minutes, seconds = divmod(int(round(first_s, 3)), 60)
    where = f"in {len(gaps)} places, first at" if len(gaps) > 1 else "at"
    return f"{what} {total_s:.1f} s {where} {minutes}:{seconds:02d}; {consequence}."
