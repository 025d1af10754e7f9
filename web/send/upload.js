/**
 * One song on its way to the service. The browser reads the file from the disk while it sends it.
 */

import { texts } from "../language.js";
import { randomKey, Refusal, refusalOf } from "../service.js";
import { session } from "../session.js";

/**
 * @typedef {"waiting" | "sending" | "later" | "sent" | "failed" | "dropped"} UploadState
 */

let made = 0;

export class Upload {
  /** Its place among all that were chosen. */
  number = made++;
  /** @type {UploadState} */
  state = "waiting";
  share = 0;
  /** Why it failed, or is sent later. */
  problem = "";
  #key = randomKey();
  #tries = 0;
  /** @type {XMLHttpRequest | undefined} */
  #request;

  /**
   * @param {File} file
   * @param {Record<string, string>} fields the other fields of the form
   */
  constructor(file, fields) {
    this.file = file;
    this.fields = fields;
  }

  /**
   * Send it; the key makes sure that a song of which the answer was lost is not queued twice. Never throws.
   *
   * @param {() => void} onProgress
   */
  async send(onProgress) {
    Object.assign(this, { state: "sending", share: 0, problem: "" });
    this.#tries++;
    try {
      await this.#post(onProgress);
      this.state = "sent";
    } catch (error) {
      const refusal = /** @type {Refusal} */ (error);
      if (this.isDropped()) return;
      if (await isSignedOut(refusal)) return void (this.state = "waiting"); // for the next session
      this.problem = refusal.message;
      this.state = this.#isSentLater(refusal) ? "later" : "failed";
      if (this.state === "later") setTimeout(() => this.#retry(onProgress), 1000 * refusal.retryAfterS);
    }
  }

  /** Send a song that has failed again, when it is its turn. */
  again() {
    Object.assign(this, { state: "waiting", problem: "" });
    this.#tries = 0;
  }

  drop() {
    this.state = "dropped";
    this.#request?.abort();
  }

  isDropped() {
    return this.state === "dropped";
  }

  /** @param {() => void} onChange */
  #retry(onChange) {
    if (this.state !== "later") return;
    this.state = "waiting";
    onChange();
  }

  /** @param {Refusal} refusal */
  #isSentLater({ status, retryAfterS }) {
    return (status === 429 || status === 503) && retryAfterS > 0 && retryAfterS <= 300 && this.#tries < 20;
  }

  /** @param {() => void} onProgress */
  #post(onProgress) {
    const form = new FormData();
    for (const [name, value] of Object.entries(this.fields)) form.append(name, value);
    form.append("audio", this.file);
    const request = this.#request = new XMLHttpRequest();
    return new Promise((/** @type {(value?: undefined) => void} */ resolve, reject) => {
      request.upload.addEventListener("progress", ({ loaded, total }) => {
        this.share = total ? loaded / total : 0;
        onProgress();
      });
      request.addEventListener("load", () => {
        if (request.status < 400) return resolve();
        reject(refusalOf(request.status, request.responseText, request.getResponseHeader("Retry-After")));
      });
      request.addEventListener("error", () => reject(new Refusal(0, texts.uploadBrokeOff)));
      request.addEventListener("abort", () => reject(new Refusal(0, "")));
      request.open("POST", "generate");
      request.setRequestHeader("X-Requested-With", "uvr");
      request.setRequestHeader("Idempotency-Key", this.#key);
      request.send(form);
    });
  }
}

/**
 * Whether the session has ended. A service that does not take a long song may break off while it is sent, and then the
 * browser does not tell why.
 *
 * @param {Refusal} refusal
 */
async function isSignedOut({ status }) {
  if (status === 0) await session.refresh().catch(() => {});
  return status === 401 || !session.user;
}
