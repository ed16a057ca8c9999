// The page: what is chosen, what is pressed, and what is shown of it.

import { Keyboard } from "./keyboard";
import { Model } from "./model";
import { hertz, noteName, spokenName } from "./notes";
import { Plane } from "./plane";
import { Player } from "./player";
import { Slot, type Loaded } from "./slot";
import { readSound, UnusableSound, wavFile } from "./sound_file";
import { SpectrumView, type Curve } from "./spectrum_view";
import { TimbreMap, type TimbrePoint } from "./timbre_map";
import { ToneFitter, type Tone } from "./tone_fit";
import { HELD, type Course } from "./voice";

const find = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;

const FIRST_MIDI = 60;
const SAVED_SECONDS = 2.5;
const PREPARE_MS = 100; // after the last choice

/** A timbre that can be played, and how it is called. */
interface Timbre {
  z: Float32Array;
  name: string;
  place: TimbrePoint;
  course: Course;
  /** The recording or the instrument that it is taken from. */
  source?: Slot | number;
}

/** What sounded last, to be saved. */
interface Sound {
  tone: Tone;
  course: Course;
  name: string;
}

function say(text: string, isError = false): void {
  const status = find("status");
  status.textContent = text;
  status.classList.toggle("error", isError);
}

class Page {
  private readonly map: TimbreMap;
  private readonly fitter: ToneFitter;
  private readonly player: Player;
  private readonly plane: Plane;
  private readonly keyboard: Keyboard;
  private readonly view: SpectrumView;
  private readonly slots: Slot[];
  private readonly chips: HTMLButtonElement[];
  private readonly pressed = new Set<number>();
  private timbre: Timbre;
  private midi = FIRST_MIDI;
  private last?: Sound;
  private morphing = false;
  private waiting = 0;
  /** Tones of the chosen timbre that were made already. */
  private tones = new Map<number, Promise<Tone>>();

  constructor(private readonly model: Model) {
    this.map = new TimbreMap(model.card);
    this.fitter = new ToneFitter(model.melSettings);
    this.player = new Player(this.fitter);
    const bandHz = Float64Array.from(model.card.mel_edges_hz.slice(1, -1));
    this.view = new SpectrumView(find("spectrum"), bandHz);
    this.keyboard = new Keyboard(find("keyboard"), model.lowest, model.highest, {
      press: (midi, since, gain) => void this.press(midi, since, gain),
      release: (midi) => this.release(midi),
    });
    this.plane = new Plane(find("plane"), this.map, {
      take: () => void this.press(this.midi, performance.now(), 1, "plane"),
      move: (place) => this.choose(this.timbreAt(place)),
      drop: () => this.player.end("plane"),
    });
    this.slots = ["A", "B"].map((letter, i) => this.slot(letter, "BA"[i], `--slot-${letter.toLowerCase()}`));
    find("slots").append(...this.slots.map(({ element }) => element));
    this.chips = this.map.instruments.map((name, i) => this.chip(name, i));
    find("instruments").append(...this.chips);
    this.timbre = this.timbreOf(0);
    this.choose(this.timbre);
    this.listenToDrops();
    this.offerMidi();
    find("save").addEventListener("click", () => void this.save());
  }

  // Timbres -----------------------------------------------------------------------------------------------------------

  private timbreAt(place: TimbrePoint): Timbre {
    const name = this.map.near(place).map((i) => this.map.instruments[i]).join(" and ");
    return { z: this.map.timbreAt(place), name: `near ${name}`, place, course: HELD };
  }

  private timbreOf(instrument: number): Timbre {
    const { z, x, y } = this.map.typical(instrument);
    return { z: Float32Array.from(z), name: this.map.instruments[instrument], place: { x, y }, course: HELD, source: instrument };
  }

  private timbreOfRecording(slot: Slot, { analysis }: Loaded): Timbre {
    const { timbre, course } = analysis;
    return { z: timbre, name: `recording ${slot.letter}`, place: this.map.project(timbre), course, source: slot };
  }

