/**
 * The view at #/: send songs, and see what becomes of them.
 */

import { Board } from "../board/board.js";
import { element } from "../dom.js";
import { SendForm } from "../send/form.js";

/** @param {HTMLElement} container */
export function show(container) {
  const form = new SendForm();
  const board = new Board();
  container.append(element("div", { className: "songs" }, form.view, board.view));
  form.start();
  board.start();
  return () => {
    form.stop();
    board.stop();
  };
}
