// Jump to anything: a page, a system, an action, one link among thousands. `/` or Ctrl-K opens it, arrows choose,
// Enter goes. A combobox by the WAI-ARIA pattern, so that the list is heard while the focus stays in the
// field. Part of the first load: what is typed right after `/` must not be lost.
import { createEffect, createMemo, createSignal, For, type JSX, on, onCleanup, Show } from "solid-js";
import { status } from "../api/live";
import { signOut } from "../api/session";
import { Dialog } from "../parts/dialog";
import { navigate } from "../router";
import { type Found, hasPage, loadPage } from "../systems/registry";
import { HOUSE } from "./Navigation";
import { nextTheme, setTheme } from "./theme";

interface Choice {
  title: string;
  detail: string;
  run: () => void;
}

const SEARCH_FROM_LETTERS = 2;
const PAUSE_MS = 120;

export function Palette(props: { onClose: () => void }): JSX.Element {
  const [text, setText] = createSignal("");
  const [chosen, setChosen] = createSignal(0);
  const [found, setFound] = createSignal<Found[]>([]);

  const fixed = createMemo<Choice[]>(() => [
    { title: "Overview", detail: "page", run: () => navigate("") },
    ...(status.value?.systems ?? []).map((system) => ({
      title: system.title,
      detail: system.running ? "system" : "not running",
      run: () => navigate(`systems/${system.name}`),
    })),
    ...HOUSE.map((entry) => ({ title: entry.title, detail: "page", run: () => navigate(entry.to) })),
    { title: "Make a key", detail: "action", run: () => navigate("keys?new=1") },
    { title: "Change the colours", detail: "action", run: () => setTheme(nextTheme()) },
    { title: "Sign out", detail: "action", run: () => void signOut() },
  ]);
  const choices = createMemo<Choice[]>(() => {
    const wanted = text().trim().toLowerCase();
    const pages = fixed().filter((choice) => matches(choice.title.toLowerCase(), wanted));
    return [...pages, ...found().map((one) => ({ ...one, run: () => navigate(one.to) }))];
  });

  createEffect(
    on(text, (query) => {
      setChosen(0);
      setFound([]);
      if (query.trim().length < SEARCH_FROM_LETTERS) return;
      const control = new AbortController();
      const timer = setTimeout(() => void search(query.trim(), control.signal).then(setFound, () => undefined), PAUSE_MS);
      onCleanup(() => {
        clearTimeout(timer);
        control.abort();
      });
    }),
  );

  const go = (choice: Choice | undefined) => {
    if (!choice) return;
    props.onClose();
    choice.run();
  };
  const onKey = (event: KeyboardEvent) => {
    const count = choices().length;
    if (event.key === "Enter") go(choices()[chosen()]);
    else if (event.key === "ArrowDown" && count) setChosen((chosen() + 1) % count);
    else if (event.key === "ArrowUp" && count) setChosen((chosen() - 1 + count) % count);
    else return;
    event.preventDefault();
    document.getElementById(`choice-${chosen()}`)?.scrollIntoView({ block: "nearest" });
  };

  return (
    <Dialog
      title="Jump to"
      kind="palette"
      onClose={props.onClose}
      head={
        <input
          class="palette-field"
          type="text"
          role="combobox"
          aria-label="Jump to a page, a system or a link"
          aria-expanded="true"
          aria-controls="choices"
          aria-activedescendant={choices().length ? `choice-${chosen()}` : undefined}
          autocomplete="off"
          spellcheck={false}
          autofocus
          placeholder="Jump to a page, a system, a link…"
          value={text()}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={onKey}
        />
      }
    >
      <ul class="choices" id="choices" role="listbox" aria-label="Where to">
        <For each={choices()}>
          {(choice, index) => (
            <li
              role="option"
              id={`choice-${index()}`}
              class="choice"
              aria-selected={index() === chosen()}
              onMouseMove={() => setChosen(index())}
              onClick={() => go(choice)}
            >
              <span class="choice-title">{choice.title}</span>
              <span class="choice-detail">{choice.detail}</span>
            </li>
          )}
        </For>
      </ul>
      <Show when={choices().length === 0}>
        <p class="palette-none quiet">Nothing here is called “{text()}”.</p>
      </Show>
    </Dialog>
  );
}

/** Every word of the query is somewhere in the title. */
function matches(title: string, wanted: string): boolean {
  return wanted.split(/\s+/).every((word) => title.includes(word));
}

async function search(query: string, signal: AbortSignal): Promise<Found[]> {
  const running = (status.value?.systems ?? []).filter((system) => system.running && hasPage(system.name));
  const answers = await Promise.all(
    running.map(async (system) => {
      const page = await loadPage(system.name);
      return (await page?.find?.(query, signal)) ?? [];
    }),
  );
  return answers.flat();
}
