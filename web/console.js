/**
 * Starts the page: its language, who is signed in, and the view.
 *
 * When a session ends, the view stays as it is behind the form that begins another, so nothing that was typed is lost.
 */

import { find } from "./dom.js";
import { texts, translatePage } from "./language.js";
import { Router } from "./router.js";
import { session } from "./session.js";
import { offerKeys } from "./keys.js";
import { showSignIn } from "./sign_in.js";

const view = find("#view");
const signIn = find("#sign-in");
const router = new Router(view);
const signOut = /** @type {HTMLButtonElement} */ (find("#account button"));
let shownTo = /** @type {string | null} */ (null);
let hasLeft = false;

translatePage();
offerKeys();
session.addEventListener("change", showAccount);
signOut.addEventListener("click", leave);
session.refresh().catch(showUnreachable);

function showAccount() {
  const { user, isAdmin } = session;
  find("#account").hidden = !user;
  find("#account span").textContent = user;
  find('#navigation [href="#/"]').hidden = !user;
  find('#navigation [href="#/admin"]').hidden = !isAdmin;
  view.hidden = !user;
  signIn.hidden = Boolean(user);
  if (!user) return showSignIn(signIn, shownTo && !hasLeft ? texts.sessionOver : "");
  signIn.replaceChildren();
  hasLeft = false;
  if (user !== shownTo) {
    router.stop();
    router.start();
    view.focus({ preventScroll: true });
  }
  shownTo = user;
}

async function leave() {
  hasLeft = true;
  await session.signOut().catch((error) => alert(error.message));
  if (!session.user) {
    router.stop();
    shownTo = null;
  }
  hasLeft = false;
}

/** @param {Error} error */
function showUnreachable(error) {
  view.textContent = error.message;
  setTimeout(() => session.refresh().catch(showUnreachable), 3000);
}
