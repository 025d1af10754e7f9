/**
 * The songs on their way, two at a time, and the list that shows them. They go on while other views are shown.
 */

import { announce, element, setText } from "../dom.js";
import { texts } from "../language.js";
import { session } from "../session.js";
import { Upload } from "./upload.js";

const maxAtOnce = 2;
const maxShown = 30;

/** @type {Upload[]} */
let uploads = [];
const rows = /** @type {Map<Upload, ReturnType<typeof makeRow>>} */ (new Map());
const heading = element("h2");
const list = element("ul", { role: "list" });
const more = element("p", { className: "soft" });

/** The list, which is hidden while nothing is on its way. */
export const uploadsView = element(
  "section",
  { className: "uploads", hidden: true, "aria-label": texts.uploads },
  heading,
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
  uploads.push(...files.map((file) => new Upload(file, fields)));
  goOn();
}

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
  uploads = uploads.filter(({ state }) => state !== "sent" && state !== "dropped");
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

function show() {
  uploadsView.hidden = !uploads.length;
  setText(heading, texts.onTheirWay(uploads.length));
  const shown = [...uploads].sort((a, b) => rank(a) - rank(b)).slice(0, maxShown);
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
function rank({ state }) {
  return ["sending", "failed", "later", "waiting"].indexOf(state);
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
  drop.addEventListener("click", () => (upload.drop(), goOn()));
  const item = element(
    "li",
    {},
    element("div", { className: "line" }, element("span", { className: "name", title: name }, name), share),
    bar,
    problem,
    element("div", { className: "buttons" }, again, drop),
  );
  const update = () => {
    setText(share, upload.state === "sending" ? shareText(upload) : texts.uploadStates[upload.state]);
    item.classList.toggle("is-failed", upload.state === "failed");
    setText(problem, upload.problem);
    bar.value = upload.share;
    bar.hidden = upload.state !== "sending";
    problem.hidden = !upload.problem;
    again.hidden = upload.state !== "failed";
  };
  return { item, update };
}

/** @param {Upload} upload when all bytes have left, the service still looks at the song */
function shareText({ share }) {
  return share < 1 ? `${Math.floor(100 * share)} %` : texts.almostSent;
}
