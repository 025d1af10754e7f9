/**
 * A list of thousands of rows of one height, of which only those in sight exist.
 *
 * What the user looks at stays where it is while rows come and go above it: the row under the pointer or with the focus,
 * otherwise the first one in sight.
 */

const spareRows = 5;

/**
 * @template Item
 * @typedef {object} Row
 * @property {HTMLElement} view
 * @property {(item: Item) => void} update
 */

/** @template {{ task_uuid: string }} Item */
export class WindowList {
  /** @type {Item[]} */
  #items = [];
  /** @type {Map<string, number>} */
  #places = new Map();
  /** @type {Map<string, Row<Item>>} */
  #rows = new Map();
  #makeRow;
  #list;
  #isPlanned = false;
  #plan = () => this.#renderSoon();
  #pressKey = (/** @type {KeyboardEvent} */ event) => this.#moveFocus(event);

  /**
   * @param {HTMLElement} list
   * @param {(item: Item) => Row<Item>} makeRow
   */
  constructor(list, makeRow) {
    this.#list = list;
    this.#makeRow = makeRow;
  }

  start() {
    addEventListener("scroll", this.#plan, { passive: true });
    addEventListener("resize", this.#plan);
    this.#list.addEventListener("keydown", this.#pressKey);
  }

  stop() {
    removeEventListener("scroll", this.#plan);
    removeEventListener("resize", this.#plan);
  }

  /** @param {Item[]} items in the order in which they are shown */
  show(items) {
    const focused = this.#focusedId();
    const anchor = this.#anchor();
    const before = anchor === undefined ? undefined : this.#places.get(anchor);
    this.#items = items;
    this.#places = new Map(items.map((item, index) => [item.task_uuid, index]));
    this.#list.style.height = `${items.length * this.#rowHeight()}px`;
    const after = anchor === undefined ? undefined : this.#places.get(anchor);
    if (before !== undefined && after !== undefined && before !== after) {
      scrollBy({ top: (after - before) * this.#rowHeight(), behavior: "instant" });
    }
    this.#render();
    if (anchor === focused && before !== undefined && after === undefined) this.#focusAt(before);
  }

  /** Bring the rows in sight up to date, such as their times. */
  refresh() {
    for (const [id, row] of this.#rows) row.update(this.#items[/** @type {number} */ (this.#places.get(id))]);
  }

  #rowHeight() {
    const { fontSize } = getComputedStyle(document.documentElement);
    return parseFloat(getComputedStyle(this.#list).getPropertyValue("--row-height")) * parseFloat(fontSize);
  }

  /** The id of the row that must stay in its place. */
  #anchor() {
    const hovered = /** @type {HTMLElement | null} */ (this.#list.querySelector(":scope > :hover"));
    const top = -this.#list.getBoundingClientRect().top;
    return this.#focusedId() ?? hovered?.dataset.id ??
      (top > 0 ? this.#items[Math.floor(top / this.#rowHeight())]?.task_uuid : undefined);
  }

  #focusedId() {
    return /** @type {HTMLElement | null} */ (this.#list.querySelector(":scope > :focus-within"))?.dataset.id;
  }

  /** The row with the focus is gone: the one that took its place gets it, so that keys work on. @param {number} place */
  #focusAt(place) {
    const item = this.#items[Math.min(place, this.#items.length - 1)];
    this.#rows.get(item?.task_uuid)?.view.focus({ preventScroll: true });
  }

  #renderSoon() {
    if (this.#isPlanned) return;
    this.#isPlanned = true;
    requestAnimationFrame(() => {
      this.#isPlanned = false;
      this.#render();
    });
  }

  #render() {
    const rowHeight = this.#rowHeight();
    const wanted = this.#inSight(rowHeight);
    for (const [id, row] of this.#rows) {
      if (wanted.has(id)) continue;
      row.view.remove();
      this.#rows.delete(id);
    }
    let previous = /** @type {HTMLElement | null} */ (null);
    for (const [id, place] of [...wanted].sort((a, b) => a[1] - b[1])) {
      const { view } = this.#put(id, place, rowHeight);
      const next = /** @type {Node | null} */ (previous ? previous.nextSibling : this.#list.firstChild);
      if (next !== view && !view.contains(document.activeElement)) this.#list.insertBefore(view, next);
      previous = view;
    }
  }

  /** @param {number} rowHeight */
  #inSight(rowHeight) {
    const { top } = this.#list.getBoundingClientRect();
    const first = Math.max(0, Math.floor(-top / rowHeight) - spareRows);
    const last = Math.ceil((innerHeight - top) / rowHeight) + spareRows;
    const wanted = new Map(
      this.#items.slice(first, Math.max(first, last)).map((item, at) => [item.task_uuid, first + at]),
    );
    const focused = this.#focusedId() ?? "";
    const place = this.#places.get(focused);
    if (place !== undefined) wanted.set(focused, place); // or the focus would be lost
    return wanted;
  }

  /**
   * @param {string} id
   * @param {number} place
   * @param {number} rowHeight
   */
  #put(id, place, rowHeight) {
    const row = this.#rows.get(id) ?? this.#makeRow(this.#items[place]);
    this.#rows.set(id, row);
    row.view.dataset.id = id;
    row.view.style.transform = `translateY(${place * rowHeight}px)`;
    row.view.ariaPosInSet = String(place + 1);
    row.view.ariaSetSize = String(this.#items.length);
    row.update(this.#items[place]);
    return row;
  }

  /** Up and down move from row to row. @param {KeyboardEvent} event */
  #moveFocus(event) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const target = /** @type {HTMLElement} */ (event.target);
    if (!step || target.matches("select")) return;
    const id = /** @type {HTMLElement | null} */ (target.closest("[data-id]"))?.dataset.id ?? "";
    const next = this.#items[(this.#places.get(id) ?? -1) + step];
    const row = next && this.#rows.get(next.task_uuid);
    if (!row) return;
    event.preventDefault();
    row.view.focus();
    row.view.scrollIntoView({ block: "nearest" });
  }
}
