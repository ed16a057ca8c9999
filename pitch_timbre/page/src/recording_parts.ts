// Where in a recording the model looks, how loud it is, and how far the note is out of tune.

import { transform } from "./fourier";
import type { Course } from "./voice";

/** Seconds between the values of the loudness. */
export const BLOCK_S = 0.01;
const AUDIBLE_DB = -40; // of the loudest block: a note lasts from the first to the last block above
const HOP_S = 0.05; // between the frames that are read
const MOST_FRAMES = 100; // those of a long note lie further apart
const SMOOTHED_BLOCKS = 2; // on either side: without them the waves of low notes would be taken for a tremolo
const WINDOW = 4096;
const ZOOM = 2;
const TUNING_PARTIALS = 6;
const TUNING_RANGE = 60; // cents on either side
const TUNING_STEP = 2;

/** Root mean square of each block of samples. */
export function loudnessOf(sound: Float32Array, block: number): Float64Array {
  return Float64Array.from({ length: Math.ceil(sound.length / block) }, (_, i) => {
    const part = sound.subarray(i * block, (i + 1) * block);
    return Math.sqrt(part.reduce((sum, value) => sum + value * value, 0) / block);
  });
}

/** The first block of the note, and the one after its last. */
export function extentOf(loudness: Float64Array): { first: number; end: number } {
  const least = Math.max(...loudness) * 10 ** (AUDIBLE_DB / 20);
  return { first: loudness.findIndex((level) => level >= least), end: loudness.findLastIndex((level) => level >= least) + 1 };
}

/** The course of the level, 1 at its loudest, which ends in silence. */
export function courseOf(loudness: Float64Array): Course {
  const smooth = loudness.map((_, i) => {
    const around = loudness.subarray(Math.max(0, i - SMOOTHED_BLOCKS), i + SMOOTHED_BLOCKS + 1);
    return Math.sqrt(around.reduce((sum, level) => sum + level ** 2, 0) / around.length);
  });
  const loudest = Math.max(...smooth);
  return { step: BLOCK_S, levels: Float32Array.from([...smooth, 0, 0], (level) => level / loudest) };
}

/** Where a note from `start` to `end` (samples) is read: evenly, without its attack where it is long enough. */
export function instantsOf(start: number, end: number, sampleRate: number): number[] {
  const hop = Math.round(HOP_S * sampleRate);
  const margin = Math.min(hop, Math.floor((end - start) / 2));
  const span = end - start - 2 * margin;
  const count = Math.min(MOST_FRAMES, 1 + Math.floor(span / hop));
  if (count === 1) return [Math.floor((start + end) / 2)];
  return Array.from({ length: count }, (_, i) => Math.floor(start + margin + (i * span) / (count - 1)));
}

/** A row of `length` samples for each instant, which lies `before` samples into it; zeros outside the sound. */
export function segmentsAt(sound: Float32Array, instants: number[], length: number, before: number): Float32Array {
  const rows = new Float32Array(instants.length * length);
  instants.forEach((t, n) => {
    const first = Math.max(0, t - before);
    rows.set(sound.subarray(first, Math.max(first, t - before + length)), n * length + first - (t - before));
  });
  return rows;
}

/** How many cents the sound lies above a note: where the first partials hold most of the power. */
export function tuningOf(sound: Float32Array, sampleRate: number, instant: number, noteHz: number): number {
  const windowed = windowAt(sound, instant);
  const powerAt = (cents: number) => {
    let sum = 0;
    const hz = noteHz * 2 ** (cents / 1200);
    for (let n = 1; n <= TUNING_PARTIALS && n * hz < sampleRate / 2; n++) sum += sinusoidPower(windowed, (n * hz) / sampleRate);
    return sum;
  };
  const grid = Array.from({ length: (2 * TUNING_RANGE) / TUNING_STEP + 1 }, (_, i) => i * TUNING_STEP - TUNING_RANGE);
  const powers = grid.map(powerAt);
  const best = Math.min(grid.length - 2, Math.max(1, powers.indexOf(Math.max(...powers))));
  const [a, b, c] = powers.slice(best - 1, best + 2);
  const bend = a - 2 * b + c;
  return grid[best] + (bend < 0 ? Math.max(-1, Math.min(1, (a - c) / (2 * bend))) * TUNING_STEP : 0);
}

/** Share of the power that lies within a main lobe of a multiple of `noteHz`: low for chords, speech and noise. */
export function harmonicShare(sound: Float32Array, sampleRate: number, instant: number, noteHz: number): number {
  const real = new Float64Array(WINDOW * ZOOM);
  const imaginary = new Float64Array(WINDOW * ZOOM);
  real.set(windowAt(sound, instant));
  transform(real, imaginary);
  const fundamental = (noteHz / sampleRate) * real.length; // in bins
  let [inside, all] = [0, 1e-30];
  for (let bin = 0; bin <= real.length / 2; bin++) {
    const power = real[bin] ** 2 + imaginary[bin] ** 2;
    const harmonic = Math.max(1, Math.round(bin / fundamental));
    // The lobe of the window, and the spread of stiff strings and of vibrato, which grows with the frequency.
    if (Math.abs(bin - harmonic * fundamental) <= 2 * ZOOM + 0.02 * bin) inside += power;
    all += power;
  }
  return inside / all;
}

/** The samples around an instant, under a Hann window. */
function windowAt(sound: Float32Array, instant: number): Float32Array {
  const first = Math.max(0, Math.min(instant - WINDOW / 2, sound.length - WINDOW));
  const part = sound.subarray(first, first + WINDOW);
  return part.map((value, t) => value * Math.sin((Math.PI * (t + 0.5)) / part.length) ** 2);
}

/** Power of samples at one frequency (cycles per sample), by Goertzel's recursion. */
function sinusoidPower(samples: Float32Array, frequency: number): number {
  const turn = 2 * Math.cos(2 * Math.PI * frequency);
  let [last, before] = [0, 0];
  for (const value of samples) [last, before] = [value + turn * last - before, last];
  return last * last + before * before - turn * last * before;
}
