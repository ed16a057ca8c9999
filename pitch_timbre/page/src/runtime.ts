// onnxruntime-web, built as a script of its own: a page opened from disk may load scripts, and nothing else.

import * as ort from "onnxruntime-web/wasm";
import compressed from "onnxruntime-web/ort-wasm-simd-threaded.wasm";

async function unpacked(gzip: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer> {
  return new Response(new Blob([gzip]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

const loading = unpacked(compressed).then((binary) => {
  ort.env.wasm.wasmBinary = binary;
  ort.env.wasm.numThreads = 1; // threads need a server that sends special headers
});

/** A session of a model; the runtime is unpacked the first time. */
export async function session(model: Uint8Array): Promise<ort.InferenceSession> {
  await loading;
  return ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
}

export const tensor = (data: Float32Array, width: number): ort.Tensor =>
  new ort.Tensor("float32", data, [data.length / width, width]);
