// Which page is shown: by the session first, then by the address. Every page but the overview loads when opened.
import { createEffect, ErrorBoundary, lazy, Match, onCleanup, onMount, Show, Suspense, Switch, type JSX } from "solid-js";
import { startLive, status } from "./api/live";
import { openSession, sessionState, watchSession } from "./api/session";
import { Frame } from "./frame/Frame";
import { Skeleton } from "./parts/basics";
import { ErrorState } from "./parts/states";
import { Toasts } from "./parts/toasts";
import { Overview } from "./pages/Overview";
import { SignIn } from "./pages/SignIn";
import { path } from "./router";

const SystemView = lazy(() => import("./pages/SystemView"));
const Keys = lazy(() => import("./pages/Keys"));
const Drills = lazy(() => import("./pages/Drills"));
const Reference = lazy(() => import("./pages/Reference"));
const NotFound = lazy(() => import("./pages/NotFound"));

export function App(): JSX.Element {
  watchSession();
  return (
    <>
      <Switch>
        <Match when={sessionState().kind === "in"}>
          <SignedIn />
        </Match>
        <Match when={sessionState().kind === "unknown"}>
          <main class="alone">
            <div class="sign-in">
              <Skeleton label="Signing in" lines={3} />
            </div>
          </main>
        </Match>
        <Match when={sessionState().kind === "out"}>
          <SignIn />
        </Match>
        <Match when={sessionState().kind === "unreachable"}>
          <main class="alone">
            <ErrorState
              title="Twelvefold does not answer"
              error={new Error("This page is open, but the server behind it is not running or not reachable.")}
              onRetry={() => void openSession()}
            />
          </main>
        </Match>
      </Switch>
      <Toasts />
    </>
  );
}

function SignedIn(): JSX.Element {
  onMount(() => onCleanup(startLive()));
  createEffect(() => {
    document.title = `${title()} · Twelvefold`;
  });
  return (
    <Frame>
      <ErrorBoundary
        fallback={(error, reset) => <ErrorState title="This page stopped working" error={error} onRetry={reset} />}
      >
        <Suspense fallback={<Skeleton label="Loading the page" lines={6} tall />}>
          <Page />
        </Suspense>
      </ErrorBoundary>
    </Frame>
  );
}

function Page(): JSX.Element {
  const system = () => /^systems\/([a-z-]+)$/.exec(path())?.[1];
  return (
    <Switch fallback={<NotFound />}>
      <Match when={path() === ""}>
        <Overview />
      </Match>
      <Match when={path() === "keys"}>
        <Keys />
      </Match>
      <Match when={path() === "drills"}>
        <Drills />
      </Match>
      <Match when={path() === "docs"}>
        <Reference />
      </Match>
      <Match when={system()}>
        {(name) => (
          <Show when={name()} keyed>
            {(key) => <SystemView name={key} />}
          </Show>
        )}
      </Match>
    </Switch>
  );
}

function title(): string {
  const here = path();
  const name = here.replace(/^systems\//, "");
  const titles: Record<string, string> = { "": "Overview", keys: "Keys", drills: "Drills", docs: "API reference" };
  return titles[here] ?? status.value?.systems.find((system) => system.name === name)?.title ?? "Console";
}
