/**
 * The whole service on one screen, for the admin: queues, workers, nodes, what was given up, and what can be done.
 */

import { element, setText } from "../dom.js";
import { language, texts as allTexts } from "../language.js";
import { shortTime } from "../mixer/spoken_time.js";
import { ask } from "../service.js";
import { loadStyle } from "./style.js";

const texts = allTexts.operatorView;
const REFRESH_MS = 3000;

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
  #shown = "";
  #isOver = false;
  #isAsking = false;

  /** @param {HTMLElement} root */
  constructor(root) {
    root.append(element("h1", {}, texts.title), this.#notice, this.#body);
  }

  end() {
    this.#isOver = true;
  }

  /** Ask the service, and show its answer if it is another one. */
  async refresh() {
    if (this.#isAsking) return;
    this.#isAsking = true;
    try {
      const [overview, dead, webhooks] = await Promise.all([
        ask("GET", "admin/overview"),
        ask("GET", "admin/dead-letters"),
        ask("GET", "tasks?webhook=failed&limit=20"),
      ]);
      this.#show(overview, dead.dead_letters, webhooks.tasks);
    } catch (error) {
      const { status, message } = /** @type {{status?: number, message: string}} */ (error);
      setText(this.#notice, status === 403 ? texts.adminOnly : message);
      if (status === 403) this.#body.replaceChildren();
    } finally {
      this.#isAsking = false;
    }
  }

  /** @param {any} overview @param {any[]} dead @param {any[]} webhooks */
  #show(overview, dead, webhooks) {
    const found = JSON.stringify([overview, dead, webhooks]);
    // Nobody loses a button that has the focus, or the pointer on it, to a new number.
    const isInUse = this.#body.querySelector("button:focus, button:hover") !== null;
    if (this.#isOver || found === this.#shown || isInUse) return;
    this.#shown = found;
    this.#body.replaceChildren(
      counts(overview.tasks),
      panel(texts.queues, queues(overview.queues)),
      panel(texts.workers, workers(overview.workers)),
      panel(texts.nodes, nodes(overview.nodes)),
      panel(texts.redis, redis(overview.redis)),
      panel(texts.dead, this.#deadLetters(dead)),
      panel(texts.webhooks, this.#webhooks(webhooks)),
    );
  }

  /** @param {any[]} letters */
  #deadLetters(letters) {
    if (!letters.length) return element("p", {}, texts.noDead);
    const rows = letters.map(({ task_uuid, queue, error_message, buried_at, failures }) => {
      const path = `admin/dead-letters/${task_uuid}`;
      const query = `?queue=${queue}`;
      const back = this.#button(texts.bringBack, task_uuid, ["POST", `${path}/retry${query}`, texts.broughtBack]);
      const drop = this.#button(texts.drop, task_uuid, ["DELETE", path + query, texts.dropped], texts.really);
      return [taskLink(task_uuid), queue, error_message, moment(buried_at), failures, group(back, drop)];
    });
    return table([texts.task, texts.queue, texts.reason, texts.when, texts.tries, texts.actions], rows);
  }

  /** @param {any[]} tasks */
  #webhooks(tasks) {
    if (!tasks.length) return element("p", {}, texts.noWebhooks);
    const rows = tasks.map(({ task_uuid, finished_at }) => {
      const again = this.#button(texts.redeliver, task_uuid, ["POST", `tasks/${task_uuid}/webhook`, texts.sentAgain]);
      const tries = element("span", {}, "…");
      ask("GET", `tasks/${task_uuid}`).then(
        ({ webhook }) => setText(tries, lastTry(webhook.tries)),
        () => setText(tries, ""),
      );
      return [taskLink(task_uuid), moment(finished_at), tries, again];
    });
    return table([texts.task, texts.when, texts.tries, texts.actions], rows);
  }

  /**
   * A button that sends a request; with `question`, only after a second press.
   *
   * @param {string} label
   * @param {string} task
   * @param {[string, string, string]} request its method and path, and what is said once it was done
   * @param {string} question
   */
  #button(label, task, [method, path, done], question = "") {
    const button = element("button", { type: "button", ariaLabel: `${label}: ${task}` }, label);
    button.addEventListener("click", async () => {
      if (question && button.textContent !== question) {
        Object.assign(button, { textContent: question, ariaLabel: `${question} ${task}` });
        return;
      }
      button.disabled = true;
      try {
        await ask(method, path);
        setText(this.#notice, done);
      } catch (error) {
        setText(this.#notice, /** @type {Error} */ (error).message);
      }
      button.blur();
      button.disabled = false;
      this.#shown = "";
      this.refresh();
    });
    return button;
  }
}

/** @param {Record<string, number>} tasks */
function counts(tasks) {
  const list = element("dl", { className: "counts" });
  for (const [status, count] of Object.entries(tasks)) {
    list.append(element("div", {}, element("dt", {}, status), element("dd", {}, String(count))));
  }
  return panel(texts.tasks, list);
}

/** @param {any[]} found */
function queues(found) {
  const rows = found.flatMap(({ queue, node, leased, delayed, dead, priorities }) => {
    const name = node ? `${queue} (${node})` : queue;
    const waiting = priorities.filter((/** @type {any} */ { waiting }) => waiting);
    const lines = waiting.length ? waiting : [{ priority: "–", waiting: 0, oldest_s: 0 }];
    return lines.map((/** @type {any} */ line, /** @type {number} */ index) => [
      index ? "" : name,
      line.priority,
      line.waiting,
      line.waiting ? shortTime(line.oldest_s) : "–",
      ...(index ? ["", "", ""] : [leased, delayed, dead]),
    ]);
  });
  const { queue, priority, waiting, oldest, working, delayed, given } = texts;
  return table([queue, priority, waiting, oldest, working, delayed, given], rows);
}

/** @param {any[]} found */
function workers(found) {
  if (!found.length) return element("p", { className: "problem" }, texts.noWorkers);
  const rows = found.map(({ kind, name, model, provider, storage, paused, idle }) => [
    name,
    kind,
    model ?? "",
    provider ?? storage ?? "",
    paused || idle || texts.ok,
  ]);
  return table([texts.worker, texts.kind, texts.model, `${texts.device} / ${texts.disk}`, texts.state], rows);
}

/** @param {any[]} found */
function nodes(found) {
  const ago = (/** @type {number | null} */ seconds) => seconds === null ? "–" : `${Math.round(seconds)} s`;
  const rows = found.map(({ node, processor_s, uploader_s }) => [node ?? "–", ago(processor_s), ago(uploader_s)]);
  return table([texts.node, texts.processor, texts.uploader], rows);
}

/** @param {any} state */
function redis({ server, used_bytes, max_bytes, clients, up_s }) {
  const memory = `${mib(used_bytes)} / ${max_bytes ? mib(max_bytes) : texts.noLimit}`;
  return table(["Redis", texts.memory, texts.clients, texts.up], [
    [server ?? "–", memory, clients ?? "–", up_s === null ? "–" : shortTime(up_s)],
  ]);
}

/** @param {number | null} bytes */
function mib(bytes) {
  return bytes === null ? "–" : `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

/** @param {any[]} tries */
function lastTry(tries) {
  const last = tries.at(-1);
  return last ? `${tries.length} · ${last.error || last.status_code}` : "0";
}

/** @param {string | null} time */
function moment(time) {
  return time ? new Date(time).toLocaleString(language) : "–";
}

/** @param {string} id */
function taskLink(id) {
  return element("a", { href: `#/tasks/${id}`, title: id }, id.slice(0, 8));
}

/** @param {Node[]} children */
function group(...children) {
  return element("span", { className: "group" }, ...children);
}

/**
 * @param {string} title
 * @param {Node} content
 */
function panel(title, content) {
  return element("section", { className: "panel", "aria-label": title }, element("h2", {}, title), content);
}

/**
 * @param {string[]} heads
 * @param {(string | number | Node)[][]} rows
 */
function table(heads, rows) {
  const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)));
  const lines = rows.map((cells) =>
    element("tr", {}, ...cells.map((cell) => element("td", {}, cell instanceof Node ? cell : String(cell))))
  );
  const made = element("table", {}, element("thead", {}, head), element("tbody", {}, ...lines));
  // A wide table scrolls on a phone, also by keyboard.
  return element("div", { className: "scroller", tabIndex: 0, role: "group", "aria-label": heads[0] }, made);
}
