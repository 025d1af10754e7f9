/**
 * What a task is called.
 */

import { texts } from "../language.js";

/** @typedef {import("./feed.js").Task} Task */

/** The name of the song: that of the file, or the last part of the URL. @param {Pick<Task, "audio">} task */
export function titleOf({ audio }) {
  const [path] = audio.split(/[?#…]/);
  if (!/^https?:/i.test(audio)) return audio;
  const last = path.replace(/\/+$/, "").split("/").at(-1) ?? "";
  return decoded(last) || audio;
}

/** A part of an address as text; as it is if it is not encoded properly. @param {string} part */
export function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The preset or the models that were chosen. @param {Task} task */
export function modelOf({ model, preset }) {
  if (preset) return texts.presets[preset]?.title ?? preset;
  return [model ?? []].flat().join(" + ") || texts.usualModel;
}
