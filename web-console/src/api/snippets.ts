// A call as a reader would type it. The key is left to the environment, so a snippet can be pasted anywhere; each
// runs as it stands with nothing installed: curl, Python's standard library, Node's or a browser's fetch.
import type { Call } from "./http";

export type Language = "curl" | "python" | "javascript";

export const LANGUAGES: { id: Language; title: string }[] = [
  { id: "curl", title: "curl" },
  { id: "python", title: "Python" },
  { id: "javascript", title: "JavaScript" },
];

type Request = Pick<Call, "method" | "path" | "headers" | "body">;

export function snippet(language: Language, request: Request, origin = location.origin): string {
  const url = origin + request.path;
  if (language === "curl") return curl(request, url);
  if (language === "python") return python(request, url);
  return javascript(request, url);
}

function curl({ method, headers, body }: Request, url: string): string {
  const lines = [method === "GET" ? `curl ${shellQuoted(url)}` : `curl -X ${method} ${shellQuoted(url)}`];
  lines.push(`-H "Authorization: Bearer $TWELVEFOLD_KEY"`);
  for (const [name, value] of Object.entries(headers ?? {})) lines.push(`-H ${shellQuoted(`${name}: ${value}`)}`);
  if (body !== undefined) {
    lines.push("-H 'Content-Type: application/json'");
    lines.push(`-d ${shellQuoted(JSON.stringify(body))}`);
  }
  return lines.join(" \\\n  ");
}

function python({ method, headers, body }: Request, url: string): string {
  const lines = ["import json", "import os", "import urllib.request", "", "request = urllib.request.Request("];
  lines.push(`    ${JSON.stringify(url)},`, `    method="${method}",`);
  lines.push("    headers={");
  lines.push('        "Authorization": f"Bearer {os.environ[\'TWELVEFOLD_KEY\']}",');
  for (const [name, value] of Object.entries(headers ?? {})) lines.push(`        "${name}": ${JSON.stringify(value)},`);
  if (body !== undefined) lines.push('        "Content-Type": "application/json",');
  lines.push("    },");
  if (body !== undefined) lines.push(`    data=json.dumps(${pythonLiteral(body, 4)}).encode(),`);
  lines.push(")", "with urllib.request.urlopen(request) as response:");
  lines.push('    print(json.loads(response.read() or "null"))');
  return lines.join("\n");
}

function javascript({ method, headers, body }: Request, url: string): string {
  const lines = [`const response = await fetch(${JSON.stringify(url)}, {`];
  if (method !== "GET") lines.push(`  method: "${method}",`);
  lines.push("  headers: {", "    Authorization: `Bearer ${process.env.TWELVEFOLD_KEY}`,");
  for (const [name, value] of Object.entries(headers ?? {})) lines.push(`    "${name}": ${JSON.stringify(value)},`);
  if (body !== undefined) lines.push('    "Content-Type": "application/json",');
  lines.push("  },");
  if (body !== undefined) lines.push(`  body: JSON.stringify(${indented(JSON.stringify(body, null, 2), 2)}),`);
  lines.push("});", "console.log(response.status, await response.text());");
  return lines.join("\n");
}

function shellQuoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

function indented(text: string, spaces: number): string {
  return text.replaceAll("\n", `\n${" ".repeat(spaces)}`);
}

function pythonLiteral(value: unknown, indent: number): string {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = " ".repeat(indent + 4);
  const end = `\n${" ".repeat(indent)}`;
  if (Array.isArray(value)) {
    if (value.length === 0) return "[]";
    return `[\n${value.map((item) => `${inner}${pythonLiteral(item, indent + 4)},`).join("\n")}${end}]`;
  }
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  if (entries.length === 0) return "{}";
  const lines = entries.map(([name, item]) => `${inner}${JSON.stringify(name)}: ${pythonLiteral(item, indent + 4)},`);
  return `{\n${lines.join("\n")}${end}}`;
}
