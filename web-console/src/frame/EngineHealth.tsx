// The engines as one quiet dot. It opens the details; it speaks up only when something is wrong.
import { createSignal, createUniqueId, For, type JSX, onCleanup, onMount, Show } from "solid-js";
import { status } from "../api/live";
import { milliseconds } from "../format";
import { Dot, type Tone } from "../parts/basics";

export function EngineHealth(): JSX.Element {
  const [open, setOpen] = createSignal(false);
  const id = createUniqueId();
  let host: HTMLDivElement | undefined;
  const engines = () => status.value?.engines ?? [];
  const ill = () => engines().filter((engine) => !engine.healthy);
  const tone = (): Tone => (engines().length === 0 ? "off" : ill().length ? "bad" : "good");
  const words = () => {
    if (engines().length === 0) return "Engines";
    if (ill().length === 0) return "All engines answer";
    return ill().length === 1 ? `${ill()[0]?.name} does not answer` : `${ill().length} engines do not answer`;
  };

  onMount(() => {
    const away = (event: Event) => {
      if (event instanceof KeyboardEvent ? event.key === "Escape" : !host?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener("pointerdown", away);
    document.addEventListener("keydown", away);
    onCleanup(() => {
      document.removeEventListener("pointerdown", away);
      document.removeEventListener("keydown", away);
    });
  });

  return (
    <div class="engines" ref={host}>
      <button
        type="button"
        class="engines-button"
        classList={{ bad: tone() === "bad" }}
        aria-expanded={open()}
        aria-controls={id}
        aria-label={words()}
        title={words()}
        onClick={() => setOpen(!open())}
      >
        <Dot tone={tone()} />
        <span class="engines-words">{tone() === "bad" ? words() : "Engines"}</span>
      </button>
      <span class="only-heard" role="status">
        {tone() === "bad" ? words() : ""}
      </span>
      <Show when={open()}>
        <div class="popover" id={id} role="region" aria-label="Engines">
          <EngineList />
        </div>
      </Show>
    </div>
  );
}

export function EngineList(): JSX.Element {
  return (
    <ul class="engine-list">
      <For each={status.value?.engines}>
        {(engine) => (
          <li>
            <Dot tone={engine.healthy ? "good" : "bad"} />
            <span class="engine-name">{engine.name}</span>
            <span class="engine-kind quiet">{engine.kind}</span>
            <span class="engine-latency">{engine.healthy ? milliseconds(engine.latency_ms) : "no answer"}</span>
            <Show when={engine.detail}>
              <p class="engine-detail" classList={{ bad: !engine.healthy }}>
                {engine.detail}
              </p>
            </Show>
          </li>
        )}
      </For>
    </ul>
  );
}
