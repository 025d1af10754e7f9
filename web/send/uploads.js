/**
 * The songs on their way, two at a time, and the list that shows them. They go on while other views are shown.
 */

import { announce, element, setText } from "../dom.js";
import { texts } from "../language.js";
import { session } from "../session.js";
import { Upload } from "./upload.js";

const maxAtOnce = 2;
const maxShown = 30;
const maxSentShown = 10;
const statesShown = ["sending", "failed", "later", "sent", "waiting"];

/** @type {Upload[]} */
let uploads = [];
const rows = /** @type {Map<Upload, ReturnType<typeof makeRow>>} */ (new Map());
const heading = element("h2");
const leaveOutAll = element("button", { type: "button", className: "quiet" }, texts.leaveOutAll);
const list = element("ul", { role: "list" });
const more = element("p", { className: "soft" });

/** The list, which is hidden while nothing is on its way. */
export const uploadsView = element(
  "section",
  { className: "uploads", hidden: true, "aria-label": texts.uploads },
  element("div", { className: "line" }, heading, leaveOutAll),
  list,
  more,
);

/**
 * Send these songs, all with the same fields.
 *
 * @param {File[]} files
 * @param {Record<string, string>} fields
 */
export function sendFiles(files, fields) {
  uploads = uploads.concat(files.map((file) => new Upload(file, fields)));
  goOn();
}

leaveOutAll.addEventListener("click", () => leaveOut(uploads));

let owner = session.user;
session.addEventListener("change", () => {
  if (session.user && session.user !== owner) { for (const upload of uploads) upload.drop(); }
  owner = session.user ?? owner;
  goOn();
});

addEventListener("beforeunload", (event) => {
  if (uploads.some(({ state }) => state === "sending" || state === "waiting" || state === "later")) {
    event.preventDefault();
  }
});

function goOn() {
  const sent = uploads.filter(({ state }) => state === "sent").length;
  uploads = uploads.filter(({ state }) => state !== "dropped");
  // Those that were sent stay in their place for a while, so that the others do.
  if (sent === uploads.length || sent > maxSentShown) uploads = uploads.filter(({ state }) => state !== "sent");
  const allowed = session.user ? maxAtOnce : 0;
  const free = allowed - uploads.filter(({ state }) => state === "sending").length;
  for (const upload of uploads.filter(({ state }) => state === "waiting").slice(0, Math.max(0, free))) {
    upload.send(() => upload.state === "waiting" ? goOn() : show()).then(() => ended(upload));
  }
  show();
}

/** @param {Upload} upload */
function ended(upload) {
  if (upload.state === "sent") announce(texts.sent(upload.file.name));
  if (upload.state === "failed") announce(`${upload.file.name}: ${upload.problem}`);
  goOn();
}

/** @param {Upload[]} unwanted songs that are not sent after all; the focus stays in the list, or goes before it */
function leaveOut(unwanted) {
  for (const upload of unwanted) upload.drop();
  goOn();
  const next = list.querySelector("button:not([hidden])") ?? document.querySelector("#view [data-key=n]");
  /** @type {HTMLElement | null} */ (next)?.focus();
}

function show() {
  uploadsView.hidden = !uploads.length;
  const unsent = uploads.filter(({ state }) => state !== "sent").length;
  setText(heading, texts.onTheirWay(unsent));
  const shown = statesShown.flatMap((state) => uploads.filter((upload) => upload.state === state)).slice(0, maxShown)
    .sort((a, b) => a.number - b.number);
  for (const [upload, row] of rows) {
    if (shown.includes(upload)) continue;
    row.item.remove();
    rows.delete(upload);
  }
  shown.forEach((upload, index) => {
    const row = rows.get(upload) ?? makeRow(upload);
    rows.set(upload, row);
    if (list.children[index] !== row.item) list.insertBefore(row.item, list.children[index] ?? null);
    row.update();
  });
  setText(more, uploads.length > maxShown ? texts.andMore(uploads.length - maxShown) : "");
}

/** @param {Upload} upload */
function makeRow(upload) {
  const { name } = upload.file;
  const share = element("span", { className: "share" });
  const bar = element("progress", { max: 1, value: 0, "aria-label": texts.progressOf(name) });
  const problem = element("p", { className: "problem" });
  const again = element(
    "button",
    { type: "button", className: "quiet", "aria-label": texts.sendAgainName(name) },
    texts.sendAgain,
  );
  const drop = element(
    "button",
    { type: "button", className: "quiet", "aria-label": texts.leaveOutName(name) },
    texts.leaveOut,
  );
  again.addEventListener("click", () => (upload.again(), goOn()));
  drop.addEventListener("click", () => leaveOut([upload]));
  const item = element(
    "li",
    {},
    element(
      "div",
      { className: "line" },
      element("span", { className: "name", title: name, dir: "auto" }, name),
      share,
    ),
    bar,
    problem,
    element("div", { className: "buttons" }, drop, again),
  );
  const update = () => {
    setText(share, upload.state === "sending" ? shareText(upload) : texts.uploadStates[upload.state]);
    item.classList.toggle("is-failed", upload.state === "failed");
    setText(problem, upload.problem);
    bar.value = upload.share;
    bar.hidden = upload.state !== "sending";
    problem.hidden = !upload.problem;
    again.hidden = upload.state !== "failed";
    drop.hidden = upload.state === "sent";
  };
  return { item, update };
}

/** @param {Upload} upload when all bytes have left, the service still looks at the song */
function shareText({ share }) {
  return share < 1 ? `${Math.floor(100 * share)} %` : texts.almostSent;
}
