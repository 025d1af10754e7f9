/**
 * Plays stems in step, sample by sample: every piece holds all stems and starts at a frame of one clock.
 *
 * Pieces are fetched a few seconds ahead, and no further. When the network is slower than the music, all stems stop at
 * the same frame and go on from there.
 */

import { SourceError } from "./byte_ranges.js";
import { Route } from "./route.js";
import { Schedule } from "./schedule.js";
import { Voice } from "./voice.js";

const MAX_LOOK_AHEAD_S = 10;
/** So far at first: someone who jumps about for the right place needs no more, and each request costs memory. */
const MIN_LOOK_AHEAD_S = 2;
/** Playback starts with so much at hand, because the end of a piece can be near. */
const START_WITH_S = 0.5;
/** From scheduling to sound. */
const LEAD_S = 0.05;
/** With less than this left, playback stops before it runs out, in order to fade. */
const RESERVE_S = 0.15;
/** A shorter loop would be a tone, and would take thousands of nodes. */
const MIN_LOOP_S = 0.1;
const WATCH_MS = 50;
const MAX_RETRY_MS = 10_000;
/** After a pause of this length the sound card is released. */
const SUSPEND_AFTER_MS = 3000;

/** @typedef {"paused" | "waiting" | "playing"} State */

/**
 * Events: `state` when `state` changes; `trouble` when data is late or missing, whose detail is the `SourceError`. After
 * one that is transient the transport tries again; after any other it has paused. `ended` at the end of the song.
 */
export class SampleTransport extends EventTarget {
  #context;
  #pieces;
  #output;
  #route;
  /** @type {State} */
  #state = "paused";
  #position = 0;
  #schedule = new Schedule();
  /** @type {Voice | null} */
  #voice = null;
  #feeding = new AbortController();
  /** Everything up to the end of the song is scheduled. */
  #isComplete = false;
  /** When playback began here, as a frame of the clock. */
  #begunAt = 0;
  #watch = 0;
  #suspend = 0;

  /**
   * @param {AudioContext} context at the rate of the pieces
   * @param {import("./pieces.js").Pieces} pieces
   * @param {AudioNode[]} outputs where each stem goes
   */
  constructor(context, pieces, outputs) {
    super();
    this.#context = context;
    this.#pieces = pieces;
    this.#output = splitter(context, pieces.stemChannels, outputs);
    this.#route = new Route(pieces.frames);
  }

  get state() {
    return this.#state;
  }

  get durationS() {
    return this.#route.frames / this.#context.sampleRate;
  }

