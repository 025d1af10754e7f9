/**
 * The mixing desk: each stem's fader, mute and solo, and the sum of all that it leaves audible.
 */

/** How fast gains follow the faders: fast enough for the hand, slow enough not to click. */
const GAIN_TIME_CONSTANT_S = 0.008;

/**
 * `volume` is the position of the fader from 0 to 1. A soloed stem sounds even if it is muted.
 *
 * @typedef {{name: string, volume: number, isMuted: boolean, isSolo: boolean}} Channel
 */

/** Event: `change` after any change. */
export class Mix extends EventTarget {
  #context;
  /** @type {Channel[]} */
  #channels;
  #gains;
  #isOriginal = false;

  /**
   * @param {BaseAudioContext} context
   * @param {string[]} names of the stems
   */
  constructor(context, names) {
    super();
    this.#context = context;
    this.#channels = names.map((name) => ({ name, volume: 1, isMuted: false, isSolo: false }));
    this.output = new GainNode(context);
    this.#gains = names.map(() => new GainNode(context));
    for (const gain of this.#gains) gain.connect(this.output);
  }

  /** Where each stem goes in. */
  get inputs() {
    return this.#gains;
  }

  /** @returns {readonly Readonly<Channel>[]} */
  get channels() {
    return this.#channels;
  }

  /** All stems at full volume, which add up to the song; the faders do not count. */
  get isOriginal() {
    return this.#isOriginal;
  }

  set isOriginal(value) {
    this.#isOriginal = value;
    this.#apply();
  }

  /**
   * Change what `changes` names of one stem; a fader that moves ends the original.
   *
   * @param {number} stem
   * @param {Partial<Omit<Channel, "name">>} changes
   */
  set(stem, changes) {
    Object.assign(this.#channels[stem], changes);
    this.#isOriginal = false;
    this.#apply();
  }

  #apply() {
    const isAnySolo = this.#channels.some(({ isSolo }) => isSolo);
    this.#channels.forEach(({ volume, isMuted, isSolo }, stem) => {
      const isAudible = isAnySolo ? isSolo : !isMuted;
      // Loudness follows the square of an amplitude more evenly than the amplitude itself.
      const gain = this.#isOriginal ? 1 : isAudible ? volume ** 2 : 0;
      this.#gains[stem].gain.setTargetAtTime(gain, this.#context.currentTime, GAIN_TIME_CONSTANT_S);
    });
    this.dispatchEvent(new Event("change"));
  }
}
