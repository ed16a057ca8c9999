// The exported model: samples to pitch and timbre, pitch and timbre to a mel frame.

import type { InferenceSession } from "onnxruntime-web/wasm";
import type { MelSettings } from "./mel";
import { hertz } from "./notes";
import type { TimbreCard } from "./timbre_map";
import { BLOCK_S, courseOf, extentOf, harmonicShare, instantsOf, loudnessOf, segmentsAt, tuningOf } from "./recording_parts";
import type { Course } from "./voice";

/** The model's card, as `python -m experiments export` writes it; what the page reads of it. */
interface Card extends TimbreCard {
  format: number;
  name: string;
  sample_rate: number;
  segment: number;
  instant: number;
  n_fft: number;
  mel_edges_hz: number[];
  scale_low: number;
  scale_high: number;
  n_categories: number;
  midi_of_category_0: number;
}

/** What `model.js` leaves behind: the card and the two networks, in base64. */
export interface PackedModel {
  card: Card;
  encoder: string;
  decoder: string;
}

/** What the model heard in a recording. */
export interface Analysis {
  status: "ok" | "uncertain";
  midi: number;
  /** Distance of the sound from that note. */
  cents: number;
  /** Probability of the note, and the share of the frames that hear it. */
  confidence: number;
  agreement: number;
  timbre: Float32Array;
  /** (F) mel power of the frame at the usual instant. */
  power: Float64Array;
  /** Seconds, and the note that each frame hears. */
  frames: { time: number; midi: number }[];
  course: Course;
}

const FORMAT = 1;
// A note below one of them is uncertain.
const [LEAST_CONFIDENCE, LEAST_AGREEMENT, LEAST_HARMONIC] = [0.5, 0.6, 0.75];
const SHORTEST_S = 0.05;
const TUNED_FRAMES = 7;
const SILENT = 1e-4; // peak, of full scale
const BATCH = 64;

export class Model {
  private constructor(
    readonly card: Card,
    private readonly encoder: InferenceSession,
    private readonly decoder: InferenceSession,
  ) {}

  /** @throws Error the model is of another format. */
  static async load({ card, encoder, decoder }: PackedModel): Promise<Model> {
    if (card.format !== FORMAT) {
      throw new Error(`The model ${card.name} has format ${card.format}; this page reads format ${FORMAT}. Export it again.`);
    }
    const bytes = (text: string) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const session = (text: string) => pitchTimbreRuntime.session(bytes(text));
    return new Model(card, await session(encoder), await session(decoder));
  }

  get lowest(): number {
    return this.card.midi_of_category_0;
  }

  get highest(): number {
    return this.lowest + this.card.n_categories - 1;
  }

  get melSettings(): MelSettings {
    return { sampleRate: this.card.sample_rate, fftLength: this.card.n_fft, edges: this.card.mel_edges_hz };
  }

  /** (F) mel power of a timbre at a pitch. */
  async decode(timbre: Float32Array, midi: number): Promise<Float64Array> {
    const { tensor } = pitchTimbreRuntime;
    const pitch = new Float32Array(this.card.n_categories);
    pitch[midi - this.lowest] = 1;
    const feeds = { timbre: tensor(timbre, timbre.length), pitch: tensor(pitch, pitch.length) };
    return this.power((await this.decoder.run(feeds)).frames.data as Float32Array);
  }

  /**
   * Hear the note of a recording.
   *
   * @param samples at the card's sample rate.
   * @returns what is wrong where there is no note: `silent` or `short`.
   */
  async analyse(samples: Float32Array): Promise<Analysis | "silent" | "short"> {
    const { card } = this;
    const mean = samples.reduce((sum, value) => sum + value, 0) / Math.max(1, samples.length);
    const sound = samples.map((value) => value - mean);
    if (!sound.some((value) => Math.abs(value) > SILENT)) return "silent";
    const block = Math.round(BLOCK_S * card.sample_rate);
    const loudness = loudnessOf(sound, block);
    const { first, end } = extentOf(loudness);
    if ((end - first) * BLOCK_S < SHORTEST_S) return "short";
    const instants = instantsOf(first * block, end * block, card.sample_rate);
    const read = await this.encode(sound, instants);
    const total = read.level.reduce((sum, level) => sum + level ** 2, 0);

    const probability = new Float64Array(card.n_categories);
    const timbre = new Float32Array(read.timbre[0].length);
    const heard = read.categories.map((logits, n) => {
      const p = softmax(logits);
      const weight = read.level[n] ** 2 / total;
      p.forEach((value, k) => (probability[k] += weight * value));
      read.timbre[n].forEach((value, i) => (timbre[i] += weight * value));
      return p.indexOf(Math.max(...p));
    });
    const category = probability.indexOf(Math.max(...probability));
    const midi = this.lowest + category;
    const agreement = heard.reduce((sum, k, n) => sum + (k === category ? read.level[n] ** 2 / total : 0), 0);
    const confidence = probability[category];
    const usual = nearest(instants, first * block + card.instant);
    const cents = median(loudest(read.level, TUNED_FRAMES).map((n) => tuningOf(sound, card.sample_rate, instants[n], hertz(midi))));
    const harmonic = harmonicShare(sound, card.sample_rate, instants[usual], hertz(midi + cents / 100));
    const sure = confidence >= LEAST_CONFIDENCE && agreement >= LEAST_AGREEMENT && harmonic >= LEAST_HARMONIC;
    return {
      status: sure ? "ok" : "uncertain",
      midi,
      cents,
      confidence,
      agreement,
      timbre,
      power: this.power(read.frames[usual]),
      frames: instants.map((t, n) => ({ time: t / card.sample_rate, midi: this.lowest + heard[n] })),
      course: courseOf(loudness.subarray(first, end)),
    };
  }

  private async encode(sound: Float32Array, instants: number[]) {
    const read = { categories: [] as Float32Array[], timbre: [] as Float32Array[], frames: [] as Float32Array[], level: [] as number[] };
    const { segment, instant } = this.card;
    for (let first = 0; first < instants.length; first += BATCH) {
      const segments = segmentsAt(sound, instants.slice(first, first + BATCH), segment, instant);
      const made = await this.encoder.run({ segments: pitchTimbreRuntime.tensor(segments, segment) });
      const rows = (name: string) => {
        const { data, dims } = made[name];
        return Array.from({ length: dims[0] }, (_, n) => (data as Float32Array).slice(n * dims[1], (n + 1) * dims[1]));
      };
      read.categories.push(...rows("categories"));
      read.timbre.push(...rows("timbre"));
      read.frames.push(...rows("frames"));
      read.level.push(...(made.level.data as Float32Array));
    }
    return read;
  }

  /** A frame in [-1, 1] to mel power. */
  private power(frame: Float32Array): Float64Array {
    const { scale_low: low, scale_high: high } = this.card;
    return Float64Array.from(frame, (value) => Math.exp(((value + 1) / 2) * (high - low) + low));
  }
}

function nearest(instants: number[], wanted: number): number {
  const distances = instants.map((t) => Math.abs(t - wanted));
  return distances.indexOf(Math.min(...distances));
}

/** Which `count` frames are loudest. */
function loudest(level: number[], count: number): number[] {
  return [...level.keys()].sort((a, b) => level[b] - level[a]).slice(0, count);
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1];

function softmax(logits: Float32Array): Float64Array {
  const most = Math.max(...logits);
  const raised = Float64Array.from(logits, (value) => Math.exp(value - most));
  const total = raised.reduce((sum, value) => sum + value, 0);
  return raised.map((value) => value / total);
}
