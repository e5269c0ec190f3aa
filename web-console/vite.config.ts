// How the console is built: hashed assets under /console/, nothing inlined, because the page is served with a
// strict Content-Security-Policy (default-src 'self'), which allows neither inline code nor data: addresses.
import { defineConfig, type Plugin } from "vite";
import solid from "vite-plugin-solid";

/** Paint only after the theme is known: without this, a reader who chose dark sees a flash of light. */
const renderAfterTheme: Plugin = {
  name: "render-after-theme",
  transformIndexHtml: {
    order: "post",
    handler: (html) => html.replace('<script type="module"', '<script type="module" blocking="render"'),
  },
};

export default defineConfig({
  base: "/console/",
  plugins: [solid(), renderAfterTheme],
  build: {
    target: "es2023",
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    outDir: "dist",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    manifest: true,
    reportCompressedSize: false,
  },
  server: {
    port: 8013,
    // `npm run dev` beside a running `twelvefold up`: the pages from here, the API from there.
    proxy: { "/v1": { target: "http://127.0.0.1:8012", ws: true }, "/openapi.json": "http://127.0.0.1:8012" },
  },
});
