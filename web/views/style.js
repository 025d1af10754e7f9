/**
 * Style sheets that only one view needs.
 */

/** @param {string} name relative to this folder */
export function loadStyle(name) {
  const link = document.createElement("link");
  Object.assign(link, { rel: "stylesheet", href: new URL(name, import.meta.url).href });
  return link;
}
