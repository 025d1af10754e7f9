/**
 * The way that playback takes through a song: straight on, or round a loop. All positions are frames.
 */

/**
 * A part of the song that is repeated, from its first frame to the one after its last.
 *
 * @typedef {{start: number, end: number}} Loop
 */

export class Route {
  /**
   * @param {number} frames the length of the song
   * @param {Loop | null} loop
   */
  constructor(frames, loop = null) {
    this.frames = frames;
    this.loop = loop;
  }

  /**
   * Where playback goes on that has come to `position`. Someone who starts behind the loop stays behind it.
   *
   * @param {number} position
   */
  follow(position) {
    return this.loop && position === this.loop.end ? this.loop.start : position;
  }

  /**
   * Up to where playback from `position` goes straight on.
   *
   * @param {number} position
   */
  straightUntil(position) {
    return this.loop && position < this.loop.end ? this.loop.end : this.frames;
  }
}
