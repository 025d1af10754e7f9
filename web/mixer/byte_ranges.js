/**
 * Parts of files over HTTP Range, with failures told apart by what the listener can do about them.
 */

/** A server that is silent for longer is asked again: a connection can hang without an error. */
const MAX_SILENCE_MS = 15_000;

/**
 * Why a file cannot be read.
 *
 * - `signed-out`, `forbidden`, `gone`: the server said so (401, 403, 404 or 410)
 * - `refused`: any other answer that a repeated request would get again
 * - `busy`, `server`, `network`: it may work later
 * - `no-range`: the server sends whole files only
 * - `changed`: the file is not the one that was opened
 * - `unreadable`: the file is not audio that this player, or this browser, can read
 *
 * @typedef {"signed-out" | "forbidden" | "gone" | "refused" | "busy" | "server" | "network" | "no-range" | "changed" |
 *   "unreadable"} Reason
 */

const REASONS = new Map(
  /** @type {[number, Reason][]} */ ([
    [401, "signed-out"],
    [403, "forbidden"],
    [404, "gone"],
    [408, "busy"],
    [410, "gone"],
    [416, "changed"],
    [429, "busy"],
    [503, "busy"],
  ]),
);
const TRANSIENT = new Set(["busy", "server", "network"]);

const PART_BYTES = 2 ** 16;
/** @type {Uint8Array<ArrayBuffer>[]} to be used again */
const spareMemory = [];

/** A file that cannot be read, and whether a later request may succeed. */
export class SourceError extends Error {
  /**
   * @param {Reason} reason
   * @param {string} message for the console, not for listeners
   * @param {number} [retryAfterMs] how long the server asked to wait
   */
  constructor(reason, message, retryAfterMs = 0) {
    super(message);
    this.name = "SourceError";
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
  }

  get isTransient() {
    return TRANSIENT.has(this.reason);
  }
}

/**
 * `count` bytes from `first` on, fewer at the end of the file; throws `SourceError`, or `AbortError` once `signal` is.
 *
 * @param {string} url
 * @param {number} first
 * @param {number} count
 * @param {AbortSignal} signal
 * @param {Uint8Array<ArrayBuffer>} [room] where they are written, if it is large enough
 * @returns {Promise<{bytes: Uint8Array<ArrayBuffer>, fileBytes: number}>}
 */
export function fetchRange(url, first, count, signal, room) {
  const headers = { Range: `bytes=${first}-${first + count - 1}` };
  return received(url, { headers }, signal, (response) => {
    const [, from, last, fileBytes] =
      (/^bytes (\d+)-(\d+)\/(\d+)$/.exec(response.headers.get("Content-Range") ?? "") ?? [])
        .map(Number);
    if (response.status !== 206 || from !== first) {
      throw new SourceError("no-range", `${url}: HTTP ${response.status} instead of the requested range`);
    }
    return { length: last - first + 1, fileBytes };
  }, room);
}

/**
 * A whole file of at most `maxBytes`; throws as `fetchRange` does.
 *
 * @param {string} url
 * @param {number} maxBytes
 * @param {AbortSignal} signal
 */
export async function fetchWhole(url, maxBytes, signal) {
  const { bytes } = await received(url, {}, signal, (response) => {
    const length = Number(response.headers.get("Content-Length") ?? NaN);
    if (!(length <= maxBytes)) {
      throw new SourceError("unreadable", `${url}: ${length} bytes, more than ${maxBytes}`);
    }
    return { length, fileBytes: length };
  });
  return bytes;
}

/**
 * The body of a successful answer. `expected` says how long it must be.
 *
 * @param {string} url
 * @param {RequestInit} options
 * @param {AbortSignal} signal
 * @param {(response: Response) => {length: number, fileBytes: number}} expected
 * @param {Uint8Array<ArrayBuffer>} [room]
 */
async function received(url, options, signal, expected, room) {
  const silence = new AbortController();
  const listen = () => setTimeout(() => silence.abort(), MAX_SILENCE_MS);
  let timer = listen();
  try {
    // Without a cache, because browsers remember a 410 for good, and hours of audio would displace everything else.
    const ends = AbortSignal.any([signal, silence.signal]);
    const response = await fetch(url, { ...options, cache: "no-store", signal: ends });
    if (!response.ok) throw refusal(url, response);
    const { length, fileBytes } = expected(response);
    const whole = room && room.length >= length ? room : new Uint8Array(length);
    const bytes = await filled(whole, response, () => {
      clearTimeout(timer);
      timer = listen();
    });
    if (bytes.length < length) throw new SourceError("network", `${url}: ${bytes.length} of ${length} bytes arrived`);
    return { bytes, fileBytes };
  } catch (error) {
    silence.abort(); // closes the connection of an answer that is not wanted
    signal.throwIfAborted();
    if (error instanceof SourceError) throw error;
    throw new SourceError("network", `${url}: ${error}`);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The body of `response`, written into `room`; throws `RangeError` if it is longer.
 *
 * @param {Uint8Array<ArrayBuffer>} room
 * @param {Response} response
 * @param {() => void} onProgress
 */
async function filled(room, response, onProgress) {
  const read = reading(/** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */ (response.body));
  let count = 0;
  for (let part = await read(); part; part = await read()) {
    onProgress();
    room.set(part, count);
    count += part.length;
  }
  return room.subarray(0, count);
}

/**
 * Reads `body` part by part; each is gone when the next one is read. All parts come in the same memory, because browsers
 * let hundreds of MB come together before they free what was read once.
 *
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
 * @returns {() => Promise<Uint8Array<ArrayBuffer> | undefined>}
 */
function reading(body) {
  const reader = readerInto(body);
  if (!reader) {
    const simple = body.getReader();
    return async () => (await simple.read()).value;
  }
  let memory = spareMemory.pop() ?? new Uint8Array(PART_BYTES);
  return async () => {
    const { done, value } = await reader.read(memory);
    if (!value) return; // the browser has kept the memory
    memory = new Uint8Array(value.buffer);
    if (!done) return value;
    spareMemory.push(memory);
  };
}

/**
 * A reader that writes into memory of ours; null in browsers that have none (Safari).
 *
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
 */
function readerInto(body) {
  try {
    return body.getReader({ mode: "byob" });
  } catch {
    return null;
  }
}

/**
 * @param {string} url
 * @param {Response} response
 */
function refusal(url, response) {
  const reason = REASONS.get(response.status) ?? (response.status >= 500 ? "server" : "refused");
  const waitS = Number(response.headers.get("Retry-After"));
  return new SourceError(reason, `${url}: HTTP ${response.status}`, waitS > 0 ? waitS * 1000 : 0);
}
