/** What tests need of a page around the mixer: a player, a recording of what leaves its graph, and a view. */

import { Peaks } from "/web/mixer/peaks.js";
import { openPlayer } from "/web/mixer/player.js";
import { spokenTime } from "/web/mixer/spoken_time.js";
import { WavSource } from "/web/mixer/wav_source.js";
import { followPosition, WaveformView } from "/web/mixer/waveform.js";

const events = [];
let recorded = [];

/** Open `song`; a recording grows with the time, and so is not always wanted. */
async function open(song, isRecorded = true) {
  window.player = await openPlayer(song);
  for (const type of ["state", "ended", "trouble"]) {
    player.addEventListener(
      type,
      ({ detail }) =>
        events.push(type === "state" ? player.state : type === "trouble" ? `trouble: ${detail.reason}` : type),
    );
  }
  if (isRecorded) await record();
  return { kind: player.kind, durationS: player.durationS, sampleRate: player.context.sampleRate };
}

async function record() {
  await player.context.audioWorklet.addModule("recorder.js");
  const recorder = new AudioWorkletNode(player.context, "recorder");
  recorder.port.onmessage = ({ data }) => recorded.push(data);
  // Connected further on, although it adds only silence, it is never idle.
  player.mix.output.connect(recorder).connect(player.context.destination);
}

function forget() {
  recorded = [];
}

/** Blocks of two channels in base64, and the frames at which they start: a busy browser leaves some out. */
function recording() {
  const channels = [0, 1].map((channel) => base64(recorded.map(({ channels }) => channels[channel])));
  return { starts: recorded.map(({ start }) => start), channels };
}

/** The position that the player shows, and the frame of the clock at which it does. */
function clock() {
  const { context } = player;
  const latency = Math.round(context.outputLatency * context.sampleRate);
  const frame = Math.round(context.currentTime * context.sampleRate);
  return { frame: frame - latency, position: player.positionS * context.sampleRate };
}

async function readWav(url, start) {
  const { signal } = new AbortController();
  const source = await WavSource.open(url, signal);
  const channels = Array.from({ length: source.channels }, () => new Float32Array(source.frames - start));
  await source.read(start, channels, signal);
  return {
    sampleRate: source.sampleRate,
    frames: source.frames,
    channels: channels.map((samples) => base64([samples])),
  };
}

async function showWaveforms(durationS, peaksUrls, language) {
  const [root, axis] = [document.querySelector("#view"), document.querySelector("#axis")];
  const view = new WaveformView(root, axis, { durationS, language, label: "Position" });
  for (const lane of document.querySelectorAll(".lane")) {
    const files = await Promise.all(peaksUrls.map(async (url) => (await fetch(url)).arrayBuffer()));
    view.addLane(lane, files.map((file) => new Peaks(file)));
  }
  for (const type of ["seek", "loop"]) view.addEventListener(type, ({ detail }) => events.push([type, detail]));
  Object.assign(window, { view });
}

function base64(parts) {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), at);
    at += part.byteLength;
  }
  let text = "";
  for (let from = 0; from < bytes.length; from += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(from, from + 0x8000));
  }
  return btoa(text);
}

Object.assign(window, {
  clock,
  events,
  followPosition,
  forget,
  open,
  readWav,
  recording,
  showWaveforms,
  spokenTime,
  isReady: true,
});
