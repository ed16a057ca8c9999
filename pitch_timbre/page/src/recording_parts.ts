// Where in a recording the model looks, and how far the note is out of tune.

import type { Course } from "./voice";
export type { Course };

/** Seconds between frames. */
export const HOP_S = 0.05;
const AUDIBLE = 0.01; // -40 dB of the peak
const BLOCK_S = 0.01;
const TUNING_WINDOW = 4096;
const TUNING_PARTIALS = 6;
const TUNING_RANGE = 60; // cents on either side
const TUNING_STEP = 2;

/** The frames' instants in samples: first the usual one, 0.2 s after the onset, then one every `HOP_S` seconds. */
export function instantsOf(sound: Float32Array, sampleRate: number, usual: number): number[] {
  const peak = sound.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const audible = (value: number) => Math.abs(value) >= AUDIBLE * peak;
  const onset = sound.findIndex(audible);
  const block = Math.round(BLOCK_S * sampleRate);
  const end = Math.ceil((sound.findLastIndex(audible) + 1) / block) * block;
  const hop = Math.round(HOP_S * sampleRate);
  const instants = [Math.min(onset + usual, Math.max(onset, end - 1))];
  for (let t = onset + hop; t < end; t += hop) instants.push(t);
  return instants;
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
  const first = Math.max(0, Math.min(instant - TUNING_WINDOW / 2, sound.length - TUNING_WINDOW));
  const part = sound.subarray(first, first + TUNING_WINDOW);
  const windowed = part.map((value, t) => value * Math.sin((Math.PI * (t + 0.5)) / part.length) ** 2);
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

/** Power of samples at one frequency (cycles per sample), by Goertzel's recursion. */
function sinusoidPower(samples: Float32Array, frequency: number): number {
  const turn = 2 * Math.cos(2 * Math.PI * frequency);
  let [last, before] = [0, 0];
  for (const value of samples) [last, before] = [value + turn * last - before, last];
  return last * last + before * before - turn * last * before;
}
