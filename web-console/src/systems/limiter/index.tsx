// The limiter's page: what it brings to the common anatomy.
import type { SystemPage } from "../registry";
import { listRules } from "./api";
import { RulesTable } from "./RulesTable";
import { Try } from "./Try";
import "./limiter.css";

const MOST_FOUND = 6;

const page: SystemPage = {
  Try,
  Data: RulesTable,
  dataTitle: "Rules",
  find: async (query, signal) => {
    const { items } = await listRules(query, signal);
    return items.slice(0, MOST_FOUND).map((stored) => ({
      title: stored.name,
      detail: stored.rule.limit === null ? "no limit" : `${stored.rule.limit} every ${stored.rule.period_seconds} s`,
      to: `systems/limiter?open=${encodeURIComponent(stored.name)}`,
    }));
  },
};

export default page;
