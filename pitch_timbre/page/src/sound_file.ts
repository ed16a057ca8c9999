// Sound files in and out.

export const MAX_SECONDS = 30;
const MAX_BYTES = 200e6;
const CANCELLED = 0.1; // a mix this much weaker than its channels has lost what they have in common

/** What a file holds, in one channel. */
export interface Recording {
  name: string;
  samples: Float32Array<ArrayBuffer>;
  sampleRate: number;
  /** A remark for the user, or nothing. */
  remark: string;
}

/** Raised with a sentence for the user. */
export class UnusableSound extends Error {}

/**
 * Read a file at a sample rate, Hz.
 *
 * @throws UnusableSound it is too large, no sound, or empty.
 */
export async function readSound(file: File, sampleRate: number): Promise<Recording> {
  if (file.size > MAX_BYTES) {
    throw new UnusableSound(`${file.name} has ${Math.round(file.size / 1e6)} MB; give a file of at most ${MAX_BYTES / 1e6} MB`);
  }
  let buffer: AudioBuffer;
  try {
    buffer = await new OfflineAudioContext(1, 1, sampleRate).decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new UnusableSound(`${file.name} is not a sound that this browser can read; give a WAV, FLAC, MP3 or OGG file`);
  }
  const length = Math.min(buffer.length, MAX_SECONDS * sampleRate);
  const remark =
    length < buffer.length ? `It lasts ${Math.round(buffer.duration)} s; the first ${MAX_SECONDS} s are used.` : "";
  return { name: file.name, samples: mono(buffer).slice(0, length), sampleRate, remark };
}

/** The mean of the channels, or the loudest one where they cancel each other out. */
function mono(buffer: AudioBuffer): Float32Array<ArrayBuffer> {
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, i) => buffer.getChannelData(i));
  const mix = channels[0].map((_, t) => channels.reduce((sum, channel) => sum + channel[t], 0) / channels.length);
  const energies = channels.map(energy);
  const loudest = energies.indexOf(Math.max(...energies));
  return energy(mix) < CANCELLED ** 2 * energies[loudest] ? channels[loudest].slice() : mix;
}

const energy = (samples: Float32Array): number => samples.reduce((sum, value) => sum + value * value, 0);

/** 16-bit WAV of one channel. */
export function wavFile(samples: Float32Array, sampleRate: number): Blob {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (offset: number, value: string) => [...value].forEach((letter, i) => view.setUint8(offset + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, sampleRate, true);
  view.setUint32(28, 2 * sampleRate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, i) => view.setInt16(44 + 2 * i, Math.round(32767 * Math.max(-1, Math.min(1, value))), true));
  return new Blob([view], { type: "audio/wav" });
}
