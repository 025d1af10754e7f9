/**
 * What has been scheduled on the clock of the audio context: which part of the song sounds when.
 *
 * Times are frames of the context's clock, positions are frames of the song; both have the same rate.
 */

/** @typedef {{time: number, position: number, frames: number}} Stretch */

export class Schedule {
  /** @type {Stretch[]} one after the other, without gaps */
  #stretches = [];

  get isEmpty() {
    return this.#stretches.length === 0;
  }

  /** When the last stretch ends. */
  get end() {
    const last = this.#stretches.at(-1);
    return last ? last.time + last.frames : 0;
  }

  /**
   * Append `frames` of the song from `position`; they begin at `time`, which is `end` for all but the first.
   *
   * @param {number} time
   * @param {number} position
   * @param {number} frames
   */
  add(time, position, frames) {
    this.#stretches.push({ time, position, frames });
  }

  /**
   * The position that sounds at `time`: the first one before the beginning, and the last one after the end.
   *
   * @param {number} time
   */
  positionAt(time) {
    const stretch = this.#stretches.find(({ time: start, frames }) => time < start + frames) ?? this.#stretches.at(-1);
    if (!stretch) return 0;
    return stretch.position + Math.min(Math.max(0, time - stretch.time), stretch.frames);
  }

  /**
   * Forget what has sounded before `time`.
   *
   * @param {number} time
   */
  forgetBefore(time) {
    while (this.#stretches.length > 1 && this.#stretches[1].time <= time) this.#stretches.shift();
  }

  /**
   * Remove everything from `time` on.
   *
   * @param {number} time
   */
  cutAt(time) {
    this.#stretches = this.#stretches
      .filter((stretch) => stretch.time < time)
      .map((stretch) => ({ ...stretch, frames: Math.min(stretch.frames, time - stretch.time) }));
  }

  /**
   * The first time after `now` at which a listener on `route` would leave what is scheduled; `end` if never.
   *
   * @param {number} now
   * @param {import("./route.js").Route} route
   */
  departure(now, route) {
    let expected = this.positionAt(now);
    for (const { time, position, frames } of this.#stretches) {
      if (time + frames <= now) continue;
      const from = Math.max(now, time);
      const at = position + from - time;
      if (at !== expected) return from;
      const straight = Math.min(time + frames - from, route.straightUntil(at) - at);
      if (straight < time + frames - from) return from + straight;
      expected = route.follow(at + straight);
    }
    return this.end;
  }
}
