// Bringing in a file of links: reading it, and sending it in batches that grow while the server is quick. Pure but
// for the `send` that is handed in, so that it can be followed line by line.
import type { Problem } from "../../api/contracts";
import type { LinkInput } from "./api";
import { completed } from "./api";

export interface Item {
  /** Where it stood in the file, from 1. */
  line: number;
  input: LinkInput;
}

export interface BadLine {
  line: number;
  url: string;
  code: string;
  reason: string;
}

export interface BulkAnswer {
  created: number;
  failed: number;
  results: ({ index: number; code?: string; short_url?: string; error?: Problem })[];
}

/** How other services call these columns in their exports. */
const COLUMNS: Record<string, keyof LinkInput> = {
  url: "url",
  long_url: "url",
  "long url": "url",
  target: "url",
  destination: "url",
  "original url": "url",
  alias: "alias",
  keyword: "alias",
  code: "alias",
  slug: "alias",
  custom_bitlink: "alias",
  tags: "tags",
  note: "note",
  title: "note",
  expires_at: "expires_at",
};

const SMALLEST_BATCH = 100;
const LARGEST_BATCH = 5000;
const QUICK_MS = 500;
const SLOW_MS = 2000;

/** The next batch's size: double while batches are quick, halve when they are slow. */
export function nextSize(size: number, tookMs: number): number {
  if (tookMs < QUICK_MS) return Math.min(LARGEST_BATCH, size * 2);
  return tookMs > SLOW_MS ? Math.max(SMALLEST_BATCH, Math.floor(size / 2)) : size;
}

export const FIRST_BATCH = SMALLEST_BATCH;

/** One address a line, or CSV with a header that names a column of addresses. */
export function readItems(text: string): Item[] {
  const clean = text.replace(/^\uFEFF/, "");
  const header = records(clean.slice(0, Math.max(0, clean.indexOf("\n"))))[0]?.cells;
  const columns = header?.map((name) => COLUMNS[name.trim().toLowerCase()]);
  if (!columns?.includes("url")) return readLines(clean);
  return records(clean)
    .slice(1)
    .filter((record) => record.cells.some((cell) => cell.trim()))
    .map((record) => ({ line: record.line, input: inputOf(columns, record.cells) }));
}

function readLines(text: string): Item[] {
  return text
    .split(/\r?\n/)
    .map((url, index) => ({ line: index + 1, input: { url: url.trim() } }))
    .filter((item) => item.input.url && !item.input.url.startsWith("#"))
    .map((item) => ({ ...item, input: { url: completed(item.input.url) } }));
}

function inputOf(columns: readonly (keyof LinkInput | undefined)[], cells: readonly string[]): LinkInput {
  const input: LinkInput = { url: "" };
  columns.forEach((column, index) => {
    const value = cells[index]?.trim();
    if (!value) return;
    if (column === "url") input.url = completed(value);
    else if (column === "alias") input.alias = value.replace(/^https?:\/\/[^/]+\//, "");
    else if (column === "tags") input.tags = value.split(/[;,|]/).map((tag) => tag.trim()).filter(Boolean);
    else if (column === "note") input.note = value;
    else if (column === "expires_at") input.expires_at = value;
  });
  return input;
}

interface CsvRecord {
  line: number;
  cells: string[];
}

/** RFC 4180: quoted cells may hold commas, doubled quotes and line ends. */
function records(text: string): CsvRecord[] {
  const found: CsvRecord[] = [];
  let record: CsvRecord = { line: 1, cells: [] };
  let line = 1;
  let at = 0;
  const close = () => {
    found.push(record);
    record = { line, cells: [] };
  };
  while (at < text.length) {
    let cell = "";
    if (text[at] === '"') {
      at += 1;
      while (at < text.length && !(text[at] === '"' && text[at + 1] !== '"')) {
        if (text[at] === '"') at += 1;
        if (text[at] === "\n") line += 1;
        cell += text[at] ?? "";
        at += 1;
      }
      at += 1;
    }
    while (at < text.length && text[at] !== "," && text[at] !== "\n") {
      cell += text[at];
      at += 1;
    }
    record.cells.push(cell.replace(/\r$/, ""));
    if (text[at] === "\n") {
      line += 1;
      close();
    }
    at += 1;
  }
  if (record.cells.length) found.push(record);
  return found;
}

/** The lines that were not made, as CSV: to correct and to bring in again. */
export function report(bad: readonly BadLine[]): string {
  const quoted = (text: string) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const rows = bad.map((one) => [String(one.line), one.url, one.code, one.reason].map(quoted).join(","));
  return ["line,url,code,reason", ...rows, ""].join("\r\n");
}
