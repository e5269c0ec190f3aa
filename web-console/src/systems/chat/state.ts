// Who one is on this page, and which conversation is open. Both are in the address, so that two windows can be two
// people; the name is also remembered for this window, for when the address is left and come back to.
import { createMemo, createSignal } from "solid-js";
import { parameter, setQuery } from "../../router";

const STORED = "twelvefold.chat.as";

function remembered(): string {
  try {
    return sessionStorage.getItem(STORED) ?? "";
  } catch {
    return "";
  }
}

const [changes, setChanges] = createSignal(0);

/** Counts the times that this window's conversations became more or fewer. */
const [conversationsChanged, setConversationsChanged] = createSignal(0);
export { conversationsChanged };
export const noteConversations = (): number => setConversationsChanged((count) => count + 1);

/** The user that this window speaks as; empty if nobody was chosen. */
export function useMe(): () => string {
  const named = parameter("as");
  return createMemo(() => {
    changes();
    return named() || remembered();
  });
}

export function me(): string {
  return new URLSearchParams(location.search).get("as") || remembered();
}

export function become(user: string): void {
  try {
    if (user) sessionStorage.setItem(STORED, user);
    else sessionStorage.removeItem(STORED);
  } catch {
    // The address has it.
  }
  setQuery({ as: user || null, chat: null, thread: null });
  setChanges((count) => count + 1);
}

export function openConversation(id: string | null): void {
  setQuery({ as: me() || null, chat: id, thread: null });
}

/** The address of this page for somebody else, for a second window. */
export function windowOf(user: string, conversation: string | null = null): string {
  const query = new URLSearchParams({ as: user, ...(conversation ? { chat: conversation } : {}) });
  return `${location.pathname}?${query}`;
}
