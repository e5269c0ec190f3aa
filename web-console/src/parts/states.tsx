// What a page shows instead of its content: nothing yet, or something wrong. An error says what happened, what it
// means, what to do, and the request id that finds it in the server's log.
import { type JSX, Show } from "solid-js";
import { ApiError, OfflineError } from "../api/http";
import { Copyable } from "./basics";

interface Told {
  what: string;
  todo: string | null;
  requestId: string | null;
}

function told(error: unknown): Told {
  if (error instanceof ApiError) {
    const { detail, title, hint, request_id, status } = error.problem;
    const wait = error.retryAfterSeconds;
    const todo = hint ?? (status >= 500 ? `Nothing was changed. Try again${wait ? ` in ${Math.ceil(wait)} s` : ""}.` : null);
    return { what: detail || title, todo, requestId: request_id ?? null };
  }
  if (error instanceof OfflineError)
    return { what: error.message, todo: "Check that Twelvefold runs. The console reconnects by itself.", requestId: null };
  return { what: error instanceof Error ? error.message : String(error), todo: null, requestId: null };
}

export function ErrorState(props: { error: unknown; title: string; onRetry?: () => void }): JSX.Element {
  const text = () => told(props.error);
  return (
    <div class="state error-state" role="alert">
      <p class="state-title">{props.title}</p>
      <p>{text().what}</p>
      <Show when={text().todo}>{(todo) => <p class="quiet">{todo()}</p>}</Show>
      <div class="state-acts">
        <Show when={props.onRetry}>
          {(retry) => (
            <button type="button" class="button" onClick={() => retry()()}>
              Try again
            </button>
          )}
        </Show>
        <Show when={text().requestId}>
          {(id) => (
            <span class="quiet">
              Request <Copyable text={id()} what="the request id" />
            </span>
          )}
        </Show>
      </div>
    </div>
  );
}

/** The same in one line, beside the control that failed. */
export function InlineError(props: { error: unknown }): JSX.Element {
  const text = () => told(props.error);
  return (
    <Show when={props.error}>
      <div class="inline-error" role="alert">
        <span>
          {text().what} <Show when={text().todo}>{(todo) => <span>{todo()}</span>}</Show>
        </span>
        <Show when={text().requestId}>{(id) => <Copyable text={id()} shown={id()} what="the request id" />}</Show>
      </div>
    </Show>
  );
}

/** What this place is for, and one button that makes the first one. */
export function Empty(props: { title: string; children: JSX.Element; action?: JSX.Element }): JSX.Element {
  return (
    <div class="state">
      <p class="state-title">{props.title}</p>
      <p class="quiet">{props.children}</p>
      <Show when={props.action}>
        <div class="state-acts">{props.action}</div>
      </Show>
    </div>
  );
}

/** What a failed request said about one field of its form. */
export function fieldError(error: unknown, field: string): string | null {
  if (!(error instanceof ApiError)) return null;
  const at = error.problem.field ?? "";
  if (at !== field && !at.startsWith(`${field}.`) && !at.startsWith(`${field}[`)) return null;
  return [error.problem.detail, error.problem.hint].filter(Boolean).join(" ");
}

/** Whether `error` is told beside one of `fields`, and needs no line of its own. */
export function toldByField(error: unknown, fields: readonly string[]): boolean {
  return fields.some((field) => fieldError(error, field) !== null);
}
