// The systems that have pages here. A system adds a folder with an index.tsx; nothing else has to know it. Each is
// loaded when its page is first opened.
import type { Component } from "solid-js";

/** Something that the jump-to palette can go to. */
export interface Found {
  title: string;
  detail: string;
  to: string;
}

/** What a system brings to the common anatomy of its page. */
export interface SystemPage {
  /** The thing itself, usable by someone who never read the documents. */
  Try: Component;
  /** What is stored: filter, open, change, delete with undo. */
  Data: Component;
  /** One line on what the data is, above it. */
  dataTitle: string;
  /** Answers the palette's search with things of this system. */
  find?: (query: string, signal: AbortSignal) => Promise<Found[]>;
}

const modules = import.meta.glob<{ default: SystemPage }>("./*/index.tsx");

export function hasPage(name: string): boolean {
  return `./${name}/index.tsx` in modules;
}

export async function loadPage(name: string): Promise<SystemPage | null> {
  const load = modules[`./${name}/index.tsx`];
  return load ? (await load()).default : null;
}
