/**
 * The waveforms of all stems under one time axis: where playback is, where to go, and which part to repeat.
 *
 * The page says where each lane stands. Position and loop are custom properties of the root, from which waveform.css
 * draws playhead and region over every lane; the canvases are drawn only when they change their size or their colours.
 */

import { suitable } from "./peaks.js";
import { shortTime, spokenTime } from "./spoken_time.js";

/** A pointer that moved less than this has clicked. */
const CLICK_PX = 5;
const STEP_S = 5, FINE_STEP_S = 1, PAGE_S = 30;
const TICKS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
const TICK_PX = 70;
const BAR_PX = 2, BAR_STEP_PX = 3;

/**
 * @typedef {{startS: number, endS: number}} Region
 * @typedef {import("./peaks.js").Peaks} Peaks
 */

/** Events: `seek` with the position in seconds, `loop` with a `Region` or null; both in `detail`. */
export class WaveformView extends EventTarget {
  #root;
  #slider;
  #durationS;
  #language;
  #positionS = 0;
  /** @type {Region | null} */
  #region = null;
  #redraws = new Map();
  #resized = new ResizeObserver((entries) => entries.forEach(({ target }) => this.#redraws.get(target)()));
  #scheme = matchMedia("(prefers-color-scheme: dark)");

  /**
   * @param {HTMLElement} root around the axis and all lanes
   * @param {HTMLElement} axis
   * @param {{durationS: number, language: string, label: string}} song `label` names the position for screen readers
   */
  constructor(root, axis, { durationS, language, label }) {
    super();
    this.#root = root;
    this.#durationS = durationS;
    this.#language = language;
    this.#slider = slider(label, durationS);
    this.#slider.addEventListener("keydown", (event) => this.#onKey(event));
    this.#slider.addEventListener("input", () => this.#seek(Number(this.#slider.value)));
    axis.classList.add("time-axis");
    axis.append(this.#slider);
    this.#addCanvas(axis, (canvas) => drawAxis(canvas, durationS));
    this.#scheme.addEventListener("change", this.#redrawAll);
    this.showPosition(0);
  }

  /**
   * Draw a stem in `lane`; without `resolutions` it is a line.
   *
   * @param {HTMLElement} lane
   * @param {Peaks[]} resolutions
   * @param {number} [fullScale] the sample that reaches the edge of the lane
   */
  addLane(lane, resolutions, fullScale = 1) {
    lane.classList.add("waveform");
    this.#addCanvas(lane, (canvas) => drawPeaks(canvas, resolutions, this.#durationS, fullScale));
  }

  /** @param {number} positionS */
  showPosition(positionS) {
    this.#positionS = positionS;
    this.#root.style.setProperty("--position", String(positionS / this.#durationS));
    if (Number(this.#slider.value) === Math.floor(positionS) && this.#slider.ariaValueText) return;
    this.#slider.value = String(Math.floor(positionS));
    this.#slider.ariaValueText = spokenTime(positionS, this.#language);
  }

  /** @param {Region | null} region */
  showLoop(region) {
    this.#region = region;
    this.#root.classList.toggle("has-loop", region !== null);
    this.#root.style.setProperty("--loop-start", String((region?.startS ?? 0) / this.#durationS));
    this.#root.style.setProperty("--loop-end", String((region?.endS ?? 0) / this.#durationS));
  }

  close() {
    this.#resized.disconnect();
    this.#scheme.removeEventListener("change", this.#redrawAll);
  }

  #redrawAll = () => this.#redraws.forEach((redraw) => redraw());

  /**
   * @param {HTMLElement} parent
   * @param {(canvas: HTMLCanvasElement) => void} draw
   */
  #addCanvas(parent, draw) {
    const canvas = document.createElement("canvas");
    canvas.ariaHidden = "true";
    parent.append(canvas);
    this.#redraws.set(canvas, () => {
      canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
      canvas.height = Math.round(canvas.clientHeight * devicePixelRatio);
      draw(canvas);
    });
    this.#resized.observe(canvas);
    parent.addEventListener("pointerdown", (event) => this.#onPointer(event, canvas));
  }

  /**
   * A click seeks, and a drag chooses the part to repeat.
   *
   * @param {PointerEvent} down
   * @param {HTMLCanvasElement} canvas
   */
  #onPointer(down, canvas) {
    if (down.button !== 0) return;
    const { left, width } = canvas.getBoundingClientRect();
    const timeAt = (/** @type {PointerEvent} */ { clientX }) =>
      Math.min(Math.max(0, (clientX - left) / width), 1) * this.#durationS;
    const region = (/** @type {PointerEvent} */ event) => {
      const [startS, endS] = [timeAt(down), timeAt(event)].sort((one, other) => one - other);
      return Math.abs(event.clientX - down.clientX) < CLICK_PX ? null : { startS, endS };
    };
    const previous = this.#region;
    const gesture = new AbortController();
    const { signal } = gesture;
    canvas.setPointerCapture(down.pointerId);
    canvas.addEventListener("pointermove", (event) => this.showLoop(region(event) ?? previous), { signal });
    canvas.addEventListener("pointercancel", () => [gesture.abort(), this.showLoop(previous)], { signal });
    canvas.addEventListener("pointerup", (event) => {
      gesture.abort();
      const chosen = region(event);
      if (chosen) this.#choose(chosen);
      else this.#seek(timeAt(event));
      this.#slider.focus({ preventScroll: true });
    }, { signal });
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const [here, end, stepS] = [this.#positionS, this.#durationS, event.shiftKey ? FINE_STEP_S : STEP_S];
    const { startS, endS } = this.#region ?? { startS: 0, endS: end };
    const actions = new Map([
      ["ArrowLeft", () => this.#seek(here - stepS)],
      ["ArrowDown", () => this.#seek(here - stepS)],
      ["ArrowRight", () => this.#seek(here + stepS)],
      ["ArrowUp", () => this.#seek(here + stepS)],
      ["PageDown", () => this.#seek(here - PAGE_S)],
      ["PageUp", () => this.#seek(here + PAGE_S)],
      ["Home", () => this.#seek(0)],
      ["End", () => this.#seek(end)],
      ["[", () => this.#choose({ startS: here, endS: endS > here ? endS : end })],
      ["]", () => this.#choose({ startS: startS < here ? startS : 0, endS: here })],
      ["Escape", () => this.#choose(null)],
    ]);
    const action = actions.get(event.key);
    if (!action) return;
    event.preventDefault();
    action();
  }

  /** @param {number} positionS */
  #seek(positionS) {
    const detail = Math.min(Math.max(0, positionS), this.#durationS);
    this.showPosition(detail);
    this.dispatchEvent(new CustomEvent("seek", { detail }));
  }

  /** @param {Region | null} region */
  #choose(region) {
    this.showLoop(region);
    this.dispatchEvent(new CustomEvent("loop", { detail: region }));
  }
}

/**
 * Call `show` with the position of `player` whenever it changes: with each frame while it plays, or twice a second for
 * those who want less motion. Returns a function that ends it.
 *
 * @param {import("./player.js").Player} player
 * @param {(positionS: number) => void} show
 */
export function followPosition(player, show) {
  const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
  let [frame, shownMs] = [0, -Infinity];
  const next = (/** @type {number} */ nowMs) => {
    if (nowMs - shownMs >= (reducedMotion.matches ? 500 : 0)) {
      show(player.positionS);
      shownMs = nowMs;
    }
    frame = player.state === "playing" ? requestAnimationFrame(next) : 0;
  };
  const start = () => {
    cancelAnimationFrame(frame);
    shownMs = -Infinity;
    next(performance.now());
  };
  player.addEventListener("state", start);
  return () => {
    cancelAnimationFrame(frame);
    player.removeEventListener("state", start);
  };
}

/**
 * A native range: arrow keys, screen readers and their gestures work on it; pointers use the axis and the lanes.
 *
 * @param {string} label
 * @param {number} durationS
 */
function slider(label, durationS) {
  const input = document.createElement("input");
  Object.assign(input, { type: "range", min: "0", max: String(Math.floor(durationS)), step: "1", ariaLabel: label });
  return input;
}

/**
 * Rounded bars with gaps, each as high as the loudest sample above and below it; silence is a row of dots.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {Peaks[]} resolutions
 * @param {number} durationS
 * @param {number} fullScale
 */
function drawPeaks(canvas, resolutions, durationS, fullScale) {
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const [bar, step] = [BAR_PX * devicePixelRatio, BAR_STEP_PX * devicePixelRatio];
  const peaks = suitable(resolutions, durationS, canvas.width / step);
  const [middle, secondsPerPixel] = [canvas.height / 2, durationS / canvas.width];
  pen.fillStyle = getComputedStyle(canvas).color;
  for (let left = 0; left < canvas.width; left += step) {
    const found = peaks?.between(left * secondsPerPixel, (left + step) * secondsPerPixel) ?? [0, 0];
    const [low, high] = found.map((sample) => middle * sample / fullScale);
    const height = Math.max(bar, high - low);
    pen.beginPath();
    pen.roundRect(left, middle - (high + low + height) / 2, bar, height, bar / 2);
    pen.fill();
  }
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {number} durationS
 */
function drawAxis(canvas, durationS) {
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const style = getComputedStyle(canvas);
  const wantedS = durationS * TICK_PX / (canvas.clientWidth || 1);
  const stepS = TICKS_S.find((tickS) => tickS >= wantedS) ?? Math.ceil(wantedS / 3600) * 3600;
  pen.fillStyle = style.color;
  pen.font = `${parseFloat(style.fontSize) * devicePixelRatio}px ${style.fontFamily}`;
  pen.textBaseline = "middle";
  for (let tickS = 0; tickS < durationS; tickS += stepS) {
    const column = Math.round(tickS / durationS * canvas.width);
    pen.globalAlpha = .35;
    pen.fillRect(column, canvas.height - 6 * devicePixelRatio, devicePixelRatio, 6 * devicePixelRatio);
    pen.globalAlpha = 1;
    const text = shortTime(tickS);
    const left = column + 4 * devicePixelRatio;
    if (left + pen.measureText(text).width < canvas.width) pen.fillText(text, left, canvas.height / 2);
  }
}
