/**
 * The choice of a model or a preset, of the stems that it gives, and what is known about its license.
 */

import { element } from "../dom.js";
import { texts } from "../language.js";
import { ask } from "../service.js";
import { stemTitle } from "../stems.js";

const refreshEveryMs = 30_000;

/**
 * @typedef {object} Model
 * @property {string} name
 * @property {string} title
 * @property {boolean} offered
 * @property {string[]} stems
 * @property {string} license empty for a model of the operator's own
 * @property {"allowed" | "not allowed" | "unknown"} commercial_use
 */

/**
 * @typedef {object} Offers the answer to GET /models
 * @property {Model[]} models
 * @property {{ name: string, purpose: string, offered: boolean, model: string | string[] | null }[]} presets
 * @property {string} default
 */

export class Choice {
  /** @type {Offers} */
  #offers = { models: [], presets: [], default: "" };
  #shown = "";
  #timer = 0;
  select = element("select", { id: "model" });
  about = element("p", { className: "about-model soft", id: "about-model" });
  stems = element("div", { className: "stems" });

  constructor() {
    this.select.setAttribute("aria-describedby", this.about.id);
    this.select.addEventListener("change", () => this.#showChosen());
    this.#fill();
  }

  /** Keep up with what the service offers; a processor that has just started tells after a while. */
  start() {
    const refresh = () => void this.#refresh();
    refresh();
    this.#timer = setInterval(refresh, refreshEveryMs);
  }

  stop() {
    clearInterval(this.#timer);
  }

  /** The fields of the request, without those that would say what the service does by itself. */
  get fields() {
    const boxes = [...this.stems.querySelectorAll("input")];
    const chosen = boxes.filter(({ checked }) => checked).map(({ value }) => value);
    return {
      ...(this.select.value ? { model: this.select.value } : {}),
      ...(chosen.length < boxes.length ? { stems: chosen } : {}),
    };
  }

  /** Whether every stem has been deselected. */
  get isEmpty() {
    return Boolean(this.stems.querySelector("input")) && !this.stems.querySelector("input:checked");
  }

  async #refresh() {
    try {
      this.#offers = await ask("GET", "models");
    } catch {
      return; // the default is still there, and the next round asks again
    }
    const text = JSON.stringify(this.#offers);
    if (text === this.#shown || document.activeElement === this.select) return;
    this.#shown = text;
    this.#fill();
  }

  #fill() {
    const chosen = this.select.value;
    const { models, presets } = this.#offers;
    const presetOptions = presets.filter(({ offered }) => offered).map(({ name, purpose }) => {
      const { title, about } = texts.presets[name] ?? { title: name, about: purpose };
      return element("option", { value: name }, `${title}: ${about}`);
    });
    const modelOptions = models.filter(({ offered }) => offered)
      .map(({ name, title }) => element("option", { value: name }, title || name));
    this.select.replaceChildren(
      element("option", { value: "" }, texts.standardModel(this.#modelNamed(this.#offers.default)?.title ?? "")),
      ...(presetOptions.length ? [element("optgroup", { label: texts.presetGroup }, ...presetOptions)] : []),
      ...(modelOptions.length ? [element("optgroup", { label: texts.modelGroup }, ...modelOptions)] : []),
    );
    this.select.value = chosen;
    if (this.select.selectedIndex < 0) this.select.selectedIndex = 0;
    this.#showChosen();
  }

  #showChosen() {
    this.#showStems();
    const isPreset = this.#offers.presets.some(({ name }) => name === this.select.value);
    const models = this.#modelNames().map((name) => this.#modelNamed(name)).filter((model) => model !== undefined);
    const sentences = models.map(({ title, license, commercial_use }) =>
      [
        ...(isPreset ? [texts.modelOfPreset(title)] : []),
        ...(license ? [texts.license(license, texts.commercialUse[commercial_use])] : []),
      ].join(" ")
    );
    this.about.textContent = sentences.join(" ");
    this.about.hidden = !this.about.textContent;
  }

  #showStems() {
    const names = this.#stemNames();
    const boxes = [...this.stems.querySelectorAll("input")];
    if (boxes.map(({ value }) => value).join() === names.join() && this.stems.childElementCount) return;
    this.stems.replaceChildren(
      ...(names.length
        ? names.map((name) =>
          element("label", {}, element("input", { type: "checkbox", value: name, checked: true }), stemTitle(name))
        )
        : [element("span", { className: "soft" }, texts.allStems)]),
    );
  }

  /** The models that a song gets which is sent now. */
  #modelNames() {
    const value = this.select.value || this.#offers.default;
    const preset = this.#offers.presets.find(({ name }) => name === value);
    return [preset?.model ?? value].flat();
  }

  /** Of several models, whose estimates are averaged, the stems that all of them give. */
  #stemNames() {
    const lists = this.#modelNames().map((name) => this.#modelNamed(name)?.stems ?? []);
    return lists.reduce((common, stems) => common.filter((stem) => stems.includes(stem)));
  }

  /** @param {string} name */
  #modelNamed(name) {
    return this.#offers.models.find((model) => model.name === name);
  }
}
