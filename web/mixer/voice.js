/**
 * All stems in one uninterrupted stretch of playing, each piece started at its exact frame.
 *
 * The context has the rate of the files, so a piece is played sample by sample, and the next one follows without a gap:
 * the browser converts to the rate of the sound card behind the mix, in one stream.
 */

/** Playback that begins or stops within a song would click without these fades. */
const FADE_S = 0.005;

export class Voice {
  #context;
  #fade;
  /** @type {Map<AudioBufferSourceNode, number>} each with the time when it ends */
  #nodes = new Map();

  /**
   * @param {BaseAudioContext} context
   * @param {AudioNode} output
   */
  constructor(context, output) {
    this.#context = context;
    this.#fade = new GainNode(context, { channelInterpretation: "discrete" });
    this.#fade.connect(output);
  }

  /**
   * Fade in at `time`, a frame of the context's clock.
   *
   * @param {number} time
   */
  fadeInAt(time) {
    const startS = time / this.#context.sampleRate;
    this.#fade.gain.setValueAtTime(0, startS);
    this.#fade.gain.linearRampToValueAtTime(1, startS + FADE_S);
  }

  /**
   * Play `frames` from the frame `offset` of `buffer` at `time`.
   *
   * @param {number} time
   * @param {AudioBuffer} buffer
   * @param {number} offset
   * @param {number} frames
   */
  play(time, buffer, offset, frames) {
    const rate = this.#context.sampleRate;
    const node = new AudioBufferSourceNode(this.#context, { buffer });
    node.connect(this.#fade);
    node.start(time / rate, offset / rate, frames / rate);
    this.#nodes.set(node, time + frames);
    node.onended = () => {
      node.disconnect();
      this.#nodes.delete(node);
    };
  }

  /**
   * Be silent from `time` on, also where pieces are scheduled.
   *
   * @param {number} time
   */
  cutAt(time) {
    for (const [node, end] of this.#nodes) {
      if (end <= time) continue; // a later time would undo an earlier cut
      node.stop(time / this.#context.sampleRate);
      this.#nodes.set(node, time);
    }
  }

  /** Fade out now, and release everything. */
  fadeOut() {
    const { gain } = this.#fade;
    const now = this.#context.currentTime;
    const value = gain.value;
    gain.cancelScheduledValues(now);
    gain.setValueAtTime(value, now);
    gain.linearRampToValueAtTime(0, now + FADE_S);
    for (const [node, end] of this.#nodes) node.stop(Math.min(end / this.#context.sampleRate, now + FADE_S));
    setTimeout(() => this.#fade.disconnect(), 1000);
  }
}
