// Data: all links, newest first; found by words, tag or state; opened, deleted with undo, brought in from a file.
import { createEffect, createMemo, createResource, createSignal, type JSX, on, onCleanup, Show } from "solid-js";
import type { Page } from "../../api/contracts";
import { get } from "../../api/http";
import { count } from "../../format";
import { Badge, Copyable, Moment, type Tone } from "../../parts/basics";
import { type Column, DataTable } from "../../parts/DataTable";
import { Icon } from "../../parts/icons";
import { createPages } from "../../parts/pages";
import { Empty } from "../../parts/states";
import { parameter, setQuery } from "../../router";
import { type Filter, type Link, type LinkState, listLinks, shortened, type Totals } from "./api";
import { Import } from "./Import";
import { LinkSheet } from "./LinkSheet";
import { deleteWithUndo, news } from "./state";

const STATES: Record<LinkState, { title: string; tone: Tone }> = {
  active: { title: "Active", tone: "good" },
  disabled: { title: "Disabled", tone: "off" },
  expired: { title: "Expired", tone: "warn" },
  used_up: { title: "Used up", tone: "warn" },
  deleted: { title: "Deleted", tone: "bad" },
};
const TYPING_PAUSE_MS = 200;

const COLUMNS: Column<Link>[] = [
  {
    id: "link",
    title: "Link",
    track: "minmax(0, 1.1fr)",
    cell: (link) => (
      <span class="two-lines">
        <span class="link-cell">
          <span class="clip strong">{link.code}</span>
          <Show when={link.has_password}>
            <Icon name="lock" class="link-lock" />
            <span class="only-heard">, with a password</span>
          </Show>
          <Copyable text={link.short_url} shown="" what="the short link" />
        </span>
        <span class="clip quiet small-text narrow-only">{shortened(link.url)}</span>
      </span>
    ),
  },
  {
    id: "url",
    title: "Leads to",
    track: "minmax(0, 2.4fr)",
    wideOnly: true,
    cell: (link) => (
      <span class="two-lines" title={link.url}>
        <span class="clip">{shortened(link.url)}</span>
        <Show when={link.tags.length}>
          <span class="clip quiet small-text">{link.tags.map((tag) => `#${tag}`).join(" ")}</span>
        </Show>
      </span>
    ),
  },
  { id: "clicks", title: "Clicks", track: "80px", end: true, cell: (link) => count(link.clicks) },
  {
    id: "made",
    title: "Made",
    track: "112px",
    end: true,
    wideOnly: true,
    cell: (link) => <Moment at={link.created_at} />,
  },
  {
    id: "state",
    title: "State",
    track: "104px",
    wideOnly: true,
    cell: (link) => <StateBadge state={link.state} />,
  },
];

export function StateBadge(props: { state: LinkState }): JSX.Element {
  return <Badge tone={STATES[props.state].tone}>{STATES[props.state].title}</Badge>;
}

export function LinksTable(): JSX.Element {
  const q = parameter("q");
  const tag = parameter("tag");
  const state = parameter("state");
  const opened = parameter("open");
  const filter = createMemo((): Filter => ({ q: q(), tag: tag(), state: state() }));
  const bare = () => !filtered() && !pages.loading() && !pages.error() && pages.rows().length === 0;
  const filtered = () => Object.values(filter()).some(Boolean);
  const pages = createPages<Link>(
    filter,
    (cursor, signal): Promise<Page<Link>> => listLinks(filter(), cursor, signal),
  );
  const [totals, { refetch }] = createResource(() => get<Totals>("/v1/links/stats"));
  const [importing, setImporting] = createSignal(false);

  createEffect(
    on(news, (item) => {
      if (item?.kind === "changed") pages.replace((row) => row.id === item.link.id, item.link);
      else if (item?.kind === "deleted") pages.remove((row) => row.id === item.link.id);
      else if (item) pages.reload();
      if (item && item.kind !== "changed") void refetch();
    }),
  );

  return (
    <>
      <Show when={!bare()}>
      <div class="links-head">
        <p class="links-totals quiet">
          <Show when={!totals.error && totals.latest} fallback={<span>&nbsp;</span>}>
            {(known) => (
              <>
                <b>{count(known().links)}</b> links, <b>{count(known().clicks)}</b> clicks,{" "}
                <b>{count(known().clicks_today)}</b> today
              </>
            )}
          </Show>
        </p>
        <button type="button" class="button" onClick={() => setImporting(true)}>
          <Icon name="file" />
          Import a file
        </button>
      </div>
      <Filters filter={filter()} />
      </Show>
      <DataTable
        label="Links"
        noun="link"
        columns={COLUMNS}
        pages={pages}
        id={(link) => link.id}
        name={(link) => `${link.code}, leads to ${shortened(link.url)}, ${count(link.clicks)} clicks, ${STATES[link.state].title}`}
        dim={(link) => link.state !== "active"}
        onOpen={(link) => setQuery({ open: link.code })}
        onDelete={(link) => void deleteWithUndo(link)}
        empty={
          <Show
            when={!filtered()}
            fallback={
              <Empty
                title="No link matches"
                action={
                  <button type="button" class="button" onClick={() => setQuery({ q: null, tag: null, state: null })}>
                    Clear the filter
                  </button>
                }
              >
                Words are looked for in codes, addresses and notes.
              </Empty>
            }
          >
            <Empty
              title="No links yet"
              action={
                <>
                  <button type="button" class="button primary" onClick={toTry}>
                    Shorten the first one
                  </button>
                  <button type="button" class="button" onClick={() => setImporting(true)}>
                    Import a file
                  </button>
                </>
              }
            >
              A link gives a long address a short one, and counts who comes by.
            </Empty>
          </Show>
        }
      />
      <Show when={opened()} keyed>
        {(code) => <LinkSheet code={code} onClose={() => setQuery({ open: null })} />}
      </Show>
      <Show when={importing()}>
        <Import onClose={() => setImporting(false)} />
      </Show>
    </>
  );
}

function Filters(props: { filter: Filter }): JSX.Element {
  let timer: number | undefined;
  let typed: Partial<Record<keyof Filter, string | null>> = {};
  onCleanup(() => clearTimeout(timer));
  const apply = () => {
    setQuery(typed, { replace: true });
    typed = {};
  };
  const soon = (name: keyof Filter, text: string) => {
    typed[name] = text.trim() || null;
    clearTimeout(timer);
    timer = window.setTimeout(apply, TYPING_PAUSE_MS);
  };
  return (
    <div class="filters" role="search" aria-label="Filter the links">
      <div class="filter-words">
        <Icon name="search" />
        <input
          type="search"
          aria-label="Words in the code or the address"
          placeholder="Search codes and addresses"
          value={props.filter.q}
          onInput={(event) => soon("q", event.currentTarget.value)}
        />
      </div>
      <input
        type="text"
        class="filter-tag"
        aria-label="Tag"
        placeholder="Tag"
        value={props.filter.tag}
        onInput={(event) => soon("tag", event.currentTarget.value)}
      />
      <select
        aria-label="State"
        value={props.filter.state}
        onChange={(event) => setQuery({ state: event.currentTarget.value || null }, { replace: true })}
      >
        <option value="">Any state</option>
        {Object.entries(STATES).map(([state, { title }]) => (
          <option value={state} selected={state === props.filter.state}>
            {title}
          </option>
        ))}
      </select>
    </div>
  );
}

function toTry(): void {
  document.querySelector<HTMLInputElement>("#try input")?.focus();
}
