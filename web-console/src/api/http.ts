// Every request of the console goes through here, and it uses only the public API. What comes back carries the
// call itself, so that a page can show it as curl, Python and JavaScript; what fails says what to do next.
import { createSignal } from "solid-js";
import type { Problem } from "./contracts";

export type Method = "GET" | "POST" | "PATCH" | "PUT" | "DELETE";

/** One request and its answer, as shown in the call drawer. */
export interface Call {
  method: Method;
  path: string;
  /** Those that mean something to the call, beyond what every call has. */
  headers?: Record<string, string>;
  body?: unknown;
  status: number;
  milliseconds: number;
  response: unknown;
}

export class ApiError extends Error {
  constructor(
    readonly problem: Problem,
    readonly call: Call,
    readonly retryAfterSeconds: number | null,
  ) {
    super(problem.detail || problem.title);
  }
}

/** The server could not be reached at all. Whether it did what was asked is not known. */
export class OfflineError extends Error {
  constructor() {
    super("The server does not answer.");
  }
}

const [reachable, setReachable] = createSignal(true);
export { reachable, setReachable };

const [signedOut, setSignedOut] = createSignal(0);
/** Counts the answers that said the session has ended. */
export { signedOut };

export interface Options {
  signal?: AbortSignal | undefined;
  /** Sent as it is, instead of JSON. */
  raw?: string;
  contentType?: string;
  headers?: Record<string, string>;
}

export async function send<Answer>(
  method: Method,
  path: string,
  body?: unknown,
  options: Options = {},
): Promise<{ data: Answer; call: Call }> {
  const started = performance.now();
  const headers: Record<string, string> = { Accept: "application/json", ...options.headers };
  const payload = options.raw ?? (body === undefined ? undefined : JSON.stringify(body));
  if (payload !== undefined) headers["Content-Type"] = options.contentType ?? "application/json";
  let response: Response;
  let text: string;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: payload ?? null,
      credentials: "same-origin",
      signal: options.signal ?? null,
    });
    text = await response.text();
  } catch (error) {
    if (options.signal?.aborted) throw error;
    setReachable(false);
    throw new OfflineError();
  }
  setReachable(true);
  const answer = parsed(text);
  const call: Call = {
    method,
    path,
    ...(options.headers ? { headers: options.headers } : {}),
    ...(body === undefined ? {} : { body }),
    status: response.status,
    milliseconds: performance.now() - started,
    response: answer,
  };
  if (response.ok) return { data: answer as Answer, call };
  if (response.status === 401 && path !== "/v1/session") setSignedOut((count) => count + 1);
  throw new ApiError(asProblem(answer, response), call, retryAfter(response));
}

export async function get<Answer>(path: string, signal?: AbortSignal, headers?: Record<string, string>): Promise<Answer> {
  return (await send<Answer>("GET", path, undefined, { signal, ...(headers ? { headers } : {}) })).data;
}

/** `path` with those parameters that have a value. */
export function withQuery(path: string, parameters: Record<string, string | number | null | undefined>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters))
    if (value !== undefined && value !== null && value !== "") query.set(name, String(value));
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

export function parsed(text: string): unknown {
  if (!text) return null;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

export function asProblem(answer: unknown, response: Response): Problem {
  const problem = (typeof answer === "object" && answer !== null ? answer : {}) as Partial<Problem>;
  return {
    title: problem.title ?? response.statusText,
    status: response.status,
    detail: sentence(problem.detail ?? `the server answered ${response.status}`),
    code: problem.code ?? `http_${response.status}`,
    field: problem.field ?? null,
    hint: problem.hint ? sentence(problem.hint) : null,
    request_id: problem.request_id ?? response.headers.get("x-request-id"),
  };
}

/** The API speaks in clauses, as logs and command lines like them; a page speaks in sentences. */
function sentence(text: string): string {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(begun) ? begun : `${begun}.`;
}

function retryAfter(response: Response): number | null {
  const seconds = Number(response.headers.get("retry-after"));
  return Number.isFinite(seconds) && seconds > 0 ? seconds : null;
}
