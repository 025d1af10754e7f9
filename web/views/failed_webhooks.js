/**
 * The webhooks that were given up, newest task first: to whom, what went wrong at each try, and a button to send each
 * again.
 */

import { pointInTime } from "../board/times.js";
import { element, setText } from "../dom.js";
import { texts as allTexts } from "../language.js";
import { ask } from "../service.js";
import { table, taskLink, when } from "./panel.js";

const texts = allTexts.operatorView;
const FAILED = "tasks?webhook=failed&limit=20";
const REFRESH_MS = 15_000;
const MAX_PAGES = 20;

/**
 * @typedef {{ task_uuid: string, finished_at: string }} EndedTask
 * @typedef {{ at: string, error: string, status_code: number | null, duration_ms: number }} Try
 * @typedef {import("./panel.js").Panel} Panel
 * @typedef {(panel: Panel, label: string, task: string, request: [string, string, string]) => HTMLElement} MakeButton
 */

export class FailedWebhooks {
  #panel;
  #button;
  #askedAt = -Infinity;
  #tasks = /** @type {EndedTask[]} */ ([]);
  #cursor = /** @type {string | null} */ (null);
  #hasLooked = false;
  /** Tasks from further back, which are not asked for again. */
  #older = /** @type {EndedTask[]} */ ([]);
  #details = /** @type {Map<string, Promise<any>>} */ (new Map());

  /**
   * @param {Panel} panel
   * @param {MakeButton} button
   */
  constructor(panel, button) {
    this.#panel = panel;
    this.#button = button;
  }

  /** Ask for the newest, but not each time: the service reads hundreds of tasks for this. Throws a `Refusal`. */
  async refresh() {
    if (performance.now() - this.#askedAt < REFRESH_MS) return;
    this.#askedAt = performance.now();
    const { tasks, next_cursor } = await ask("GET", FAILED);
    this.#tasks = tasks;
    if (!this.#hasLooked) this.#cursor = next_cursor;
    this.#show();
  }

  /** Something was sent again or brought back: ask for all of it. */
  forget() {
    this.#askedAt = -Infinity;
    this.#hasLooked = false;
    this.#older = [];
    this.#details.clear();
    this.#panel.markOutdated();
  }

  /** Read back until there is one, or through some thousands of tasks: then the button is there again. */
  async #lookFurther() {
    this.#hasLooked = true;
    for (let page = 0, found = 0; page < MAX_PAGES && !found && this.#cursor; page++) {
      const { tasks, next_cursor } = await ask("GET", `${FAILED}&cursor=${this.#cursor}`);
      this.#older.push(...tasks);
      this.#cursor = next_cursor;
      found = tasks.length;
    }
    this.#panel.markOutdated();
    this.#show();
  }

  #show() {
    const known = new Map([...this.#tasks, ...this.#older].map((task) => [task.task_uuid, task]));
    this.#panel.show({ tasks: [...known.values()], cursor: this.#cursor }, ({ tasks, cursor }) => {
      const none = element("p", {}, cursor ? texts.noneFound : texts.noWebhooks);
      return element("div", {}, tasks.length ? this.#table(tasks) : none, ...(cursor ? [this.#further()] : []));
    });
  }

  #further() {
    const button = element("button", { type: "button" }, texts.further);
    button.addEventListener("click", () => {
      button.disabled = true;
      this.#lookFurther().catch((error) => setText(button, error.message));
    });
    return button;
  }

  /** @param {EndedTask[]} tasks */
  #table(tasks) {
    const rows = tasks.map(({ task_uuid, finished_at }) => {
      const request = /** @type {[string, string, string]} */ (["POST", `tasks/${task_uuid}/webhook`, texts.sentAgain]);
      const receiver = element("span", {}, "…");
      const tries = element("div", {});
      this.#detailsOf(task_uuid).then(({ hook_url, webhook }) => {
        setText(receiver, hook_url ?? "");
        tries.append(listOf(webhook.tries));
      }, () => setText(receiver, texts.notFound));
      const again = this.#button(this.#panel, texts.redeliver, task_uuid, request);
      return [taskLink(task_uuid), when(finished_at), receiver, tries, again];
    });
    return table([texts.task, texts.when, texts.receiver, texts.tries, texts.actions], rows, "stack");
  }

  /** @param {string} task */
  #detailsOf(task) {
    const details = this.#details.get(task) ?? ask("GET", `tasks/${task}`);
    this.#details.set(task, details);
    details.catch(() => this.#details.delete(task));
    return details;
  }
}

/**
 * The last try, and the others on request.
 *
 * @param {Try[]} tries oldest first
 */
function listOf(tries) {
  const lines = tries.map(({ at, error, duration_ms }) => `${pointInTime(at)}: ${error} (${duration_ms} ms)`).reverse();
  const last = tries.length ? `${tries.length}: ${tries[tries.length - 1].error}` : "0";
  const others = element("ul", {}, ...lines.map((line) => element("li", {}, line)));
  return element("details", {}, element("summary", {}, last), others);
}
