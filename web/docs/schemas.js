/**
 * Fields of a form from the JSON schemas of the OpenAPI document.
 */

import { element } from "../dom.js";

/**
 * @typedef {object} Schema the keywords of a JSON schema that matter here
 * @property {string} [$ref]
 * @property {Schema[]} [anyOf]
 * @property {string} [type]
 * @property {string} [format]
 * @property {string[]} [enum]
 * @property {unknown[]} [examples]
 * @property {unknown} [default]
 * @property {number} [minimum]
 * @property {number} [maximum]
 * @property {Record<string, Schema>} [properties]
 * @property {string[]} [required]
 */

/** @typedef {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} Control */

/**
 * The schema itself: that which it refers to, and of several the first that is not null.
 *
 * @param {Schema} schema
 * @param {Record<string, Schema>} schemas
 * @returns {Schema}
 */
export function resolved(schema, schemas) {
  if (schema.$ref) {
    return { ...resolved(schemas[schema.$ref.split("/").at(-1) ?? ""], schemas), default: schema.default };
  }
  const part = schema.anyOf?.find(({ type }) => type !== "null");
  return part ? { ...resolved(part, schemas), default: schema.default } : schema;
}

/**
 * A control for a value of this schema. An empty one stands for a value that is not sent.
 *
 * @param {Schema} schema a resolved one
 * @param {{ id: string, name: string, required: boolean }} properties
 * @returns {Control}
 */
export function control(schema, properties) {
  if (schema.format === "binary") return element("input", { ...properties, type: "file" });
  const choices = schema.type === "boolean" ? ["true", "false"] : schema.enum;
  if (choices) {
    const options = ["", ...choices].map((value) => element("option", { value }, value || hint(schema)));
    return element("select", properties, ...options);
  }
  const common = { ...properties, placeholder: hint(schema), autocomplete: "off", spellcheck: false };
  if (schema.type !== "integer") return element("input", { ...common, type: "text" });
  const { minimum = "", maximum = "" } = schema;
  return element("input", { ...common, type: "number", min: String(minimum), max: String(maximum) });
}

/** @param {Schema} schema */
function hint(schema) {
  const isSet = schema.default !== undefined && schema.default !== null && schema.default !== "";
  return isSet ? `${schema.default} (default)` : "not sent";
}
