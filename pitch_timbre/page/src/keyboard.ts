// The keyboard: mouse and touch, the computer's keys, Tab and arrows for screen readers, and Web MIDI.

import { isBlack, noteName, spokenName } from "./notes";

/** `code` of the computer's keys, whatever its layout prints on them, as semitones above the lowest. */
const CODES = ["KeyA", "KeyW", "KeyS", "KeyE", "KeyD", "KeyF", "KeyT", "KeyG", "KeyY", "KeyH", "KeyU", "KeyJ", "KeyK", "KeyO", "KeyL", "KeyP"];
const [OCTAVE_DOWN, OCTAVE_UP] = ["KeyZ", "KeyX"];
const MIDDLE_C = 60;

export interface KeyEvents {
  /** A key goes down; `since` is when it did, in the clock of performance.now(), `gain` how hard. */
  press(midi: number, since: number, gain: number): void;
  release(midi: number): void;
}

export class Keyboard {
  private readonly keys = new Map<number, HTMLButtonElement>();
  private readonly held = new Map<string, number>();
  private octaveStart = MIDDLE_C;
  private current = MIDDLE_C;
  private layout?: Map<string, string>;

  constructor(
    private readonly element: HTMLElement,
    private readonly lowest: number,
    private readonly highest: number,
    private readonly events: KeyEvents,
  ) {
    this.build();
    this.label();
    void this.readLayout();
    this.listenToPointers();
    // Middle C is in view where not all keys fit.
    new ResizeObserver(() => (element.scrollLeft = this.keys.get(MIDDLE_C)!.offsetLeft - element.clientWidth / 3)).observe(element);
    document.addEventListener("keydown", (event) => this.keyDown(event));
    document.addEventListener("keyup", (event) => this.up(event.code));
    window.addEventListener("blur", () => this.releaseAll());
    document.addEventListener("visibilitychange", () => document.hidden && this.releaseAll());
  }

  /** Listen to MIDI instruments where the browser can; `changed` is told the names of those that are there. */
  async listenToMidi(changed: (names: string[]) => void): Promise<void> {
    const access = await navigator.requestMIDIAccess();
    const connect = () => {
      for (const input of access.inputs.values()) {
        input.onmidimessage = (event) => {
          const [status, midi, velocity] = event.data!;
          if ((status & 0xf0) === 0x90 && velocity) this.down(`midi${midi}`, midi, event.timeStamp, (velocity / 100) ** 2);
          else if ([0x80, 0x90].includes(status & 0xf0)) this.up(`midi${midi}`);
        };
      }
      changed([...access.inputs.values()].map((input) => input.name ?? "a MIDI instrument"));
    };
    access.onstatechange = connect;
    connect();
  }

  /** All notes; those that the computer's keys play come first. */
  get likely(): number[] {
    const middle = this.octaveStart + CODES.length / 2;
    return [...this.keys.keys()].sort((a, b) => Math.abs(a - middle) - Math.abs(b - middle));
  }

  private build(): void {
    let white = 0;
    for (let midi = this.lowest; midi <= this.highest; midi++) {
      const key = document.createElement("button");
      key.type = "button";
      key.tabIndex = midi === this.current ? 0 : -1;
      key.dataset.midi = String(midi);
      key.className = isBlack(midi) ? "key black" : "key white";
      key.setAttribute("aria-label", spokenName(midi));
      key.style.setProperty("--white", String(white));
      if (!isBlack(midi)) white++;
      this.keys.set(midi, key);
      this.element.append(key);
    }
    this.element.style.setProperty("--whites", String(white));
  }

  /** Learn what the computer's keys have printed on them, where the browser says so. */
  private async readLayout(): Promise<void> {
    const { keyboard } = navigator as { keyboard?: { getLayoutMap(): Promise<Map<string, string>> } };
    this.layout = await keyboard?.getLayoutMap().catch(() => undefined);
    this.label();
  }

  /** Print the computer's keys and the names of the Cs. */
  private label(): void {
    for (const [midi, key] of this.keys) {
      const code = CODES[midi - this.octaveStart];
      key.replaceChildren();
      if (code) key.append(Object.assign(document.createElement("kbd"), { textContent: this.layout?.get(code)?.toUpperCase() ?? code.slice(3) }));
      if (midi % 12 === 0) key.append(Object.assign(document.createElement("small"), { textContent: noteName(midi) }));
      key.querySelectorAll("*").forEach((node) => node.setAttribute("aria-hidden", "true"));
    }
  }

  private listenToPointers(): void {
    const midiAt = (event: PointerEvent) => {
      const key = document.elementFromPoint(event.clientX, event.clientY)?.closest<HTMLElement>(".key");
      return key && this.element.contains(key) ? Number(key.dataset.midi) : undefined;
    };
    this.element.addEventListener("pointerdown", (event) => {
      const midi = midiAt(event);
      if (midi === undefined || event.button !== 0) return;
      this.element.setPointerCapture(event.pointerId);
      this.focus(midi);
      event.preventDefault();
      this.down(`pointer${event.pointerId}`, midi, event.timeStamp);
    });
    this.element.addEventListener("pointermove", (event) => {
      const source = `pointer${event.pointerId}`;
      const midi = midiAt(event);
      if (!this.held.has(source) || midi === undefined || midi === this.held.get(source)) return;
      this.up(source); // a slide over the keys
      this.down(source, midi, event.timeStamp);
    });
    for (const name of ["pointerup", "pointercancel"] as const) {
      this.element.addEventListener(name, (event) => this.up(`pointer${event.pointerId}`));
    }
    this.element.addEventListener("focusout", () => ["Space", "Enter"].forEach((code) => this.up(code)));
  }

  private keyDown(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || (event.target as Element).closest?.("input, select, textarea")) return;
    const onKey = this.element.contains(event.target as Node);
    const semitones = CODES.indexOf(event.code);
    if (onKey && ["Space", "Enter"].includes(event.code)) {
      event.preventDefault();
      if (!event.repeat) this.down(event.code, this.current, event.timeStamp);
    } else if (onKey && this.arrow(event.key)) {
      event.preventDefault();
    } else if (semitones >= 0 && !event.repeat) {
      this.down(event.code, this.octaveStart + semitones, event.timeStamp);
    } else if (event.code === OCTAVE_DOWN || event.code === OCTAVE_UP) {
      const start = this.octaveStart + (event.code === OCTAVE_UP ? 12 : -12);
      if (start < this.lowest || start + 12 > this.highest) return;
      this.octaveStart = start;
      this.label();
    }
  }

  private arrow(key: string): boolean {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -12, ArrowUp: 12 }[key];
    if (step) this.focus(Math.min(this.highest, Math.max(this.lowest, this.current + step)));
    return step !== undefined;
  }

  private focus(midi: number): void {
    this.keys.get(this.current)!.tabIndex = -1;
    this.current = midi;
    const key = this.keys.get(midi)!;
    key.tabIndex = 0;
    key.focus({ preventScroll: true });
  }

  private down(source: string, midi: number, since: number, gain = 1): void {
    if (this.held.has(source) || midi < this.lowest || midi > this.highest) return;
    this.held.set(source, midi);
    this.keys.get(midi)!.classList.add("down");
    this.events.press(midi, since, gain);
  }

  private up(source: string): void {
    const midi = this.held.get(source);
    if (midi === undefined) return;
    this.held.delete(source);
    if ([...this.held.values()].includes(midi)) return;
    this.keys.get(midi)!.classList.remove("down");
    this.events.release(midi);
  }

  private releaseAll(): void {
    [...this.held.keys()].forEach((source) => this.up(source));
  }
}
