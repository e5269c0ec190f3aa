// The smallest parts: a moment, something to copy, a state's dot, a tag, a skeleton.
import { createSignal, For, type JSX, onCleanup, Show } from "solid-js";
import type { LastRun, SystemStatus } from "../api/contracts";
import { status } from "../api/live";
import { clock, exact, NONE, relative } from "../format";
import { Icon } from "./icons";

/** A moment, relative; the exact one on hover and to assistive technology. */
export function Moment(props: { at: string | null | undefined; none?: string }): JSX.Element {
  return (
    <Show when={props.at} fallback={<span class="quiet">{props.none ?? NONE}</span>}>
      {(at) => (
        <time dateTime={at()} title={exact(at())}>
          {relative(at(), clock())}
        </time>
      )}
    </Show>
  );
}

const TEST = /^pytest /;

/** The command that runs a drill from a checkout, and what came of it when it was last recorded. */
export function DrillRun(props: { drill: string; lastRun: LastRun | null }): JSX.Element {
  return (
    <div class="drill-run">
      <Command text={props.drill} />
      <span class="quiet">
        <Show when={props.lastRun} fallback={TEST.test(props.drill) ? "A test: it runs with every build" : "No run is recorded yet"}>
          {(run) => (
            <>
              <Show when={run().passed} fallback={<b class="bad">Did not hold</b>}>
                Held
              </Show>{" "}
              <Moment at={run().at} /> on {run().machine}
            </>
          )}
        </Show>
      </span>
    </div>
  );
}

/** Copies `text`; says so for two seconds, in words that a screen reader hears. */
export function useCopy(): { copied: () => boolean; copy: (text: string) => Promise<void> } {
  const [copied, setCopied] = createSignal(false);
  let timer: number | undefined;
  onCleanup(() => clearTimeout(timer));
  const copy = async (text: string) => {
    await writeClipboard(text);
    setCopied(true);
    clearTimeout(timer);
    timer = window.setTimeout(() => setCopied(false), 2000);
  };
  return { copied, copy };
}

async function writeClipboard(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Plain http on another host has no clipboard; an old-fashioned selection has.
  const field = document.createElement("textarea");
  field.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

export function CopyButton(props: { text: string; label?: string; what?: string; class?: string }): JSX.Element {
  const { copied, copy } = useCopy();
  const name = () => (copied() ? "Copied" : (props.label ?? "Copy"));
  return (
    <button
      type="button"
      class={`button small ${props.class ?? ""}`}
      classList={{ done: copied() }}
      onClick={() => void copy(props.text)}
      aria-label={copied() ? "Copied" : `Copy ${props.what ?? ""}`.trim()}
      aria-live="polite"
    >
      <Icon name={copied() ? "check" : "copy"} />
      <span class="copy-name">{name()}</span>
    </button>
  );
}

/** An id or an address that copies itself on click. */
export function Copyable(props: { text: string; shown?: string; what?: string }): JSX.Element {
  const { copied, copy } = useCopy();
  return (
    <button
      type="button"
      class="copyable"
      title={`Copy ${props.what ?? props.text}`}
      onClick={(event) => {
        event.stopPropagation();
        void copy(props.text);
      }}
    >
      <span class="copyable-text">{props.shown ?? props.text}</span>
      <Icon name={copied() ? "check" : "copy"} />
      <span class="only-heard" aria-live="polite">
        {copied() ? "Copied" : ""}
      </span>
    </button>
  );
}

/** A command to run in a terminal, with its copy button. */
export function Command(props: { text: string }): JSX.Element {
  return (
    <div class="command">
      <code>{props.text}</code>
      <CopyButton text={props.text} what="the command" class="bare" />
    </div>
  );
}

/** How a system that does not run is started; of one that is yet to come, that it is not here. */
export function HowToStart(props: { system: SystemStatus }): JSX.Element {
  return (
    <Show when={props.system.start_command} fallback={<span class="quiet">Not in this version yet</span>}>
      {(command) => <Command text={command()} />}
    </Show>
  );
}

/** Says so while the figures are those of one process only. */
export function PartialNote(): JSX.Element {
  return (
    <div role="status">
      <Show when={status.value?.partial}>
        <p class="banner">The figures below are those of one process: what gathers them from the others does not answer.</p>
      </Show>
    </div>
  );
}

export type Tone = "good" | "warn" | "bad" | "off";

export function Dot(props: { tone: Tone }): JSX.Element {
  return <span class={`dot ${props.tone}`} aria-hidden="true" />;
}

export function Badge(props: { tone: Tone; children: JSX.Element }): JSX.Element {
  return (
    <span class={`badge ${props.tone}`}>
      <Dot tone={props.tone} />
      {props.children}
    </span>
  );
}

/** Grey lines where text will be; they appear only if the answer takes longer than 100 ms. */
export function Skeleton(props: { lines?: number; label: string; tall?: boolean }): JSX.Element {
  return (
    <div class="skeleton" classList={{ tall: props.tall ?? false }} role="status" aria-label={props.label}>
      <For each={Array.from({ length: props.lines ?? 3 })}>{() => <span class="bone" />}</For>
    </div>
  );
}
