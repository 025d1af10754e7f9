/**
 * The keys of the mixer, as a dialog.
 */

import { element } from "../dom.js";
import { showDialog } from "../keys.js";
import { texts as allTexts } from "../language.js";

const texts = allTexts.mixer;

export function showMixerKeys() {
  const list = element("dl");
  for (const [key, purpose] of texts.keys) {
    list.append(element("dt", {}, element("kbd", {}, key)), element("dd", {}, purpose));
  }
  showDialog(texts.keyboard, list);
}
