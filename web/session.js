/**
 * Who uses the page: an event "change" for each sign-in and each end of a session.
 */

import { ask, sessionEnds } from "./service.js";

class Session extends EventTarget {
  /** @type {string | null} */
  user = null;
  isAdmin = false;
  isKnown = false;

  constructor() {
    super();
    sessionEnds.addEventListener("over", () => this.#become(null, false));
  }

  /** Ask the service who is signed in. Throws a `Refusal`. */
  async refresh() {
    const found = await ask("GET", "session");
    this.#become(found.user, found.is_admin);
  }

  /**
   * Throws a `Refusal`, for a wrong password too.
   *
   * @param {string} username
   * @param {string} password
   */
  async signIn(username, password) {
    const found = await ask("POST", "session", { username, password });
    this.#become(found.user, found.is_admin);
  }

  async signOut() {
    await ask("DELETE", "session");
    this.#become(null, false);
  }

  /**
   * @param {string | null} user
   * @param {boolean} isAdmin
   */
  #become(user, isAdmin) {
    const isSame = this.isKnown && this.user === user && this.isAdmin === isAdmin;
    Object.assign(this, { user, isAdmin, isKnown: true });
    if (!isSame) this.dispatchEvent(new Event("change"));
  }
}

export const session = new Session();
