/**
 * What stems are called, and the order in which people look for them.
 */

import { texts } from "./language.js";

/**
 * The name of a stem for people.
 *
 * @param {string} name
 */
export function stemTitle(name) {
  return texts.stemNames[name] ?? name.replaceAll("_", " ");
}

/**
 * The names of the stems, the voice first.
 *
 * @param {string[]} names
 */
export function vocalsFirst(names) {
  return names.toSorted((one, other) => Number(other.includes("vocals")) - Number(one.includes("vocals")));
}
