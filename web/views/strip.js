/**
 * One stem on the mixing desk: its name, solo, mute, fader and download, and the lane of its waveform.
 */

import { element } from "../dom.js";
import { texts as allTexts } from "../language.js";

const texts = allTexts.mixer;

export class Strip {
  #mix;
  #stem;
  #solo = toggle(texts.solo);
  #mute = toggle(texts.mute);
  #volume = element("input", { type: "range", min: "0", max: "100", step: "1" });

  /**
   * @param {import("../mixer/mix.js").Mix} mix
   * @param {number} stem its number in the mix
   * @param {string} address of the stem
   */
  constructor(mix, stem, address) {
    this.#mix = mix;
    this.#stem = stem;
    this.name = mix.channels[stem].name;
    const shown = texts.stemNames[this.name] ?? this.name.replaceAll("_", " ");
    const title = element("h2", {}, shown);
    for (
      const [control, purpose] of /** @type {[HTMLElement, string][]} */ ([
        [this.#solo, texts.solo],
        [this.#mute, texts.mute],
        [this.#volume, texts.volume],
      ])
    ) control.ariaLabel = `${purpose}: ${shown}`;
    const download = element("a", { className: "download", href: address, download: "" }, texts.download);
    download.ariaLabel = `${texts.download}: ${shown}`;
    this.head = element("div", { className: "strip", role: "group", "aria-label": shown });
    this.head.append(title, this.#solo, this.#mute, this.#volume, download);
    this.lane = element("div", { className: "lane" });
    for (const part of [this.head, this.lane]) part.dataset.stem = this.name;
    this.#solo.addEventListener("click", () => mix.set(stem, { isSolo: !mix.channels[stem].isSolo }));
    this.#mute.addEventListener("click", () => mix.set(stem, { isMuted: !mix.channels[stem].isMuted }));
    this.#volume.addEventListener("input", () => mix.set(stem, { volume: this.#volume.valueAsNumber / 100 }));
  }

  /** Show what the mix says of the stem. */
  update() {
    const { volume, isMuted, isSolo } = this.#mix.channels[this.#stem];
    const isAnySolo = this.#mix.channels.some((channel) => channel.isSolo);
    const isAudible = this.#mix.isOriginal || (isAnySolo ? isSolo : !isMuted);
    this.#solo.ariaPressed = String(isSolo);
    this.#mute.ariaPressed = String(isMuted);
    this.#volume.value = String(Math.round(volume * 100));
    this.#volume.ariaValueText = `${this.#volume.value} %`;
    this.lane.classList.toggle("silent", !isAudible);
  }
}

/** @param {string} label */
function toggle(label) {
  return element("button", { type: "button", className: "toggle", "aria-pressed": "false" }, label);
}
