/**
 * The tasks of the user, kept up to date by one stream of events (GET /events).
 */

import { session } from "../session.js";

/**
 * @typedef {object} Task as in the events
 * @property {string} task_uuid
 * @property {"queued" | "processing" | "uploading" | "success" | "failed" | "cancelled"} status
 * @property {number} priority
 * @property {number} progress from 0 to 1
 * @property {number} attempt
 * @property {string | null} owner
 * @property {string} created_at
 * @property {string | null} started_at
 * @property {string | null} finished_at
 * @property {string} audio
 * @property {string | null} error_message
 * @property {string | string[]} [model]
 * @property {string} [preset]
 * @property {number | null} position
 * @property {number | null} eta_s
 * @property {string | null} stems_deleted_at
 * @property {string[]} stems
 */

const tellAfterMs = 4000;
const retryMs = [2000, 5000, 10_000, 30_000];

/**
 * Events: "tasks" when tasks have changed, with the states that tasks have left in `detail`; "connection" when
 * `isLive` has changed. A gap of a few seconds, as there is one every five minutes, is none.
 */
export class Feed extends EventTarget {
  /** @type {Map<string, Task>} */
  tasks = new Map();
  isComplete = false;
  isLive = true;
  leftOut = false;
  /** @type {EventSource | null} */
  #source = null;
  /** @type {Map<string, Task>} */
  #arriving = new Map();
  #failures = 0;
  #timer = 0;
  #isStopped = false;
  #telling = 0;

  start() {
    this.#source = new EventSource("events");
    this.#source.addEventListener("open", () => this.#opened());
    this.#source.addEventListener("all", (event) => this.#replace(JSON.parse(event.data)));
    this.#source.addEventListener("changed", (event) => this.#change(JSON.parse(event.data)));
    this.#source.addEventListener("error", () => this.#broken());
  }

  stop() {
    this.#isStopped = true;
    this.#source?.close();
    clearTimeout(this.#timer);
    clearTimeout(this.#telling);
  }

  #opened() {
    this.#failures = 0;
    clearTimeout(this.#telling);
    this.#telling = 0;
    this.#arriving = new Map();
    this.#tell(true);
  }

  /** The browser connects again by itself, unless the service has answered with an error. */
  #broken() {
    this.#telling ||= setTimeout(() => this.#tell(false), tellAfterMs);
    if (this.#source?.readyState !== EventSource.CLOSED) return;
    this.#timer = setTimeout(() => void this.#again(), retryMs[Math.min(this.#failures++, retryMs.length - 1)]);
  }

  /** Whether the session is over is not in an error of the stream, so the service is asked. */
  async #again() {
    await session.refresh().catch(() => {});
    if (!session.user) await new Promise((resolve) => session.addEventListener("change", resolve, { once: true }));
    if (!this.#isStopped) this.start();
  }

  /** @param {boolean} isLive */
  #tell(isLive) {
    if (this.isLive === isLive) return;
    this.isLive = isLive;
    this.dispatchEvent(new Event("connection"));
  }

  /** @param {{ tasks: Task[], more: boolean, left_out: boolean }} part */
  #replace({ tasks, more, left_out }) {
    for (const task of tasks) this.#arriving.set(task.task_uuid, task);
    if (more) return;
    this.tasks = this.#arriving;
    this.#arriving = new Map();
    Object.assign(this, { isComplete: true, leftOut: left_out });
    this.#changed([]);
  }

  /** @param {{ tasks: Task[], removed: string[] }} changes */
  #change({ tasks, removed }) {
    const moved = tasks.filter((task) => this.tasks.get(task.task_uuid)?.status !== task.status);
    for (const task of tasks) this.tasks.set(task.task_uuid, task);
    for (const id of removed) this.tasks.delete(id);
    this.#changed(moved);
  }

  /** @param {Task[]} moved those that are new or in another state than before */
  #changed(moved) {
    this.dispatchEvent(new CustomEvent("tasks", { detail: moved }));
  }

  /**
   * Show what an action has changed before the stream tells it.
   *
   * @param {string} id
   * @param {Partial<Task> | null} facts null if it was deleted
   */
  correct(id, facts) {
    const task = this.tasks.get(id);
    if (task && facts) this.tasks.set(id, { ...task, ...facts });
    if (!facts) this.tasks.delete(id);
    this.#changed([]);
  }
}
