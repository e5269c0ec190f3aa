// Clicks of one link as they happen: server-sent events, or, where they do not get through, a look every five
// seconds. Quiet while the tab is hidden. What came while nobody listened is in the counts, not in the stream, so
// each (re)opening tells the page to read the counts again.
import { onCleanup, onMount } from "solid-js";
import { get } from "../../api/http";
import { type Click, type ClicksEvent, type Link, linkPath } from "./api";

const POLL_MS = 5000;

export type Watching = "stream" | "polling" | "off";

export interface Watch {
  /** `counted` clicks by people came, some of which are told one by one. */
  onClicks: (clicks: Click[], counted: number) => void;
  onState: (state: Watching) => void;
}

export function watchClicks(link: Link, watch: Watch): void {
  const path = linkPath(link.code);
  let source: EventSource | null = null;
  let timer: number | undefined;
  let total = link.clicks;

  const look = async () => {
    try {
      const now = await get<Link>(path);
      const grown = now.clicks - total;
      total = now.clicks;
      if (grown > 0) watch.onClicks([], grown);
    } catch {
      // The frame's banner says that the server is away; the next look may find it back.
    }
  };
  const startPolling = () => {
    watch.onState("polling");
    clearInterval(timer);
    timer = window.setInterval(() => void look(), POLL_MS);
  };
  const start = () => {
    stop();
    const opened = new EventSource(`${path}/live`);
    source = opened;
    opened.addEventListener("open", () => {
      watch.onState("stream");
      watch.onClicks([], 0);
    });
    opened.addEventListener("clicks", (message) => {
      const event = JSON.parse((message as MessageEvent<string>).data) as ClicksEvent;
      watch.onClicks(event.clicks, event.counted);
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
