/** Passes on all that arrives, in blocks of many render quanta, with the frame at which each begins. */
class Recorder extends AudioWorkletProcessor {
  #frames = 0;
  #start = 0;
  #block = [new Float32Array(4096), new Float32Array(4096)];

  process([input]) {
    if (currentFrame !== this.#start + this.#frames) { // where the graph has just been started
      this.#start = currentFrame;
      this.#frames = 0;
    }
    this.#block.forEach((channel, index) => {
      const part = input[index] ?? input[0];
      if (part) channel.set(part, this.#frames);
      else channel.fill(0, this.#frames, this.#frames + 128);
    });
    this.#frames += 128;
    if (this.#frames === 4096) {
      this.port.postMessage({ start: this.#start, channels: this.#block.map((channel) => channel.slice()) });
      this.#start += 4096;
      this.#frames = 0;
    }
    return true;
  }
}

registerProcessor("recorder", Recorder);
