// The Fourier transform.

/**
 * Replace complex amplitudes by their sum of turning phasors: sum over bins of value * exp(2 pi i bin t / n).
 * The magnitudes of a real signal's spectrum are the same with either sign of the exponent.
 *
 * @param real their real parts, n of them, a power of two; overwritten.
 * @param imaginary their imaginary parts; overwritten.
 */
export function transform(real: Float64Array, imaginary: Float64Array): void {
  const n = real.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [real[i], real[j]] = [real[j], real[i]];
      [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
    }
  }
  const cosines = Float64Array.from({ length: n / 2 }, (_, i) => Math.cos((2 * Math.PI * i) / n));
  const sines = Float64Array.from({ length: n / 2 }, (_, i) => Math.sin((2 * Math.PI * i) / n));
  for (let length = 2; length <= n; length *= 2) {
    const half = length / 2;
    const stride = n / length;
    for (let first = 0; first < n; first += length) {
      for (let k = 0; k < half; k++) {
        const [a, b] = [first + k, first + k + half];
        const [c, s] = [cosines[k * stride], sines[k * stride]];
        const re = real[b] * c - imaginary[b] * s;
        const im = real[b] * s + imaginary[b] * c;
        real[b] = real[a] - re;
        imaginary[b] = imaginary[a] - im;
        real[a] += re;
        imaginary[a] += im;
      }
    }
  }
}
