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
  const content = element("div", {}, ...(task.status === "failed" ? [explanation(task)] : []), list);
  showDialog(titleOf(task), content, [remove]);
}

/** Why a task failed, and what to do. @param {import("./feed.js").Task} task */
function explanation({ error_message }) {
  const advice = element("p", {}, element("strong", {}, texts.whatToDo), adviceFor(error_message));
  return element("div", { className: "explanation" }, element("p", {}, error_message ?? ""), advice);
}
