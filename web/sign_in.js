/**
 * The form that begins a session.
 */

import { element } from "./dom.js";
import { texts } from "./language.js";
import { session } from "./session.js";

/**
 * Show the form in `container`. `reason` says why it is there again.
 *
 * @param {HTMLElement} container
 * @param {string} reason
 */
export function showSignIn(container, reason) {
  const username = element("input", {
    id: "username",
    autocomplete: "username",
    required: true,
    autocapitalize: "none",
  });
  const password = element("input", {
    id: "password",
    type: "password",
    autocomplete: "current-password",
    required: true,
  });
  const problem = element("p", { className: "problem", role: "alert" });
  const button = element("button", { type: "submit" }, texts.signIn);
  const form = element(
    "form",
    { className: "card" },
    ...(reason ? [element("p", { className: "reason", role: "status" }, reason)] : []),
    element("div", {}, element("label", { htmlFor: "username" }, texts.username), username),
    element("div", {}, element("label", { htmlFor: "password" }, texts.password), password),
    problem,
    button,
    element("p", { className: "hint" }, texts.wherePassword),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.textContent = "";
    button.disabled = true;
    try {
      await session.signIn(username.value, password.value);
    } catch (error) {
      const { status, message } = /** @type {import("./service.js").Refusal} */ (error);
      problem.textContent = status === 401 ? texts.wrongPassword : message;
      button.disabled = false;
      password.select();
    }
  });
  const pitch = element(
    "div",
    { className: "pitch" },
    element("img", { src: "console/stems.svg", alt: "", width: 480, height: 144 }),
    element("h1", {}, texts.title),
    element("p", {}, texts.about),
  );
  container.replaceChildren(element("div", { className: "welcome" }, pitch, form));
  username.focus();
}
