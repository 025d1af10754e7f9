/**
 * The mixer of one task's stems: opens them in the best way that their format and length allow, and plays them.
 *
 * - `pieces`: WAV, fetched in pieces; exact, of any length
 * - `whole`: other formats, decoded as a whole; exact, and limited by memory
 * - `media`: anything else, by media elements; the stems are only nearly in step
 */

import { SourceError } from "./byte_ranges.js";
import { MediaTransport } from "./media_transport.js";
import { Mix } from "./mix.js";
import { Pieces } from "./pieces.js";
import { SampleTransport } from "./sample_transport.js";
import { WavSource } from "./wav_source.js";
import { WholeFileSource } from "./whole_file_source.js";

/** All stems of a song, decoded: six minutes of two stereo stems at 44.1 kHz. Phones end pages that take much more. */
const MAX_DECODED_BYTES = 256 * 2 ** 20;
/** No codec that the service writes needs more for a sample of two channels. */
const MAX_FILE_BYTES_PER_FRAME = 8;

/**
 * What the task says of its stems. Without `seconds` files that are not WAV are played by media elements.
 *
 * @typedef {object} Song
 * @property {{name: string, url: string}[]} stems
 * @property {number} [seconds]
 * @property {number} [sampleRate] in Hz; otherwise that of the sound card is used for what is not WAV
 */

/** Events: those of `SampleTransport`. */
export class Player extends EventTarget {
  #context;
  #transport;

  /**
   * @param {"pieces" | "whole" | "media"} kind
   * @param {AudioContext} context
   * @param {Mix} mix
   * @param {SampleTransport | MediaTransport} transport
   */
  constructor(kind, context, mix, transport) {
    super();
    this.kind = kind;
    this.mix = mix;
    this.#context = context;
    this.#transport = transport;
    for (const type of ["state", "ended", "trouble"]) {
      transport.addEventListener(
        type,
        (event) => this.dispatchEvent(new CustomEvent(type, { detail: /** @type {CustomEvent} */ (event).detail })),
      );
    }
    mix.output.connect(context.destination);
    transport.prefetch();
  }

  get context() {
    return this.#context;
  }

  get state() {
    return this.#transport.state;
  }

  get durationS() {
    return this.#transport.durationS;
  }

  get positionS() {
    return this.#transport.positionS;
  }

  /** Browsers allow sound only after the first click or key on a page: call it from such an event. */
  play() {
    this.#transport.play();
  }

  pause() {
    this.#transport.pause();
  }

  toggle() {
    if (this.state === "paused") this.play();
    else this.pause();
  }

  /** @param {number} positionS */
  seek(positionS) {
    this.#transport.seek(positionS);
  }

  /** @param {{startS: number, endS: number} | null} region */
  setLoop(region) {
    this.#transport.setLoop(region);
  }

  close() {
    this.#transport.close();
    return this.#context.close();
  }
}

/**
 * Open the stems of `song`; throws `SourceError` if one of them cannot be played.
 *
 * @param {Song} song
 * @param {AbortSignal} [signal]
 */
export async function openPlayer(song, signal = new AbortController().signal) {
  const names = song.stems.map(({ name }) => name);
  const urls = song.stems.map(({ url }) => url);
  const wavs = await openWavs(urls, signal);
  const context = wavs && contextAt(wavs[0].sampleRate);
  if (wavs && context) {
    const mix = new Mix(context, names);
    return new Player("pieces", context, mix, new SampleTransport(context, new Pieces(wavs), mix.inputs));
  }
  return openOther(song, names, urls, signal);
}

/**
 * @param {Song} song
 * @param {string[]} names
 * @param {string[]} urls
 * @param {AbortSignal} signal
 */
async function openOther(song, names, urls, signal) {
  const context = song.sampleRate && contextAt(song.sampleRate) || new AudioContext();
  const mix = new Mix(context, names);
  try {
    const frames = Math.ceil((song.seconds ?? Infinity) * context.sampleRate);
    if (frames * urls.length * 2 * Float32Array.BYTES_PER_ELEMENT > MAX_DECODED_BYTES) {
      return new Player("media", context, mix, await MediaTransport.open(context, urls, mix.inputs));
    }
    const sources = [];
    for (const url of urls) { // one after the other, so that one encoded file is in memory at a time
      sources.push(await WholeFileSource.open(url, context, frames * MAX_FILE_BYTES_PER_FRAME, signal));
    }
    return new Player("whole", context, mix, new SampleTransport(context, new Pieces(sources), mix.inputs));
  } catch (error) {
    context.close();
    throw error;
  }
}

/**
 * The sources of WAV files that have one rate; null if the files are others, or the server sends whole files only.
 *
 * @param {string[]} urls
 * @param {AbortSignal} signal
 */
async function openWavs(urls, signal) {
  try {
    const sources = await Promise.all(urls.map((url) => WavSource.open(url, signal)));
    return sources.every(({ sampleRate }) => sampleRate === sources[0].sampleRate) ? sources : null;
  } catch (error) {
    if (error instanceof SourceError && ["unreadable", "no-range"].includes(error.reason)) return null;
    throw error;
  }
}

/**
 * A context with exactly this rate, so that pieces need no conversion; null if the browser does not support it.
 *
 * @param {number} sampleRate
 */
function contextAt(sampleRate) {
  try {
    return new AudioContext({ sampleRate });
  } catch {
    return null;
  }
}
