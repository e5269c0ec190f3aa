// Who is signed in. A one-time link carries its token behind the '#', which never reaches a server log; it is
// exchanged at once for a cookie and removed from the address bar and the history.
import { createEffect, createSignal, on } from "solid-js";
import type { Session } from "./contracts";
import { ApiError, get, send, signedOut } from "./http";

export type SessionState =
  | { kind: "unknown" }
  | { kind: "in"; session: Session }
  | { kind: "out"; reason: string | null }
  | { kind: "unreachable" };

const [sessionState, setState] = createSignal<SessionState>({ kind: "unknown" });
export { sessionState };

/** Whether the signed-in key may do `scope` (`links:write`): by itself, by its system or by `*`. */
export function may(scope: string): boolean {
  const state = sessionState();
  if (state.kind !== "in") return false;
  const wanted = [scope, `${scope.split(":")[0]}:*`, "*"];
  return state.session.scopes.some((granted) => wanted.includes(granted));
}

export async function openSession(): Promise<void> {
  const token = takeToken();
  if (token !== null) {
    try {
      setState({ kind: "in", session: await exchange({ token }) });
      return;
    } catch (error) {
      // A link that was used before is no reason to throw out someone who is signed in already.
      if (error instanceof ApiError && !(await resume())) setState({ kind: "out", reason: error.message });
      if (!(error instanceof ApiError)) setState({ kind: "unreachable" });
      return;
    }
  }
  try {
    if (!(await resume())) setState({ kind: "out", reason: null });
  } catch {
    setState({ kind: "unreachable" });
  }
}

export async function signIn(apiKey: string): Promise<void> {
  setState({ kind: "in", session: await exchange({ api_key: apiKey }) });
}

export async function signOut(): Promise<void> {
  await send("DELETE", "/v1/session");
  setState({ kind: "out", reason: null });
}

/** When any request finds the session over, the way back is the sign-in page, which says why. */
export function watchSession(): void {
  createEffect(
    on(
      signedOut,
      () => {
        if (sessionState().kind === "in") setState({ kind: "out", reason: "Your session has ended." });
      },
      { defer: true },
    ),
  );
}

async function exchange(credentials: { token: string } | { api_key: string }): Promise<Session> {
  const { data } = await send<Session | null>("POST", "/v1/session", credentials);
  return data?.tenant ? data : get<Session>("/v1/session");
}

async function resume(): Promise<boolean> {
  try {
    setState({ kind: "in", session: await get<Session>("/v1/session") });
    return true;
  } catch (error) {
    if (error instanceof ApiError && error.problem.status === 401) return false;
    throw error;
  }
}

function takeToken(): string | null {
  const match = /^#login=(.+)$/.exec(location.hash);
  if (!match?.[1]) return null;
  history.replaceState(history.state, "", location.pathname + location.search);
  return decodeURIComponent(match[1]);
}
