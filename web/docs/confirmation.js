/**
 * A question before something is deleted.
 */

import { element } from "../dom.js";

/**
 * Whether the answer to `question` is yes.
 *
 * @param {string} question
 * @returns {Promise<boolean>}
 */
export function confirmed(question) {
  const text = element("p", { id: "question" }, question);
  const no = element("button", { type: "button", autofocus: true }, "Cancel");
  const yes = element("button", { type: "button" }, "Send");
  const dialog = element("dialog", { "aria-labelledby": text.id }, text, element("p", {}, no, " ", yes));
  document.body.append(dialog);
  no.addEventListener("click", () => dialog.close());
  yes.addEventListener("click", () => dialog.close("yes"));
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
  });
}
