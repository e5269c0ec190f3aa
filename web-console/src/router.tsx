// Addresses of the console's pages. Every state worth coming back to is in the address: the page, the open item,
// the filters. Links are real links: they open in a new tab, and the browser's back and forward do what they say.
import { createSignal, splitProps, type JSX } from "solid-js";

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
export { place };

window.addEventListener("popstate", () => setPlace(read()));

export function address(path: string): string {
  return `${BASE}/${path}`;
}

export function navigate(path: string, options: { replace?: boolean } = {}): void {
  const changed = path.split("?")[0] !== place().path;
  if (options.replace) history.replaceState(null, "", address(path));
  else history.pushState(null, "", address(path));
  setPlace(read());
  if (changed) scrollTo(0, 0);
}

/** Change parameters of the current address; `null` takes one out. */
export function setQuery(changes: Record<string, string | null>, options: { replace?: boolean } = {}): void {
  const { path, query } = read();
  for (const [name, value] of Object.entries(changes)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  const text = query.toString();
  navigate(text ? `${path}?${text}` : path, options);
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
