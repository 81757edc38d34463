// A viewer over npm's `ws`: prints every message as it came, and ends when it is live.
import WebSocket from "ws";

const [, , url, workcell, deflate] = process.argv;
const socket = new WebSocket(url, "workcast.v1", { perMessageDeflate: deflate === "deflate" });
socket.on("open", () => socket.send(JSON.stringify({ op: "subscribe", workcell, from: "start" })));
socket.on("message", (data, binary) => {
  const text = data.toString();
  console.log(binary ? "binary" : text);
  if (JSON.parse(text).op === "live") {
    console.log(JSON.stringify({ op: "end", extensions: socket.extensions, protocol: socket.protocol }));
    socket.close();
  }
});
socket.on("error", (error) => {
  console.error(error.message);
  process.exit(1);
});
