// The mel bands of a frame, as sparse rows over the bins of the power spectrum.

/** How a frame is read; the numbers come with the model. */
export interface MelSettings {
  sampleRate: number;
  fftLength: number;
  /** (F + 2) Hz: band b rises from edge b, peaks at edge b + 1 and ends at edge b + 2. */
  edges: number[];
}

/** A vector that is zero outside a short range. */
export interface Sparse {
  start: number;
  values: Float64Array;
}

/** (F) the bands' weights: triangles of equal area (Slaney's), as the model was trained with. */
export function melFilters({ sampleRate, fftLength, edges }: MelSettings): Sparse[] {
  const binHz = sampleRate / fftLength;
  return edges.slice(2).map((high, band) => {
    const [low, peak] = [edges[band], edges[band + 1]];
    const start = Math.ceil(low / binHz);
    const length = Math.max(0, Math.floor(high / binHz) - start + 1);
    const values = Float64Array.from({ length }, (_, i) => {
      const hz = (start + i) * binHz;
      return (Math.max(0, Math.min((hz - low) / (peak - low), (high - hz) / (high - peak))) * 2) / (high - low);
    });
    return { start, values };
  });
}
