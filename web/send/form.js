/**
 * The form that sends songs: files and folders, or addresses, all with the same choices.
 */

import { announce, element, setText } from "../dom.js";
import { language, texts } from "../language.js";
import { ask, randomKey } from "../service.js";
import { Choice } from "./offers.js";
import { songsAmong, songsIn } from "./songs_in.js";
import { sendFiles, uploadsView } from "./uploads.js";

const formats = ["wav", "flac", "mp3", "m4a", "ogg", "opus"];
const maxBatch = 100;
const narrowPx = 1024; // as in send.css

/** The form, from `start` until `stop`. */
export class SendForm {
  #choice = new Choice();
  #urls = element("textarea", { id: "urls", rows: 2, spellcheck: false, placeholder: "https://example.com/song.mp3" });
  #format = element(
    "select",
    { id: "format" },
    ...formats.map((it) => element("option", { value: it }, it.toUpperCase())),
  );
  #priority = element(
    "select",
    { id: "priority" },
    element("option", { value: "" }, texts.usualPriority),
    ...priorityOptions(),
  );
  #problem = element("p", { className: "problem", role: "alert", hidden: true });
  #sendUrls = element("button", { type: "submit", className: "quiet" }, texts.sendUrls);
  #files = element("input", { type: "file", multiple: true, hidden: true, accept: "audio/*,video/*" });
  #folder = element("input", { type: "file", webkitdirectory: true, hidden: true });
  #key = { body: "", key: "" };
  view = element("section", { className: "send card", "aria-labelledby": "send-title" });

  constructor() {
    const form = element(
      "form",
      {},
      this.#dropArea(),
      element(
        "div",
        { className: "addresses" },
        element("label", { htmlFor: "urls" }, texts.urls),
        this.#urls,
        this.#sendUrls,
      ),
      this.#problem,
      this.#choices(),
    );
    form.addEventListener("submit", (event) => (event.preventDefault(), void this.#submitUrls()));
    this.view.append(element("h1", { id: "send-title" }, texts.send), form, uploadsView);
  }

  start() {
    this.#choice.start();
    for (const kind of ["dragover", "dragleave", "drop"]) addEventListener(kind, this.#drag);
  }

  stop() {
    this.#choice.stop();
    for (const kind of ["dragover", "dragleave", "drop"]) removeEventListener(kind, this.#drag);
  }

  #dropArea() {
    const files = element("button", { type: "button", "data-key": "n" }, texts.chooseFiles);
    const folder = element("button", { type: "button", className: "quiet" }, texts.chooseFolder);
    files.addEventListener("click", () => this.#files.click());
    folder.addEventListener("click", () => this.#folder.click());
    this.#files.addEventListener("change", () => this.#choose(this.#files, (found) => [...found]));
    this.#folder.addEventListener("change", () => this.#choose(this.#folder, songsAmong));
    return element(
      "div",
      { className: "drop" },
      element("p", {}, texts.dropHere),
      element("div", { className: "buttons" }, files, folder),
      this.#files,
      this.#folder,
    );
  }

  /** The choices for all songs. Where the page is narrow, they are closed, so that the tasks are in sight. */
  #choices() {
    const choices = element(
      "div",
      { className: "choices" },
      element("div", {}, element("label", { htmlFor: "model" }, texts.model), this.#choice.select, this.#choice.about),
      element(
        "div",
        { role: "group", "aria-labelledby": "stems-title" },
        element("div", { className: "label", id: "stems-title" }, texts.stems),
        this.#choice.stems,
      ),
      element(
        "div",
        { className: "pair" },
        element("div", {}, element("label", { htmlFor: "format" }, texts.format), this.#format),
        element("div", {}, element("label", { htmlFor: "priority" }, texts.priority), this.#priority),
      ),
    );
    const summary = element("summary", {}, texts.choices, element("span", { className: "soft" }, texts.choicesAre));
    return element("details", { open: innerWidth >= narrowPx }, summary, choices);
  }

  /** The whole page takes drops, so that a near miss does not make the browser open the song. */
  #drag = (/** @type {Event} */ event) => {
    const { type, dataTransfer, relatedTarget } = /** @type {DragEvent} */ (event);
    if (!dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.toggle(
      "is-dropping",
      type === "dragover" || (type === "dragleave" && relatedTarget !== null),
    );
    if (type === "drop") {
      songsIn(dataTransfer).then((songs) => this.#send(songs), () => this.#complain(texts.unreadableFolder));
    }
  };

  /**
   * @param {HTMLInputElement} input
   * @param {(files: FileList) => File[]} pick
   */
  #choose(input, pick) {
    const songs = pick(/** @type {FileList} */ (input.files));
    input.value = ""; // so that the same file can be chosen again
    this.#send(songs);
  }

  /** @param {File[]} songs */
  #send(songs) {
    if (!this.#isReady()) return;
    if (!songs.length) return this.#complain(texts.noSongs);
    const { stems, ...rest } = this.#fields();
    const { priority, ...fields } = { ...rest, ...(stems ? { stems: stems.join(",") } : {}) };
    sendFiles(songs, { ...fields, ...(priority ? { priority: String(priority) } : {}) });
  }

  async #submitUrls() {
    const urls = this.#urls.value.split("\n").map((line) => line.trim()).filter(Boolean);
    if (!this.#isReady()) return;
    if (!urls.length) return this.#complain(texts.noUrls, this.#urls);
    this.#sendUrls.disabled = true;
    this.#urls.value = urls.join("\n"); // without empty lines, so that the number of a line is its place in the list
    try {
      for (let sent = 0; sent < urls.length; sent += maxBatch) {
        await this.#postUrls(urls.slice(sent, sent + maxBatch));
        this.#urls.value = urls.slice(sent + maxBatch).join("\n"); // what is left, if the next part is refused
      }
      announce(texts.sentUrls(urls.length));
    } catch (error) {
      this.#complain(withLine(/** @type {Error} */ (error).message), this.#urls);
    } finally {
      this.#sendUrls.disabled = false;
    }
  }

  /** @param {string[]} urls the same ones after a failure have the same key, so none is queued twice */
  async #postUrls(urls) {
    const body = urls.map((audio) => ({ audio, ...this.#fields() }));
    const text = JSON.stringify(body);
    if (this.#key.body !== text) this.#key = { body: text, key: randomKey() };
    await ask("POST", "generate", body, { "Idempotency-Key": this.#key.key });
    this.#key = { body: "", key: "" };
  }

  #fields() {
    const priority = Number(this.#priority.value);
    return {
      ...this.#choice.fields,
      ...(this.#format.value === "wav" ? {} : { output_format: this.#format.value }),
      ...(priority ? { priority } : {}),
    };
  }

  #isReady() {
    this.#problem.hidden = true;
    if (this.#choice.isEmpty) this.#complain(texts.noStems);
    return !this.#choice.isEmpty;
  }

  /**
   * @param {string} problem
   * @param {HTMLElement} [field] the one to correct
   */
  #complain(problem, field) {
    this.#problem.hidden = false;
    setText(this.#problem, problem);
    field?.focus();
  }
}

/** The priorities from first to last, as options of a list. */
export function priorityOptions() {
  return [5, 4, 3, 2, 1].map((it) => element("option", { value: String(it), lang: language }, texts.priorities[it]));
}

/** @param {string} problem "[3].audio is …": the place in the list of URLs, as the number of its line */
function withLine(problem) {
  return problem.replace(/\[(\d+)\]\.audio/, (_, index) => texts.line(Number(index) + 1));
}
