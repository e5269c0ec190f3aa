// What the parts of the links page tell each other: that a link was made, changed or deleted.
import { createSignal } from "solid-js";
import { toast } from "../../parts/toasts";
import { deleteLink, type Link, restoreLink } from "./api";

export type News = { kind: "made" | "changed" | "deleted"; link: Link } | { kind: "imported" };

const [news, announce] = createSignal<News | null>(null, { equals: false });
export { announce, news };

/** Delete at once, with the way back in the message. */
export async function deleteWithUndo(link: Link): Promise<void> {
  try {
    await deleteLink(link.code);
  } catch (error) {
    toast(`“${link.code}” was not deleted: ${(error as Error).message}`, { tone: "bad" });
    return;
  }
  announce({ kind: "deleted", link });
  toast(`Deleted “${link.code}”. It answers 410 from now on.`, { act: { title: "Undo", run: () => void restore(link) } });
}

async function restore(link: Link): Promise<void> {
  try {
    const { data } = await restoreLink(link.code);
    announce({ kind: "made", link: data });
    toast(`“${link.code}” redirects again.`);
  } catch (error) {
    toast(`“${link.code}” stays deleted: ${(error as Error).message}`, { tone: "bad" });
  }
}
