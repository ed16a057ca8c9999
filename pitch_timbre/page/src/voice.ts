// A tone as sound: one oscillator for all partials, a loop of noise, the course of the level, and a soft end.

import { transform } from "./fourier";
import type { Tone } from "./tone_fit";

/** How the level goes after the key, as factors `step` seconds apart; the last one holds. */
export interface Course {
  step: number;
  levels: Float32Array;
}

const TARGET_RMS = 0.12;
const ATTACK_S = 0.008;
const RELEASE_S = 0.12;
const MORPH_S = 0.04;
const NOISE_LENGTH = 2 ** 18; // 5 s at 48 kHz, after which the noise repeats
const NOISE_SEED = 1; // the same key gives the same sound
const FILTER_LENGTH = 1024;

export const HELD: Course = { step: 1, levels: Float32Array.of(1, 1) };

interface Source {
  oscillator: OscillatorNode;
  noise: AudioBufferSourceNode;
  fade: GainNode;
}

/** One sounding key. */
export class Voice {
  private readonly course: GainNode;
  private readonly release: GainNode;
  private source: Source;
  private readonly start: number;

  /**
   * @param tone what sounds.
   * @param noiseHz the centres of the tone's noise.
   * @param gain 1 is the usual level.
   * @param start when, on the context's clock.
   */
  constructor(
    private readonly context: BaseAudioContext,
    out: AudioNode,
    tone: Tone,
    private readonly noiseHz: Float64Array,
    course: Course = HELD,
    gain = 1,
    start = context.currentTime,
  ) {
    this.start = start;
    this.course = new GainNode(context, { gain: 0 });
    this.release = new GainNode(context, { gain });
    this.course.connect(this.release).connect(out);
    this.course.gain.setValueAtTime(0, start);
    this.course.gain.linearRampToValueAtTime(course.levels[0], start + ATTACK_S);
    const duration = (course.levels.length - 1) * course.step;
    this.course.gain.setValueCurveAtTime(course.levels, start + ATTACK_S + 1e-3, duration);
    this.source = this.sound(tone, start);
    this.source.fade.gain.value = 1;
  }

  /** Go over to another tone of the same pitch without a break: the partials keep their phases. */
  morph(tone: Tone): void {
    const now = this.context.currentTime;
    const old = this.source;
    this.source = this.sound(tone, now);
    this.source.fade.gain.setValueAtTime(0, now);
    this.source.fade.gain.linearRampToValueAtTime(1, now + MORPH_S);
    old.fade.gain.cancelScheduledValues(now);
    old.fade.gain.setValueAtTime(old.fade.gain.value, now);
    old.fade.gain.linearRampToValueAtTime(0, now + MORPH_S);
    stop(old, now + MORPH_S);
  }

  /** Let go of the key. */
  end(when = this.context.currentTime): void {
    const gain = this.release.gain;
    gain.setValueAtTime(gain.value, when);
    gain.linearRampToValueAtTime(0, when + RELEASE_S);
    stop(this.source, when + RELEASE_S);
  }

  private sound(tone: Tone, when: number): Source {
    const { context } = this;
    const level = TARGET_RMS / Math.sqrt(power(tone, this.noiseHz) + 1e-30);
    const noiseLevel = new GainNode(context, { gain: level });
    const fade = new GainNode(context, { gain: 0 });
    fade.connect(this.course);
    const turns = tone.f0 * (when - this.start);
    const oscillator = new OscillatorNode(context, { frequency: tone.f0, periodicWave: wave(context, tone, level, turns) });
    const noise = new AudioBufferSourceNode(context, { buffer: whiteNoise(context), loop: true });
    const filter = new ConvolverNode(context, { buffer: noiseFilter(context, tone, this.noiseHz), disableNormalization: true });
    oscillator.connect(fade);
    noise.connect(filter).connect(noiseLevel).connect(fade);
    oscillator.start(when);
    noise.start(when);
    return { oscillator, noise, fade };
  }
}

function stop({ oscillator, noise, fade }: Source, when: number): void {
  oscillator.stop(when);
  noise.stop(when);
  oscillator.onended = () => fade.disconnect();
}

/** All partials as one period; their phases are spread as a square's, which keeps the peaks low. */
function wave(context: BaseAudioContext, tone: Tone, level: number, turns: number): PeriodicWave {
  const n = tone.partials.length;
  const real = new Float32Array(n + 1);
  const imag = new Float32Array(n + 1);
  tone.partials.forEach((amplitude, i) => {
    const phase = (Math.PI * i * i) / n + 2 * Math.PI * (((i + 1) * turns) % 1);
    real[i + 1] = level * amplitude * Math.sin(phase);
    imag[i + 1] = level * amplitude * Math.cos(phase);
  });
  return context.createPeriodicWave(real, imag, { disableNormalization: true });
}

/** Mean square of a tone. */
function power(tone: Tone, noiseHz: Float64Array): number {
  let sum = 0;
  for (const amplitude of tone.partials) sum += amplitude ** 2 / 2;
  for (let i = 1; i < noiseHz.length; i++) {
    sum += ((tone.noise[i - 1] + tone.noise[i]) / 2) * (noiseHz[i] - noiseHz[i - 1]);
  }
  return sum;
}

const noises = new WeakMap<BaseAudioContext, AudioBuffer>();

/** White noise of variance 1, made once for a context. */
function whiteNoise(context: BaseAudioContext): AudioBuffer {
  let buffer = noises.get(context);
  if (!buffer) {
    buffer = context.createBuffer(1, NOISE_LENGTH, context.sampleRate);
    let state = NOISE_SEED;
    const samples = buffer.getChannelData(0);
    for (let t = 0; t < NOISE_LENGTH; t++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      samples[t] = Math.sqrt(3) * (state / 2 ** 31 - 1);
    }
    noises.set(context, buffer);
  }
  return buffer;
}

/** The filter of linear phase that gives white noise the spectrum of the tone's noise. */
function noiseFilter(context: BaseAudioContext, tone: Tone, noiseHz: Float64Array): AudioBuffer {
  const { sampleRate } = context;
  const real = new Float64Array(FILTER_LENGTH);
  let band = 1;
  for (let bin = 1; bin < FILTER_LENGTH / 2; bin++) {
    const hz = (bin * sampleRate) / FILTER_LENGTH;
    while (band < noiseHz.length && hz > noiseHz[band]) band++;
    if (band === noiseHz.length) break;
    const share = Math.max(0, (hz - noiseHz[band - 1]) / (noiseHz[band] - noiseHz[band - 1]));
    const density = (1 - share) * tone.noise[band - 1] + share * tone.noise[band];
    real[bin] = real[FILTER_LENGTH - bin] = Math.sqrt((density * sampleRate) / 2) / FILTER_LENGTH;
  }
  transform(real, new Float64Array(FILTER_LENGTH));
  const buffer = context.createBuffer(1, FILTER_LENGTH, sampleRate);
  const taps = buffer.getChannelData(0);
  for (let t = 0; t < FILTER_LENGTH; t++) {
    taps[t] = real[(t + FILTER_LENGTH / 2) % FILTER_LENGTH] * Math.sin((Math.PI * t) / FILTER_LENGTH) ** 2;
  }
  return buffer;
}
