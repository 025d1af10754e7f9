/** Plays a long song for a minute, jumps about in it, and asks the server for a file after each step. */

import { openPlayer } from "/web/mixer/player.js";

const PLAY_MS = 60_000;
const JUMPS = 59;
/** Some jumps come while the last one is still fetched, and some after seconds of playing. */
const PAUSES_MS = [100, 250, 600, 1500];

const delay = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const tell = (what) => fetch(`/told/${what}`);

await delay(1000);
await tell("idle");
await delay(1000);
const stems = ["vocals", "instrumental"].map((name) => ({ name, url: `/hour/${name}.wav` }));
const startMs = [];
let askedAt = performance.now();
const player = await openPlayer({ stems });
player.addEventListener("state", () => {
  if (player.state === "playing") startMs.push(performance.now() - askedAt);
});
player.play();
await delay(PLAY_MS);
await tell("jumping");
for (let jump = 0; jump < JUMPS; jump++) {
  askedAt = performance.now();
  player.seek(3500 * ((jump * 0.618) % 1));
  await delay(PAUSES_MS[jump % PAUSES_MS.length]);
}
await delay(5000);
startMs.sort((one, other) => one - other);
await tell(`start/${Math.round(startMs[startMs.length >> 1])}`);
await tell(player.state);
