// The TypeScript SDK 1.x (@modelcontextprotocol/sdk): the handshake era, as most editors speak it.

import { load, run } from "./run.mjs";

const { Client } = await load("sdk/dist/esm/client/index.js");
const { SSEClientTransport } = await load("sdk/dist/esm/client/sse.js");
const { StdioClientTransport } = await load("sdk/dist/esm/client/stdio.js");
const { StreamableHTTPClientTransport } = await load("sdk/dist/esm/client/streamableHttp.js");
const { ResultSchema } = await load("sdk/dist/esm/types.js");

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
  const client = new Client(program.client ?? { name: "typescript-sdk-1", version: "1" }, {
    capabilities: program.capabilities ?? {},
  });
  const transport = transportFor(program);
  let protocolVersion;
  const remember = transport.setProtocolVersion?.bind(transport);
  transport.setProtocolVersion = (version) => {
    protocolVersion = version;
    remember?.(version);
  };
  return {
    client,
    connect: () => client.connect(transport),
    call: (params, options) => client.callTool(params, undefined, options),
    request: (message, options) => client.request(message, ResultSchema, options),
    info: () => ({
      protocolVersion,
      serverInfo: client.getServerVersion(),
      capabilities: client.getServerCapabilities(),
      instructions: client.getInstructions(),
      sessionId: transport.sessionId,
      pid: transport.pid,
    }),
  };
});
