// An MCP client driven by JSON lines, whichever SDK it speaks through.
//
// The first line of stdin is the server to reach:
//   {"transport": "stdio", "command": …, "args": […], "env": {…}, "cwd": …}
//   {"transport": "http" | "sse", "url": …, "headers": {…}}
// and optionally "client" {name, version}, "capabilities" {…} and "steps" […].
// Each further line is one more step; each step is answered by one line of stdout:
//   {"op", "ok", "result" | "error", "progress": […], "ms"}
// The connection is made by the first step and closed at the end of stdin.
//
// A step with "as" goes on in the background and answers at once; "join" waits for it,
// "abort" makes the SDK cancel it. FACTORY_MCP_TS is the folder that holds node_modules.

import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

export function load(path) {
  const folder = join(process.env.FACTORY_MCP_TS, "node_modules", "@modelcontextprotocol");
  return import(pathToFileURL(join(folder, path)).href);
}

class Session {
  #notifications = [];
  #background = new Map();
  #wake = () => {};

  constructor(program, adapter) {
    this.program = program;
    this.adapter = adapter;
  }

  #notified = async (notification) => {
    this.#notifications.push(notification);
    this.#wake();
  };

  async #connected() {
    this.adapter.client.fallbackNotificationHandler = this.#notified;
    await this.adapter.connect();
  }

  async answer(step) {
    const progress = [];
    const line = { op: step.op, ok: true, progress };
    const since = performance.now();
    try {
      this.connected ??= this.#connected();
      await this.connected;
      line.result = (await this.#perform(step, progress)) ?? {};
    } catch (error) {
      line.ok = false;
      line.error = { name: error.name, code: error.code, message: error.message, data: error.data };
    }
    line.ms = Math.round(performance.now() - since);
    return line;
  }

  async #perform(step, progress) {
    switch (step.op) {
      case "initialize":
        return this.adapter.info();
      case "notifications":
        return { notifications: this.#notifications.splice(0) };
      case "waitNotification":
        return this.#notification(step.method, step.timeoutMs ?? 10_000);
      case "abort":
        return this.#background.get(step.of).abort(step.reason);
      case "join":
        return this.#background.get(step.of).done;
      default:
        return step.as ? this.#start(step) : this.#request(step, progress, undefined);
    }
  }

  #start(step) {
    const controller = new AbortController();
    const progress = [];
    const done = this.#request(step, progress, controller.signal).then(
      (result) => ({ ok: true, result, progress }),
      (error) => ({ ok: false, error: { code: error.code, message: error.message }, progress }),
    );
    this.#background.set(step.as, { done, abort: (reason) => controller.abort(reason) });
    return { started: step.as };
  }

  #request(step, progress, signal) {
    const options = { signal, timeout: step.timeoutMs };
    if (step.withProgress) options.onprogress = (report) => progress.push(report);
    if (step.resetOnProgress) options.resetTimeoutOnProgress = true;
    const _meta = step.meta;
    const { client, call, request } = this.adapter;
    switch (step.op) {
      case "ping":
        return client.ping(options);
      case "listTools":
        return client.listTools({ _meta }, options);
      case "call":
        return call({ name: step.name, arguments: step.arguments ?? {}, _meta }, options);
      case "read":
        return client.readResource({ uri: step.uri, _meta }, options);
      case "listResources":
        return client.listResources({ _meta }, options);
      case "listTemplates":
        return client.listResourceTemplates({ _meta }, options);
      case "listPrompts":
        return client.listPrompts({ _meta }, options);
      case "getPrompt":
        return client.getPrompt({ name: step.name, arguments: step.arguments, _meta }, options);
      case "complete":
        return client.complete({ ref: step.ref, argument: step.argument, _meta }, options);
      case "subscribe":
        return client.subscribeResource({ uri: step.uri }, options);
      case "unsubscribe":
        return client.unsubscribeResource({ uri: step.uri }, options);
      case "listen":
        return client
          .listen({ resourceSubscriptions: [step.uri] }, options)
          .then((stream) => ({ honored: stream.honoredFilter }));
      case "request":
        return request({ method: step.method, params: step.params ?? {} }, options);
      default:
        throw new Error(`unknown op: ${step.op}`);
    }
  }

  async #notification(method, timeoutMs) {
    const late = AbortSignal.timeout(timeoutMs);
    late.addEventListener("abort", () => this.#wake());
    while (!late.aborted) {
      const at = this.#notifications.findIndex((n) => n.method === method);
      if (at >= 0) return this.#notifications.splice(at, 1)[0];
      await new Promise((resolve) => {
        this.#wake = resolve;
      });
    }
    throw new Error(`no ${method} within ${timeoutMs} ms`);
  }
}

export async function run(adapt) {
  let session;
  const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
  for await (const text of createInterface({ input: process.stdin })) {
    const message = JSON.parse(text);
    if (session) {
      say(await session.answer(message));
      continue;
    }
    session = new Session(message, adapt(message));
    for (const step of message.steps ?? []) say(await session.answer(step));
  }
  await session?.adapter.client.close();
  process.exit(0);
}
