/** What `runtime.js` and `model.js` leave for the page; scripts, because a page opened from disk may not fetch. */
declare const pitchTimbreRuntime: typeof import("./runtime");
declare const pitchTimbreModel: import("./model").PackedModel;

/** build.mjs packs it with gzip. */
declare module "*.wasm" {
  const bytes: Uint8Array<ArrayBuffer>;
  export default bytes;
}
