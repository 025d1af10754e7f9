/**
 * Which view the page shows, by the hash of its address: #/, #/tasks/ID, #/tasks/ID/STEM, #/admin. A view is loaded when it is needed.
 *
 * A view is a module with `show(container, params)`, which fills the container and returns a function that ends it.
 */

import { element, find } from "./dom.js";
import { texts } from "./language.js";

const views = {
  songs: /^#?\/?$/,
  mixer: /^#\/tasks\/(?<id>[0-9a-f-]+)(?:\/(?<stem>[\w%.-]+))?$/,
  operator: /^#\/admin$/,
};

/** Shows views in `container`, from `start` until `stop`. */
export class Router {
  #container;
  #end = () => {};
  #turn = 0;
  #show = () => void this.#showCurrent();

  /** @param {HTMLElement} container */
  constructor(container) {
    this.#container = container;
  }

  start() {
    addEventListener("hashchange", this.#show);
    this.#show();
  }

  stop() {
    removeEventListener("hashchange", this.#show);
    this.#leave();
  }

  #leave() {
    this.#turn++;
    this.#end();
    this.#end = () => {};
    this.#container.replaceChildren();
  }

  async #showCurrent() {
    if (location.hash === "#view") return; // the link that skips the navigation
    this.#leave();
    const turn = this.#turn;
    const { name, params } = currentView();
    markCurrent(name);
    try {
      const view = await import(`./views/${name}.js`);
      if (turn === this.#turn) this.#end = view.show(this.#container, params);
    } catch (error) {
      console.error(error);
      if (turn === this.#turn) this.#container.append(element("p", { className: "problem" }, texts.viewMissing));
    }
  }
}

/** @returns {{ name: string, params: Record<string, string> }} an address that is not known is that of the songs */
function currentView() {
  for (const [name, pattern] of Object.entries(views)) {
    const match = pattern.exec(location.hash);
    if (match) return { name, params: { ...match.groups } };
  }
  return { name: "songs", params: {} };
}

/** @param {string} name */
function markCurrent(name) {
  const address = { songs: "#/", operator: "#/admin" }[name];
  for (const link of find("#navigation").querySelectorAll("a")) {
    if (link.getAttribute("href") === address) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}
