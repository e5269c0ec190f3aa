// A system's last minutes at the size of a word, without a chart library: the overview is part of the first load.
import type { JSX } from "solid-js";

const WIDTH = 120;
const HEIGHT = 28;

export function Sparkline(props: { values: readonly (number | null)[] }): JSX.Element {
  const points = () => {
    const values = props.values.map((value) => value ?? 0);
    const highest = Math.max(1e-9, ...values);
    const step = WIDTH / Math.max(1, values.length - 1);
    return values.map((value, index) => [index * step, HEIGHT - 2 - (value / highest) * (HEIGHT - 4)] as const);
  };
  const line = () => points().map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
  return (
    <svg class="sparkline" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      <polygon points={`0,${HEIGHT} ${line()} ${WIDTH},${HEIGHT}`} />
      <polyline points={line()} />
    </svg>
  );
}
