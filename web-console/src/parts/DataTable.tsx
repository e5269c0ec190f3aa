// A table for any number of rows: only those in view are in the document, further pages come as the end nears.
// Keyboard: one tab stop, arrows, Page Up and Down, Home, End; Enter opens, Delete deletes.
import { createEffect, createMemo, createSignal, For, type JSX, on, onCleanup, onMount, Show } from "solid-js";
import { count } from "../format";
import type { Pages } from "./pages";
import { ErrorState } from "./states";

export interface Column<Row> {
  id: string;
  title: string;
  /** A track of the grid: "minmax(0, 2fr)", "96px". */
  track: string;
  end?: boolean;
  /** Left out where the table is narrow. */
  wideOnly?: boolean;
  cell: (row: Row) => JSX.Element;
}

interface TableProps<Row> {
  label: string;
  /** What one row is, for the count below: "link". */
  noun: string;
  columns: readonly Column<Row>[];
  pages: Pages<Row>;
  id: (row: Row) => string;
  name: (row: Row) => string;
  dim?: (row: Row) => boolean;
  onOpen?: (row: Row) => void;
  onDelete?: (row: Row) => void;
  empty: JSX.Element;
}

const ROW_PX = 48;
const SPARE_ROWS = 8;
const NARROW_PX = 640;

