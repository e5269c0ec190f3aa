// A list that arrives page by page. It can be loading, ready, failed at the start, or failed further on (partial);
// what came before a failure stays. A new filter starts over, and a late answer to an old one is dropped.
import { batch, createEffect, createSignal, on, onCleanup } from "solid-js";
import { createStore, reconcile, unwrap } from "solid-js/store";
import type { Page } from "../api/contracts";

export interface Pages<Row> {
  rows: () => Row[];
  /** The first page is on its way. */
  loading: () => boolean;
  /** A further page is on its way. */
  extending: () => boolean;
  error: () => unknown;
  more: () => boolean;
  next: () => void;
  reload: () => void;
  prepend: (row: Row) => void;
  replace: (same: (row: Row) => boolean, row: Row) => void;
  remove: (same: (row: Row) => boolean) => void;
}

/** Rows live in a store: one that changes keeps its element, and with it the focus. */
export function createPages<Row extends object>(
  filter: () => unknown,
  fetchPage: (cursor: string | null, signal: AbortSignal) => Promise<Page<Row>>,
): Pages<Row> {
  const [state, setState] = createStore<{ rows: object[] }>({ rows: [] });
  const rows = () => state.rows as Row[];
  const setRows = (change: (known: Row[]) => Row[]) => setState("rows", change(unwrap(state.rows) as Row[]));
  const [cursor, setCursor] = createSignal<string | null>(null);
  const [loading, setLoading] = createSignal(true);
  const [extending, setExtending] = createSignal(false);
  const [error, setError] = createSignal<unknown>(null);
  let control = new AbortController();

  const load = async (from: string | null) => {
    control.abort();
    control = new AbortController();
    const { signal } = control;
    setError(null);
    (from === null ? setLoading : setExtending)(true);
    try {
      const page = await fetchPage(from, signal);
      if (signal.aborted) return;
      batch(() => {
        setRows((known) => (from === null ? page.items : [...known, ...page.items]));
        setCursor(page.next_cursor);
      });
    } catch (problem) {
      if (signal.aborted) return;
      setError(problem);
    }
    batch(() => {
      setLoading(false);
      setExtending(false);
    });
  };

  createEffect(on(filter, () => void load(null)));
  onCleanup(() => control.abort());

  return {
    rows,
    loading,
    extending,
    error,
    more: () => cursor() !== null,
    next: () => {
      if (cursor() !== null && !loading() && !extending()) void load(cursor());
    },
    reload: () => void load(null),
    prepend: (row) => setRows((known) => [row, ...known]),
    replace: (same, row) => {
      const index = (unwrap(state.rows) as Row[]).findIndex(same);
      if (index >= 0) setState("rows", index, reconcile<object, object>(row));
    },
    remove: (same) => setRows((known) => known.filter((row) => !same(row))),
  };
}
