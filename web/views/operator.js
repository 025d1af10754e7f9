/**
 * The whole service on one screen, for the admin: queues, workers, nodes, disks, storage and Redis, what was given up,
 * which webhooks failed, and what can be done.
 */

import { element, setText } from "../dom.js";
import { texts as allTexts } from "../language.js";
import { ask } from "../service.js";
import { FailedWebhooks } from "./failed_webhooks.js";
import { Panel, table, taskLink, when } from "./panel.js";
import { counts, disks, nodes, queues, redis, storage, workers } from "./service_state.js";
import { loadStyle } from "./style.js";

const texts = allTexts.operatorView;
const REFRESH_MS = 4000;
const WIDE = new Set(["dead", "webhooks"]);
const PANELS =
  /** @type {const} */ (["tasks", "queues", "workers", "disks", "storage", "redis", "nodes", "dead", "webhooks"]);

/**
 * Show it in `container`; the function that this returns ends it.
 *
 * @param {HTMLElement} container
 */
export function show(container) {
  const root = element("section", { className: "operator" });
  container.append(loadStyle("./operator.css"), root);
  const screen = new Screen(root);
  screen.refresh();
  const timer = setInterval(() => document.hidden || screen.refresh(), REFRESH_MS);
  return () => {
    clearInterval(timer);
    screen.end();
    root.remove();
  };
}

class Screen {
  #body = element("div", { className: "panels" }, element("p", {}, texts.loading));
  #notice = element("p", { className: "notice", role: "status" });
  #panels = Object.fromEntries(PANELS.map((name) => [name, new Panel(texts[name], WIDE.has(name))]));
  #webhooks = new FailedWebhooks(this.#panels.webhooks, (...request) => this.#button(...request));
  #isOver = false;
  #isAsking = false;
  #isOutdated = false;
  /** What the service said when it refused the last request of the view itself, "" after an answer. */
  #refusal = "";

  /** @param {HTMLElement} root */
  constructor(root) {
    root.append(element("h1", {}, texts.title), this.#notice, this.#body);
  }

  end() {
    this.#isOver = true;
  }

  /**
   * Ask the service, and show what is new.
   *
   * @param {boolean} [isAfterAction] then an answer that is on its way is not new enough
   */
  async refresh(isAfterAction = false) {
    this.#isOutdated = isAfterAction && this.#isAsking;
    if (this.#isAsking || this.#isOver) return;
    this.#isAsking = true;
    let refusal = "";
    try {
      const [overview, dead] = await Promise.all([ask("GET", "admin/overview"), ask("GET", "admin/dead-letters")]);
      if (!this.#isOver) this.#show(overview, dead);
      await this.#webhooks.refresh();
    } catch (error) {
      const { status, message } = /** @type {import("../service.js").Refusal} */ (error);
      refusal = status === 403 ? texts.adminOnly : message;
      if (status === 403) this.#body.replaceChildren();
    }
    if (refusal || this.#notice.textContent === this.#refusal) setText(this.#notice, refusal);
    this.#refusal = refusal;
    this.#isAsking = false;
    if (this.#isOutdated) await this.refresh();
  }

  /** @param {any} overview @param {any} dead */
  #show(overview, dead) {
    const panels = this.#panels;
    if (!panels.tasks.root.isConnected) this.#body.replaceChildren(...Object.values(panels).map(({ root }) => root));
    panels.tasks.show(overview.tasks, counts);
    panels.queues.show(overview.queues, queues);
    panels.workers.show(overview.workers, workers);
    panels.nodes.show(overview.nodes, nodes);
    panels.disks.show(overview.disks, disks);
    panels.storage.show(overview.storage, storage);
    panels.redis.show(overview.redis, redis);
    panels.dead.show(dead, (found) => this.#deadLetters(found));
  }

  /** @param {{ dead_letters: any[], total: number }} found */
  #deadLetters({ dead_letters, total }) {
    if (!dead_letters.length) return element("p", {}, texts.noDead);
    const { dead } = this.#panels;
    const rows = dead_letters.map(({ task_uuid, queue, error_message, buried_at, failures }) => {
      const path = `admin/dead-letters/${task_uuid}`;
      const query = `?queue=${queue}`;
      const back = this.#button(dead, texts.bringBack, task_uuid, ["POST", `${path}/retry${query}`, texts.broughtBack]);
      const drop = this.#button(dead, texts.drop, task_uuid, ["DELETE", path + query, texts.dropped], texts.really);
      const buttons = element("div", { className: "group" }, back, drop);
      return [taskLink(task_uuid), queue, error_message, when(buried_at), failures, buttons];
    });
    const rest = total > rows.length ? [element("p", {}, texts.ofAll(rows.length, total))] : [];
    const heads = [texts.task, texts.queue, texts.reason, texts.when, texts.failures, texts.actions];
    return element("div", {}, table(heads, rows, "stack"), ...rest);
  }

  /**
   * A button that sends a request about a task; with `question`, only after a second press.
   *
   * @param {Panel} panel that it is in
   * @param {string} label
   * @param {string} task
   * @param {[string, string, string]} request its method and path, and what is said once it was done
   * @param {string} [question]
   */
  #button(panel, label, task, [method, path, done], question = "") {
    const button = element("button", { type: "button", ariaLabel: `${label}: ${task}` }, label);
    const name = (/** @type {string} */ text) =>
      Object.assign(button, { textContent: text, ariaLabel: `${text}: ${task}` });
    button.addEventListener("blur", () => name(label));
    button.addEventListener("click", async () => {
      if (question && button.textContent !== question) return name(question);
      button.disabled = true;
      try {
        await ask(method, path);
        setText(this.#notice, done);
      } catch (error) {
        setText(this.#notice, /** @type {Error} */ (error).message);
      }
      panel.markOutdated();
      this.#webhooks.forget();
      this.refresh(true);
    });
    return button;
  }
}
