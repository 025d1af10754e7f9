/**
 * Requests to the service, and what it says when it refuses one.
 */

import { texts } from "./language.js";

/** Tells the page that the session is over: an event "over". */
export const sessionEnds = new EventTarget();

/** A request that was refused, or got no answer (`status` 0). `message` is a sentence for people. */
export class Refusal extends Error {
  /**
   * @param {number} status
   * @param {string} message
   * @param {number} [retryAfterS] 0 if waiting does not help
   */
  constructor(status, message, retryAfterS = 0) {
    super(message);
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

let clockOffsetMs = 0;

/** The time of the service, in ms since 1970; the clock of this browser may be wrong. */
export function now() {
  return Date.now() + clockOffsetMs;
}

/**
 * The answer as JSON, null if it has no body. Throws a `Refusal`.
 *
 * @param {string} method
 * @param {string} path relative to the address of the service
 * @param {object} [body] sent as JSON
 * @param {Record<string, string>} [headers]
 * @returns {Promise<any>}
 */
export async function ask(method, path, body, headers = {}) {
  const sent = { "X-Requested-With": "uvr", ...(body ? { "Content-Type": "application/json" } : {}), ...headers };
  let answer, content;
  try {
    answer = await fetch(path, { method, headers: sent, body: body && JSON.stringify(body), cache: "no-store" });
    content = await answer.text();
  } catch {
    throw new Refusal(0, texts.noAnswer);
  }
  setClock(answer.headers.get("Date"));
  if (!answer.ok) throw refusalOf(answer.status, content, answer.headers.get("Retry-After"));
  return content ? JSON.parse(content) : null;
}

/**
 * What an answer that is no success says. A 401 ends the session of the page.
 *
 * @param {number} status
 * @param {string} content
 * @param {string | null} retryAfter
 */
export function refusalOf(status, content, retryAfter) {
  if (status === 401) sessionEnds.dispatchEvent(new Event("over"));
  return new Refusal(status, sentenceOf(content) ?? texts.refused(status), Number(retryAfter) || 0);
}

/** @param {string} content an RFC 9457 problem, or what a proxy in front of the service has written */
function sentenceOf(content) {
  try {
    return JSON.parse(content).detail;
  } catch {
    return undefined;
  }
}

/** @param {string | null} date that of an answer, in whole seconds */
function setClock(date) {
  const offsetMs = Date.parse(date ?? "") + 500 - Date.now();
  if (Math.abs(offsetMs) > 2000) clockOffsetMs = offsetMs;
}

/** A text that no other request has, for `Idempotency-Key`. `crypto.randomUUID` is missing over plain HTTP. */
export function randomKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
