/**
 * What can be done with a task. A refusal is shown as a sentence.
 */

import { announce, element } from "../dom.js";
import { showDialog } from "../keys.js";
import { texts } from "../language.js";
import { ask } from "../service.js";
import { titleOf } from "./titles.js";

/**
 * @typedef {import("./feed.js").Task} Task
 * @typedef {import("./feed.js").Feed} Feed
 */

/** The actions on tasks of a feed, which shows their effect at once. */
export class Actions {
  /** @param {Feed} feed */
  constructor(feed) {
    this.feed = feed;
  }

  /** @param {Task} task */
  cancel(task) {
    return this.#do(task, "POST", "/cancel", texts.cancelled(titleOf(task)));
  }

  /** @param {Task} task */
  retry(task) {
    return this.#do(task, "POST", "/retry", texts.retried(titleOf(task)));
  }

  /**
   * @param {Task} task
   * @param {number} priority
   */
  prioritize(task, priority) {
    return this.#do(task, "PATCH", "", texts.prioritized(titleOf(task), texts.priorities[priority]), { priority });
  }

  /** Ask first: nothing brings the stems back. @param {Task} task */
  remove(task) {
    const button = element("button", { type: "button", className: "danger" }, texts.remove);
    button.addEventListener("click", () => this.#do(task, "DELETE", "", texts.removed(titleOf(task))));
    showDialog(texts.removeTitle, element("p", {}, texts.removeWarning(titleOf(task))), [button]);
  }

  /**
   * @param {Task} task
   * @param {string} method
   * @param {string} path
   * @param {string} done
   * @param {object} [body]
   */
  async #do(task, method, path, done, body) {
    try {
      const answer = await ask(method, `tasks/${task.task_uuid}${path}`, body);
      this.feed.correct(task.task_uuid, answer && feedFields(answer));
      announce(done);
    } catch (error) {
      const { status, message } = /** @type {import("../service.js").Refusal} */ (error);
      if (status === 401) return; // the form to sign in says it
      showDialog(texts.notDone, element("p", {}, message));
    }
  }
}

/** What a task in full and one of the feed have in common and an action changes. @param {Task} answer */
function feedFields({ status, priority, progress, position, eta_s, started_at, finished_at, error_message }) {
  return { status, priority, progress, position, eta_s, started_at, finished_at, error_message };
}
