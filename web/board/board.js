/**
 * The board: the tasks of the user as they change, with a filter and a search.
 */

import { announce, element, setText } from "../dom.js";
import { texts } from "../language.js";
import { Actions } from "./actions.js";
import { Feed } from "./feed.js";
import { makeRow } from "./row.js";
import { modelOf, titleOf } from "./titles.js";
import { WindowList } from "./window_list.js";

/** @typedef {import("./feed.js").Task} Task */

/** @type {Record<string, (task: Task) => boolean>} */
const filters = {
  all: () => true,
  working: ({ status }) => ["queued", "processing", "uploading"].includes(status),
  success: ({ status }) => status === "success",
  failed: ({ status }) => status === "failed",
  cancelled: ({ status }) => status === "cancelled",
};

/** The board, from `start` until `stop`. */
export class Board {
  #feed = new Feed();
  #actions = new Actions(this.#feed);
  #search = element("input", { id: "search", type: "search", "data-key": "/", autocomplete: "off" });
  #filter = element("select", { id: "filter" });
  #count = element("span", { className: "soft" });
  #connection = element("span", { className: "connection", role: "status" });
  #empty = element("div", { className: "empty soft" });
  #list = element("ul", { className: "tasks", role: "list", "aria-label": texts.tasks });
  #rows = new WindowList(this.#list, (/** @type {Task} */ task) => makeRow(task, this.#actions));
  #clock = 0;
  view = element("section", { className: "board", "aria-labelledby": "board-title" });

  constructor() {
    this.#filter.append(...Object.keys(filters).map((it) => element("option", { value: it }, texts.filters[it])));
    this.view.append(
      element("h1", { id: "board-title" }, texts.tasks),
      element(
        "div",
        { className: "tools" },
        element("div", {}, element("label", { htmlFor: "search" }, texts.search), this.#search),
        element("div", {}, element("label", { htmlFor: "filter" }, texts.state), this.#filter),
      ),
      element("p", { className: "summary" }, this.#count, this.#connection),
      this.#empty,
      this.#list,
    );
    this.#search.addEventListener("input", () => this.#show());
    this.#filter.addEventListener("change", () => this.#show());
    this.#feed.addEventListener("tasks", (event) => this.#changed(/** @type {CustomEvent<Task[]>} */ (event).detail));
    this.#feed.addEventListener("connection", () => this.#showConnection());
  }

  start() {
    this.#rows.start();
    this.#feed.start();
    this.#clock = setInterval(() => document.hidden || this.#rows.refresh(), 1000);
    this.#show();
  }

  stop() {
    clearInterval(this.#clock);
    this.#feed.stop();
    this.#rows.stop();
  }

  /** @param {Task[]} moved */
  #changed(moved) {
    this.#show();
    const ended = moved.filter(({ status }) => status === "success" || status === "failed");
    if (ended.length > 3) announce(texts.manyEnded(ended.length));
    else if (ended.length) announce(ended.map((task) => `${titleOf(task)}: ${texts.states[task.status]}`).join(". "));
  }

  #showConnection() {
    setText(this.#connection, this.#feed.isLive ? "" : texts.connecting);
  }

  #show() {
    const all = [...this.#feed.tasks.values()];
    const words = this.#search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = filters[this.#filter.value];
    const shown = all.filter((task) => matches(task) && hasWords(task, words)).sort(newestFirst);
    this.#rows.show(shown);
    setText(this.#count, this.#feed.isComplete ? this.#countText(shown.length, all.length) : "");
    this.#empty.hidden = shown.length > 0;
    this.#showEmpty(!this.#feed.isComplete ? "loading" : all.length ? "nothingFound" : "noTasks");
  }

  /** @param {"loading" | "nothingFound" | "noTasks"} why nothing is listed */
  #showEmpty(why) {
    if (this.#empty.dataset.why === why) return;
    this.#empty.dataset.why = why;
    const picture = element("img", { src: "console/stems.svg", alt: "", width: 480, height: 144 });
    const welcome = [picture, element("h2", {}, texts.noTasksTitle), element("p", {}, texts.noTasks)];
    const sentence = element("p", {}, why === "loading" ? texts.loading : texts.nothingFound);
    this.#empty.replaceChildren(...(why === "noTasks" ? welcome : [sentence]));
  }

  /**
   * @param {number} shown
   * @param {number} all
   */
  #countText(shown, all) {
    const count = shown === all ? texts.count(all) : texts.countOf(shown, all);
    return this.#feed.leftOut ? `${count} ${texts.olderLeftOut}` : count;
  }
}

/**
 * @param {Task} task
 * @param {string[]} words
 */
function hasWords(task, words) {
  if (!words.length) return true;
  const text = [titleOf(task), task.audio, modelOf(task), task.owner, task.task_uuid].join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

/**
 * @param {Task} a
 * @param {Task} b
 */
function newestFirst(a, b) {
  return a.created_at === b.created_at ? (a.task_uuid < b.task_uuid ? 1 : -1) : (a.created_at < b.created_at ? 1 : -1);
}
