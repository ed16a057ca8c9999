// The spectrum as a picture: mel power in dB over log frequency, and where the partials of the played pitch lie.

import { redraw, sheetOn } from "./drawing";
import { hertz, noteName } from "./notes";

export interface Curve {
  name: string;
  /** The style sheet's name of its colour. */
  colour: string;
  /** (F) power in dB, and whether the area below is filled. */
  decibels: Float64Array;
  filled: boolean;
}

const RANGE_DB = 80;
const TICKS = [50, 100, 200, 500, 1000, 2000, 5000, 10000];
const LOWEST_HZ = 30;
const FOOT = 18; // px below the axis

export class SpectrumView {
  private curves: Curve[] = [];
  private midi?: number;

  /** @param bandHz (F) centres of the mel bands. */
  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly bandHz: Float64Array,
  ) {
    redraw(canvas, () => this.draw());
  }

  /** Show curves; the partials of `midi` are marked. */
  show(curves: Curve[], midi?: number): void {
    this.curves = curves;
    this.midi = midi;
    this.canvas.setAttribute("aria-label", this.inWords());
    this.draw();
  }

  private inWords(): string {
    if (!this.curves.length) return "Spectrum: nothing played yet";
    const described = this.curves.map(({ name, decibels }) => {
      const peak = decibels.indexOf(Math.max(...decibels));
      return `${name}, strongest near ${Math.round(this.bandHz[peak])} hertz`;
    });
    return `Spectrum: ${described.join("; ")}`;
  }

  private draw(): void {
    const { pen, width, height, colour } = sheetOn(this.canvas);
    const bottom = height - FOOT;
    const highestHz = this.bandHz[this.bandHz.length - 1];
    const across = (hz: number) => (width * Math.log(hz / LOWEST_HZ)) / Math.log(highestHz / LOWEST_HZ);
    pen.textAlign = "center";
    pen.lineWidth = 1;
    for (const hz of TICKS) {
      pen.fillStyle = colour("--muted");
      pen.fillText(hz < 1000 ? `${hz}` : `${hz / 1000}k`, across(hz), height - 4);
      pen.fillStyle = colour("--line");
      pen.fillRect(across(hz), 0, 1, bottom);
    }
    if (this.midi !== undefined) {
      pen.fillStyle = colour("--accent");
      pen.globalAlpha = 0.25;
      for (let n = 1; n * hertz(this.midi) < highestHz && n <= 32; n++) pen.fillRect(across(n * hertz(this.midi)) - 0.5, 0, 1, bottom);
      pen.globalAlpha = 1;
      pen.fillText(noteName(this.midi), Math.max(12, across(hertz(this.midi))), 11);
    }
    for (const { decibels, colour: name, filled } of this.curves) {
      const top = Math.max(...decibels);
      pen.beginPath();
      decibels.forEach((db, band) => {
        const y = Math.min(bottom, 8 + ((top - db) / RANGE_DB) * (bottom - 8));
        band ? pen.lineTo(across(this.bandHz[band]), y) : pen.moveTo(across(this.bandHz[0]), y);
      });
      pen.strokeStyle = colour(name);
      pen.lineWidth = filled ? 1.5 : 1.25;
      pen.stroke();
      if (!filled) continue;
      pen.lineTo(width, bottom);
      pen.lineTo(0, bottom);
      pen.globalAlpha = 0.18;
      pen.fillStyle = colour(name);
      pen.fill();
      pen.globalAlpha = 1;
    }
  }
}
