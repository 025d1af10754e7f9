/**
 * The answer to a request: its status, the headers that say what to do next, and its body.
 */

import { element, setText } from "../dom.js";

const SHOWN_HEADERS = ["Location", "Retry-After", "Content-Type", "X-Request-ID"];
const MAX_SHOWN = 100_000;

export class Answer {
  root = element("div", { className: "answer", role: "group", ariaLabel: "Answer", hidden: true });
  #status = element("p", { role: "status" });
  #details = element("div", {});

  constructor() {
    this.root.append(this.#status, this.#details);
  }

  /**
   * Send a request and show its answer, a stream as it arrives. Returns its header Location, "" if there is none.
   *
   * @param {string} url
   * @param {RequestInit} options
   * @param {AbortController} controller ends the request
   */
  async show(url, options, controller) {
    this.root.hidden = false;
    this.#details.replaceChildren();
    setText(this.#status, "Sending…");
    try {
      const response = await fetch(url, { ...options, signal: controller.signal });
      setText(this.#status, `${response.status} ${response.statusText}`.trim());
      this.#details.append(headers(response));
      await this.#showBody(response, controller);
      return response.headers.get("Location") ?? "";
    } catch (error) {
      const end = controller.signal.aborted ? "stopped" : `broken off: ${/** @type {Error} */ (error).message}`;
      setText(this.#status, `${this.#status.textContent} – ${end}`);
      return "";
    }
  }

  /**
   * @param {Response} response
   * @param {AbortController} controller
   */
  async #showBody(response, controller) {
    const type = response.headers.get("Content-Type") ?? "";
    if (type.startsWith("text/event-stream")) return await this.#showStream(response);
    if (/^text\/|[/+]json/.test(type)) return this.#details.append(text(await response.text(), type));
    if (response.status === 204 || !response.body) return;
    // A file may be large: the browser saves it, without this page having read it.
    controller.abort();
    const link = element("a", { href: response.url, download: "" }, "Save the file");
    this.#details.append(element("p", {}, link));
  }

  /** @param {Response} response */
  async #showStream(response) {
    const shown = element("pre", { tabIndex: 0, ariaLabel: "Events" });
    this.#details.append(shown);
    const body = /** @type {ReadableStream<BufferSource>} */ (response.body);
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    // Safari cannot iterate over a stream.
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const isAtEnd = shown.scrollHeight - shown.scrollTop - shown.clientHeight < 5;
      shown.textContent = (shown.textContent + part.value).slice(-MAX_SHOWN);
      if (isAtEnd) shown.scrollTop = shown.scrollHeight;
    }
    this.#details.append(element("p", {}, "The stream has ended."));
  }
}

/** @param {Response} response */
function headers(response) {
  const list = element("dl", {});
  for (const name of SHOWN_HEADERS) {
    const value = response.headers.get(name);
    if (value) list.append(element("div", {}, element("dt", {}, name), element("dd", {}, value)));
  }
  return list;
}

/**
 * @param {string} content
 * @param {string} type
 */
function text(content, type) {
  let shown = content;
  try {
    if (type.includes("json")) shown = JSON.stringify(JSON.parse(content), null, 2);
  } catch {
    // shown as it is
  }
  const pre = element("pre", { tabIndex: 0, ariaLabel: "Body" }, shown.slice(0, MAX_SHOWN));
  const rest = shown.length - MAX_SHOWN;
  return element("div", {}, pre, ...(rest > 0 ? [element("p", {}, `and ${rest} more characters`)] : []));
}
