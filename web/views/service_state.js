/**
 * What `GET /admin/overview` says about the service, as tables for the operator.
 */

import { duration } from "../board/times.js";
import { element } from "../dom.js";
import { texts as allTexts } from "../language.js";
import { facts, table } from "./panel.js";

const texts = allTexts.operatorView;
const UNKNOWN = "–";

/** @param {Record<string, number>} tasks */
export function counts(tasks) {
  const list = element("dl", { className: "counts" });
  const names = /** @type {Record<string, string>} */ (allTexts.states);
  for (const [status, count] of Object.entries(tasks)) {
    list.append(element("div", {}, element("dt", {}, names[status] ?? status), element("dd", {}, String(count))));
  }
  return list;
}

/** @param {any[]} found */
export function queues(found) {
  const rows = found.flatMap(({ queue, node, leased, delayed, dead, priorities }) => {
    const name = node ? `${queue} (${node})` : queue;
    const waiting = priorities.filter((/** @type {any} */ { waiting }) => waiting);
    const lines = waiting.length ? waiting : [{ priority: UNKNOWN, waiting: 0, oldest_s: 0 }];
    return lines.map((/** @type {any} */ line, /** @type {number} */ index) => [
      index ? "" : name,
      line.priority,
      line.waiting,
      line.waiting ? duration(line.oldest_s) : UNKNOWN,
      ...(index ? ["", "", ""] : [leased, delayed, dead]),
    ]);
  });
  const { queue, priority, waiting, oldest, working, delayed, given } = texts;
  return table([queue, priority, waiting, oldest, working, delayed, given], rows);
}

/** @param {any[]} found */
export function workers(found) {
  const missing = ["processor", "uploader"].filter((kind) => found.every((worker) => worker.kind !== kind));
  const rows = found.map(({ kind, name, node, model, loaded, provider, paused, idle, retention }) => {
    const trouble = [paused, idle, retention].filter(Boolean).join(" ");
    return [name, kind, node ?? "", loaded || model || "", provider ?? "", trouble ? problem(trouble) : texts.ok];
  });
  const heads = [texts.worker, texts.kind, texts.node, texts.models, texts.device, texts.state];
  const warnings = missing.map((kind) => problem(texts.noneRuns(kind)));
  return element("div", {}, ...warnings, ...(found.length ? [table(heads, rows, "stack")] : []));
}

/** @param {any[]} found */
export function nodes(found) {
  const ago = (/** @type {number | null} */ seconds) => seconds === null ? UNKNOWN : `${Math.round(seconds)} s`;
  const rows = found.map(({ node, processor_s, uploader_s }) => [node ?? UNKNOWN, ago(processor_s), ago(uploader_s)]);
  return table([texts.node, texts.processor, texts.uploader], rows);
}

/**
 * One row for each folder of each machine: its processes share the folder.
 *
 * @param {any[]} found
 */
export function disks(found) {
  const folders = Map.groupBy(found, ({ name, folder, total_bytes }) => `${hostOf(name)} ${folder} ${total_bytes}`);
  const rows = [...folders.values()].map((same) => {
    const { name, folder, free_bytes, total_bytes } = same[0];
    const needed = Math.max(...same.map(({ min_free_bytes }) => min_free_bytes));
    const isShort = free_bytes < needed;
    const state = isShort ? problem(texts.short(size(needed))) : texts.enough;
    const kinds = [...new Set(same.map(({ kind }) => kind))].join(", ");
    return [`${folder} (${hostOf(name)})`, kinds, fill(folder, total_bytes - free_bytes, total_bytes), state];
  });
  return table([texts.folder, texts.usedBy, texts.space, texts.state], rows, "stack");
}

/** @param {any} found */
export function storage({ kind, bucket, endpoint, folder, usable, problem: trouble, stored_bytes }) {
  const place = folder ?? (endpoint ? `${bucket} (${endpoint})` : bucket);
  const state = usable ? texts.usable : usable === null ? texts.notKnown : texts.unusable;
  const shown = trouble ? problem(`${state} ${trouble}`) : state;
  const stored = stored_bytes === null ? UNKNOWN : size(stored_bytes);
  return facts([[texts.kind, kind], [texts.place, place], [texts.stored, stored], [texts.state, shown]]);
}

/** @param {any} found */
export function redis({ server, used_bytes, max_bytes, clients, up_s, appendfsync, saved_s, writes_fail, risks }) {
  const memory = max_bytes
    ? fill(texts.memory, used_bytes, max_bytes)
    : `${used_bytes === null ? UNKNOWN : size(used_bytes)}, ${texts.noLimit}`;
  const saved = saved_s === null ? UNKNOWN : duration(saved_s);
  const warnings = [...(writes_fail ? [texts.writesFail] : []), ...risks];
  const state = warnings.length ? element("div", {}, ...warnings.map(problem)) : texts.ok;
  return facts([
    [texts.server, server ?? UNKNOWN],
    [texts.memory, memory],
    [texts.appendfsync, appendfsync ?? UNKNOWN],
    [texts.saved, saved],
    [texts.clients, clients ?? UNKNOWN],
    [texts.up, up_s === null ? UNKNOWN : duration(up_s)],
    [texts.state, state],
  ]);
}

/**
 * How much of `total` bytes is used: as a bar, and what is free as text.
 *
 * @param {string} name
 * @param {number} used
 * @param {number} total
 */
function fill(name, used, total) {
  const meter = element("meter", { min: 0, max: total, high: 0.9 * total, value: used, ariaLabel: name });
  return element(
    "span",
    { className: "fill" },
    meter,
    ` ${texts.freeOf(size(Math.max(0, total - used)), size(total))}`,
  );
}

/** @param {string} name host and process id */
function hostOf(name) {
  return name.slice(0, name.lastIndexOf(":"));
}

/** @param {number} bytes */
function size(bytes) {
  return bytes < 2 ** 30 ? `${(bytes / 2 ** 20).toFixed(1)} MiB` : `${(bytes / 2 ** 30).toFixed(1)} GiB`;
}

/** @param {string} sentence */
function problem(sentence) {
  return element("p", { className: "problem" }, sentence);
}
