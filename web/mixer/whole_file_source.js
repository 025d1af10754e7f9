/**
 * A compressed file, decoded as a whole by the browser: exact, but all of it is in memory, 21 MB a minute in stereo.
 */

import { fetchWhole, SourceError } from "./byte_ranges.js";

/** A `Source` of pieces.js. */
export class WholeFileSource {
  #buffer;

  /** @param {AudioBuffer} buffer */
  constructor(buffer) {
    this.#buffer = buffer;
    this.sampleRate = buffer.sampleRate;
    this.channels = buffer.numberOfChannels;
    this.frames = buffer.length;
  }

  /**
   * Fetch and decode `url` at the rate of `context`; throws `SourceError`.
   *
   * @param {string} url
   * @param {BaseAudioContext} context
   * @param {number} maxBytes of the file
   * @param {AbortSignal} signal
   */
  static async open(url, context, maxBytes, signal) {
    const bytes = await fetchWhole(url, maxBytes, signal);
    try {
      return new WholeFileSource(await context.decodeAudioData(bytes.buffer));
    } catch (error) {
      throw new SourceError("unreadable", `${url}: ${error}`);
    }
  }

  /**
   * @param {number} first
   * @param {Float32Array<ArrayBuffer>[]} targets
   */
  read(first, targets) {
    targets.forEach((target, channel) => this.#buffer.copyFromChannel(target, channel, first));
    return Promise.resolve();
  }
}
