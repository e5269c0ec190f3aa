// Tabs by the WAI-ARIA pattern: one tab stop, arrows move, the panel follows the focus.
import { createUniqueId, For, type JSX } from "solid-js";

interface TabsProps<Id extends string> {
  label: string;
  tabs: readonly { id: Id; title: string }[];
  chosen: Id;
  onChoose: (id: Id) => void;
  children: JSX.Element;
  class?: string;
}

export function Tabs<Id extends string>(props: TabsProps<Id>): JSX.Element {
  const prefix = createUniqueId();
  const tabId = (id: Id) => `${prefix}-${props.tabs.findIndex((tab) => tab.id === id)}`;
  const move = (event: KeyboardEvent) => {
    const index = props.tabs.findIndex((tab) => tab.id === props.chosen);
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -index, End: props.tabs.length - 1 - index }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const next = props.tabs[(index + step + props.tabs.length) % props.tabs.length];
    if (!next) return;
    props.onChoose(next.id);
    document.getElementById(tabId(next.id))?.focus();
  };
  return (
    <div class={`tabs ${props.class ?? ""}`}>
      <div class="tab-list" role="tablist" aria-label={props.label} onKeyDown={move}>
        <For each={props.tabs}>
          {(tab) => (
            <button
              type="button"
              role="tab"
              class="tab"
              id={tabId(tab.id)}
              aria-selected={tab.id === props.chosen}
              aria-controls={`${prefix}-panel`}
              tabIndex={tab.id === props.chosen ? 0 : -1}
              onClick={() => props.onChoose(tab.id)}
            >
              {tab.title}
            </button>
          )}
        </For>
      </div>
      <div class="tab-panel" role="tabpanel" id={`${prefix}-panel`} aria-labelledby={tabId(props.chosen)}>
        {props.children}
      </div>
    </div>
  );
}

/** A choice of few, as a row of buttons: a time range, a dimension. */
export function Segments<Id extends string>(props: {
  label: string;
  options: readonly { id: Id; title: string }[];
  chosen: Id;
  onChoose: (id: Id) => void;
}): JSX.Element {
  return (
    <div class="segments" role="group" aria-label={props.label}>
      <For each={props.options}>
        {(option) => (
          <button
            type="button"
            class="segment"
            aria-pressed={option.id === props.chosen}
            onClick={() => props.onChoose(option.id)}
          >
            {option.title}
          </button>
        )}
      </For>
    </div>
  );
}
