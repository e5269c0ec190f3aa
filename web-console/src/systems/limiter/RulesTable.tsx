// Data: what was decided in the last minutes, who was refused most, and all rules.
import { createMemo, createResource, createSignal, For, type JSX, onCleanup, Show } from "solid-js";
import { count } from "../../format";
import { Badge, Moment } from "../../parts/basics";
import { Chart, type Columns } from "../../parts/Chart";
import { type Column, DataTable } from "../../parts/DataTable";
import { Icon } from "../../parts/icons";
import { createPages } from "../../parts/pages";
import { Empty } from "../../parts/states";
import { toast } from "../../parts/toasts";
import { parameter, setQuery } from "../../router";
import { deleteRule, listRules, putRule, readTop, readTraffic, type StoredRule, titleOf } from "./api";
import { RuleDialog } from "./RuleDialog";

const LOOK_MS = 5000;
const LINES = [
  { token: "accent", filled: true },
  { token: "bad", filled: true },
] as const;

const UNITS: readonly [number, string][] = [
  [86_400, "day"],
  [3600, "hour"],
  [60, "minute"],
  [1, "second"],
];

const SHORT: Readonly<Record<string, string>> = { day: "days", hour: "h", minute: "min", second: "s" };

/** "100 a minute", "10 in 90 s", "1M a month". */
const per = ({ rule }: StoredRule): string => {
  if (rule.limit === null) return "no limit";
  if (rule.algorithm === "concurrency") return `${count(rule.limit)} at once`;
  if (rule.calendar) return `${count(rule.limit)} ${rule.calendar === "hour" ? "an" : "a"} ${rule.calendar}`;
  const exact = UNITS.find(([seconds]) => seconds === rule.period_seconds);
  if (exact) return `${count(rule.limit)} ${exact[1] === "hour" ? "an" : "a"} ${exact[1]}`;
  const [seconds, unit] = UNITS.find(([each]) => rule.period_seconds % each === 0) ?? [1, "second"];
  return `${count(rule.limit)} in ${count(rule.period_seconds / seconds)} ${SHORT[unit]}`;
};
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

const COLUMNS: Column<StoredRule>[] = [
  {
    id: "name",
    title: "Rule",
    track: "minmax(0, 1.4fr)",
    cell: (stored) => (
      <span class="two-lines">
        <span class="clip strong">{stored.name}</span>
        <span class="clip quiet small-text">{stored.rule.note || titleOf(stored.rule.algorithm)}</span>
      </span>
    ),
  },
  { id: "limit", title: "Limit", track: "minmax(104px, 1fr)", cell: per },
  { id: "mode", title: "Mode", track: "88px", wideOnly: true, cell: (stored) => stored.rule.mode },
  { id: "failure", title: "State away", track: "96px", wideOnly: true, cell: (stored) => stored.rule.failure },
  {
    id: "changed",
    title: "Changed",
    track: "112px",
    end: true,
    wideOnly: true,
    cell: (stored) => <Moment at={stored.updated_at} />,
  },
  {
    id: "state",
    title: "State",
    track: "80px",
    cell: (stored) => (
      <Badge tone={stored.rule.shadow ? "warn" : stored.rule.limit === 0 ? "bad" : "good"}>
        {stored.rule.shadow ? "Shadow" : stored.rule.limit === 0 ? "Ban" : "Holds"}
      </Badge>
    ),
  },
];

