/**
 * How long tasks wait and run, and when that began.
 */

import { language, texts } from "../language.js";
import { now } from "../service.js";

/** @typedef {import("./feed.js").Task} Task */

const when = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });

/** @param {string | null} time ISO 8601 */
export function pointInTime(time) {
  return time ? when.format(new Date(time)) : "";
}

/** @param {Task} task */
export function waitedS(task) {
  return between(task.created_at, task.started_at ?? task.finished_at);
}

/** @param {Task} task null if it has not begun */
export function ranS(task) {
  return task.started_at ? between(task.started_at, task.finished_at) : null;
}

/**
 * "45 s", "3 min 20 s", "2 h 5 min"
 *
 * @param {number} seconds
 */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return texts.seconds(whole);
  if (whole < 3600) return texts.minutes(Math.floor(whole / 60), whole % 60);
  return texts.hours(Math.floor(whole / 3600), Math.floor(whole / 60) % 60);
}

/**
 * @param {string} start
 * @param {string | null} end
 */
function between(start, end) {
  return ((end ? Date.parse(end) : now()) - Date.parse(start)) / 1000;
}
