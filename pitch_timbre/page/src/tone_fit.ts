// From a mel frame of known pitch to partials and noise: mel power = [partials, noise] x amounts, all of them positive.

import { melFilters, type MelSettings, type Sparse } from "./mel";

/** What sounds: the power of each partial and of the noise around each centre, in units of the recording. */
export interface Tone {
  /** f0 in Hz. */
  f0: number;
  /** Amplitude of partial 1, 2, ... */
  partials: Float64Array;
  /** The noise's power per hertz at each of `noiseHz`. */
  noise: Float64Array;
  /** Mean distance of the fit from the frame, in dB. */
  errorDb: number;
}

const BANDS_PER_NOISE = 4; // a centre of noise at every fourth edge of the mel bands
const UPDATES = 60;
const LOBE = 2; // half the width of a Hann window's main lobe, in bins

export class ToneFitter {
  /** Centres of the noise's bands, Hz. */
  readonly noiseHz: Float64Array;
  private readonly highestHz: number;
  private readonly bandsOfBin: { band: number; weight: number }[][];
  private readonly noiseColumns: Sparse[];

  constructor(private readonly settings: MelSettings) {
    this.highestHz = settings.edges[settings.edges.length - 1];
    this.bandsOfBin = Array.from({ length: settings.fftLength / 2 + 1 }, () => []);
    melFilters(settings).forEach(({ start, values }, band) =>
      values.forEach((weight, i) => weight > 0 && this.bandsOfBin[start + i].push({ band, weight })),
    );
    this.noiseHz = Float64Array.from(settings.edges.filter((_, i) => i % BANDS_PER_NOISE === 0));
    this.noiseColumns = this.columnsOfNoise();
  }

  /**
   * Fit a mel frame by multiplicative updates that lower the Itakura-Saito distance, which counts in dB as ears do.
   *
   * @param power (F) mel power of the frame.
   * @param f0 its fundamental, Hz.
   */
  fit(power: Float64Array, f0: number): Tone {
    const nPartials = Math.max(1, Math.floor(this.highestHz / f0));
    const columns = [
      ...Array.from({ length: nPartials }, (_, n) => this.columnOfSinusoid((n + 1) * f0)),
      ...this.noiseColumns,
    ];
    // Noise starts low, so that what partials explain is given to them.
    const amounts = Float64Array.from(columns, (column, i) => guess(column, power) * (i < nPartials ? 0.5 : 0.05));
    const made = new Float64Array(power.length);
    for (let update = 0; update <= UPDATES; update++) {
      made.fill(1e-15);
      for (let i = 0; i < columns.length; i++) {
        const { start, values } = columns[i];
        for (let j = 0; j < values.length; j++) made[start + j] += amounts[i] * values[j];
      }
      if (update === UPDATES) break;
      for (let i = 0; i < columns.length; i++) {
        const { start, values } = columns[i];
        let wanted = 0;
        let present = 0;
        for (let j = 0; j < values.length; j++) {
          const inverse = 1 / made[start + j];
          wanted += values[j] * power[start + j] * inverse * inverse;
          present += values[j] * inverse;
        }
        if (present > 0) amounts[i] *= Math.sqrt(wanted / present);
      }
    }
    const distance = power.reduce((sum, value, i) => sum + Math.abs(Math.log10((value + 1e-15) / made[i])), 0);
    return {
      f0,
      partials: amounts.slice(0, nPartials).map(Math.sqrt),
      noise: amounts.slice(nPartials).map((variance) => variance / (this.settings.sampleRate / 2)),
      errorDb: (10 * distance) / power.length,
    };
  }

  /** Mel power of a sinusoid of amplitude 1: the main lobe of a Hann window through the bank. */
  private columnOfSinusoid(hz: number): Sparse {
    const { sampleRate, fftLength } = this.settings;
    const place = (hz * fftLength) / sampleRate;
    return this.column(Math.ceil(place - LOBE), Math.floor(place + LOBE), (bin) => {
      const x = bin - place;
      if (Math.abs(Math.abs(x) - 1) < 1e-6) return (fftLength / 8) ** 2;
      const sinc = Math.abs(x) < 1e-6 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
      return ((fftLength / 4) * (sinc / (1 - x * x))) ** 2;
    });
  }

  /** Mel power of noise of variance 1 around each centre: triangles that overlap. */
  private columnsOfNoise(): Sparse[] {
    const { sampleRate, fftLength } = this.settings;
    const binHz = sampleRate / fftLength;
    const windowPower = (3 / 8) * fftLength; // the sum of a Hann window's squares
    return Array.from(this.noiseHz, (centre, i) => {
      const low = this.noiseHz[i - 1] ?? 0;
      const high = this.noiseHz[i + 1] ?? sampleRate / 2;
      return this.column(Math.floor(low / binHz), Math.ceil(high / binHz), (bin) => {
        const hz = bin * binHz;
        return windowPower * Math.max(0, Math.min((hz - low) / (centre - low), (high - hz) / (high - centre)));
      });
    });
  }

  private column(first: number, last: number, power: (bin: number) => number): Sparse {
    const dense = new Float64Array(this.settings.edges.length - 2);
    let [start, end] = [dense.length, 0];
    for (let bin = Math.max(0, first); bin <= Math.min(last, this.bandsOfBin.length - 1); bin++) {
      const value = power(bin);
      if (value <= 0) continue;
      for (const { band, weight } of this.bandsOfBin[bin]) {
        dense[band] += weight * value;
        start = Math.min(start, band);
        end = Math.max(end, band + 1);
      }
    }
    return { start: Math.min(start, end), values: dense.slice(start, end) };
  }
}

/** The amount of one column that comes nearest to the frame where the column lies. */
function guess({ start, values }: Sparse, power: Float64Array): number {
  let product = 0;
  let square = 1e-30;
  values.forEach((value, j) => {
    product += value * power[start + j];
    square += value * value;
  });
  return product / square;
}
