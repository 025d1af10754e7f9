/**
 * Plays stems by media elements, for files that are too long to decode as a whole: nearly in step.
 *
 * Browsers start an element when they see fit, so the first one leads, and the others follow by small changes of speed.
 * A difference of 20 ms remains. The sound still goes through the mix.
 */

import { fetchRange, SourceError } from "./byte_ranges.js";

/** A larger difference is corrected by speed, and from the second one on by a jump. */
const TOLERANCE_S = 0.02, JUMP_S = 0.3;
const WATCH_MS = 100;

/** The same events, properties and methods as `SampleTransport`. */
export class MediaTransport extends EventTarget {
  #context;
  #elements;
  /** @type {import("./sample_transport.js").State} */
  #state = "paused";
  /** @type {{startS: number, endS: number} | null} */
  #loop = null;
  #watch = 0;

  /**
   * @param {AudioContext} context
   * @param {HTMLAudioElement[]} elements
   * @param {AudioNode[]} outputs
   */
  constructor(context, elements, outputs) {
    super();
    this.#context = context;
    this.#elements = elements;
    elements.forEach((element, stem) => {
      new MediaElementAudioSourceNode(context, { mediaElement: element }).connect(outputs[stem]);
      element.onerror = () => this.#fail(element);
    });
    elements[0].onended = () => {
      this.pause();
      this.dispatchEvent(new Event("ended"));
    };
  }

  /**
   * Elements for `urls` whose length is known; throws `SourceError`.
   *
   * @param {AudioContext} context
   * @param {string[]} urls
   * @param {AudioNode[]} outputs
   */
  static async open(context, urls, outputs) {
    const elements = await Promise.all(urls.map(loadedElement));
    return new MediaTransport(context, elements, outputs);
  }

  get state() {
    return this.#state;
  }

  get durationS() {
    return this.#elements[0].duration;
  }

  get positionS() {
    return this.#elements[0].currentTime;
  }

  play() {
    if (this.#state !== "paused") return;
    if (this.#elements[0].ended) this.seek(this.#loop?.startS ?? 0);
    this.#context.resume();
    this.#become("waiting");
    this.#watch = setInterval(() => this.#keepInStep(), WATCH_MS);
    this.#keepInStep();
  }

  pause() {
    clearInterval(this.#watch);
    this.#elements.forEach((element) => element.pause());
    this.#become("paused");
  }

  /** @param {number} positionS */
  seek(positionS) {
    for (const element of this.#elements) element.currentTime = positionS;
  }

  /** @param {{startS: number, endS: number} | null} region */
  setLoop(region) {
    this.#loop = region;
  }

  /** Media elements fetch as they like. */
  prefetch() {}

  close() {
    this.pause();
    for (const element of this.#elements) element.removeAttribute("src");
  }

  #keepInStep() {
    const isReady = this.#elements.every(({ readyState, seeking, ended }) => ended || readyState > 2 && !seeking);
    if (!isReady) {
      this.#elements.forEach((element) => element.pause());
      this.#become("waiting");
    } else if (this.#state === "waiting") {
      this.#elements.forEach((element) =>
        element.play().catch((error) => {
          if (error.name !== "AbortError") this.#fail(element); // that one only says that it was paused meanwhile
        })
      );
      this.#become("playing");
    } else {
      this.#followLeader();
      if (this.#loop && this.positionS >= this.#loop.endS) this.seek(this.#loop.startS);
    }
  }

  #followLeader() {
    const [leader, ...others] = this.#elements;
    for (const element of others) {
      const aheadS = element.currentTime - leader.currentTime;
      if (Math.abs(aheadS) > JUMP_S) element.currentTime = leader.currentTime;
      element.playbackRate = Math.abs(aheadS) > TOLERANCE_S ? 1 - aheadS / 2 : 1;
    }
  }

  /** @param {import("./sample_transport.js").State} state */
  #become(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.dispatchEvent(new Event("state"));
  }

  /** @param {HTMLAudioElement} element */
  async #fail(element) {
    this.pause();
    this.dispatchEvent(new CustomEvent("trouble", { detail: await reasonOf(element) }));
  }
}

/**
 * @param {string} url
 * @returns {Promise<HTMLAudioElement>}
 */
function loadedElement(url) {
  const element = new Audio();
  element.preload = "auto";
  return new Promise((resolve, reject) => {
    element.onloadedmetadata = () => resolve(element);
    element.onerror = async () => reject(await reasonOf(element));
    element.src = url;
  });
}

/**
 * Media elements do not say why they fail, so a request of a single byte asks.
 *
 * @param {HTMLAudioElement} element
 */
async function reasonOf(element) {
  try {
    await fetchRange(element.src, 0, 1, new AbortController().signal);
    return new SourceError("unreadable", `${element.src}: ${element.error?.message}`);
  } catch (error) {
    return error;
  }
}
