"""How many processors a service needs: `python -m bench.scaling --service-s 48`.

Prints a table for docs/scaling.md from the formulas of `bench.queueing`, for songs per day at the rate of the busiest
hour. A processor is one processor.py with the processor cores, or the card, with which a song takes `--service-s`. The
targets are mean waits, from the acceptance of a task to the start of its separation, by priority. Large services reach
them with all processors busy all the time. But then one percent more songs than expected is an overload, and what has
waited is never caught up with. So no more than `--max-use` of the processors is planned to be busy.
"""

from __future__ import annotations

import argparse
import math

from bench.queueing import DAY_S, erlang_c, processors_for, tail_s, waits_s

SHARES = {5: 0.2, 3: 0.6, 1: 0.2}
"""Which part of the songs has each priority."""
HIGHEST = max(SHARES)


def main() -> None:
    """Print the table."""
    options = parsed_options()
    targets = dict(zip(SHARES, options.max_wait_s, strict=True))
    print("| songs per day | per second | load | by waits | processors | use | mean wait s, 5, 3, 1 | 95 of 100 s, 5 |")
    print("|---|---|---|---|---|---|---|---|")
    for songs in options.songs_per_day:
        per_second = {priority: share * songs * options.peak / DAY_S for priority, share in SHARES.items()}
        by_waits = processors_for(options.service_s, per_second, targets, variation=options.variation)
        load = options.service_s * sum(per_second.values())
        print(row(songs, by_waits, max(by_waits, math.ceil(load / options.max_use)), per_second, options))


def parsed_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description="Processors for songs per day.")
    parser.add_argument("--service-s", type=float, default=48.0, help="time that a song occupies a processor (48)")
    parser.add_argument("--variation", type=float, default=0.4, help="its coefficient of variation (0.4)")
    parser.add_argument("--songs-per-day", type=int, nargs="+", default=[1_000, 100_000, 10_000_000])
    parser.add_argument("--peak", type=float, default=2.0, help="busiest hour beside the mean of the day (2)")
    parser.add_argument("--max-use", type=float, default=0.9, help="share of processors busy at the peak (0.9)")
    parser.add_argument(
        "--max-wait-s",
        type=float,
        nargs=3,
        default=[30.0, 300.0, 3600.0],
        metavar=tuple(f"P{priority}" for priority in SHARES),
        help="mean waits that are wanted for priority 5, 3 and 1 (30 300 3600)",
    )
    return parser.parse_args()


def row(songs: int, by_waits: int, count: int, per_second: dict[int, float], options: argparse.Namespace) -> str:
    """One line of the table."""
    load = options.service_s * sum(per_second.values())
    waits = waits_s(count, options.service_s, per_second, variation=options.variation)
    tail = tail_s(waits[HIGHEST], erlang_c(count, load))
    shown = ", ".join("never" if math.isinf(wait) else f"{wait:.1f}" for wait in waits.values())
    cells = [f"{songs:,}", f"{sum(per_second.values()):.3g}", f"{load:,.1f}"]
    cells += [f"{by_waits:,}", f"{count:,}", f"{load / count:.0%}"]
    return f"| {' | '.join(cells)} | {shown} | {tail:.1f} |"


if __name__ == "__main__":
    main()
