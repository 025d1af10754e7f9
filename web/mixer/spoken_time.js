/**
 * Times as people read and say them.
 */

/**
 * A time for `aria-valuetext`: "4 minutes 3 seconds", in Chinese "4分钟3秒".
 *
 * @param {number} seconds
 * @param {string} language a BCP 47 tag
 */
export function spokenTime(seconds, language) {
  const parts = hoursMinutesSeconds(seconds)
    .map((value, index) => ({ value, unit: ["hour", "minute", "second"][index] }))
    .filter(({ value, unit }) => value || unit === "second" && seconds < 1)
    .map(({ value, unit }) =>
      new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "long" }).format(value)
    );
  return parts.join(/^(zh|ja)\b/.test(language) ? "" : " ");
}

/**
 * A time for the eye: "4:03", "1:04:03".
 *
 * @param {number} seconds
 */
export function shortTime(seconds) {
  const [hours, minutes, rest] = hoursMinutesSeconds(seconds);
  const padded = (/** @type {number} */ value) => String(value).padStart(2, "0");
  return hours ? `${hours}:${padded(minutes)}:${padded(rest)}` : `${minutes}:${padded(rest)}`;
}

/** @param {number} seconds */
function hoursMinutesSeconds(seconds) {
  const whole = Math.floor(Math.max(0, seconds));
  return [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
}
