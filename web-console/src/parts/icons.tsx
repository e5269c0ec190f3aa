// The console's few icons: 16 by 16, drawn with the text's colour. Always beside words, or named by a label.
import type { JSX } from "solid-js";

const SHAPES = {
  overview: "M2.5 2.5h4.5v4.5h-4.5zM9 2.5h4.5v4.5H9zM2.5 9h4.5v4.5h-4.5zM9 9h4.5v4.5H9z",
  key: "M10.25 2.25a3.5 3.5 0 1 0 .01 0M7.8 8.2 2.5 13.5M4.5 11.5l1.75 1.75",
  drill: "M8 1.75 2.75 3.9v3.6c0 3.3 2.2 5.6 5.25 6.75 3.05-1.15 5.25-3.45 5.25-6.75V3.9zM5.75 8l1.6 1.6 2.9-3.2",
  book: "M8 3.75C6.6 2.8 4.5 2.5 2.25 2.75v9.75C4.5 12.25 6.6 12.5 8 13.5c1.4-1 3.5-1.25 5.75-1V2.75C11.5 2.5 9.4 2.8 8 3.75zM8 3.75v9.5",
  search: "M7 2.5a4.5 4.5 0 1 0 .01 0M10.4 10.4l3.35 3.35",
  menu: "M2.5 4.5h11M2.5 8h11M2.5 11.5h11",
  close: "M3.75 3.75l8.5 8.5M12.25 3.75l-8.5 8.5",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  check: "M2.75 8.5l3.5 3.5 7-7.75",
  sun: "M8 5.25a2.75 2.75 0 1 0 .01 0M8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3.05 3.05l1.06 1.06M11.9 11.9l1.05 1.05M12.95 3.05 11.9 4.1M4.1 11.9l-1.05 1.05",
  moon: "M13.25 9.6A5.75 5.75 0 0 1 6.4 2.75a5.5 5.5 0 1 0 6.85 6.85z",
  auto: "M8 2.25a5.75 5.75 0 1 0 .01 0M8 2.25v11.5",
  out: "M6 2.5H2.75v11H6M10.25 5 13.25 8l-3 3M13 8H6",
  arrow: "M6 3.5 10.5 8 6 12.5",
  down: "M3.5 6 8 10.5 12.5 6",
  trash: "M2.75 4.25h10.5M6.25 4V2.5h3.5V4M4 4.25l.6 9.25h6.8l.6-9.25M6.6 7v4M9.4 7v4",
  plus: "M8 3v10M3 8h10",
  up: "M8 13V3M3.75 7.25 8 3l4.25 4.25",
  external: "M6.5 3H3v10h10V9.5M9 2.5h4.5V7M13.25 2.75 7.5 8.5",
  lock: "M3.5 7h9v6.5h-9zM5.25 7V5a2.75 2.75 0 0 1 5.5 0v2",
  qr: "M2.5 2.5h4v4h-4zM9.5 2.5h4v4h-4zM2.5 9.5h4v4h-4zM9.5 9.5h1.5v1.5H9.5zM12.5 12.5h1v1h-1zM12.5 9.5h1M9.5 12.5v1",
  file: "M3.5 1.75h5.75l3.25 3.25v9.25h-9zM9 2v3.25h3.25",
} as const;

export type IconName = keyof typeof SHAPES;

export function Icon(props: { name: IconName; class?: string }): JSX.Element {
  return (
    <svg class={`icon ${props.class ?? ""}`} viewBox="0 0 16 16" aria-hidden="true">
      <path d={SHAPES[props.name]} />
    </svg>
  );
}
