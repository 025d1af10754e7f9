/**
 * All stems of a song in pieces of some seconds, fetched when they are needed and forgotten after a while.
 *
 * A piece is one buffer with the channels of all stems side by side, so stems cannot get out of step, whenever it is
 * played. An hour of two stereo stems is 2.5 GB decoded; here it takes some MB.
 */

/** Pieces are on a fixed grid, so that a loop or a short seek finds them again. */
const PIECE_S = 2;
/** More than the player looks ahead, so that what it has scheduled is still here when it is needed twice. */
const PIECES_KEPT = 8;
/** A piece is often wanted again at once, when playback begins, stalls or jumps; then its fetch goes on. */
const LINGER_MS = 200;

/**
 * One stem. `read` fills one array per channel with the samples from `first` on; what is after the end stays as it is.
 *
 * @typedef {object} Source
 * @property {number} sampleRate
 * @property {number} channels
 * @property {number} frames
 * @property {(first: number, targets: Float32Array<ArrayBuffer>[], signal: AbortSignal) => Promise<void>} read
 */
/** @typedef {{piece: Promise<AudioBuffer>, wantedBy: number, abort: AbortController}} Fetch */

export class Pieces {
  #sources;
  /** @type {Map<number, AudioBuffer>} by the number of the piece, the least recently used one first */
  #kept = new Map();
  /** @type {Map<number, Fetch>} */
  #fetches = new Map();
  /** @type {AudioBuffer[]} to be used again, because browsers take their time to free large buffers */
  #spare = [];

  /** @param {Source[]} sources of one rate */
  constructor(sources) {
    this.#sources = sources;
    this.sampleRate = sources[0].sampleRate;
    this.frames = Math.max(...sources.map(({ frames }) => frames));
    this.pieceFrames = PIECE_S * this.sampleRate;
  }

  /** How many channels each stem has; they follow each other in the buffers. */
  get stemChannels() {
    return this.#sources.map(({ channels }) => channels);
  }

  /**
   * Where the frame `start` is: at `offset` in `buffer`, with the rest of its piece behind it. Throws `SourceError`.
   *
   * @param {number} start
   * @param {AbortSignal} signal
   */
  async at(start, signal) {
    const number = Math.floor(start / this.pieceFrames);
    const buffer = this.#kept.get(number) ?? await this.#fetched(number, signal);
    this.#kept.delete(number);
    this.#kept.set(number, buffer);
    if (this.#kept.size > PIECES_KEPT) this.#forgetOldest();
    return { buffer, offset: start - number * this.pieceFrames };
  }

  #forgetOldest() {
    const [[number, buffer]] = this.#kept;
    this.#kept.delete(number);
    this.#spare.push(buffer);
  }

  /**
   * The piece from the fetch that is on its way, or from a new one. A fetch ends when no caller wants it any longer.
   *
   * @param {number} number
   * @param {AbortSignal} signal
   */
  async #fetched(number, signal) {
    const fetch = this.#fetches.get(number) ?? this.#startFetch(number);
    const leave = () => {
      fetch.wantedBy--;
      setTimeout(() => fetch.wantedBy || this.#endFetch(number, fetch), LINGER_MS);
    };
    fetch.wantedBy++;
    signal.addEventListener("abort", leave, { once: true });
    try {
      const piece = await fetch.piece;
      signal.throwIfAborted();
      return piece;
    } finally {
      signal.removeEventListener("abort", leave);
      this.#endFetch(number, fetch);
    }
  }

  /** @param {number} number */
  #startFetch(number) {
    const abort = new AbortController();
    const fetch = { piece: this.#read(number, abort.signal), wantedBy: 0, abort };
    this.#fetches.set(number, fetch);
    return fetch;
  }

  /**
   * @param {number} number
   * @param {Fetch} fetch
   */
  #endFetch(number, fetch) {
    fetch.abort.abort();
    if (this.#fetches.get(number) === fetch) this.#fetches.delete(number);
  }

  /**
   * @param {number} number
   * @param {AbortSignal} signal
   */
  async #read(number, signal) {
    const numberOfChannels = this.stemChannels.reduce((sum, channels) => sum + channels);
    const buffer = this.#spare.pop() ??
      new AudioBuffer({ length: this.pieceFrames, numberOfChannels, sampleRate: this.sampleRate });
    const targets = Array.from({ length: numberOfChannels }, (_, channel) => buffer.getChannelData(channel).fill(0));
    let channel = 0;
    const reads = this.#sources.map((source) => {
      const own = targets.slice(channel, channel += source.channels);
      return source.read(number * this.pieceFrames, own, signal);
    });
    try {
      await Promise.all(reads);
      return buffer;
    } catch (error) {
      Promise.allSettled(reads).then(() => this.#spare.push(buffer)); // until then others may write into it
      throw error;
    }
  }
}
