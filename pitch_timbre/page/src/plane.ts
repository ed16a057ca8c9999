// The plane of timbres: two principal axes of z, the notes of the training set as dots, and a handle to drag.

import { redraw, sheetOn } from "./drawing";
import type { TimbreMap, TimbrePoint } from "./timbre_map";

const STEP = 0.02; // of the plane's width, for the arrow keys
const DOT = 2.6;

export interface Marker {
  name: string;
  place: TimbrePoint;
}

export interface PlaneEvents {
  /** The handle is taken; the timbre should be heard until `drop`. */
  take(): void;
  move(place: TimbrePoint): void;
  drop(): void;
}

export class Plane {
  private handle: TimbrePoint = { x: 0, y: 0 };
  private readonly knob: HTMLElement;
  private readonly canvas: HTMLCanvasElement;

  constructor(
    private readonly element: HTMLElement,
    private readonly map: TimbreMap,
    private readonly events: PlaneEvents,
  ) {
    this.canvas = element.querySelector("canvas")!;
    this.knob = element.querySelector(".knob")!;
    element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      element.setPointerCapture(event.pointerId);
      this.knob.focus({ preventScroll: true });
      event.preventDefault();
      this.events.take();
      this.follow(event);
    });
    element.addEventListener("pointermove", (event) => element.hasPointerCapture(event.pointerId) && this.follow(event));
    for (const name of ["pointerup", "pointercancel"] as const) element.addEventListener(name, () => this.events.drop());
    this.knob.addEventListener("keydown", (event) => this.key(event));
    this.knob.addEventListener("keyup", (event) => event.key.startsWith("Arrow") && this.events.drop());
    this.knob.addEventListener("blur", () => this.events.drop());
    redraw(this.canvas, () => this.draw());
  }

  /** Put the handle somewhere, without a sound. */
  place(point: TimbrePoint, description: string): void {
    this.handle = point;
    this.put(this.knob, point);
    this.knob.setAttribute("aria-valuenow", String(Math.round(100 * this.across(this.map.inside(point).x))));
    this.knob.setAttribute("aria-valuetext", description);
  }

  /** Show where recordings lie. */
  mark(markers: Marker[]): void {
    this.element.querySelectorAll(".marker").forEach((node) => node.remove());
    for (const { name, place } of markers) {
      const node = document.createElement("span");
      node.className = "marker";
      node.textContent = name;
      this.put(node, place);
      this.element.insertBefore(node, this.knob);
    }
  }

  private put(node: HTMLElement, place: TimbrePoint): void {
    const { x, y } = this.map.inside(place);
    // At an edge the whole mark stays to be seen.
    node.style.left = `clamp(14px, ${100 * this.across(x)}%, 100% - 14px)`;
    node.style.top = `clamp(14px, ${100 * (1 - this.up(y))}%, 100% - 14px)`;
  }

  private follow(event: PointerEvent): void {
    const box = this.element.getBoundingClientRect();
    const { left, right, bottom, top } = this.map.bounds;
    const x = left + ((event.clientX - box.left) / box.width) * (right - left);
    const y = top + ((event.clientY - box.top) / box.height) * (bottom - top);
    this.events.move(this.map.inside({ x, y }));
  }

  private key(event: KeyboardEvent): void {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key] ?? [0, 0];
    if (!dx && !dy) return;
    event.preventDefault();
    if (!event.repeat) this.events.take();
    const { left, right, bottom, top } = this.map.bounds;
    const step = event.shiftKey ? 5 * STEP : STEP;
    const { x, y } = this.handle;
    this.events.move(this.map.inside({ x: x + dx * step * (right - left), y: y + dy * step * (top - bottom) }));
  }

  private across(x: number): number {
    return (x - this.map.bounds.left) / (this.map.bounds.right - this.map.bounds.left);
  }

  private up(y: number): number {
    return (y - this.map.bounds.bottom) / (this.map.bounds.top - this.map.bounds.bottom);
  }

  private draw(): void {
    const { pen, width, height, colour } = sheetOn(this.canvas);
    const at = ({ x, y }: TimbrePoint): [number, number] => [this.across(x) * width, (1 - this.up(y)) * height];
    const colours = this.map.instruments.map((_, i) => colour(`--instrument-${i}`));
    for (const note of this.map.notes) {
      pen.fillStyle = colours[note.instrument];
      pen.beginPath();
      pen.arc(...at(note), DOT, 0, 2 * Math.PI);
      pen.fill();
    }
    pen.textAlign = "center";
    pen.strokeStyle = colour("--page");
    pen.lineWidth = 4;
    pen.lineJoin = "round";
    const written: { x: number; line: number; half: number }[] = [];
    this.map.instruments.forEach((name, i) => {
      const [x, y] = at(this.map.typical(i));
      const half = pen.measureText(name).width / 2 + 4;
      const inside = Math.min(width - half, Math.max(half, x));
      const free = (line: number) => written.every((other) => Math.abs(other.x - inside) > half + other.half || Math.abs(other.line - line) > 13);
      const line = [y - 7, y + 17, y - 21, y + 31, y - 35, y + 45].find(free) ?? y - 7;
      written.push({ x: inside, line, half });
      pen.fillStyle = colours[i];
      pen.strokeText(name, inside, line);
      pen.fillText(name, inside, line);
    });
  }
}