  /** What is heard now, in seconds: what left the graph `outputLatency` ago. */
  get positionS() {
    if (this.#state !== "playing") return this.#position / this.#context.sampleRate;
    const latency = this.#frames(this.#context.outputLatency || 0);
    return this.#schedule.positionAt(this.#now() - latency) / this.#context.sampleRate;
  }

  play() {
    if (this.#state !== "paused") return;
    clearTimeout(this.#suspend);
    const isAtEnd = this.#position >= this.#route.frames;
    this.#begin(isAtEnd ? this.#route.loop?.start ?? 0 : this.#position);
  }

  pause() {
    if (this.#state === "paused") return;
    this.#halt("paused");
    this.#suspend = setTimeout(() => this.#context.suspend(), SUSPEND_AFTER_MS);
  }

  /** @param {number} positionS */
  seek(positionS) {
    const position = Math.min(Math.max(0, this.#frames(positionS)), this.#route.frames);
    if (this.#state === "paused") {
      this.#position = position;
      this.prefetch();
    } else {
      this.#begin(position);
    }
  }

  /**
   * Repeat the part between two times; null, or less than `MIN_LOOP_S`, plays straight on.
   *
   * @param {{startS: number, endS: number} | null} region
   */
  setLoop(region) {
    const loop = region && {
      start: Math.max(0, this.#frames(region.startS)),
      end: Math.min(this.#frames(region.endS), this.#route.frames),
    };
    const isLongEnough = loop && loop.end - loop.start >= this.#frames(MIN_LOOP_S);
    this.#route = new Route(this.#route.frames, isLongEnough ? loop : null);
    if (this.#state === "playing") this.#reroute();
    if (this.#state === "waiting") this.#begin(this.#position);
  }

  /** Fetch what the next `play` needs first. */
  prefetch() {
    this.#feeding.abort();
    this.#feeding = new AbortController();
    const position = Math.min(this.#position, this.#route.frames - 1);
    this.#pieces.at(position, this.#feeding.signal).catch(() => {}); // if it still fails, `play` will say so
  }

  close() {
    this.pause();
    clearTimeout(this.#suspend);
    this.#feeding.abort();
  }

  /** @param {number} seconds */
  #frames(seconds) {
    return Math.round(seconds * this.#context.sampleRate);
  }

  /** The clock: the first frame that the graph has not computed. */
  #now() {
    return this.#frames(this.#context.currentTime);
  }

  /** @param {number} position */
  #begin(position) {
    this.#halt("waiting");
    this.#position = position;
    this.#voice = new Voice(this.#context, this.#output);
    this.#schedule = new Schedule();
    this.#begunAt = this.#now();
    this.#feed(position);
    this.#watch = setInterval(() => this.#watchEnd(), WATCH_MS);
  }

  /**
   * Silence all stems at the same frame, and remember it.
   *
   * @param {State} state
   */
  #halt(state) {
    this.#feeding.abort();
    clearInterval(this.#watch);
    if (this.#state === "playing") this.#position = this.#schedule.positionAt(this.#now());
    this.#voice?.fadeOut();
    this.#voice = null;
    this.#become(state);
  }

  /** @param {State} state */
  #become(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.dispatchEvent(new Event("state"));
  }

  /** Keep what is scheduled as far as the new route takes the same way, and go on from there. */
  #reroute() {
    const now = this.#now() + this.#frames(LEAD_S);
    const departure = this.#schedule.departure(now, this.#route);
    this.#voice?.cutAt(departure);
    this.#schedule.cutAt(departure);
    this.#feed(this.#route.follow(this.#schedule.positionAt(departure)));
  }

  /**
   * Schedule the song from `position` on, until the end or until another feed begins.
   *
   * @param {number} position
   */
  async #feed(position) {
    this.#feeding.abort();
    this.#feeding = new AbortController();
    const { signal } = this.#feeding;
    this.#isComplete = false;
    try {
      await this.#context.resume();
      while (position < this.#route.frames && !signal.aborted) {
        position = await this.#feedPieces(position, signal);
        await this.#room(signal);
      }
      if (!signal.aborted) this.#isComplete = true;
    } catch (error) {
      if (signal.aborted) return;
      this.pause();
      this.#report(error);
    }
  }

  /**
   * Fetch and schedule one piece, or as many as it takes to start; returns the position after them.
   *
   * @param {number} position
   * @param {AbortSignal} signal
   */
  async #feedPieces(position, signal) {
    const isFirst = this.#schedule.isEmpty;
    const first = position;
    const ready = [];
    let frames = 0;
    do {
      const { buffer, offset } = await this.#piece(position, signal);
      const count = this.#straightFrames(position);
      ready.push({ buffer, offset, position, count });
      frames += count;
      position = this.#route.follow(position + count);
    } while (isFirst && frames < this.#frames(START_WITH_S) && position < this.#route.frames);
    signal.throwIfAborted();

    const start = isFirst ? this.#now() + this.#frames(LEAD_S) : this.#schedule.end;
    if (isFirst && first > 0) this.#voice?.fadeInAt(start);
    for (const { buffer, offset, position, count } of ready) {
      const time = isFirst ? Math.max(start, this.#schedule.end) : this.#schedule.end;
      this.#voice?.play(time, buffer, offset, count);
      this.#schedule.add(time, position, count);
    }
    this.#schedule.forgetBefore(this.#now());
    if (this.#now() >= start) this.#begin(first); // this thread was held up, and the beginning came too late
    else this.#become("playing");
    return position;
  }

  /**
   * How far the song goes straight on from `position`, within one piece.
   *
   * @param {number} position
   */
  #straightFrames(position) {
    const { pieceFrames } = this.#pieces;
    const pieceEnd = (Math.floor(position / pieceFrames) + 1) * pieceFrames;
    return Math.min(pieceEnd, this.#route.straightUntil(position)) - position;
  }

  /**
   * The piece at `position`, tried again and again while failures are transient.
   *
   * @param {number} position
   * @param {AbortSignal} signal
   */
  async #piece(position, signal) {
    for (let pauseMs = 500;; pauseMs = Math.min(2 * pauseMs, MAX_RETRY_MS)) {
      try {
        return await this.#pieces.at(position, signal);
      } catch (error) {
        if (signal.aborted || !(error instanceof SourceError && error.isTransient)) throw error;
        this.#report(error);
        await delay(Math.max(pauseMs, error.retryAfterMs));
        signal.throwIfAborted();
      }
    }
  }

  /**
   * Wait until less is scheduled than the look-ahead, which grows by two seconds in each second.
   *
   * @param {AbortSignal} signal
   */
  async #room(signal) {
    const isFarEnough = () => {
      const now = this.#now();
      const lookAhead = this.#frames(MIN_LOOK_AHEAD_S) + 2 * (now - this.#begunAt);
      return this.#schedule.end - now > Math.min(lookAhead, this.#frames(MAX_LOOK_AHEAD_S));
    };
    while (!signal.aborted && isFarEnough()) await delay(WATCH_MS);
  }

  #watchEnd() {
    const left = this.#schedule.end - this.#now();
    if (this.#isComplete && left <= 0) {
      this.pause();
      this.dispatchEvent(new Event("ended"));
    } else if (this.#state === "playing" && !this.#isComplete && left < this.#frames(RESERVE_S)) {
      this.#begin(this.#schedule.positionAt(this.#now()));
    }
  }

  /** @param {unknown} error */
  #report(error) {
    this.dispatchEvent(new CustomEvent("trouble", { detail: error }));
  }
}

/**
 * A node that takes the channels of all stems side by side and sends each stem to its output.
 *
 * @param {BaseAudioContext} context
 * @param {number[]} stemChannels
 * @param {AudioNode[]} outputs
 */
function splitter(context, stemChannels, outputs) {
  const numberOfOutputs = stemChannels.reduce((sum, channels) => sum + channels);
  const split = new ChannelSplitterNode(context, { numberOfOutputs });
  let first = 0;
  stemChannels.forEach((channels, stem) => {
    const stemMerger = new ChannelMergerNode(context, { numberOfInputs: channels });
    for (let channel = 0; channel < channels; channel++) split.connect(stemMerger, first++, channel);
    stemMerger.connect(outputs[stem]);
  });
  return split;
}

/** @param {number} ms */
function delay(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
