// The frame around every page: where one is, where one can go, and how the house is.
import { createEffect, createSignal, type JSX, on, onCleanup, onMount, Show } from "solid-js";
import { sessionState, signOut } from "../api/session";
import { Icon } from "../parts/icons";
import { Link, path } from "../router";
import { ConnectionBanner } from "./ConnectionBanner";
import { EngineHealth } from "./EngineHealth";
import { Navigation } from "./Navigation";
import { Palette } from "./Palette";
import { nextTheme, setTheme, theme } from "./theme";

export function Frame(props: { children: JSX.Element }): JSX.Element {
  const [jumping, setJumping] = createSignal(false);
  const [menu, setMenu] = createSignal(false);
  let main: HTMLElement | undefined;

  const onKey = (event: KeyboardEvent) => {
    const typing = event.target instanceof HTMLElement && event.target.matches("input, textarea, select, [contenteditable]");
    const slash = event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey;
    const chord = event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey);
    if (event.key === "Escape" && menu()) setMenu(false);
    if (!slash && !chord) return;
    event.preventDefault();
    setJumping(true);
  };
  onMount(() => {
    document.addEventListener("keydown", onKey);
    onCleanup(() => document.removeEventListener("keydown", onKey));
  });
  createEffect(
    on(
      path,
      () => {
        setMenu(false);
        // A new page begins at its top for a screen reader as well as for the eye.
        main?.focus({ preventScroll: true });
      },
      { defer: true },
    ),
  );

  return (
    <div class="frame" classList={{ "menu-open": menu() }}>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), main?.focus())}>
        Skip to the page
      </a>
      <aside class="side" id="side">
        <Link to="" class="brand">
          <BrandMark />
          Twelvefold
        </Link>
        <Navigation />
      </aside>
      <button type="button" class="side-shade" aria-label="Close the menu" tabIndex={-1} onClick={() => setMenu(false)} />
      <header class="top">
        <button
          type="button"
          class="icon-button menu-button"
          aria-label="Menu"
          aria-expanded={menu()}
          aria-controls="side"
          onClick={() => setMenu(!menu())}
        >
          <Icon name="menu" />
        </button>
        <button type="button" class="jump" onClick={() => setJumping(true)} aria-keyshortcuts="/ Control+K">
          <Icon name="search" />
          <span>Jump to…</span>
          <kbd>/</kbd>
        </button>
        <div class="top-end">
          <EngineHealth />
          <ThemeButton />
          <Tenant />
        </div>
      </header>
      <main id="main" class="main" tabIndex={-1} ref={main}>
        <ConnectionBanner />
        {props.children}
      </main>
      <Show when={jumping()}>
        <Palette onClose={() => setJumping(false)} />
      </Show>
    </div>
  );
}

function ThemeButton(): JSX.Element {
  const names = { system: "by the system's choice", light: "light", dark: "dark" };
  const icons = { system: "auto", light: "sun", dark: "moon" } as const;
  return (
    <button
      type="button"
      class="icon-button"
      aria-label={`Colours: ${names[theme()]}. Change to ${names[nextTheme()]}`}
      title={`Colours: ${names[theme()]}`}
      onClick={() => setTheme(nextTheme())}
    >
      <Icon name={icons[theme()]} />
    </button>
  );
}

function Tenant(): JSX.Element {
  const session = () => {
    const state = sessionState();
    return state.kind === "in" ? state.session : null;
  };
  return (
    <Show when={session()}>
      {(known) => (
        <div class="tenant">
          <span class="tenant-name" title={`Key: ${known().key.name}`}>
            {known().tenant.name}
          </span>
          <button type="button" class="icon-button" aria-label="Sign out" title="Sign out" onClick={() => void signOut()}>
            <Icon name="out" />
          </button>
        </div>
      )}
    </Show>
  );
}

export function BrandMark(): JSX.Element {
  return (
    <svg class="brand-mark" viewBox="0 0 18 24" aria-hidden="true">
      {[0, 1, 2, 3].map((row) =>
        [0, 1, 2].map((column) => (
          <rect x={column * 6.5 + 0.5} y={row * 6.25 + 0.5} width="4" height="4" rx="1" class={`mark-${row}`} />
        )),
      )}
    </svg>
  );
}
