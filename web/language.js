/**
 * The language of the page, that of the browser, and its texts.
 */

import { texts as en } from "./texts/en.js";
import { texts as zh } from "./texts/zh.js";

const isChinese = (navigator.languages[0] ?? navigator.language).toLowerCase().startsWith("zh");

/** A BCP 47 tag. */
export const language = isChinese ? "zh-CN" : "en";

export const texts = isChinese ? zh : en;

/** Put the texts into what index.html holds. */
export function translatePage() {
  const plain = /** @type {Record<string, unknown>} */ (texts);
  document.documentElement.lang = language;
  for (const item of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-text]"))) {
    item.textContent = String(plain[item.dataset.text ?? ""]);
  }
  for (const item of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-label]"))) {
    item.ariaLabel = String(plain[item.dataset.label ?? ""]);
  }
}