export function RulesTable(): JSX.Element {
  const words = parameter("q");
  const opened = parameter("open");
  const [making, setMaking] = createSignal(false);
  const pages = createPages<StoredRule>(words, (_cursor, signal) => listRules(words(), signal));
  const chosen = createMemo(() => pages.rows().find((row) => row.name === opened()) ?? null);

  const remove = async (stored: StoredRule) => {
    try {
      await deleteRule(stored.name);
    } catch (error) {
      toast(`“${stored.name}” was not ended: ${(error as Error).message}`, { tone: "bad" });
      return;
    }
    pages.remove((row) => row.name === stored.name);
    toast(`“${stored.name}” has ended.`, {
      act: { title: "Undo", run: () => void putRule(stored.name, stored.rule, "0").then(({ data }) => pages.prepend(data)) },
    });
  };

  return (
    <>
      <Decisions />
      <div class="limiter-head">
        <div class="filter-words">
          <Icon name="search" />
          <input
            type="search"
            aria-label="Words in the name or the note"
            placeholder="Search rules"
            value={words()}
            onInput={(event) => setQuery({ q: event.currentTarget.value || null }, { replace: true })}
          />
        </div>
        <button type="button" class="button primary" onClick={() => setMaking(true)}>
          New rule
        </button>
      </div>
      <DataTable
        label="Rules"
        noun="rule"
        columns={COLUMNS}
        pages={pages}
        id={(stored) => stored.name}
        name={(stored) => `${stored.name}, ${per(stored)}, ${titleOf(stored.rule.algorithm)}`}
        onOpen={(stored) => setQuery({ open: stored.name })}
        onDelete={(stored) => void remove(stored)}
        empty={
          <Empty
            title={words() ? "No rule matches" : "No rules yet"}
            action={
              <Show
                when={!words()}
                fallback={
                  <button type="button" class="button" onClick={() => setQuery({ q: null })}>
                    Clear the filter
                  </button>
                }
              >
                <button type="button" class="button primary" onClick={() => setMaking(true)}>
                  Make the first one
                </button>
              </Show>
            }
          >
            A rule says how much a key may take in a time. Programs ask it by its name.
          </Empty>
        }
      />
      <Show when={making()}>
        <RuleDialog stored={null} onClose={() => setMaking(false)} onSaved={pages.prepend} />
      </Show>
      <Show when={chosen()} keyed>
        {(stored) => (
          <RuleDialog
            stored={stored}
            onClose={() => setQuery({ open: null })}
            onSaved={(made) => pages.replace((row) => row.name === made.name, made)}
          />
        )}
      </Show>
    </>
  );
}

function Decisions(): JSX.Element {
  const [traffic, traffics] = createResource(() => readTraffic());
  const [top, tops] = createResource(() => readTop());
  const timer = window.setInterval(() => {
    if (document.hidden) return;
    void traffics.refetch();
    void tops.refetch();
  }, LOOK_MS);
  onCleanup(() => clearInterval(timer));
  const series = () => (traffic.error ? [] : (traffic.latest?.series ?? []));
  const columns = createMemo(
    (): Columns => [
      series().map((point) => Date.parse(point.at) / 1000),
      series().map((point) => point.allowed),
      series().map((point) => point.denied),
    ],
  );
  const total = (kind: "allowed" | "denied") => series().reduce((sum, point) => sum + point[kind], 0);
  const offenders = () => (top.error ? [] : (top.latest?.items ?? []));

  return (
    <div class="decisions">
      <section class="card decisions-chart" aria-label="Decisions of the last 15 minutes">
        <p class="quiet decisions-sum">
          <span>Decided, in 15 minutes</span>
          <Badge tone="good">
            <b>{count(total("allowed"))}</b> allowed
          </Badge>
          <Badge tone="bad">
            <b>{count(total("denied"))}</b> refused
          </Badge>
        </p>
        <Chart
          label={`${total("allowed")} allowed and ${total("denied")} refused in the last 15 minutes`}
          columns={columns}
          lines={LINES}
          height={160}
          leastTop={5}
          axes
          formatTime={(seconds) => CLOCK.format(seconds * 1000)}
          format={count}
        />
      </section>
      <section class="card decisions-top" aria-label="Most refused keys">
        <p class="quiet">Refused most, in 15 minutes</p>
        <Show when={offenders().length} fallback={<p class="quiet small-text">Nobody was refused.</p>}>
          <ol class="offenders">
            <For each={offenders()}>
              {(each) => (
                <li>
                  <span class="clip strong" title={each.key}>
                    {each.key}
                  </span>
                  <span class="clip quiet offender-rule" title={each.rule}>
                    {each.rule}
                  </span>
                  <b>{count(each.denied)}</b>
                </li>
              )}
            </For>
          </ol>
        </Show>
      </section>
    </div>
  );
}
