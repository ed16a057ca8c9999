// The timbres of the embedded notes, and the timbre of any place in their plane.

export interface TimbrePoint {
  x: number;
  y: number;
}

interface Note extends TimbrePoint {
  /** Index of its instrument. */
  instrument: number;
  z: number[];
}

/** What the model's card says of the timbres of its training notes. */
export interface TimbreCard {
  plane: { mean: number[]; axes: number[][] };
  examples: { instrument: string; midi: number; timbre: number[] }[];
}

const NEAR = 0.04; // of the plane's width: how far a note's own timbre reaches

export class TimbreMap {
  readonly instruments: string[];
  readonly notes: Note[];
  readonly bounds: { left: number; right: number; bottom: number; top: number };
  private readonly centres: TimbrePoint[];
  private readonly mean: number[];
  private readonly axes: number[][];

  constructor(card: TimbreCard) {
    this.mean = card.plane.mean;
    this.axes = card.plane.axes;
    const names = [...new Set(card.examples.map(({ instrument }) => instrument))];
    this.instruments = names.map((name) => name.replaceAll("_", " "));
    this.notes = card.examples.map(({ instrument, timbre }) => ({
      instrument: names.indexOf(instrument),
      z: timbre,
      ...this.project(timbre),
    }));
    const [xs, ys] = [this.notes.map(({ x }) => x), this.notes.map(({ y }) => y)];
    const [marginX, marginY] = [xs, ys].map((values) => 0.06 * (Math.max(...values) - Math.min(...values)));
    this.bounds = {
      left: Math.min(...xs) - marginX,
      right: Math.max(...xs) + marginX,
      bottom: Math.min(...ys) - marginY,
      top: Math.max(...ys) + marginY,
    };
    this.centres = this.instruments.map((_, i) => this.centre(i));
  }

  /** Where a timbre lies in the plane. */
  project(z: ArrayLike<number>): TimbrePoint {
    const along = (axis: number[]) => axis.reduce((sum, value, i) => sum + value * (z[i] - this.mean[i]), 0);
    return { x: along(this.axes[0]), y: along(this.axes[1]) };
  }

  /** The nearest place that the plane shows. */
  inside({ x, y }: TimbrePoint): TimbrePoint {
    const { left, right, bottom, top } = this.bounds;
    return { x: Math.min(right, Math.max(left, x)), y: Math.min(top, Math.max(bottom, y)) };
  }

  /** The note in the middle of an instrument. */
  typical(instrument: number): Note {
    const own = this.notes.filter((note) => note.instrument === instrument);
    return own.reduce((best, note) => (this.far(note, this.centres[instrument]) < this.far(best, this.centres[instrument]) ? note : best));
  }

  /**
   * The timbre of a place: that of the plane, and what the notes around have beside the plane's two dimensions.
   */
  timbreAt(place: TimbrePoint): Float32Array {
    const distances = this.notes.map((note) => this.far(note, place) / (2 * NEAR ** 2));
    const least = Math.min(...distances);
    const weights = distances.map((distance) => Math.exp(least - distance));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const inPlane = ({ x, y }: TimbrePoint, i: number) => this.mean[i] + x * this.axes[0][i] + y * this.axes[1][i];
    const z = Float32Array.from(this.mean, (_, i) => inPlane(place, i));
    this.notes.forEach((note, n) => {
      for (let i = 0; i < z.length; i++) z[i] += (weights[n] / total) * (note.z[i] - inPlane(note, i));
    });
    return z;
  }

  /** The instruments whose notes lie nearest, the nearest first; at most two. */
  near(place: TimbrePoint): number[] {
    const found = new Set<number>();
    for (const note of [...this.notes].sort((a, b) => this.far(a, place) - this.far(b, place)).slice(0, 5)) {
      found.add(note.instrument);
    }
    return [...found].slice(0, 2);
  }

  private centre(instrument: number): TimbrePoint {
    const own = this.notes.filter((note) => note.instrument === instrument);
    const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1];
    return { x: median(own.map(({ x }) => x)), y: median(own.map(({ y }) => y)) };
  }

  /** Squared distance in shares of the plane. */
  private far(a: TimbrePoint, b: TimbrePoint): number {
    const { left, right, bottom, top } = this.bounds;
    return ((a.x - b.x) / (right - left)) ** 2 + ((a.y - b.y) / (top - bottom)) ** 2;
  }
}
