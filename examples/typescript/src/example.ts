// What a program does with the client. It is told by its surroundings which server is meant:
//
//	MY_OS_SERVER=node-7.example.org:8443
//	MY_OS_FINGERPRINT=… or MY_OS_CA=server.crt MY_OS_NAME=node-7
//	MY_OS_TOKEN=…       or MY_OS_CERTIFICATE=me.crt MY_OS_KEY=me.key
//
// It prints one line of JSON: the node's mode, its interfaces with their addresses, and what became of a call that
// its caller may not make and of one that cannot be made.
import { readFileSync } from "node:fs";

import { JSONRPCError } from "@open-rpc/client-js";

import { Server, connect } from "./connect";

function server(): Server {
  const { MY_OS_SERVER, MY_OS_FINGERPRINT, MY_OS_CA, MY_OS_NAME, MY_OS_TOKEN, MY_OS_CERTIFICATE, MY_OS_KEY } = process.env;
  const at = new URL(`https://${MY_OS_SERVER}`);
  const file = (path?: string) => (path ? readFileSync(path, "utf8") : undefined);
  return {
    host: at.hostname,
    port: Number(at.port),
    fingerprint: MY_OS_FINGERPRINT,
    ca: file(MY_OS_CA),
    name: MY_OS_NAME,
    token: MY_OS_TOKEN,
    certificate: file(MY_OS_CERTIFICATE),
    key: file(MY_OS_KEY),
  };
}

async function main() {
  const { client, close } = connect(server());
  try {
    const status = await client.net_status();
    const { interfaces } = await client.net_interfaces();
    const denied = await client.net_routes_add("198.51.100.0/24", "192.0.2.2").catch((e: JSONRPCError) => e.data);
    const impossible = await client.net_interfaces(undefined, undefined, undefined, undefined, -1).catch((faults: Error[]) => faults.length);

    client.startBatch(); // these two go in one request
    const both = Promise.all([client.net_routes("ipv4", 254), client.vol_usage("/")]);
    client.stopBatch();
    const [{ routes }, disk] = await both;

    console.log(
      JSON.stringify({
        mode: status.mode,
        interfaces: interfaces.map(({ name, mtu, addresses }) => ({ name, mtu, addresses: addresses.map(({ address }) => ({ address })) })),
        routes: routes.map(({ dst, gateway, interface: through }) => ({ dst, gateway, interface: through })),
        total_bytes: disk.total_bytes,
        denied,
        impossible,
      }),
    );
  } finally {
    close();
  }
}

main().catch((e) => {
  console.error(`${e}`);
  process.exitCode = 1;
});
