// Just enough of OpenAPI 3.1 to show a reference: operations in order, schemas as readable types, an example body.

export interface Schema {
  $ref?: string;
  type?: string | string[];
  format?: string;
  title?: string;
  description?: string;
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  example?: unknown;
  examples?: unknown[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  additionalProperties?: Schema | boolean;
  oneOf?: Schema[];
  anyOf?: Schema[];
  allOf?: Schema[];
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
}

export interface Parameter {
  name: string;
  in: "path" | "query" | "header" | "cookie";
  required?: boolean;
  description?: string;
  schema?: Schema;
}

interface Media {
  schema?: Schema;
}

interface RawOperation {
  operationId?: string;
  summary?: string;
  description?: string;
  tags?: string[];
  deprecated?: boolean;
  parameters?: Parameter[];
  requestBody?: { content?: Record<string, Media>; required?: boolean };
  responses?: Record<string, { description?: string; content?: Record<string, Media> }>;
}

export interface Document {
  openapi: string;
  info: { title: string; version: string; description?: string };
  paths: Record<string, Record<string, RawOperation> & { parameters?: Parameter[] }>;
  components?: { schemas?: Record<string, Schema> };
}

export interface Operation extends RawOperation {
  id: string;
  method: string;
  path: string;
}

const METHODS = ["get", "post", "put", "patch", "delete"];
const DEEPEST = 4;

export function operations(document: Document): Map<string, Operation[]> {
  const groups = new Map<string, Operation[]>();
  for (const [path, item] of Object.entries(document.paths)) {
    for (const method of METHODS) {
      const raw = item[method];
      if (!raw) continue;
      const group = /^\/v1\/([^/]+)/.exec(path)?.[1] ?? "other";
      const parameters = [...(item.parameters ?? []), ...(raw.parameters ?? [])];
      const operation = { ...raw, parameters, method: method.toUpperCase(), path, id: `${method} ${path}` };
      groups.set(group, [...(groups.get(group) ?? []), operation]);
    }
  }
  return groups;
}

export function resolve(document: Document, schema: Schema | undefined): Schema {
  const name = schema?.$ref?.split("/").at(-1);
  return (name ? document.components?.schemas?.[name] : schema) ?? {};
}

/** A schema in a few words: "string (uri)", "Link[]", "302 | 301". */
export function typeName(schema: Schema | undefined): string {
  if (!schema) return "any";
  if (schema.$ref) return schema.$ref.split("/").at(-1) ?? "object";
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  // An empty alternative says nothing.
  const choices = (schema.oneOf ?? schema.anyOf)?.filter((one) => Object.keys(one).length > 0);
  if (choices) return choices.map(typeName).join(" | ");
  if (schema.allOf) return schema.allOf.map(typeName).join(" & ");
  if (schema.items) return `${typeName(schema.items)}[]`;
  const type = Array.isArray(schema.type) ? schema.type.join(" | ") : (schema.type ?? "any");
  return schema.format ? `${type} (${schema.format})` : type;
}

export function limits(schema: Schema | undefined): string {
  if (!schema) return "";
  const { minimum, maximum, minLength, maxLength, pattern } = schema;
  const parts = [
    minimum !== undefined && `at least ${minimum}`,
    maximum !== undefined && `at most ${maximum}`,
    minLength !== undefined && maxLength === undefined && `at least ${characters(minLength)}`,
    maxLength !== undefined && (minLength ? `${minLength} to ${characters(maxLength)}` : `at most ${characters(maxLength)}`),
    pattern !== undefined && `like ${pattern}`,
    schema.default !== undefined && schema.default !== null && `default ${JSON.stringify(schema.default)}`,
  ];
  return parts.filter(Boolean).join(", ");
}

function characters(amount: number): string {
  return amount === 1 ? "1 character" : `${amount} characters`;
}

/** A body to start from: the required fields, and the examples that the schema gives. */
export function example(document: Document, schema: Schema | undefined, depth = 0): unknown {
  const known = resolve(document, schema);
  if (known.example !== undefined) return known.example;
  if (known.examples?.length) return known.examples[0];
  if (known.const !== undefined) return known.const;
  if (known.enum?.length) return known.enum[0];
  if (known.default !== undefined && known.default !== null) return known.default;
  const choice = (known.oneOf ?? known.anyOf)?.find((one) => one.type !== "null");
  if (choice) return example(document, choice, depth);
  if (depth > DEEPEST) return null;
  if (known.properties) {
    const wanted = known.required ?? [];
    const names = Object.keys(known.properties).filter((name) => wanted.includes(name));
    return Object.fromEntries(names.map((name) => [name, example(document, known.properties?.[name], depth + 1)]));
  }
  if (known.items) return [example(document, known.items, depth + 1)];
  const type = Array.isArray(known.type) ? known.type[0] : known.type;
  if (type === "integer" || type === "number") return known.minimum ?? 1;
  if (type === "boolean") return false;
  if (type === "object") return {};
  return known.format === "uri" ? "https://example.com/" : "text";
}

/** The schema of a body or an answer, whichever JSON media type carries it. */
export function jsonSchema(content: Record<string, Media> | undefined): Schema | undefined {
  const media = Object.entries(content ?? {}).find(([type]) => type.includes("json"));
  return media?.[1].schema;
}
