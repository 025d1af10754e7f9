/**
 * The keys of the mixer, as a dialog.
 */

import { element } from "../dom.js";
import { texts as allTexts } from "../language.js";

const texts = allTexts.mixer;

export function showMixerKeys() {
  const list = element("dl");
  for (const [key, purpose] of texts.keys) {
    list.append(element("dt", {}, element("kbd", {}, key)), element("dd", {}, purpose));
  }
  const close = element("button", { type: "button" }, texts.close);
  const heading = element("h2", { id: "mixer-keys" }, texts.keyboard);
  const dialog = element("dialog", { className: "keys", "aria-labelledby": "mixer-keys" }, heading, list, close);
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
