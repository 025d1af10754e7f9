/**
 * A WAV file whose samples are fetched by HTTP Range.
 */

import { fetchRange, SourceError } from "./byte_ranges.js";
import { readWavFormat } from "./wav_header.js";

/** @typedef {import("./wav_header.js").WavFormat} WavFormat */

/** A `Source` of pieces.js. */
export class WavSource {
  #url;
  #format;
  #fileBytes;
  /** @type {Uint8Array<ArrayBuffer>[]} to be used again */
  #spare = [];

  /**
   * @param {string} url
   * @param {WavFormat} format
   * @param {number} fileBytes
   */
  constructor(url, format, fileBytes) {
    this.#url = url;
    this.#format = format;
    this.#fileBytes = fileBytes;
    this.sampleRate = format.sampleRate;
    this.channels = format.channels;
    this.frames = format.frames;
  }

  /**
   * Read the header of `url`; throws `SourceError`, with the reason `unreadable` if it is not a WAV file.
   *
   * @param {string} url
   * @param {AbortSignal} signal
   */
  static async open(url, signal) {
    let fileBytes = 0;
    const format = await readWavFormat(async (first, count) => {
      const part = await fetchRange(url, first, count, signal);
      fileBytes = part.fileBytes;
      return part;
    });
    return new WavSource(url, format, fileBytes);
  }

  /**
   * @param {number} first
   * @param {Float32Array<ArrayBuffer>[]} targets
   * @param {AbortSignal} signal
   */
  async read(first, targets, signal) {
    const { dataStart, frameBytes } = this.#format;
    const wanted = Math.min(targets[0].length, this.frames - first) * frameBytes;
    if (wanted <= 0) return;
    const room = this.#spare.pop() ?? new Uint8Array(targets[0].length * frameBytes);
    const position = dataStart + first * frameBytes;
    try {
      const { bytes, fileBytes } = await fetchRange(this.#url, position, wanted, signal, room);
      if (fileBytes !== this.#fileBytes || bytes.length !== wanted) {
        throw new SourceError("changed", `${this.#url}: ${fileBytes} bytes, and it had ${this.#fileBytes}`);
      }
      decode(bytes, this.#format, targets);
    } finally {
      this.#spare.push(room);
    }
  }
}

/**
 * Write the samples in `bytes`, which are whole frames, to one array per channel.
 *
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {WavFormat} format
 * @param {Float32Array<ArrayBuffer>[]} targets
 */
function decode(bytes, { channels, frameBytes, bits, isFloat }, targets) {
  const frames = bytes.length / frameBytes;
  const [samples, scale] = isFloat
    ? [new Float32Array(bytes.buffer, 0, frames * channels), 1]
    : [integers(bytes, bits), 2 ** (1 - bits)];
  targets.forEach((target, channel) => {
    for (let frame = 0, from = channel; frame < frames; frame++, from += channels) {
      target[frame] = samples[from] * scale;
    }
  });
}

/**
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {number} bits
 */
function integers(bytes, bits) {
  if (bits === 16) return new Int16Array(bytes.buffer, 0, bytes.length / 2);
  if (bits === 32) return new Int32Array(bytes.buffer, 0, bytes.length / 4);
  const samples = new Int32Array(bytes.length / 3);
  for (let sample = 0, from = 0; sample < samples.length; sample++, from += 3) {
    samples[sample] = bytes[from] | bytes[from + 1] << 8 | bytes[from + 2] << 24 >> 8;
  }
  return samples;
}
