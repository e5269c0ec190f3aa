// A system's page. All have one anatomy, so whoever knows one knows the twelfth: the promise and the live strip, Try,
// Data, Guarantees, Trade-offs, Connect. What differs comes from the system's own folder and from its blueprint.
import { createResource, createSignal, ErrorBoundary, For, type JSX, onCleanup, onMount, Show, Suspense } from "solid-js";
import { Dynamic } from "solid-js/web";
import type { Card, SystemStatus } from "../api/contracts";
import { get } from "../api/http";
import { retryNow, status } from "../api/live";
import { HowToStart, PartialNote, Skeleton } from "../parts/basics";
import { Connect, Guarantees, TradeOffs } from "../parts/blueprint";
import { LiveStrip } from "../parts/LiveStrip";
import { Inline } from "../parts/Markdown";
import { ErrorState } from "../parts/states";
import { hasPage, loadPage, type SystemPage } from "../systems/registry";
import NotFound from "./NotFound";
import "../styles/system.css";

const SECTIONS = [
  { id: "try", title: "Try" },
  { id: "data", title: "Data" },
  { id: "guarantees", title: "Guarantees" },
  { id: "trade-offs", title: "Trade-offs" },
  { id: "connect", title: "Connect" },
] as const;

export default function SystemView(props: { name: string }): JSX.Element {
  const system = () => status.value?.systems.find((one) => one.name === props.name);
  return (
    <Show when={status.value} fallback={<Waiting />}>
      <Show when={system()} fallback={<NotFound />}>
        {(known) => (
          <Show when={known().running} fallback={<Asleep system={known()} />}>
            <Awake system={known()} />
          </Show>
        )}
      </Show>
    </Show>
  );
}

function Waiting(): JSX.Element {
  return (
    <Show when={status.error} fallback={<Skeleton label="Reading the status" lines={6} tall />}>
      <ErrorState title="The status could not be read" error={status.error} onRetry={retryNow} />
    </Show>
  );
}

function Asleep(props: { system: SystemStatus }): JSX.Element {
  return (
    <div class="page">
      <header class="page-head">
        <h1>{props.system.title}</h1>
        <p class="promise">{props.system.promise}</p>
      </header>
      <div class="state">
        <p class="state-title">{props.system.title} is not running</p>
        <Show when={props.system.start_command}>
          <p class="quiet">Start it with this command; it appears here by itself.</p>
        </Show>
        <HowToStart system={props.system} />
      </div>
    </div>
  );
}

function Awake(props: { system: SystemStatus }): JSX.Element {
  // Both are fixed for the life of this view: the router makes a new one for another system.
  const name = props.system.name;
  const [card, { refetch }] = createResource(() => get<Card>(`/v1/platform/systems/${name}`));
  const [page] = createResource(() => loadPage(name));
  return (
    <div class="page">
      <header class="page-head">
        <h1>{props.system.title}</h1>
        <p class="promise">{props.system.promise}</p>
      </header>
      <PartialNote />
      <LiveStrip system={props.system} />
      <SectionBar hands={hasPage(name)} />
      <Suspense fallback={<Skeleton label="Loading the page" lines={6} tall />}>
        <Show when={page()}>{(found) => <Hands page={found()} />}</Show>
      </Suspense>
      <Show
        when={!card.error}
        fallback={
          <ErrorState title="The blueprint could not be read" error={card.error} onRetry={() => void refetch()} />
        }
      >
        <Show when={card()} fallback={<Skeleton label="Reading the blueprint" lines={5} tall />}>
          {(known) => <Blueprint card={known()} />}
        </Show>
      </Show>
    </div>
  );
}

function Hands(props: { page: SystemPage }): JSX.Element {
  const broken = (error: unknown, reset: () => void) => (
    <ErrorState title="This part stopped working" error={error} onRetry={reset} />
  );
  return (
    <>
      <section class="section" id="try" aria-labelledby="try-title">
        <h2 id="try-title">Try</h2>
        <ErrorBoundary fallback={broken}>
          <Dynamic component={props.page.Try} />
        </ErrorBoundary>
      </section>
      <section class="section" id="data" aria-labelledby="data-title">
        <h2 id="data-title">{props.page.dataTitle}</h2>
        <ErrorBoundary fallback={broken}>
          <Dynamic component={props.page.Data} />
        </ErrorBoundary>
      </section>
    </>
  );
}

function Blueprint(props: { card: Card }): JSX.Element {
  return (
    <>
      <section class="section" id="guarantees" aria-labelledby="guarantees-title">
        <h2 id="guarantees-title">Guarantees</h2>
        <p class="section-lead">
          <Inline text={props.card.pitch} />
        </p>
        <Guarantees guarantees={props.card.guarantees} />
      </section>
      <section class="section" id="trade-offs" aria-labelledby="trade-offs-title">
        <h2 id="trade-offs-title">Trade-offs</h2>
        <TradeOffs rows={props.card.trade_offs} />
      </section>
      <section class="section" id="connect" aria-labelledby="connect-title">
        <h2 id="connect-title">Connect</h2>
        <Connect recipes={props.card.connect} />
      </section>
    </>
  );
}

/** Where on the page one is; it stays in view. */
function SectionBar(props: { hands: boolean }): JSX.Element {
  const sections = () => (props.hands ? SECTIONS : SECTIONS.filter(({ id }) => id !== "try" && id !== "data"));
  const [current, setCurrent] = createSignal<string | undefined>();
  onMount(() => {
    const locate = () => {
      const reached = sections().filter(({ id }) => {
        const top = document.getElementById(id)?.getBoundingClientRect().top;
        return top !== undefined && top < innerHeight / 3;
      });
      setCurrent(reached.at(-1)?.id);
    };
    document.addEventListener("scroll", locate, { passive: true });
    onCleanup(() => document.removeEventListener("scroll", locate));
  });
  const go = (event: MouseEvent, id: string) => {
    event.preventDefault();
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    document.getElementById(id)?.scrollIntoView({ behavior: still ? "auto" : "smooth", block: "start" });
  };
  return (
    <nav class="section-bar" aria-label="On this page">
      <For each={sections()}>
        {({ id, title }) => (
          <a href={`#${id}`} aria-current={(current() ?? sections()[0]?.id) === id ? "true" : undefined} onClick={(event) => go(event, id)}>
            {title}
          </a>
        )}
      </For>
    </nav>
  );
}
