// uPlot, dressed: the theme's colours, the page's shared time cursor, redrawn at most four times a second and not at
// all in a hidden tab. The figures under the cursor are given to the page, which shows them in its own words.
import { createEffect, createSignal, type JSX, on, onCleanup, onMount } from "solid-js";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { colour, paintedScheme } from "../frame/theme";

export type Columns = [number[], ...(number | null)[][]];

export interface Line {
  /** A colour token: "accent", "text-quiet". */
  token: string;
  kind?: "line" | "bars";
  filled?: boolean;
  dashed?: boolean;
}

interface ChartProps {
  /** For assistive technology: what the chart shows, with its figures. */
  label: string;
  columns: () => Columns;
  lines: readonly Line[];
  height: number;
  /** Charts with one key share their time cursor. */
  sync?: string;
  /** What the top of the scale stands for at least. */
  leastTop?: number | undefined;
  /** Axes, with the steps of time named by `formatTime` (seconds). */
  axes?: boolean;
  formatTime?: (seconds: number) => string;
  format?: (value: number) => string;
  /** The x range in seconds; without it, that of the data. */
  range?: () => [number, number];
  onPoint?: (index: number | null) => void;
}

const REDRAW_MS = 250;

export function Chart(props: ChartProps): JSX.Element {
  let host: HTMLDivElement | undefined;
  const [width, setWidth] = createSignal(0);
  let plot: uPlot | undefined;
  let drawn = 0;
  let waiting: number | undefined;

  const draw = () => {
    waiting = undefined;
    drawn = performance.now();
    plot?.setData(props.columns());
  };
  const build = () => {
    if (!host || width() === 0) return;
    plot?.destroy();
    plot = new uPlot(options(props, width()), props.columns(), host);
    drawn = performance.now();
  };

  onMount(() => {
    if (!host) return;
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry?.contentRect.width ?? 0)));
    observer.observe(host);
    onCleanup(() => observer.disconnect());
  });
  createEffect(
    on(width, (now, before) => {
      if (plot && before) plot.setSize({ width: now, height: props.height });
      else build();
    }),
  );
  createEffect(on(paintedScheme, build, { defer: true }));
  createEffect(
    on(
      () => props.columns(),
      () => {
        if (document.hidden || waiting !== undefined) return;
        waiting = window.setTimeout(draw, Math.max(0, REDRAW_MS - (performance.now() - drawn)));
      },
      { defer: true },
    ),
  );
  onCleanup(() => {
    clearTimeout(waiting);
    plot?.destroy();
  });

  return <div class="chart" style={{ height: `${props.height}px` }} ref={host} role="img" aria-label={props.label} />;
}

function options(props: ChartProps, width: number): uPlot.Options {
  const quiet = colour("text-quiet");
  const grid = { stroke: colour("line"), width: 1 };
  const font = "12px system-ui, sans-serif";
  const axis = { stroke: quiet, font, grid, ticks: { show: false } };
  const { format, formatTime, range, leastTop = 0 } = props;
  return {
    width,
    height: props.height,
    padding: props.axes ? [8, 28, 0, 0] : [4, 0, 2, 0],
    legend: { show: false },
    cursor: {
      y: false,
      points: { size: 7 },
      drag: { x: false, y: false },
      ...(props.sync ? { sync: { key: props.sync } } : {}),
    },
    scales: {
      x: { time: true, range: (_plot, low, high) => range?.() ?? padded(props, low, high) },
      y: { range: (_plot, _low, high) => [0, Math.max(high * 1.08, leastTop) || 1] },
    },
    axes: props.axes
      ? [
          { ...axis, size: 28, gap: 6, ...(formatTime ? { values: (_plot, values) => values.map(formatTime) } : {}) },
          { ...axis, size: 48, gap: 6, ...(format ? { values: (_plot, values) => values.map(format) } : {}) },
        ]
      : [{ show: false }, { show: false }],
    series: [{}, ...props.lines.map(dressed)],
    hooks: {
      setCursor: [(plot) => props.onPoint?.(plot.cursor.idx ?? null)],
    },
  };
}

/** Bars stand around their moment: half a step more on either side shows the first and the last whole. */
function padded(props: ChartProps, low: number, high: number): [number, number] {
  const at = props.columns()[0];
  const step = (at[1] ?? 0) - (at[0] ?? 0);
  const pad = props.lines.some((line) => line.kind === "bars") ? step / 2 : 0;
  return [low - pad, high + pad];
}

function dressed(line: Line): uPlot.Series {
  const stroke = colour(line.token);
  const series: uPlot.Series = { stroke, width: 1.5, points: { show: false }, spanGaps: false };
  if (line.filled) series.fill = colour(`${line.token}-wash`);
  if (line.dashed) series.dash = [3, 3];
  if (line.kind !== "bars" || !uPlot.paths.bars) return series;
  return { ...series, width: 0, fill: colour(line.token), paths: uPlot.paths.bars({ size: [0.7, 40], radius: 0.15 }) };
}
