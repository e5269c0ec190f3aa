// The links page: what it brings to the common anatomy.
import type { Page } from "../../api/contracts";
import { get, withQuery } from "../../api/http";
import type { SystemPage } from "../registry";
import { type Link, shortened } from "./api";
import { LinksTable } from "./LinksTable";
import { Try } from "./Try";
import "./links.css";

const MOST_FOUND = 6;

const page: SystemPage = {
  Try,
  Data: LinksTable,
  dataTitle: "Links",
  find: async (query, signal) => {
    const { items } = await get<Page<Link>>(withQuery("/v1/links", { q: query, limit: MOST_FOUND }), signal);
    return items.map((link) => ({
      title: link.code,
      detail: shortened(link.url),
      to: `systems/links?open=${encodeURIComponent(link.code)}`,
    }));
  },
};

export default page;
