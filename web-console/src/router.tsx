// Addresses of the console's pages. Every state worth coming back to is in the address: the page, the open item,
// the filters. Links are real links: they open in a new tab, and the browser's back and forward do what they say.
import { createMemo, createRoot, createSignal, splitProps, type JSX } from "solid-js";

export const BASE = "/console";

interface Place {
  /** Below the base, without a trailing slash: "" is the overview, "systems/links" a system. */
  path: string;
  query: URLSearchParams;
}

const read = (): Place => ({
  path: decodeURIComponent(location.pathname.slice(BASE.length)).replace(/^\/+|\/+$/g, ""),
  query: new URLSearchParams(location.search),
});

const [place, setPlace] = createSignal(read());

/** The page's path; it changes only when the page does. */
export const path = createRoot(() => createMemo(() => place().path));

/** One parameter of the address; reading it subscribes to that one alone. */
export function parameter(name: string): () => string {
  return createMemo(() => place().query.get(name) ?? "");
}

window.addEventListener("popstate", () => setPlace(read()));

export function address(to: string): string {
  return `${BASE}/${to}`;
}

export function navigate(to: string, options: { replace?: boolean } = {}): void {
  const before = path();
  if (options.replace) history.replaceState(null, "", address(to));
  else history.pushState(null, "", address(to));
  setPlace(read());
  if (path() !== before) scrollTo(0, 0);
}

/** Change parameters of the current address; `null` takes one out. */
export function setQuery(changes: Record<string, string | null>, options: { replace?: boolean } = {}): void {
  const { path: here, query } = read();
  for (const [name, value] of Object.entries(changes)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  const text = query.toString();
  navigate(text ? `${here}?${text}` : here, options);
}

type LinkProps = Omit<JSX.AnchorHTMLAttributes<HTMLAnchorElement>, "href"> & { to: string };

export function Link(props: LinkProps): JSX.Element {
  const [own, rest] = splitProps(props, ["to", "onClick"]);
  const follow = (event: MouseEvent & { currentTarget: HTMLAnchorElement; target: Element }) => {
    if (typeof own.onClick === "function") own.onClick(event);
    if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    navigate(own.to);
  };
  return <a {...rest} href={address(own.to)} onClick={follow} />;
}
