/**
 * All about one task, in a dialog.
 */

import { element } from "../dom.js";
import { showDialog } from "../keys.js";
import { texts } from "../language.js";
import { adviceFor } from "./advice.js";
import { duration, pointInTime, ranS, waitedS } from "./times.js";
import { modelOf, titleOf } from "./titles.js";

/**
 * @param {import("./feed.js").Task} task
 * @param {import("./actions.js").Actions} actions
 */
export function showDetails(task, actions) {
  const ran = ranS(task);
  const facts = /** @type {[string, string | null][]} */ ([
    [texts.state, texts.states[task.status]],
    [texts.problem, task.status === "failed" ? task.error_message : null],
    [texts.whatToDo, task.status === "failed" ? adviceFor(task.error_message) : null],
    [texts.song, task.audio],
    [texts.model, modelOf(task)],
    [texts.priority, texts.priorities[task.priority]],
    [texts.sentAt, pointInTime(task.created_at)],
    [texts.waiting, duration(waitedS(task))],
    [texts.running, ran === null ? null : duration(ran)],
    [texts.endedAt, pointInTime(task.finished_at)],
    [texts.attempt, task.attempt > 1 ? String(task.attempt) : null],
    [texts.owner, task.owner],
    [texts.taskId, task.task_uuid],
  ]);
  const list = element("dl");
  for (const [name, value] of facts) if (value) list.append(element("dt", {}, name), element("dd", {}, value));
  const remove = element("button", { type: "button", className: "danger" }, texts.remove);
  remove.addEventListener("click", () => queueMicrotask(() => actions.remove(task)));
  showDialog(titleOf(task), list, [remove]);
}
