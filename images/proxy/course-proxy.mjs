// configurable-http-proxy for a course: a person's server is for their own browser, and connections have an end.
//
// All servers of a course have one origin. What a server sends runs beside everything that the browser's user may do there,
// and its owner may send anything. So nobody's browser gets as far as another person's server: the hub signs the name of
// whom it signs in (campus_hubs_login.handlers), and a route of a user wants that name. Requests with a token in their
// Authorization header pass: no link and no form can make a browser send one, and the server checks it.
import { createHmac, timingSafeEqual } from "node:crypto";
import http from "node:http";
import https from "node:https";

import ConfigurableProxy from "configurable-http-proxy";

const COOKIE = "campus-hubs-user";
// Milliseconds: for a TLS handshake and for the headers of a request.
const HANDSHAKE = 10_000;
const HEADERS = 20_000;
// Beyond these the connection is closed that has waited longest for a request.
const CONNECTIONS = Number(process.env.COURSE_PROXY_CONNECTIONS) || 4096;

// Return the names that the browser's cookies prove.
const visitors = (header, token) =>
  (header ?? "")
    .split(";")
    .map((part) => part.trim())
    .filter((part) => part.startsWith(`${COOKIE}=`))
    .map((part) => part.slice(COOKIE.length + 1))
    .map((value) => [value.slice(0, value.lastIndexOf(".")), value.slice(value.lastIndexOf(".") + 1)])
    .filter(([name, given]) => {
      const expected = createHmac("sha256", token).update(`${COOKIE}\n${name}`).digest("hex");
      return given.length === expected.length && timingSafeEqual(Buffer.from(given), Buffer.from(expected));
    })
    .map(([name]) => name);

const { handleProxy } = ConfigurableProxy.prototype;
ConfigurableProxy.prototype.handleProxy = async function (kind, req, res, ...rest) {
  // The route that it will take, whatever the URL looks like; what cannot be read leads nowhere.
  const match = await this.targetForReq(req).catch(() => undefined);
  const route = match && (await this._routes.get(match.prefix));
  if (match && !route) return this.handleProxyError(404, kind, req, res);
  const owner = route?.user;
  if (owner && !/^(token|bearer) /i.test(req.headers.authorization ?? "")) {
    const names = visitors(req.headers.cookie, this.authToken);
    const isPage = kind === "web" && ["GET", "HEAD"].includes(req.method) && /html/.test(req.headers.accept ?? "");
    if (names.length === 0 && isPage) {
      // Who is signed in at the hub comes back with the cookie.
      const login = new URL("../login", this.errorTarget).pathname;
      res.writeHead(302, { Location: `${login}?next=${encodeURIComponent(req.url)}`, "Cache-Control": "no-store" });
      return res.end();
    }
    if (names.length === 0 || names.some((name) => name !== owner)) {
      this.handleProxyError(403, kind, req, res);
      if (kind === "ws") res.destroySoon();
      return undefined;
    }
  }
  return handleProxy.call(this, kind, req, res, ...rest);
};

const limited = (server, event) => {
  const open = new Set();
  const waiting = new Set();
  const answering = (socket, response) => {
    waiting.delete(socket);
    response?.once("close", () => open.has(socket) && waiting.add(socket));
  };
  server.on(event, (socket) => {
    open.add(socket);
    waiting.add(socket);
    socket.once("close", () => [open, waiting].forEach((sockets) => sockets.delete(socket)));
    if (open.size > CONNECTIONS) (waiting.values().next().value ?? socket).destroy();
  });
  server.prependListener("request", (req, res) => answering(req.socket, res));
  server.prependListener("upgrade", (req) => answering(req.socket));
  return server;
};

const options = { headersTimeout: HEADERS, connectionsCheckingInterval: 5000 };
for (const [module, event, more] of [
  [http, "connection", {}],
  [https, "secureConnection", { handshakeTimeout: HANDSHAKE }],
]) {
  const { createServer } = module;
  module.createServer = (first, ...rest) =>
    typeof first === "function"
      ? limited(createServer({ ...options, ...more }, first, ...rest), event)
      : limited(createServer({ ...first, ...options, ...more }, ...rest), event);
}

await import("./node_modules/configurable-http-proxy/bin/configurable-http-proxy");
