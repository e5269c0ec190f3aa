// Clicks of one link as they happen: server-sent events, or, where they do not get through, a look every five
// seconds. Quiet while the tab is hidden.
import { onCleanup, onMount } from "solid-js";
import { get } from "../../api/http";
import { type ClicksEvent, type Link, linkPath } from "./api";

const POLL_MS = 5000;

export type Watching = "stream" | "polling" | "off";

export interface Watch {
  onClicks: (event: ClicksEvent) => void;
  onState: (state: Watching) => void;
}

export function watchClicks(link: Link, watch: Watch): void {
  const path = linkPath(link.code);
  let source: EventSource | null = null;
  let timer: number | undefined;
  let total = link.clicks;

  const poll = async () => {
    try {
      const now = await get<Link>(path);
      if (now.clicks > total) watch.onClicks({ at: new Date().toISOString(), clicks: [], total: now.clicks });
      total = now.clicks;
    } catch {
      // The banner of the frame says that the server is away; the next look may find it back.
    }
  };
  const startPolling = () => {
    watch.onState("polling");
    clearInterval(timer);
    timer = window.setInterval(() => void poll(), POLL_MS);
  };
  const start = () => {
    stop();
    const opened = new EventSource(`${path}/live`);
    source = opened;
    opened.addEventListener("open", () => watch.onState("stream"));
    opened.addEventListener("clicks", (message) => {
      const event = JSON.parse((message as MessageEvent<string>).data) as ClicksEvent;
      total = event.total ?? total + event.clicks.length;
      watch.onClicks({ ...event, total });
    });
    opened.addEventListener("error", () => {
      // While the browser reconnects by itself it is CONNECTING; CLOSED means it has given up.
      if (opened.readyState === EventSource.CLOSED && source === opened) startPolling();
    });
  };
  const stop = () => {
    source?.close();
    source = null;
    clearInterval(timer);
    watch.onState("off");
  };
  const follow = () => (document.hidden ? stop() : start());

  onMount(() => {
    document.addEventListener("visibilitychange", follow);
    follow();
  });
  onCleanup(() => {
    document.removeEventListener("visibilitychange", follow);
    stop();
  });
}
