// What was said, for any length of it: only what is in view is in the document. Heights differ and are known when
// a row is drawn, so the place is kept by an anchor: the first row in view, or the end. Whatever changes above it (older
// rows arrive, a picture finds its height) moves the scroll position, not what is read. Rows come and go with scrolling,
// so the log is not announced: whoever shows it says what is new.
import { createEffect, createMemo, createSignal, For, type JSX, on, onCleanup, onMount } from "solid-js";

export interface Scroller<Item> {
  toEnd: () => void;
  show: (item: Item) => void;
}

interface ScrollbackProps<Item> {
  label: string;
  items: Item[];
  /** A guess at the height of a row that was not drawn yet, in px. */
  guess: number;
  row: (item: Item, index: () => number) => JSX.Element;
  /** Above the first row. */
  head?: JSX.Element;
  /** The first row is near: bring what was before. */
  onNearTop: () => void;
  onEnd: (there: boolean) => void;
  ref: (scroller: Scroller<Item>) => void;
}

const SPARE_PX = 400;
const NEAR_PX = 800;
const END_PX = 24;

export function Scrollback<Item extends object>(props: ScrollbackProps<Item>): JSX.Element {
  let scroller: HTMLDivElement | undefined;
  let head: HTMLDivElement | undefined;
  const heights = new WeakMap<Item, number>();
  const drawn = new WeakMap<Element, Item>();
  const [measured, setMeasured] = createSignal(0);
  const [top, setTop] = createSignal(0);
  const [viewPx, setViewPx] = createSignal(480);
  const [headPx, setHeadPx] = createSignal(0);
  let anchor: { item: Item; shiftPx: number } | null = null;
  let placedTop = -1;

  /** Where each row begins; one more than there are rows, the last is the height of all. */
  const offsets = createMemo(() => {
    measured();
    const items = props.items;
    const found = new Float64Array(items.length + 1);
    for (let index = 0; index < items.length; index += 1)
      found[index + 1] = (found[index] ?? 0) + (heights.get(items[index] as Item) ?? props.guess);
    return found;
  });
  const at = (index: number) => offsets()[index] ?? 0;
  const allPx = () => at(props.items.length);
  /** The row at a height. */
  const rowAt = (px: number) => {
    let low = 0;
    let high = Math.max(0, props.items.length - 1);
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (at(middle) <= px) low = middle;
      else high = middle - 1;
    }
    return low;
  };
  const first = createMemo(() => rowAt(top() - headPx() - SPARE_PX));
  const last = createMemo(() => Math.min(props.items.length, rowAt(top() - headPx() + viewPx() + SPARE_PX) + 1));
  const shown = createMemo(() => props.items.slice(first(), last()));

  const place = () => {
    if (!scroller || viewPx() === 0) return; // not shown just now, as behind a thread on a phone
    let to = headPx() + allPx() - viewPx();
    if (anchor) {
      const index = props.items.indexOf(anchor.item);
      if (index >= 0) to = headPx() + at(index) + anchor.shiftPx;
      else anchor = null;
    }
    if (Math.abs(scroller.scrollTop - to) >= 1) scroller.scrollTop = to;
    placedTop = scroller.scrollTop;
    setTop(scroller.scrollTop);
    look();
  };
  const hold = () => {
    if (!scroller) return;
    const here = scroller.scrollTop;
    // What the document says now: a scroll event comes before the observer tells of the size that caused it.
    if (scroller.scrollHeight - scroller.clientHeight - here <= END_PX) anchor = null;
    else {
      const index = rowAt(here - headPx());
      const item = props.items[index];
      anchor = item ? { item, shiftPx: here - headPx() - at(index) } : null;
    }
  };
  const look = () => {
    props.onEnd(anchor === null);
    if (top() < NEAR_PX) props.onNearTop();
  };
  const scrolled = () => {
    if (!scroller?.clientHeight || scroller.scrollTop === placedTop) return;
    placedTop = -1;
    setTop(scroller.scrollTop);
    hold();
    look();
  };

  const observer = new ResizeObserver((entries) => {
    let changed = false;
    for (const { target, borderBoxSize } of entries) {
      const height = borderBoxSize[0]?.blockSize ?? 0;
      if (target === scroller) setViewPx(scroller.clientHeight);
      else if (target === head) setHeadPx(height);
      else {
        const item = drawn.get(target);
        if (!item || height === 0 || heights.get(item) === height) continue;
        heights.set(item, height);
        changed = true;
      }
    }
    if (changed) setMeasured((count) => count + 1);
  });
  onCleanup(() => observer.disconnect());
  onMount(() => {
    if (!scroller || !head) return;
    observer.observe(scroller);
    observer.observe(head);
    props.ref({
      toEnd: () => {
        anchor = null;
        place();
      },
      show: (item) => {
        // What is around it is measured once it is in view; the anchor holds it where it is put.
        anchor = { item, shiftPx: -viewPx() / 3 };
        place();
      },
    });
    createEffect(on([offsets, viewPx, headPx], place));
  });

  return (
    <div class="scrollback" ref={scroller} role="log" aria-live="off" aria-label={props.label} tabIndex={0} onScroll={scrolled}>
      <div class="scrollback-head" ref={head}>{props.head}</div>
      <div class="scrollback-all" style={{ height: `${allPx()}px` }}>
        <div class="scrollback-drawn" style={{ transform: `translateY(${at(first())}px)` }}>
          <For each={shown()}>
            {(item, offset) => {
              let row: HTMLDivElement | undefined;
              onMount(() => {
                if (!row) return;
                const here = row;
                drawn.set(here, item);
                observer.observe(here);
                onCleanup(() => observer.unobserve(here));
              });
              return (
                <div class="scrollback-row" ref={row} data-index={first() + offset()}>
                  {props.row(item, () => first() + offset())}
                </div>
              );
            }}
          </For>
        </div>
      </div>
    </div>
  );
}
