/** Plays a long song for a minute and at three other places, and asks the server for a file after each step. */

import { openPlayer } from "/web/mixer/player.js";

const delay = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const tell = (what) => fetch(`/told/${what}`);

await delay(1000);
await tell("idle");
await delay(1000);
const stems = ["vocals", "instrumental"].map((name) => ({ name, url: `/hour/${name}.wav` }));
const player = await openPlayer({ stems });
player.play();
await delay(60_000);
for (const positionS of [1200, 2400, 3550]) {
  player.seek(positionS);
  await delay(5000);
}
await tell(player.state);
