/**
 * Peaks in audiowaveform's binary format, version 2: the lowest and the highest sample of each group of samples.
 *
 * Source: https://github.com/bbc/audiowaveform/blob/master/doc/DataFormat.md
 */

const HEADER_BYTES = 24;
const HAS_8_BITS = 1;

/** Peaks of one stem at one resolution; values are from -1 to 1. */
export class Peaks {
  #values;
  #scale;
  #channels;

  /** @param {ArrayBuffer} file throws `RangeError` if it is something else */
  constructor(file) {
    const header = new DataView(file);
    if (header.getInt32(0, true) !== 2) throw new RangeError(`peaks of version ${header.getInt32(0, true)}`);
    const has8Bits = (header.getUint32(4, true) & HAS_8_BITS) !== 0;
    this.sampleRate = header.getInt32(8, true);
    this.samplesPerPair = header.getInt32(12, true);
    this.length = header.getUint32(16, true);
    this.#channels = header.getInt32(20, true);
    const count = this.length * this.#channels * 2;
    this.#values = has8Bits ? new Int8Array(file, HEADER_BYTES, count) : new Int16Array(file, HEADER_BYTES, count);
    this.#scale = has8Bits ? 1 / 128 : 1 / 32768;
  }

  /** The highest absolute value. */
  get peak() {
    let highest = 0;
    for (const value of this.#values) highest = Math.max(highest, Math.abs(value));
    return highest * this.#scale;
  }

  get secondsPerPair() {
    return this.samplesPerPair / this.sampleRate;
  }

  /**
   * The lowest and the highest sample of all channels between two times, of at least one group; null after the end.
   *
   * @param {number} startS
   * @param {number} endS
   * @returns {[number, number] | null}
   */
  between(startS, endS) {
    const first = Math.floor(startS / this.secondsPerPair);
    if (first >= this.length) return null;
    const last = Math.min(Math.max(first + 1, Math.ceil(endS / this.secondsPerPair)), this.length);
    const valuesPerGroup = 2 * this.#channels;
    let [low, high] = [Infinity, -Infinity];
    for (let index = first * valuesPerGroup; index < last * valuesPerGroup; index += 2) {
      low = Math.min(low, this.#values[index]);
      high = Math.max(high, this.#values[index + 1]);
    }
    return [low * this.#scale, high * this.#scale];
  }
}

/**
 * The coarsest of several resolutions that still has a value for each of `columns` in `durationS`; otherwise the finest.
 *
 * @param {Peaks[]} resolutions
 * @param {number} durationS
 * @param {number} columns
 */
export function suitable(resolutions, durationS, columns) {
  const coarsestFirst = resolutions.toSorted((one, other) => other.secondsPerPair - one.secondsPerPair);
  return coarsestFirst.find(({ secondsPerPair }) => secondsPerPair * columns <= durationS) ?? coarsestFirst.at(-1);
}