export function DataTable<Row>(props: TableProps<Row>): JSX.Element {
  let scroller: HTMLDivElement | undefined;
  const [top, setTop] = createSignal(0);
  const [size, setSize] = createSignal({ width: 1000, height: 480 });
  const [focused, setFocused] = createSignal(0);

  onMount(() => {
    const observer = new ResizeObserver(([entry]) => {
      if (entry) setSize({ width: entry.contentRect.width, height: entry.contentRect.height });
    });
    if (scroller) observer.observe(scroller);
    onCleanup(() => observer.disconnect());
  });

  const rows = () => props.pages.rows();
  const narrow = createMemo(() => size().width < NARROW_PX);
  const columns = createMemo(() => props.columns.filter((column) => !column.wideOnly || !narrow()));
  const tracks = () =>
    columns()
      .map((column) => column.track)
      .join(" ");
  const first = createMemo(() => Math.max(0, Math.floor(top() / ROW_PX) - SPARE_ROWS));
  const last = createMemo(() => Math.min(rows().length, Math.ceil((top() + size().height) / ROW_PX) + SPARE_ROWS));
  const shown = createMemo(() => rows().slice(first(), last()));

  createEffect(() => {
    if (props.pages.more() && !props.pages.error() && last() > rows().length - 2 * SPARE_ROWS) props.pages.next();
  });
  createEffect(
    on(
      () => props.pages.loading(),
      (loading) => {
        if (!loading) return;
        setFocused(0);
        scroller?.scrollTo({ top: 0 });
      },
    ),
  );

  const focusRow = (index: number) => {
    const to = Math.max(0, Math.min(rows().length - 1, index));
    setFocused(to);
    if (!scroller) return;
    const above = to * ROW_PX;
    if (above < scroller.scrollTop) scroller.scrollTop = above;
    else if (above + ROW_PX > scroller.scrollTop + scroller.clientHeight)
      scroller.scrollTop = above + ROW_PX - scroller.clientHeight;
    setTop(scroller.scrollTop);
    scroller.querySelector<HTMLElement>(`[data-index="${to}"]`)?.focus({ preventScroll: true });
  };
  let deleting = false;
  createEffect(
    on(
      () => rows().length,
      (now, before = 0) => {
        // The row that had the focus is gone: the next one takes it.
        if (deleting && now < before) queueMicrotask(() => focusRow(focused()));
      },
    ),
  );
  const onKey = (event: KeyboardEvent) => {
    if (!(event.target instanceof HTMLElement) || event.target.getAttribute("role") !== "row") return;
    const screen = Math.max(1, Math.floor(size().height / ROW_PX) - 1);
    const row = rows()[focused()];
    const moves: Record<string, number> = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: screen,
      PageUp: -screen,
      Home: -focused(),
      End: rows().length,
    };
    const step = moves[event.key];
    if (step !== undefined) focusRow(focused() + step);
    else if (event.key === "Enter" && row) props.onOpen?.(row);
    else if (event.key === "Delete" && row) {
      deleting = true;
      props.onDelete?.(row);
    } else return;
    event.preventDefault();
  };
  const open = (event: MouseEvent, row: Row) => {
    if (event.target instanceof Element && event.target.closest("a, button")) return;
    if (getSelection()?.toString()) return;
    props.onOpen?.(row);
  };
  const nothing = () => !props.pages.loading() && !props.pages.error() && rows().length === 0;

  return (
    <div class="table" classList={{ narrow: narrow() }} style={{ "--tracks": tracks() }}>
      <Show when={!nothing()} fallback={props.empty}>
        <Show
          when={!(props.pages.error() && rows().length === 0)}
          fallback={
            <ErrorState title={`The ${props.noun}s could not be read`} error={props.pages.error()} onRetry={props.pages.reload} />
          }
        >
          <div
            role="grid"
            aria-label={props.label}
            aria-rowcount={props.pages.more() ? -1 : rows().length + 1}
            aria-busy={props.pages.loading()}
            onKeyDown={onKey}
            onFocusIn={() => (deleting = false)}
          >
            <div role="rowgroup" class="table-head">
              <div role="row" class="table-row" aria-rowindex={1}>
                <For each={columns()}>
                  {(column) => (
                    <span role="columnheader" classList={{ end: column.end ?? false }}>
                      {column.title}
                    </span>
                  )}
                </For>
              </div>
            </div>
            <div
              role="rowgroup"
              class="table-scroll"
              ref={scroller}
              onScroll={(event) => setTop(event.currentTarget.scrollTop)}
            >
              <Show when={!props.pages.loading() || rows().length > 0} fallback={<Bones columns={columns().length} />}>
                <div class="table-all" role="presentation" style={{ height: `${rows().length * ROW_PX}px` }}>
                  <div role="presentation" style={{ transform: `translateY(${first() * ROW_PX}px)` }}>
                    <For each={shown()}>
                      {(row, offset) => {
                        const index = () => first() + offset();
                        return (
                          <div
                            role="row"
                            class="table-row"
                            classList={{ opens: Boolean(props.onOpen), dim: props.dim?.(row) ?? false }}
                            aria-rowindex={index() + 2}
                            aria-label={props.name(row)}
                            data-index={index()}
                            data-id={props.id(row)}
                            tabIndex={index() === Math.min(focused(), rows().length - 1) ? 0 : -1}
                            onFocus={() => setFocused(index())}
                            onClick={(event) => open(event, row)}
                          >
                            <For each={columns()}>
                              {(column) => (
                                <div role="gridcell" class="cell" classList={{ end: column.end ?? false }}>
                                  {column.cell(row)}
                                </div>
                              )}
                            </For>
                          </div>
                        );
                      }}
                    </For>
                  </div>
                </div>
              </Show>
            </div>
          </div>
          <Show when={props.pages.error()}>
            <ErrorState
              title={`These are the first ${count(rows().length)}; the rest could not be read`}
              error={props.pages.error()}
              onRetry={props.pages.next}
            />
          </Show>
          <p class="table-foot" role="status">
            <Show when={!props.pages.loading()} fallback={`Reading ${props.noun}s…`}>
              {count(rows().length)} {rows().length === 1 ? props.noun : `${props.noun}s`}
              {props.pages.extending() ? ", reading more…" : props.pages.more() ? " so far; scroll for more" : ""}
            </Show>
          </p>
        </Show>
      </Show>
    </div>
  );
}

function Bones(props: { columns: number }): JSX.Element {
  return (
    <div class="skeleton rows" role="presentation">
      <For each={Array.from({ length: 8 })}>
        {() => (
          <div class="table-row" role="row">
            <For each={Array.from({ length: props.columns })}>
              {() => (
                <span role="gridcell">
                  <span class="bone" />
                </span>
              )}
            </For>
          </div>
        )}
      </For>
    </div>
  );
}
