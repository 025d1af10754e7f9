// Shows the page in the language of the browser, and its own address in the examples. Without scripts it is in English.

import { texts as en } from "./texts/en.js";
import { texts as zh } from "./texts/zh.js";

const isChinese = (navigator.languages[0] ?? navigator.language).toLowerCase().startsWith("zh");
const texts = isChinese ? zh : en;

document.documentElement.lang = isChinese ? "zh-CN" : "en";
for (const element of document.querySelectorAll("[data-text]")) element.textContent = texts[element.dataset.text];
for (const element of document.querySelectorAll("[data-label]")) element.ariaLabel = texts[element.dataset.label];
for (const element of document.querySelectorAll("[data-address]")) {
  element.textContent = new URL(".", document.baseURI).href.replace(/\/$/, "");
}
