// node's `ws` as a fan-out server: a message {"n": size} from one client goes to all, one send each.
import { createRequire } from "node:module";
const { WebSocketServer } = createRequire(process.argv[2] + "/")("ws");
const server = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: false });
server.on("listening", () => console.log(server.address().port));
server.on("connection", (socket) => {
  socket.on("message", (data) => {
    const { n } = JSON.parse(data);
    const frame = "x".repeat(n);
    for (const client of server.clients) client.send(frame);
  });
});
