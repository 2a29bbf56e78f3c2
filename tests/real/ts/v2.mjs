// The TypeScript client 2.x (@modelcontextprotocol/client): "era" is "auto" (it asks with
// server/discover first) or "legacy" (the handshake).

import { load, run } from "./run.mjs";

const { Client, SSEClientTransport, StreamableHTTPClientTransport, specTypeSchemas } = await load(
  "client/dist/index.mjs",
);
const { StdioClientTransport } = await load("client/dist/stdio.mjs");

function transportFor({ transport, command, args, env, cwd, url, headers }) {
  const options = { requestInit: { headers } };
  switch (transport) {
    case "stdio":
      return new StdioClientTransport({ command, args, env, cwd });
    case "http":
      return new StreamableHTTPClientTransport(new URL(url), options);
    case "sse":
      return new SSEClientTransport(new URL(url), options);
    default:
      throw new Error(`unknown transport: ${transport}`);
  }
}

await run((program) => {
  const client = new Client(program.client ?? { name: "typescript-client-2", version: "1" }, {
    capabilities: program.capabilities ?? {},
    versionNegotiation: { mode: program.era ?? "auto" },
  });
  const transport = transportFor(program);
  return {
    client,
    connect: () => client.connect(transport),
    call: (params, options) => client.callTool(params, options),
    request: (message, options) => client.request(message, specTypeSchemas.Result, options),
    info: () => ({
      protocolVersion: client.getNegotiatedProtocolVersion(),
      era: client.getProtocolEra(),
      serverInfo: client.getServerVersion(),
      capabilities: client.getServerCapabilities(),
      instructions: client.getInstructions(),
      sessionId: transport.sessionId,
      pid: transport.pid,
    }),
  };
});
