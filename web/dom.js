/**
 * Elements made in one expression.
 */

/**
 * A new element. Names of `properties` with a hyphen, and `role`, are attributes. A child may be text.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, unknown>} [properties]
 * @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for") made.setAttribute(name, String(value));
    else Object.assign(made, { [name]: value });
  }
  made.append(...children);
  return made;
}

/**
 * The element with this selector, which must be there.
 *
 * @param {string} selector
 * @param {ParentNode} [root]
 * @returns {HTMLElement}
 */
export function find(selector, root = document) {
  return /** @type {HTMLElement} */ (root.querySelector(selector));
}

/**
 * Give `node` this text, unless it has it already: a text that is set again would be read out again.
 *
 * @param {Node} node
 * @param {string} content
 */
export function setText(node, content) {
  if (node.textContent !== content) node.textContent = content;
}

/**
 * Tell it to users of screen readers.
 *
 * @param {string} message
 */
export function announce(message) {
  find("#announcements").textContent = message;
}
