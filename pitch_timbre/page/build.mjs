// Builds the page into `static`: `npm run build`.

import { cp, mkdir, readFile, rm } from "node:fs/promises";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { build } from "esbuild";

const OUT = "static";

/** onnxruntime-web's wasm (14 MB) goes into the script with gzip, as a third of that. */
const packedWasm = {
  name: "packed wasm",
  setup: ({ onLoad }) =>
    onLoad({ filter: /\.wasm$/ }, async ({ path }) => ({
      contents: await promisify(gzip)(await readFile(path), { level: 9 }),
      loader: "binary",
    })),
};

const options = { bundle: true, minify: true, format: "iife", target: "es2022", charset: "utf8", logLevel: "warning" };

await rm(OUT, { recursive: true, force: true });
await mkdir(OUT);
await build({ ...options, entryPoints: ["src/main.ts"], outfile: `${OUT}/page.js` });
await build({
  ...options,
  entryPoints: ["src/runtime.ts"],
  outfile: `${OUT}/runtime.js`,
  globalName: "pitchTimbreRuntime",
  plugins: [packedWasm],
  // The runtime asks where it lies; its parts are all in this script.
  define: { "import.meta.url": "location.href" },
});
await build({ ...options, entryPoints: ["src/style.css"], outfile: `${OUT}/page.css` });
await cp("src/index.html", `${OUT}/index.html`);
await cp("src/onnxruntime_licence.txt", `${OUT}/onnxruntime_licence.txt`);
