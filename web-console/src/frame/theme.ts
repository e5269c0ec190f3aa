// Light or dark by the system's choice, unless the reader chose one here. The choice stays in this browser.
import { createSignal } from "solid-js";

export type Theme = "system" | "light" | "dark";

const STORED = "twelvefold.theme";

function stored(): Theme {
  try {
    const value = localStorage.getItem(STORED);
    return value === "light" || value === "dark" ? value : "system";
  } catch {
    return "system";
  }
}

const [theme, set] = createSignal<Theme>(stored());
const [scheme, setScheme] = createSignal(0);
/** Counts the changes of what is painted; charts redraw on it, since a canvas keeps its colours. */
export { scheme as paintedScheme, theme };

export function applyTheme(): void {
  document.documentElement.dataset.theme = theme();
  setScheme((count) => count + 1);
}

export function setTheme(next: Theme): void {
  set(next);
  try {
    if (next === "system") localStorage.removeItem(STORED);
    else localStorage.setItem(STORED, next);
  } catch {
    // Storage may be forbidden; the choice then lasts as long as the page.
  }
  applyTheme();
}

export function nextTheme(): Theme {
  return theme() === "system" ? "light" : theme() === "light" ? "dark" : "system";
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setScheme((count) => count + 1));

/** What a colour token is painted as just now, for canvases. */
export function colour(token: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(--${token})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}
