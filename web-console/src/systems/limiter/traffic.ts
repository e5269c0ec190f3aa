// Invented traffic for the playground: moments in milliseconds, the same every time.

export type Shape = "edge" | "burst" | "steady" | "waves";

export const SHAPES: readonly { value: Shape; title: string }[] = [
  { value: "edge", title: "Two loads around a window's edge" },
  { value: "burst", title: "One burst, then a trickle" },
  { value: "steady", title: "Steadily one and a half times the limit" },
  { value: "waves", title: "Waves" },
];
export const PERIODS = 3;

/** Requests over three periods for a limit of `limit` a period. */
export function invent(shape: Shape, limit: number, periodMs: number): { at_ms: number }[] {
  const at: number[] = [];
  const spread = (from: number, to: number, amount: number) => {
    for (let number = 0; number < amount; number++) at.push(from + ((to - from) * number) / amount);
  };
  if (shape === "edge") {
    spread(periodMs * 0.9, periodMs * 0.99, limit);
    spread(periodMs * 1.01, periodMs * 1.1, limit);
    spread(periodMs * 1.5, periodMs * 3, Math.ceil(limit / 2));
  } else if (shape === "burst") {
    spread(0, periodMs * 0.05, limit * 2);
    spread(periodMs * 0.05, periodMs * PERIODS, limit);
  } else if (shape === "steady") {
    spread(0, periodMs * PERIODS, Math.ceil(limit * 1.5 * PERIODS));
  } else {
    for (let wave = 0; wave < 6; wave++) spread(periodMs * wave * 0.5, periodMs * (wave * 0.5 + 0.2), limit);
  }
  return at.map((each) => ({ at_ms: Math.round(each) }));
}
