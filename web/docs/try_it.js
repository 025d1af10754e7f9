/**
 * "Try it" on /docs: people who are signed in get a form for each operation, which sends a real request.
 *
 * The forms are made from /openapi.json, like the page itself. Without a session the page stays as it is: it says how
 * to sign in.
 */

import { element, find } from "../dom.js";
import { RequestForm } from "./request_form.js";

await offerForms();

async function offerForms() {
  const { user } = await (await fetch("session", { headers: { "X-Requested-With": "uvr" } })).json();
  if (!user) return;
  const { paths, components } = await (await fetch("openapi.json")).json();
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      offer({ ...operation, path, method: method.toUpperCase() }, components.schemas);
    }
  }
  find("#try-it").replaceChildren(
    "You are signed in as ",
    element("strong", {}, user),
    ": “Try it” at an operation sends a real request with your rights, and shows the answer.",
  );
}

/**
 * @param {import("./request_form.js").Operation} operation
 * @param {Record<string, import("./schemas.js").Schema>} schemas those that the document refers to
 */
function offer(operation, schemas) {
  const name = `Try it: ${operation.method} ${operation.path}`;
  const button = element("button", { type: "button", ariaExpanded: "false", ariaLabel: name }, "Try it");
  let form = /** @type {RequestForm | null} */ (null);
  button.addEventListener("click", () => {
    if (!form) {
      form = new RequestForm(operation, schemas);
      button.after(form.root);
    } else {
      form.root.hidden = !form.root.hidden;
    }
    button.ariaExpanded = String(!form.root.hidden);
  });
  find(`#${operation.operationId} .try-it`).append(button);
}
