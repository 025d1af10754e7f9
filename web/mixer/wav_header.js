/**
 * The header of a WAV file: RIFF, and RF64 or BW64 for files above 4 GiB, with PCM or float samples.
 *
 * Sources: Microsoft's WAVEFORMATEXTENSIBLE, EBU Tech 3306 (RF64).
 */

import { SourceError } from "./byte_ranges.js";

const FLOAT = 3, EXTENSIBLE = 0xfffe;
/** Codec and bits: 1 is integer PCM, 3 is float. */
const SAMPLE_FORMATS = new Set(["1/16", "1/24", "1/32", "3/32"]);
/** Some recorders put markers and notes before the samples; no real file has so many. */
const MAX_CHUNKS = 100;
const WINDOW_BYTES = 4096;

/**
 * `isFloat` with 32 `bits`, otherwise integers of 16, 24 or 32; a frame is one sample of each channel.
 *
 * @typedef {object} WavFormat
 * @property {number} sampleRate
 * @property {number} channels
 * @property {number} bits
 * @property {boolean} isFloat
 * @property {number} frameBytes
 * @property {number} dataStart where the first frame is in the file
 * @property {number} frames
 */

/**
 * Bytes of a file from a position on: as many as asked for, fewer at its end.
 *
 * @typedef {(first: number, count: number) => Promise<{bytes: Uint8Array<ArrayBuffer>, fileBytes: number}>} Read
 */

/**
 * The format of the WAV file that `read` reads, in as few reads as its chunks allow: one for what this service writes.
 *
 * Throws `SourceError` with the reason `unreadable` if it is not such a file.
 *
 * @param {Read} read
 * @returns {Promise<WavFormat>}
 */
export async function readWavFormat(read) {
  const window = new Window(read);
  const head = await window.at(0, 12);
  const kind = name(head, 0);
  if (!["RIFF", "RF64", "BW64"].includes(kind) || name(head, 8) !== "WAVE") throw unreadable("not a WAV file");

  let format, longDataBytes;
  let position = 12;
  for (let chunk = 0; chunk < MAX_CHUNKS; chunk++) {
    const header = await window.at(position, 8);
    const [id, bytes, content] = [name(header, 0), header.getUint32(4, true), position + 8];
    if (id === "ds64") longDataBytes = Number((await window.at(content, 16)).getBigUint64(8, true));
    if (id === "fmt ") format = sampleFormat(await window.at(content, Math.min(bytes, 40)));
    if (id === "data") {
      if (!format) throw unreadable("its samples come before their format");
      const declared = bytes === 0xffffffff ? longDataBytes ?? Infinity : bytes;
      const present = Math.min(declared, window.fileBytes - content);
      return { ...format, dataStart: content, frames: Math.floor(present / format.frameBytes) };
    }
    position = content + bytes + bytes % 2;
  }
  throw unreadable("no samples");
}

/** The part of the file that was read last, so that chunks beside each other need one read. */
class Window {
  #read;
  #start = 0;
  #view = new DataView(new ArrayBuffer(0));
  fileBytes = Infinity;

  /** @param {Read} read */
  constructor(read) {
    this.#read = read;
  }

  /**
   * @param {number} position
   * @param {number} count
   */
  async at(position, count) {
    if (position + count > this.fileBytes) throw unreadable("it ends within its header");
    if (position < this.#start || position + count > this.#start + this.#view.byteLength) {
      const { bytes, fileBytes } = await this.#read(position, WINDOW_BYTES);
      [this.#start, this.#view, this.fileBytes] = [position, new DataView(bytes.buffer), fileBytes];
      if (count > bytes.length) throw unreadable("it ends within its header");
    }
    return new DataView(this.#view.buffer, position - this.#start, count);
  }
}

/** @param {DataView} view the content of the chunk "fmt " */
function sampleFormat(view) {
  if (view.byteLength < 16) throw unreadable("its format is incomplete");
  const [tag, channels] = [view.getUint16(0, true), view.getUint16(2, true)];
  const [sampleRate, frameBytes, bits] = [view.getUint32(4, true), view.getUint16(12, true), view.getUint16(14, true)];
  const codec = tag === EXTENSIBLE && view.byteLength >= 40 ? view.getUint16(24, true) : tag;
  if (!SAMPLE_FORMATS.has(`${codec}/${bits}`) || !channels || !sampleRate || frameBytes !== channels * bits / 8) {
    throw unreadable(`codec ${codec} with ${channels} channels of ${bits} bits at ${sampleRate} Hz`);
  }
  return { sampleRate, channels, bits, isFloat: codec === FLOAT, frameBytes };
}

/**
 * @param {DataView} view
 * @param {number} offset
 */
function name(view, offset) {
  return String.fromCharCode(...new Uint8Array(view.buffer, view.byteOffset + offset, 4));
}

/** @param {string} why */
function unreadable(why) {
  return new SourceError("unreadable", `WAV: ${why}`);
}
