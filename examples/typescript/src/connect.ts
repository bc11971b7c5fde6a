// How a generated client gets to a server: over TLS 1.3, to the one server that is meant, with a proof of who calls.
import { X509Certificate, createHash } from "node:crypto";
import * as https from "node:https";
import * as tls from "node:tls";

import { Client, HTTPTransport, RequestManager } from "@open-rpc/client-js";

import { MyOsServer } from "../generated/client/typescript/src/index";
import names from "../names.json";

/** A server somewhere else, and who calls it. */
export interface Server {
  host: string;
  port: number;
  /** By which the server is known: SHA-256 of its public key, 64 hex digits (`my-os-ctl server fingerprint`). */
  fingerprint?: string;
  /** Instead: the certificate, PEM, that the server's is checked against, and the name in it: the node's, or `localhost`. */
  ca?: string;
  name?: string;
  /** A bearer token. */
  token?: string;
  /** Instead: the caller's certificate and key, PEM. Its key is what the ACL file names. */
  certificate?: string;
  key?: string;
}

/** A client whose methods are those of the table, with underscores for dots. `close` ends its connections. */
export function connect(server: Server): { client: MyOsServer; close: () => void } {
  const agent = agentFor(server);
  const headers: Record<string, string> = server.token ? { Authorization: `Bearer ${server.token}` } : {};
  const client = new MyOsServer({ transport: { type: "https", host: server.host, port: server.port, path: "/rpc" } });
  client.transport = new HTTPTransport(`https://${server.host}:${server.port}/rpc`, {
    headers,
    fetcher: ((url: string, request: { headers: Headers; body: string }) => post(agent, url, request.headers, request.body)) as never,
  });
  client.rpc = new Client(new RequestManager([client.transport]));
  return { client, close: () => agent.destroy() };
}

/** Connections whose server has shown that it is the right one before anything is sent. */
function agentFor(server: Server): https.Agent {
  const common = { keepAlive: true, minVersion: "TLSv1.3" as const, cert: server.certificate, key: server.key };
  if (server.ca) return new https.Agent({ ...common, ca: server.ca, servername: server.name });
  if (!server.fingerprint) throw new Error("neither a fingerprint nor a certificate says which server is meant");
  const want = server.fingerprint.toLowerCase();
  const agent = new https.Agent({ ...common, rejectUnauthorized: false }); // what follows decides
  (agent as any).createConnection = (options: tls.ConnectionOptions, done: (err: Error | null, socket?: tls.TLSSocket) => void) => {
    const socket = tls.connect(options);
    socket.once("error", done);
    socket.once("secureConnect", () => {
      socket.removeListener("error", done);
      const shown = fingerprintOf(socket);
      if (shown === want) return done(null, socket);
      socket.destroy();
      done(new Error(`the server has another key than the one it is known by: ${shown}`));
    });
  };
  return agent;
}

function fingerprintOf(socket: tls.TLSSocket): string {
  const certificate = new X509Certificate(socket.getPeerCertificate().raw);
  return createHash("sha256").update(certificate.publicKey.export({ type: "spki", format: "der" })).digest("hex");
}

/** Sends a call, or a batch of calls, under the names that methods have on the wire. */
function post(agent: https.Agent, url: string, headers: Headers, body: string): Promise<{ text(): Promise<string> }> {
  const calls = JSON.parse(body);
  for (const call of [calls].flat()) call.method = (names as Record<string, string>)[call.method];
  const sent = JSON.stringify(calls);
  return new Promise((resolve, reject) => {
    const request = https.request(url, { agent, method: "POST", headers: { ...Object.fromEntries(headers), "Content-Length": Buffer.byteLength(sent) } });
    request.on("error", reject);
    request.on("response", (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part) => parts.push(part));
      response.on("error", reject); // an answer that breaks off is none
      response.on("end", () => {
        if (response.statusCode !== 200) return reject(new Error(`HTTP ${response.statusCode}`));
        resolve({ text: async () => Buffer.concat(parts).toString("utf8") });
      });
    });
    request.end(sent);
  });
}
