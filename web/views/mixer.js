/**
 * The mixer of one finished task: hear its stems together or alone, and download them.
 */

import { decoded, titleOf } from "../board/titles.js";
import { element, setText } from "../dom.js";
import { language, texts as allTexts } from "../language.js";
import { Peaks } from "../mixer/peaks.js";
import { openPlayer } from "../mixer/player.js";
import { shortTime } from "../mixer/spoken_time.js";
import { followPosition, WaveformView } from "../mixer/waveform.js";
import { ask } from "../service.js";
import { vocalsFirst } from "../stems.js";
import { showMixerKeys } from "./mixer_keys.js";
import { Strip } from "./strip.js";
import { loadStyle } from "./style.js";

const texts = allTexts.mixer;

/**
 * What GET /tasks/{id} says of a task, as far as the mixer needs it.
 *
 * @typedef {object} TaskDetails
 * @property {string} task_uuid
 * @property {string} audio
 * @property {string} status
 * @property {Record<string, string>} stems
 * @property {string | null} stems_deleted_at
 * @property {string} output_format
 * @property {{audio_s?: number, sample_rate?: number, model?: string, notes?: string[]}} facts
 */

/**
 * Show the mixer of the task `params.id`, and play its stem `params.stem` alone if that is given; the function that this
 * returns ends it.
 *
 * @param {HTMLElement} container
 * @param {Record<string, string>} params
 */
export function show(container, params) {
  const ending = new AbortController();
  const root = element("section", { className: "mixer" }, element("p", { role: "status" }, texts.opening));
  container.append(loadStyle("../mixer/waveform.css"), loadStyle("./mixer.css"), root);
  open(root, params, ending.signal).catch((error) => {
    if (!ending.signal.aborted) showProblem(root, error);
  });
  return () => {
    ending.abort();
    root.remove();
  };
}

/**
 * @param {HTMLElement} root
 * @param {Record<string, string>} params
 * @param {AbortSignal} signal
 */
async function open(root, { id, stem }, signal) {
  /** @type {TaskDetails} */
  const task = await ask("GET", `tasks/${id}`);
  signal.throwIfAborted();
  const names = vocalsFirst(Object.keys(task.stems));
  if (!names.length) {
    root.replaceChildren(backLink(), element("h1", {}, songOf(task)), element("p", {}, whyNoStems(task)));
    return;
  }
  const address = new URL(`tasks/${id}`, document.baseURI).href;
  const song = {
    stems: names.map((name) => ({ name, url: `${address}/stems/${encodeURIComponent(name)}` })),
    seconds: task.facts.audio_s,
    sampleRate: task.facts.sample_rate,
  };
  const player = await openPlayer(song, signal);
  if (signal.aborted) {
    player.close();
    return;
  }
  const desk = new Desk(root, task, address, player, signal);
  if (stem) desk.listenTo(decoded(stem));
}

/** The open mixer: transport, time axis, and a strip for each stem. */
class Desk {
  #root;
  #player;
  #signal;
  /** @type {{startS: number, endS: number} | null} */
  #loop = null;
  #play = element("button", { type: "button", className: "play" });
  #time = element("output", { className: "time" });
  #original = element("button", { type: "button", className: "toggle", "aria-pressed": "false" }, texts.original);
  #endLoop = element("button", { type: "button", className: "toggle", hidden: true });
  #notice = element("p", { className: "notice", role: "status" });

