/**
 * The form of one operation: it asks for the parameters and the body, sends the request and shows the answer.
 *
 * It uses the session of the page, so the rules for other sites hold as for every page of the service.
 */

import { element } from "../dom.js";
import { Answer } from "./answer.js";
import { confirmed } from "./confirmation.js";
import { control, resolved } from "./schemas.js";

/**
 * @typedef {import("./schemas.js").Schema} Schema
 * @typedef {import("./schemas.js").Control} Control
 *
 * @typedef {object} Operation
 * @property {string} operationId
 * @property {string} method in capitals
 * @property {string} path
 * @property {string} summary
 * @property {{ name: string, in: string, required?: boolean, schema: Schema }[]} [parameters]
 * @property {{ content: Record<string, { schema: Schema, example?: unknown }> }} [requestBody]
 */

const JSON_TYPE = "application/json";
const FORM_TYPE = "multipart/form-data";
const TASK = "task_uuid";

/** The task of the latest answer, which other forms suggest. */
let latestTask = "";

export class RequestForm {
  root = element("form", { className: "request" });
  #operation;
  #schemas;
  #parameters = /** @type {{ in: string, control: Control }[]} */ ([]);
  #bodies = /** @type {Map<string, { fields: HTMLElement, controls: Control[] }>} */ (new Map());
  #bodyType = element("select", { id: "" });
  #send = element("button", { type: "submit" }, "Send");
  #stop = element("button", { type: "button", hidden: true }, "Stop");
  #answer = new Answer();

  /**
   * @param {Operation} operation
   * @param {Record<string, Schema>} schemas
   */
  constructor(operation, schemas) {
    this.#operation = operation;
    this.#schemas = schemas;
    this.root.ariaLabel = `${operation.method} ${operation.path}`;
    this.#addParameters();
    this.#addBodies();
    this.root.append(element("p", {}, this.#send, " ", this.#stop), this.#answer.root);
    this.root.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
  }

  #addParameters() {
    for (const { name, in: place, required = false, schema } of this.#operation.parameters ?? []) {
      const made = this.#addField(this.root, name, schema, required);
      if (name === TASK && made instanceof HTMLInputElement) made.value = latestTask;
      this.#parameters.push({ in: place, control: made });
    }
  }

  #addBodies() {
    const content = this.#operation.requestBody?.content ?? {};
    for (const type of [JSON_TYPE, FORM_TYPE].filter((type) => type in content)) {
      const { schema, example } = content[type];
      const fields = element("div", {});
      const controls = type === JSON_TYPE ? [this.#addJson(fields, example)] : this.#addForm(fields, schema);
      this.#bodies.set(type, { fields, controls });
    }
    if (this.#bodies.size > 1) this.#addChoice();
    for (const { fields } of this.#bodies.values()) this.root.append(fields);
    this.#showBody();
  }

  /** The choice between a body in JSON and one with a file. */
  #addChoice() {
    const id = this.#id("body-type");
    Object.assign(this.#bodyType, { id });
    this.#bodyType.append(...[...this.#bodies.keys()].map((type) => element("option", {}, type)));
    this.#bodyType.addEventListener("change", () => this.#showBody());
    this.root.append(element("div", {}, element("label", { htmlFor: id }, "Body"), this.#bodyType));
  }

  /** Only the fields of the chosen body are shown, checked and sent. */
  #showBody() {
    for (const [type, { fields, controls }] of this.#bodies) {
      fields.hidden = type !== this.#chosenBody();
      for (const each of controls) each.disabled = fields.hidden;
    }
  }

  #chosenBody() {
    return this.#bodyType.value || [...this.#bodies.keys()].at(0);
  }

  /**
   * @param {HTMLElement} fields
   * @param {unknown} example
   */
  #addJson(fields, example) {
    const value = JSON.stringify(example, null, 2);
    const rows = value.split("\n").length + 1;
    const made = element("textarea", { id: this.#id("json"), value, rows, spellcheck: false, required: true });
    fields.append(element("label", { htmlFor: made.id }, `Body (${JSON_TYPE})`), made);
    return made;
  }

  /**
   * @param {HTMLElement} fields
   * @param {Schema} schema
   */
  #addForm(fields, schema) {
    const { properties = {}, required = [] } = resolved(schema, this.#schemas);
    return Object.entries(properties).map(([name, part]) =>
      this.#addField(fields, name, part, required.includes(name))
    );
  }

  /**
   * @param {HTMLElement} container
   * @param {string} name
   * @param {Schema} schema
   * @param {boolean} required
   */
  #addField(container, name, schema, required) {
    const made = control(resolved(schema, this.#schemas), { id: this.#id(name), name, required });
    const label = element("label", { htmlFor: made.id }, element("code", {}, name), required ? " (required)" : "");
    container.append(element("div", {}, label, made));
    return made;
  }

  /** @param {string} name */
  #id(name) {
    return `try-${this.#operation.operationId}-${this.#bodies.size}-${name}`;
  }

  async #submit() {
    const { method, summary } = this.#operation;
    const url = this.#url();
    if (method === "DELETE" && !await confirmed(`${summary} Send ${method} ${url}?`)) return;
    const controller = new AbortController();
    const stop = () => controller.abort();
    this.#stop.addEventListener("click", stop);
    this.#setSending(true);
    try {
      const options = { method, headers: this.#headers(), body: this.#body() };
      const location = await this.#answer.show(url, options, controller);
      suggestTask(/\/tasks\/([^/]+)$/.exec(location)?.[1] ?? "");
    } finally {
      this.#stop.removeEventListener("click", stop);
      this.#setSending(false);
    }
  }

  /** @param {boolean} isSending */
  #setSending(isSending) {
    const hadFocus = this.root.contains(document.activeElement);
    this.#send.disabled = isSending;
    this.#stop.hidden = !isSending;
    if (hadFocus && !this.root.contains(document.activeElement)) (isSending ? this.#stop : this.#send).focus();
  }

  #url() {
    const query = new URLSearchParams(this.#given("query"));
    const values = Object.fromEntries(this.#given("path"));
    const path = this.#operation.path.slice(1).replace(/{(\w+)}/g, (_, name) => encodeURIComponent(values[name]));
    return query.size ? `${path}?${query}` : path;
  }

  #headers() {
    const type = this.#bodies.size && this.#chosenBody() === JSON_TYPE ? { "Content-Type": JSON_TYPE } : {};
    return { "X-Requested-With": "uvr", ...type, ...Object.fromEntries(this.#given("header")) };
  }

  /** The browser reads a file from the disk while it sends it, and writes the header of a form itself. */
  #body() {
    const body = this.#bodies.get(this.#chosenBody() ?? "");
    if (!body) return undefined;
    if (this.#chosenBody() === JSON_TYPE) return body.controls[0].value;
    const data = new FormData();
    for (const each of body.controls) {
      const file = each instanceof HTMLInputElement && each.files?.[0];
      if (file) data.append(each.name, file, file.name);
      else if (each.value) data.append(each.name, each.value);
    }
    return data;
  }

  /**
   * @param {string} place
   * @returns {string[][]} names and values
   */
  #given(place) {
    const filled = this.#parameters.filter((it) => it.in === place && it.control.value);
    return filled.map(({ control }) => [control.name, control.value]);
  }
}

/**
 * Suggest a task in all forms that ask for one and hold no other.
 *
 * @param {string} task
 */
function suggestTask(task) {
  if (!task) return;
  const open = /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll(`.request [name="${TASK}"]`));
  for (const input of open) if (!input.value || input.value === latestTask) input.value = task;
  latestTask = task;
}
