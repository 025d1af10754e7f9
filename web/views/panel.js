/**
 * A part of the operator's view: a heading and a table, drawn again when what it shows has changed.
 */

import { pointInTime } from "../board/times.js";
import { element } from "../dom.js";

export class Panel {
  #content = element("div", {});
  #shown = "";
  #isOutdated = false;

  /**
   * @param {string} title
   * @param {boolean} isWide whether it needs the width of the page
   */
  constructor(title, isWide) {
    this.root = element("section", { className: isWide ? "panel wide" : "panel", ariaLabel: title, tabIndex: -1 });
    this.root.append(element("h2", {}, title), this.#content);
  }

  /**
   * Show what `draw` makes of `data`. A button that is pressed or pointed at, and an open list, stay as they are until
   * the next time: a new number must not take them away.
   *
   * @template Data
   * @param {Data} data
   * @param {(data: Data) => Node} draw
   */
  show(data, draw) {
    const found = JSON.stringify(data);
    const isInUse = this.#content.querySelector("button:focus, button:hover, details[open]") !== null;
    if (!this.#isOutdated && (found === this.#shown || isInUse)) return;
    this.#isOutdated = false;
    this.#shown = found;
    this.#content.replaceChildren(draw(data));
  }

  /** Draw it at the next `show` in any case, after something was done with what it shows. */
  markOutdated() {
    if (this.#content.contains(document.activeElement)) this.root.focus({ preventScroll: true });
    this.#isOutdated = true;
  }
}

/**
 * A table that scrolls on a phone, also by keyboard. Rows that `stack` become lists there instead.
 *
 * @param {string[]} heads
 * @param {(string | number | Node)[][]} rows
 * @param {"scroll" | "stack"} [onPhone]
 */
export function table(heads, rows, onPhone = "scroll") {
  const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)));
  const lines = rows.map((cells) => {
    const made = cells.map((cell, index) => element("td", { "data-head": heads[index] }, asNode(cell)));
    return element("tr", {}, ...made);
  });
  const made = element("table", { className: onPhone }, element("thead", {}, head), element("tbody", {}, ...lines));
  return element("div", { className: "scroller", tabIndex: 0, role: "group", ariaLabel: heads[0] }, made);
}

/**
 * Names and values of one thing.
 *
 * @param {[string, string | number | Node][]} rows
 */
export function facts(rows) {
  const lines = rows.map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, asNode(value)))
  );
  return element("dl", { className: "facts" }, ...lines);
}

/** @param {string | number | Node} value */
function asNode(value) {
  return value instanceof Node ? value : String(value);
}

/** @param {string} task */
export function taskLink(task) {
  return element("a", { href: `#/tasks/${task}`, title: task }, task.slice(0, 8));
}

/** @param {string} time ISO 8601 */
export function when(time) {
  return element("time", { dateTime: time }, pointInTime(time));
}
