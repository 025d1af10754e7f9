/**
 * What to do about a task that failed, by what the service says about it.
 */

import { texts } from "../language.js";

/** @type {[RegExp, keyof typeof texts.advice][]} the first one that fits counts */
const causes = [
  [/web page|not audio|no audio stream|NaN|decoded|sample rate/i, "notAudio"],
  [/longer than|too large/i, "tooLarge"],
  [/public (address|name)|private|port/i, "address"],
  [/no longer stored; submit/i, "sendAgain"],
  [/could not be resolved|answered|HTTP \d|status \d|\b(4\d\d|5\d\d)\b|connect|download/i, "unreachable"],
  [/there is no (stem|model)/i, "otherModel"],
  [/disk|memory|storage|settings|credentials|DEVICE|BACKEND|log has/i, "operator"],
];

/** @param {string | null} problem the `error_message` of a task */
export function adviceFor(problem) {
  const [, key] = causes.find(([pattern]) => pattern.test(problem ?? "")) ?? [/./, "again"];
  return texts.advice[key];
}
