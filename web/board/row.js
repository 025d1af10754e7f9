/**
 * One task of the board. Its elements stay, and only what has changed in them is written.
 */

import { element, setText } from "../dom.js";
import { texts } from "../language.js";
import { session } from "../session.js";
import { stemTitle, vocalsFirst } from "../stems.js";
import { adviceFor } from "./advice.js";
import { showDetails } from "./details.js";
import { duration, ranS, waitedS } from "./times.js";
import { modelOf, titleOf } from "./titles.js";

/**
 * @typedef {import("./feed.js").Task} Task
 * @typedef {import("./actions.js").Actions} Actions
 */

/**
 * A row for `WindowList`.
 *
 * @param {Task} first
 * @param {Actions} actions
 */
export function makeRow(first, actions) {
  let task = first;
  let shape = "";
  const title = element("span", { className: "title", dir: "auto" });
  const state = element("span", { className: "state" });
  const meta = element("div", { className: "meta" });
  const note = element("div", { className: "note" });
  const buttons = element("div", { className: "actions" });
  const view = element(
    "li",
    { className: "task", tabIndex: -1 },
    element("div", { className: "name" }, title, state),
    meta,
    note,
    buttons,
  );
  const current = () => task;
  const update = (/** @type {Task} */ latest) => {
    task = latest;
    setText(title, titleOf(task));
    title.title = task.audio;
    setText(state, texts.states[task.status]);
    state.dataset.state = task.status;
    setText(meta, metaOf(task));
    const newShape = `${task.status} ${task.stems.join()} ${task.stems_deleted_at}`;
    if (newShape !== shape) rebuild(view, buttons, note, current, actions);
    shape = newShape;
    updateNote(note, task);
    const priority = buttons.querySelector("select");
    if (priority && document.activeElement !== priority) priority.value = String(task.priority);
  };
  return { view, update };
}

/**
 * Another state has other buttons; the focus stays in the row.
 *
 * @param {HTMLElement} view
 * @param {HTMLElement} buttons
 * @param {HTMLElement} note
 * @param {() => Task} current
 * @param {Actions} actions
 */
function rebuild(view, buttons, note, current, actions) {
  const hadFocus = view.contains(document.activeElement) && document.activeElement !== view;
  buttons.replaceChildren(...actionsFor(current, actions));
  note.replaceChildren(...noteFor(current()));
  note.className = current().status === "processing" ? "note is-working" : "note";
  if (hadFocus) view.focus({ preventScroll: true });
}

/** @param {Task} task */
function metaOf(task) {
  const ran = ranS(task);
  return [
    session.isAdmin && task.owner && task.owner !== session.user ? task.owner : "",
    texts.waited(duration(waitedS(task))),
    ran === null ? "" : texts.ran(duration(ran)),
    texts.priorityOf(texts.priorities[task.priority]),
    modelOf(task),
  ].filter(Boolean).join(" · ");
}

/** @param {Task} task */
function noteFor(task) {
  if (task.status === "processing") {
    return [element("progress", { max: 1, "aria-label": texts.progressOf(titleOf(task)) }), element("span")];
  }
  if (task.status !== "success" || task.stems_deleted_at) return [];
  return vocalsFirst(task.stems).map((name) => stemLinks(task, name));
}

/** To hear a stem at once, alone, and to save it. @param {Task} task @param {string} name */
function stemLinks(task, name) {
  const [file, title] = [encodeURIComponent(name), stemTitle(name)];
  const listen = element("a", { className: "listen", href: `#/tasks/${task.task_uuid}/${file}` }, title);
  const save = element("a", {
    className: "save icon-down",
    href: `tasks/${task.task_uuid}/stems/${file}`,
    download: "",
  });
  listen.ariaLabel = texts.playAlone(title, titleOf(task));
  save.ariaLabel = texts.saveStem(title, titleOf(task));
  save.title = save.ariaLabel;
  return element("span", { className: "stem" }, listen, save);
}

/**
 * @param {HTMLElement} note
 * @param {Task} task
 */
function updateNote(note, task) {
  const bar = note.querySelector("progress");
  if (bar) {
    bar.value = task.progress;
    setText(/** @type {Node} */ (note.lastChild), progressText(task));
  } else if (task.status === "failed") {
    const problem = `${task.error_message ?? ""} ${adviceFor(task.error_message)}`.trim();
    setText(note, problem);
    note.title = problem;
  } else if (task.status !== "success" || task.stems_deleted_at) {
    setText(note, restText(task));
  }
  note.classList.toggle("problem", task.status === "failed");
}

/** @param {Task} task */
function progressText({ progress, eta_s }) {
  const share = `${Math.floor(100 * progress)} %`;
  return eta_s === null ? share : `${share} · ${texts.readyIn(duration(eta_s))}`;
}

/** @param {Task} task */
function restText({ status, position, eta_s, stems_deleted_at }) {
  if (stems_deleted_at) return texts.stemsDeleted;
  if (status !== "queued") return status === "uploading" ? texts.storing : "";
  const place = position === null ? "" : texts.ahead(position);
  return [place, eta_s === null ? "" : texts.readyIn(duration(eta_s))].filter(Boolean).join(" · ");
}

/**
 * @param {() => Task} current
 * @param {Actions} actions
 */
function actionsFor(current, actions) {
  const { status, task_uuid, stems_deleted_at } = current();
  const details = button(texts.details, current, () => showDetails(current(), actions));
  const cancel = button(texts.cancel, current, () => actions.cancel(current()));
  const retry = button(texts.retry, current, () => actions.retry(current()));
  if (status === "queued") return [prioritySelect(current, actions), cancel, details];
  if (status === "processing") return [cancel, details];
  if (status === "failed" || status === "cancelled") return [retry, details];
  if (status !== "success" || stems_deleted_at) return [details];
  const title = titleOf(current());
  const listen = element("a", {
    className: "button listen",
    href: `#/tasks/${task_uuid}`,
    "aria-label": texts.listenTo(title),
  }, texts.listen);
  const zip = element("a", {
    className: "button quiet icon-down",
    href: `tasks/${task_uuid}/stems.zip`,
    download: "",
    "aria-label": texts.zipOf(title),
  }, texts.zip);
  return [listen, zip, details];
}

/**
 * @param {string} label
 * @param {() => Task} current
 * @param {() => unknown} act
 */
function button(label, current, act) {
  const made = element("button", {
    type: "button",
    className: "quiet",
    "aria-label": `${label}: ${titleOf(current())}`,
  }, label);
  made.addEventListener("click", act);
  return made;
}

/**
 * @param {() => Task} current
 * @param {Actions} actions
 */
function prioritySelect(current, actions) {
  const options = [5, 4, 3, 2, 1].map((it) => element("option", { value: String(it) }, texts.priorityChoice(it)));
  const made = element("select", { "aria-label": `${texts.priority}: ${titleOf(current())}` }, ...options);
  made.addEventListener("change", () => actions.prioritize(current(), Number(made.value)));
  return made;
}
