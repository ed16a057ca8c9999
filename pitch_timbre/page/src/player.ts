// The sound card's side: which voices sound, and how long a key takes to be heard.

import type { ToneFitter, Tone } from "./tone_fit";
import { HELD, Voice, type Course } from "./voice";

/** A limiter, so that a handful of keys does not clip. */
function limiter(context: BaseAudioContext): AudioNode {
  const node = new DynamicsCompressorNode(context, { threshold: -6, knee: 6, ratio: 12, attack: 0.002, release: 0.1 });
  node.connect(context.destination);
  return node;
}

export class Player {
  readonly context = new AudioContext({ latencyHint: "interactive" });
  private readonly out = limiter(this.context);
  private readonly voices = new Map<string, Voice>();
  private playing?: AudioBufferSourceNode;

  constructor(private readonly fitter: ToneFitter) {
    // Browsers keep a page silent until it is touched.
    for (const name of ["pointerdown", "keydown"] as const) {
      document.addEventListener(name, () => this.wake(), { capture: true });
    }
  }

  wake(): void {
    if (this.context.state === "suspended") void this.context.resume();
  }

  /**
   * Start a voice.
   *
   * @param since when its key went down, in the clock of performance.now().
   * @returns milliseconds from the key until the sound was scheduled (`made`), and those that the browser and the sound
   *   card add by their own account (`heard`).
   */
  start(name: string, tone: Tone, since: number, course: Course = HELD, gain = 1): { made: number; heard: number } {
    this.end(name);
    this.wake();
    this.voices.set(name, new Voice(this.context, this.out, tone, this.fitter.noiseHz, course, gain));
    return { made: performance.now() - since, heard: 1000 * (this.context.outputLatency || this.context.baseLatency) };
  }

  morph(name: string, tone: Tone): void {
    this.voices.get(name)?.morph(tone);
  }

  end(name: string, after = 0): void {
    this.voices.get(name)?.end(this.context.currentTime + after);
    this.voices.delete(name);
  }

  /** Play a recording as it is. */
  playSamples(samples: Float32Array<ArrayBuffer>, sampleRate: number): void {
    this.wake();
    this.playing?.stop();
    const buffer = this.context.createBuffer(1, samples.length, sampleRate);
    buffer.copyToChannel(samples, 0);
    this.playing = new AudioBufferSourceNode(this.context, { buffer });
    this.playing.connect(this.out);
    this.playing.start();
  }

  /** Some seconds of a tone as samples, with its end. */
  async render(tone: Tone, course: Course, seconds: number): Promise<AudioBuffer> {
    const rate = this.context.sampleRate;
    const context = new OfflineAudioContext(1, Math.ceil(seconds * rate), rate);
    new Voice(context, limiter(context), tone, this.fitter.noiseHz, course, 1, 0).end(seconds - 0.15);
    return context.startRendering();
  }
}
