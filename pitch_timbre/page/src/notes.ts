// MIDI pitches as names and frequencies.

const NAMES = ["C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"];

export const isBlack = (midi: number): boolean => [1, 3, 6, 8, 10].includes(midi % 12);

export const noteName = (midi: number): string => NAMES[midi % 12] + String(Math.floor(midi / 12) - 1);

/** The name as a screen reader should say it. */
export const spokenName = (midi: number): string => noteName(midi).replace("♯", " sharp ");

export const hertz = (midi: number): number => 440 * 2 ** ((midi - 69) / 12);
