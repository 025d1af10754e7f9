/**
 * The keys of the page. "?" lists them.
 */

import { element } from "./dom.js";
import { texts } from "./language.js";

/** What the keys do: each presses or focuses the element of the page that names it in `data-key`. */
export function offerKeys() {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (event.key === "?") return showKeys();
    if (document.querySelector("dialog[open]")) return;
    const target =
      /** @type {HTMLElement | null} */ (document.querySelector(`#view [data-key="${CSS.escape(event.key)}"]`));
    if (!target?.checkVisibility()) return;
    event.preventDefault();
    target.focus();
    if (target instanceof HTMLButtonElement) target.click();
  });
}

/** @param {EventTarget | null} target */
function isTyping(target) {
  return target instanceof Element && target.matches("input, textarea, select");
}

function showKeys() {
  const list = element("dl");
  for (const [key, purpose] of texts.keys) {
    list.append(element("dt", {}, element("kbd", {}, key)), element("dd", {}, purpose));
  }
  showDialog(texts.keyboard, list);
}

/**
 * A dialog with this content that Escape and its last button close; `buttons` stand before that one.
 *
 * @param {string} title
 * @param {Node} content
 * @param {HTMLElement[]} buttons each of them closes the dialog as well
 */
export function showDialog(title, content, buttons = []) {
  const earlier = /** @type {HTMLDialogElement | null} */ (document.querySelector("dialog[open]"));
  earlier?.close(); // which gives the focus back, so that this one does as well
  earlier?.remove();
  const close = element("button", { type: "button", className: "quiet" }, texts.close);
  const heading = element("h2", { id: "dialog-title" }, title);
  const row = element("div", { className: "buttons" }, ...buttons, close);
  const dialog = element("dialog", { "aria-labelledby": "dialog-title" }, heading, content, row);
  for (const button of [...buttons, close]) button.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}
