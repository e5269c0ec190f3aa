// Last step of the build: hold the budget, add the licences of what is in the bundle, and compress every asset once,
// so that the server only sends bytes.
// The budget is the frame: what a first visit loads before any page. It fails the build, so it cannot rot.
import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const FRAME_BUDGET_BYTES = 120 * 1024;
const COMPRESSIBLE = /\.(js|css|html|svg|json|txt)$/;
const here = new URL("./", import.meta.url).pathname;
const dist = join(here, "dist");

const brotli = (bytes) =>
  brotliCompressSync(bytes, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
      [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
    },
  });

const manifest = JSON.parse(readFileSync(join(dist, ".vite/manifest.json"), "utf8"));
rmSync(join(dist, ".vite"), { recursive: true });

/** The entry and everything it imports statically, styles included. */
function frameFiles(name, seen = new Set()) {
  const chunk = manifest[name];
  if (seen.has(chunk.file)) return seen;
  seen.add(chunk.file);
  for (const style of chunk.css ?? []) seen.add(style);
  for (const imported of chunk.imports ?? []) frameFiles(imported, seen);
  return seen;
}

const frame = ["index.html", ...frameFiles("index.html")];
const sizes = frame.map((file) => [file, brotli(readFileSync(join(dist, file))).length]);
const total = sizes.reduce((sum, [, size]) => sum + size, 0);
const kib = (bytes) => `${(bytes / 1024).toFixed(1)} KiB`;
console.log(`frame: ${kib(total)} of ${kib(FRAME_BUDGET_BYTES)} compressed`);
if (total > FRAME_BUDGET_BYTES) {
  for (const [file, size] of sizes) console.error(`  ${kib(size).padStart(10)}  ${file}`);
  console.error("The frame is over its budget: load what is not the frame when its page is opened.");
  process.exit(1);
}

const bundled = Object.keys(JSON.parse(readFileSync(join(here, "package.json"), "utf8")).dependencies);
const notices = bundled.map((name) => {
  const licence = readFileSync(join(here, "node_modules", name, "LICENSE"), "utf8").trim();
  return `${name}\n${"-".repeat(name.length)}\n${licence}\n`;
});
writeFileSync(join(dist, "third-party-licences.txt"), notices.join("\n\n"));

for (const file of readdirSync(dist, { recursive: true })) {
  if (!COMPRESSIBLE.test(file)) continue;
  const path = join(dist, file);
  const bytes = readFileSync(path);
  for (const [suffix, packed] of [[".br", brotli(bytes)], [".gz", gzipSync(bytes, { level: 9 })]])
    if (packed.length < bytes.length) writeFileSync(path + suffix, packed);
}