  /**
   * @param {HTMLElement} root
   * @param {TaskDetails} task
   * @param {string} address of the task
   * @param {import("../mixer/player.js").Player} player
   * @param {AbortSignal} signal ends it
   */
  constructor(root, task, address, player, signal) {
    this.#root = root;
    this.#player = player;
    this.#signal = signal;
    const axis = element("div", { className: "axis" });
    const strips = player.mix.channels.map(({ name }, stem) =>
      new Strip(player.mix, stem, `${address}/stems/${encodeURIComponent(name)}`)
    );
    const lanes = element("div", { className: "lanes" }, element("div", { className: "corner" }), axis);
    for (const { head, lane } of strips) lanes.append(head, lane);
    root.replaceChildren(
      backLink(),
      element("h1", {}, songOf(task)),
      element("p", { className: "facts" }, factsOf(task, player)),
      this.#transport(address),
      this.#notice,
      lanes,
      element("p", { className: "hint" }, texts.hint, " ", element("span", { className: "for-keys" }, texts.hintKeys)),
    );
    const options = { durationS: player.durationS, language, label: texts.position };
    this.view = new WaveformView(lanes, axis, options);
    this.#connect(strips);
    this.#tell(kindNotice(player.kind));
    drawLanes(this.view, strips, address, signal).then((hasPeaks) => hasPeaks || this.#tell(texts.noPeaks));
  }

  /** Play this stem alone. Without a click on the page before, browsers allow no sound. @param {string} name */
  listenTo(name) {
    const { mix } = this.#player;
    const stem = mix.channels.findIndex((channel) => channel.name === name);
    if (stem < 0) return;
    mix.set(stem, { isSolo: true });
    if (navigator.userActivation.hasBeenActive) this.#player.toggle();
  }

  /** @param {string} address */
  #transport(address) {
    const keys = element("button", { type: "button", className: "for-keys", "aria-keyshortcuts": "?" }, texts.keyboard);
    keys.addEventListener("click", showMixerKeys);
    const all = element("a", { className: "download", href: `${address}/stems.zip`, download: "" }, texts.downloadAll);
    const buttons = [this.#play, this.#time, this.#original, this.#endLoop, all, keys];
    return element("div", { className: "transport", role: "group", "aria-label": texts.transport }, ...buttons);
  }

  /** @param {Strip[]} strips */
  #connect(strips) {
    const [player, { signal }] = [this.#player, { signal: this.#signal }];
    const stopFollowing = followPosition(player, (positionS) => this.#showPosition(positionS));
    player.addEventListener("state", () => this.#showState(), { signal });
    player.addEventListener("trouble", (event) => this.#onTrouble(/** @type {CustomEvent} */ (event).detail), {
      signal,
    });
    player.mix.addEventListener("change", () => this.#showMix(strips), { signal });
    this.#play.addEventListener("click", () => player.toggle());
    this.#original.addEventListener("click", () => player.mix.isOriginal = !player.mix.isOriginal);
    this.#endLoop.addEventListener("click", () => this.#setLoop(null));
    this.view.addEventListener("seek", (event) => this.#seek(/** @type {CustomEvent} */ (event).detail), { signal });
    this.view.addEventListener("loop", (event) => this.#setLoop(/** @type {CustomEvent} */ (event).detail), { signal });
    addEventListener("keydown", (event) => this.#onKey(event), { signal, capture: true });
    signal.addEventListener("abort", () => {
      stopFollowing();
      this.view.close();
      player.close();
    });
    this.#showState();
    this.#showMix(strips);
    this.#showPosition(0);
  }

  /** @param {number} positionS */
  #seek(positionS) {
    this.#player.seek(positionS);
    this.#showPosition(positionS);
  }

  /** @param {{startS: number, endS: number} | null} region */
  #setLoop(region) {
    const hadFocus = document.activeElement === this.#endLoop;
    this.#loop = region;
    this.view.showLoop(region);
    this.#player.setLoop(region);
    this.#endLoop.hidden = region === null;
    if (region === null && hadFocus) this.#play.focus(); // a button that is hidden would lose the focus to nowhere
    if (region) {
      const span = `${shortTime(region.startS)}–${shortTime(region.endS)}`;
      this.#endLoop.textContent = texts.endLoop(span);
      if (this.#player.positionS < region.startS || this.#player.positionS >= region.endS) this.#seek(region.startS);
    }
  }

  /** @param {number} positionS */
  #showPosition(positionS) {
    this.view.showPosition(positionS);
    setText(this.#time, `${shortTime(positionS)} / ${shortTime(this.#player.durationS)}`);
  }

  #showState() {
    const { state } = this.#player;
    const isPaused = state === "paused";
    setText(this.#play, isPaused ? texts.play : texts.pause);
    this.#root.dataset.state = state;
    if (state === "playing") this.#tell(kindNotice(this.#player.kind));
  }

  /** @param {Strip[]} strips */
  #showMix(strips) {
    this.#original.setAttribute("aria-pressed", String(this.#player.mix.isOriginal));
    for (const strip of strips) strip.update();
  }

  /** @param {import("../mixer/byte_ranges.js").SourceError} error */
  #onTrouble(error) {
    console.warn(error);
    this.#tell(texts.trouble[error.isTransient ? "transient" : error.reason] ?? texts.trouble.unreadable);
  }

  /** @param {string} sentence */
  #tell(sentence) {
    setText(this.#notice, sentence);
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const target = /** @type {Element} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (target.matches("textarea, select, input:not([type=range])")) return;
    const action = this.#actionOf(event, target);
    if (!action) return;
    event.preventDefault();
    event.stopImmediatePropagation(); // the page has keys of its own
    action();
  }

  /**
   * @param {KeyboardEvent} event
   * @param {Element} target
   */
  #actionOf(event, target) {
    const { mix } = this.#player;
    const stem = /^Digit([1-9])$/.test(event.code) ? Number(event.code.at(-1)) - 1 : -1;
    const channel = mix.channels[stem];
    if (channel && event.shiftKey) return () => mix.set(stem, { isMuted: !channel.isMuted });
    if (channel) return () => mix.set(stem, { isSolo: !channel.isSolo });
    if (event.key === " " && !target.matches("button, a, summary")) return () => this.#player.toggle();
    if (event.key === "o") return () => mix.isOriginal = !mix.isOriginal;
    if (event.key === "l" && this.#loop) return () => this.#setLoop(null);
    return event.key === "?" ? showMixerKeys : null;
  }
}

/**
 * Draw the waveform of each stem; false if there are no peaks, and the waveforms are lines.
 *
 * @param {WaveformView} view
 * @param {Strip[]} strips
 * @param {string} address
 * @param {AbortSignal} signal
 */
async function drawLanes(view, strips, address, signal) {
  const found = await Promise.all(strips.map(({ name }) => peaksOf(address, name, signal)));
  if (signal.aborted) return true;
  const peak = Math.max(...found.map(([resolution]) => resolution?.peak ?? 0)); // a quiet song is drawn as high
  strips.forEach(({ lane }, stem) => view.addLane(lane, found[stem], 1.08 * peak || 1));
  return found.every((resolutions) => resolutions.length > 0);
}

/**
 * @param {string} address
 * @param {string} stem
 * @param {AbortSignal} signal
 */
async function peaksOf(address, stem, signal) {
  const resolutions = ["coarse", "fine"].map(async (resolution) => {
    const answer = await fetch(`${address}/peaks?${new URLSearchParams({ stem, resolution })}`, { signal });
    return answer.ok ? [new Peaks(await answer.arrayBuffer())] : [];
  });
  return (await Promise.all(resolutions).catch(() => [])).flat();
}

/** @param {"pieces" | "whole" | "media"} kind */
function kindNotice(kind) {
  return kind === "pieces" ? "" : texts.kind[kind];
}

/** Its name without the ending of a file. @param {TaskDetails} task */
function songOf(task) {
  return titleOf(task).replace(/\.\w{2,4}$/, "");
}

/**
 * @param {TaskDetails} task
 * @param {import("../mixer/player.js").Player} player
 */
function factsOf({ facts, output_format }, player) {
  return [facts.model, shortTime(player.durationS), output_format.toUpperCase()].filter(Boolean).join(" · ");
}

/** @param {TaskDetails} task */
function whyNoStems({ status, stems_deleted_at }) {
  if (stems_deleted_at) return texts.stemsDeleted;
  return ["failed", "cancelled"].includes(status) ? texts.noStems : texts.notYet;
}

function backLink() {
  return element("a", { className: "back", href: "#/" }, texts.back);
}

/**
 * @param {HTMLElement} root
 * @param {any} error
 */
function showProblem(root, error) {
  console.warn(error);
  const sentence = error.reason ? texts.trouble[error.reason] ?? texts.trouble.transient : error.message;
  root.replaceChildren(backLink(), element("p", { className: "problem", role: "alert" }, sentence));
}