  private choose(timbre: Timbre): void {
    this.timbre = timbre;
    this.tones = new Map();
    this.plane.place(timbre.place, timbre.name);
    this.chips.forEach((chip, i) => chip.setAttribute("aria-pressed", String(timbre.source === i)));
    for (const slot of this.slots) slot.chosen = timbre.source === slot;
    find("playing").textContent = `Timbre: ${timbre.name}`;
    void this.morph();
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.prepare(this.keyboard.likely), PREPARE_MS);
  }

  /** Make the tones beforehand, one at a time, so that a key meanwhile need not wait. */
  private prepare([midi, ...later]: number[]): void {
    if (midi === undefined) return;
    void this.tone(midi).then(() => (this.waiting = setTimeout(() => this.prepare(later), 0)));
  }

  private tone(midi: number): Promise<Tone> {
    let tone = this.tones.get(midi);
    if (!tone) {
      tone = this.model.decode(this.timbre.z, midi).then((power) => this.fitter.fit(power, hertz(midi)));
      this.tones.set(midi, tone);
    }
    return tone;
  }

  /** Bring what sounds, and the picture, to the chosen timbre; what is chosen meanwhile comes after it. */
  private async morph(): Promise<void> {
    if (this.morphing) return;
    this.morphing = true;
    let done: Timbre | undefined;
    while (done !== this.timbre) {
      done = this.timbre;
      for (const midi of this.pressed) this.player.morph(`key${midi}`, await this.tone(midi));
      this.player.morph("plane", await this.tone(this.midi));
      await this.draw();
    }
    this.morphing = false;
  }

  // Keys --------------------------------------------------------------------------------------------------------------

  private async press(midi: number, since: number, gain: number, name = `key${midi}`): Promise<void> {
    if (name !== "plane") this.pressed.add(midi);
    this.midi = midi;
    const tone = await this.tone(midi);
    if (name !== "plane" && !this.pressed.has(midi)) return this.pluck(tone, name);
    this.sounded({ tone, course: this.timbre.course, name: `${noteName(midi)} ${this.timbre.name}` });
    const { made, heard } = this.player.start(name, tone, since, this.timbre.course, gain);
    document.documentElement.dataset.latency = `${made.toFixed(1)} ${heard.toFixed(1)}`;
    find("latency").textContent = `${noteName(midi)}: ${Math.round(made)} ms to make, ${Math.round(heard)} ms in the sound card`;
    void this.draw();
  }

  /** A key that was let go before its first tone was made is still heard. */
  private pluck(tone: Tone, name: string): void {
    this.player.start(name, tone, performance.now(), this.timbre.course);
    this.player.end(name, 0.1);
  }

  private release(midi: number): void {
    this.pressed.delete(midi);
    this.player.end(`key${midi}`);
  }

  private offerMidi(): void {
    const button = find<HTMLButtonElement>("midi");
    button.hidden = !("requestMIDIAccess" in navigator);
    button.addEventListener("click", () => {
      this.keyboard
        .listenToMidi((names) => say(names.length ? `Listening to ${names.join(", ")}.` : "No MIDI instrument is connected; plug one in."))
        .catch(() => say("The browser does not let this page use MIDI; allow it in the site's settings.", true));
    });
  }

  // Recordings --------------------------------------------------------------------------------------------------------

  private slot(letter: string, other: string, colour: string): Slot {
    const slot: Slot = new Slot(letter, other, colour, {
      choose: (file) => void this.read(file, slot),
      playOriginal: () => this.player.playSamples(slot.loaded!.recording.samples, slot.loaded!.recording.sampleRate),
      playWith: (timbre) => void this.playNote(slot, timbre),
      useTimbre: () => this.choose(this.timbreOfRecording(slot, slot.loaded!)),
    });
    return slot;
  }

  private async read(file: File, slot: Slot): Promise<void> {
    say(`Reading ${file.name} …`);
    try {
      const recording = await readSound(file, this.model.card.sample_rate);
      const analysis = await this.model.analyse(recording.samples);
      if (analysis === "silent") throw new UnusableSound(`${file.name} is silent; give a recording of a note`);
      if (analysis === "short") throw new UnusableSound(`${file.name} is too short; give a note of at least 0.05 s`);
      say(slot.show({ recording, analysis }));
    } catch (error) {
      if (!(error instanceof UnusableSound)) throw error;
      say(error.message, true);
      return;
    }
    const loaded = this.slots.filter((each) => each.loaded);
    for (const each of this.slots) each.otherLoaded = loaded.length === 2;
    this.plane.mark(loaded.map((each) => ({ name: each.letter, place: this.map.project(each.loaded!.analysis.timbre) })));
    this.choose(this.timbreOfRecording(slot, slot.loaded!));
  }

  /** A recording's pitch, tuning and course, with a timbre. */
  private async playNote(slot: Slot, which: "own" | "other"): Promise<void> {
    const since = performance.now();
    const { analysis } = slot.loaded!;
    const other = this.slots.find((each) => each !== slot)!;
    const { timbre } = which === "own" ? analysis : other.loaded!.analysis;
    const power = await this.model.decode(timbre, analysis.midi);
    const f0 = hertz(analysis.midi + analysis.cents / 100);
    const tone = { ...this.fitter.fit(power, hertz(analysis.midi)), f0 };
    const { course } = analysis;
    this.sounded({ tone, course, name: `${slot.letter}${which === "other" ? ` in the timbre of ${other.letter}` : ""}` });
    this.player.start("note", tone, since, course);
    this.player.end("note", course.levels.length * course.step);
    this.view.show([this.curve("This sound", "--accent", power, true), this.curve(slot.letter, slot.colour, analysis.power)], analysis.midi);
  }

  private listenToDrops(): void {
    const page = document.documentElement;
    page.addEventListener("dragover", (event) => {
      event.preventDefault();
      page.classList.add("dragging");
    });
    page.addEventListener("dragleave", (event) => event.relatedTarget || page.classList.remove("dragging"));
    page.addEventListener("drop", (event) => {
      event.preventDefault();
      page.classList.remove("dragging");
      const files = [...(event.dataTransfer?.files ?? [])].slice(0, this.slots.length);
      if (!files.length) return say("That was no file; drop a sound file.", true);
      const under = this.slots.find(({ element }) => element.contains(event.target as Node));
      const first = under ?? this.slots.find(({ loaded }) => !loaded) ?? this.slots[0];
      const order = files.length > 1 ? this.slots : [first];
      void files.reduce((before, file, i) => before.then(() => this.read(file, order[i])), Promise.resolve());
    });
  }

  // What is shown and saved -------------------------------------------------------------------------------------------

  private curve(name: string, colour: string, power: Float64Array, filled = false): Curve {
    return { name, colour, decibels: power.map((value) => 10 * Math.log10(value + 1e-15)), filled };
  }

  private async draw(): Promise<void> {
    const { midi, timbre } = this;
    const power = await this.model.decode(timbre.z, midi);
    const recordings = this.slots.filter(({ loaded }) => loaded);
    this.view.show(
      [
        this.curve(`${spokenName(midi)}, ${timbre.name}`, "--accent", power, true),
        ...recordings.map((slot) => this.curve(`recording ${slot.letter}`, slot.colour, slot.loaded!.analysis.power)),
      ],
      midi,
    );
    find("legend").textContent = `${noteName(midi)} with its partials${recordings.length ? "; thin lines: the recordings" : ""}. Hz across, 80 dB up.`;
  }

  private sounded(sound: Sound): void {
    this.last = sound;
    find<HTMLButtonElement>("save").disabled = false;
  }

  private async save(): Promise<void> {
    const { tone, course, name } = this.last!;
    const sound = await this.player.render(tone, course, SAVED_SECONDS);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(wavFile(sound.getChannelData(0), sound.sampleRate));
    link.download = `${name.replace("♯", "#")}.wav`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    say(`Saved ${link.download}`);
  }

  private chip(name: string, instrument: number): HTMLButtonElement {
    const chip = Object.assign(document.createElement("button"), { type: "button", textContent: name });
    chip.style.setProperty("--dot", `var(--instrument-${instrument})`);
    chip.addEventListener("click", () => {
      this.choose(this.timbreOf(instrument));
      void this.press(this.midi, performance.now(), 1, "plane").then(() => this.player.end("plane", 0.6));
    });
    return chip;
  }
}

async function main(): Promise<void> {
  const count = typeof pitchTimbreModel === "undefined" ? 0 : new Set(pitchTimbreModel.card.examples.map(({ instrument }) => instrument)).size;
  if (!count) {
    return say("No model lies beside this page; write it with: pitch-timbre page --out FOLDER", true);
  }
  for (let i = 0; i < count; i++) {
    document.documentElement.style.setProperty(`--instrument-${i}`, `oklch(var(--lightness) 0.15 ${(360 * i) / count + 20})`);
  }
  new Page(await Model.load(pitchTimbreModel));
  document.documentElement.dataset.ready = "";
  say("Ready. Press a key.");
}

main().catch((error: Error) => say(error.message, true));
