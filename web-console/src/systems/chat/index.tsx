// The chat page: what it brings to the common anatomy.
import type { SystemPage } from "../registry";
import { Api, titleOf } from "./api";
import { Conversations } from "./Conversations";
import { me } from "./state";
import { Try } from "./Try";
import "./room.css";
import "./composer.css";
import "./chat.css"; // last: its narrow forms are of all three

const MOST_FOUND = 6;
const MOST_LOOKED_THROUGH = 200;

const page: SystemPage = {
  Try,
  Data: Conversations,
  dataTitle: "Conversations",
  find: async (query, signal) => {
    const user = me();
    if (!user) return [];
    const { items } = await new Api(user).conversations(null, MOST_LOOKED_THROUGH, signal);
    const wanted = query.toLowerCase();
    return items
      .filter((listed) => titleOf(listed).toLowerCase().includes(wanted))
      .slice(0, MOST_FOUND)
      .map((listed) => ({
        title: titleOf(listed),
        detail: `chat of ${user}`,
        to: `systems/chat?as=${encodeURIComponent(user)}&chat=${listed.conversation.id}`,
      }));
  },
};

export default page;
