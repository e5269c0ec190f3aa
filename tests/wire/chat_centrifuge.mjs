// Drives npm's centrifuge against a server; prints what happened as one JSON object. See test_chat_centrifugo.py.
import { createRequire } from "node:module";

const require = createRequire(process.env.MODULES + "/");
const { Centrifuge } = require(process.env.FORM === "protobuf" ? "centrifuge/build/protobuf" : "centrifuge");
const WebSocket = require("ws");
const encoder = new TextEncoder();
const decoder = new TextDecoder();
const protobuf = process.env.FORM === "protobuf";
const wrap = (value) => (protobuf ? encoder.encode(JSON.stringify(value)) : value);
const unwrap = (data) => (protobuf ? JSON.parse(decoder.decode(data)) : data);

const connected = (client) => new Promise((done) => client.once("connected", done));
const subscribed = (subscription) => new Promise((done) => subscription.once("subscribed", done));
const until = async (condition) => {
  const end = Date.now() + 20000;
  while (!condition()) {
    if (Date.now() > end) throw new Error("timeout");
    await new Promise((done) => setTimeout(done, 20));
  }
};

const make = (token) => new Centrifuge(process.env.URL, { websocket: WebSocket, token, minReconnectDelay: 100, maxReconnectDelay: 200 });
const ann = make(process.env.TOKEN);
const bob = make(process.env.OTHER);
const received = [];
const offsets = [];
const wait = [connected(ann), connected(bob)];
ann.connect();
bob.connect();
await Promise.all(wait);
const one = ann.newSubscription("lunch");
const two = bob.newSubscription("lunch");
two.on("publication", (context) => {
  received.push(unwrap(context.data).n);
  offsets.push(context.offset);
});
const ready = [subscribed(one), subscribed(two)];
one.subscribe();
two.subscribe();
await Promise.all(ready);
for (let n = 0; n < 5; n++) await one.publish(wrap({ n }));
await until(() => received.length === 5);
const presence = await two.presence();
const stats = await two.presenceStats();
const history = await two.history({ limit: 100 });

// The connection breaks; what is published meanwhile arrives by recovery.
const back = new Promise((done) => two.once("subscribed", done));
bob._transport.close?.() ?? bob._transport._transport.close();
await until(() => bob.state !== "connected");
for (let n = 5; n < 8; n++) await one.publish(wrap({ n }));
const context = await back;
await until(() => received.length === 8);
let unknown = 0;
try {
  await ann.presence("nowhere");
} catch (error) {
  unknown = error.code;
}
console.log(
  JSON.stringify({
    received: received.slice(0, 5),
    users: Object.values(presence.clients).map((info) => info.user).sort(),
    stats: { numClients: stats.numClients, numUsers: stats.numUsers },
    history: history.publications.map((publication) => publication.offset),
    recovered: context.recovered,
    after: offsets.slice(5),
    unknown,
  }),
);
ann.disconnect();
bob.disconnect();
