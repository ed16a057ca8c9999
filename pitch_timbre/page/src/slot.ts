// One of the two places for a recording: what it is, its course, and the buttons to hear it.

import { redraw, sheetOn } from "./drawing";
import type { Analysis } from "./model";
import { noteName, spokenName } from "./notes";
import type { Recording } from "./sound_file";

export interface Loaded {
  recording: Recording;
  analysis: Analysis;
}

export interface SlotEvents {
  choose(file: File): void;
  playOriginal(): void;
  /** Its pitch and course with a timbre: its own, or the other recording's. */
  playWith(timbre: "own" | "other"): void;
  useTimbre(): void;
}

export class Slot {
  loaded?: Loaded;
  readonly element = document.createElement("div");
  private readonly title = document.createElement("div");
  private readonly facts = document.createElement("p");
  private readonly canvas = document.createElement("canvas");
  private readonly buttons: Record<"original" | "own" | "other" | "use", HTMLButtonElement>;

  constructor(
    readonly letter: string,
    otherLetter: string,
    readonly colour: string,
    events: SlotEvents,
  ) {
    this.element.className = "slot empty";
    this.element.style.setProperty("--slot", `var(${colour})`);
    const input = Object.assign(document.createElement("input"), { type: "file", accept: "audio/*,.wav,.flac,.aif,.aiff" });
    input.setAttribute("aria-label", `Recording ${letter}: choose a sound file`);
    input.addEventListener("change", () => {
      if (input.files?.[0]) events.choose(input.files[0]);
      input.value = "";
    });
    const label = Object.assign(document.createElement("label"), { className: "choose" });
    label.append(input, Object.assign(document.createElement("span"), { className: "letter", textContent: letter }), this.title);
    this.title.textContent = "Drop a sound file, or press to choose";
    this.canvas.setAttribute("aria-hidden", "true");
    this.facts.className = "facts";
    const button = (text: string, label: string, act: () => void) => {
      const node = Object.assign(document.createElement("button"), { type: "button", textContent: text, hidden: true });
      node.setAttribute("aria-label", `${letter}: ${label}`);
      node.addEventListener("click", act);
      return node;
    };
    this.buttons = {
      original: button("▶ Recording", "play the recording", events.playOriginal),
      own: button("▶ Resynthesis", "play what the model makes of it", () => events.playWith("own")),
      other: button(`▶ In ${otherLetter}’s timbre`, `play it in the timbre of ${otherLetter}`, () => events.playWith("other")),
      use: button("Use on the keys", "put its timbre on the keys", events.useTimbre),
    };
    const row = Object.assign(document.createElement("div"), { className: "buttons" });
    row.append(...Object.values(this.buttons));
    this.element.append(label, this.canvas, this.facts, row);
    redraw(this.canvas, () => this.draw());
  }

  /** Show a recording; returns what there is to say of it. */
  show(loaded: Loaded): string {
    this.loaded = loaded;
    const { recording, analysis } = loaded;
    const { midi, cents } = analysis;
    this.element.classList.remove("empty");
    this.title.replaceChildren(
      Object.assign(document.createElement("strong"), { textContent: noteName(midi) }),
      Object.assign(document.createElement("em"), { textContent: tuning(cents) }),
      Object.assign(document.createElement("span"), { className: "file", textContent: recording.name }),
    );
    const sure = `${Math.round(100 * analysis.confidence)} % sure`;
    const warning = analysis.status === "uncertain" ? "Uncertain: is it one note, with nothing beside it? " : "";
    this.facts.textContent = `${warning}${sure} · ${Math.round(100 * analysis.agreement)} % of its frames agree. ${recording.remark}`;
    for (const name of ["original", "own", "use"] as const) this.buttons[name].hidden = false;
    this.draw();
    return `Recording ${this.letter}, ${recording.name}: ${spokenName(midi)}, ${tuning(cents)}, ${sure}. ${warning}${recording.remark}`;
  }

  /** Whether the other slot holds something whose timbre can be lent. */
  set otherLoaded(value: boolean) {
    this.buttons.other.hidden = !value || !this.loaded;
  }

  set chosen(value: boolean) {
    this.buttons.use.setAttribute("aria-pressed", String(value));
  }

  /** The waveform's outline, and above it the pitch of each frame. */
  private draw(): void {
    if (!this.loaded) return;
    const { recording, analysis } = this.loaded;
    const { pen, width, height, colour } = sheetOn(this.canvas);
    const { samples, sampleRate } = recording;
    const peak = samples.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-9);
    const column = samples.length / width;
    pen.fillStyle = colour(this.colour);
    pen.globalAlpha = 0.35;
    for (let x = 0; x < width; x++) {
      let most = 0;
      for (let t = Math.floor(x * column); t < (x + 1) * column; t++) most = Math.max(most, Math.abs(samples[t] ?? 0));
      const tall = Math.max(1, (most / peak) * (height - 4));
      pen.fillRect(x, (height - tall) / 2, 1, tall);
    }
    pen.globalAlpha = 1;
    const seconds = samples.length / sampleRate;
    for (const frame of analysis.frames) {
      const distance = frame.midi - (analysis.midi + analysis.cents / 100);
      const y = height / 2 - (Math.max(-6, Math.min(6, distance)) * (height - 6)) / 12;
      pen.fillRect((frame.time / seconds) * width - 1, y - 1, 2, 2);
    }
  }
}

function tuning(cents: number): string {
  const rounded = Math.round(cents);
  return rounded === 0 ? "in tune" : `${Math.abs(rounded)} cents ${rounded > 0 ? "sharp" : "flat"}`;
}
